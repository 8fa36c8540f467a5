"""Peers that are wrong, slow or hostile: certificates, cut connections, bytes one at a time, noise."""

from __future__ import annotations

import datetime
import random
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import support
from wire import Contexts, Peer, plain_pair

import spargio
from spargio import tls

SEED = 20261130


async def refused(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost"
) -> tuple[BaseException, BaseException]:
    """What our client says of a server, and what that server is told."""
    ours, theirs = plain_pair()
    peer = Peer(theirs, server, server_side=True, name=None)

    def serve() -> BaseException | None:
        try:
            peer.handshake()
            peer.read()
        except ssl.SSLError as error:
            return error
        return None

    with support.in_thread(serve) as told:
        with pytest.raises(ssl.SSLError) as caught:
            await tls.wrap(ours, client, server_hostname=name)
    assert ours.fileno() == -1
    theirs.close()
    return caught.value, told.value


def test_an_expired_certificate(contexts: Contexts, authority: Any) -> None:
    async def main() -> None:
        past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", not_after=past).configure_cert(server)
        error, told = await refused(server, contexts[1])
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert error.verify_code == 10
        assert "EXPIRED" in str(told)

    spargio.run(main)


def test_a_certificate_for_another_name(contexts: Contexts, authority: Any) -> None:
    async def main() -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("elsewhere.example").configure_cert(server)
        error, _ = await refused(server, contexts[1])
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert "localhost" in error.verify_message

    spargio.run(main)


def test_a_certificate_of_nobody(contexts: Contexts) -> None:
    async def main() -> None:
        error, told = await refused(contexts[0], ssl.create_default_context())
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert "UNKNOWN_CA" in str(told)

    spargio.run(main)


def test_no_version_in_common(contexts: Contexts) -> None:
    async def main() -> None:
        contexts[0].maximum_version = ssl.TLSVersion.TLSv1_2
        contexts[1].minimum_version = ssl.TLSVersion.TLSv1_3
        error, _ = await refused(contexts[0], contexts[1])
        assert "PROTOCOL_VERSION" in str(error) or "VERSION" in str(error)

    spargio.run(main)


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x80", b"\x16\x03\x01"])
def test_no_tls(contexts: Contexts, noise: bytes) -> None:
    async def main() -> None:
        ours, theirs = plain_pair()
        theirs.sendall(noise)
        theirs.shutdown(1)
        with pytest.raises(ssl.SSLError):
            await tls.wrap(ours, contexts[1], server_hostname="localhost")
        theirs.close()

    spargio.run(main)


async def met(
    contexts: Contexts, *, one_byte: bool = False, **settings: Any
) -> tuple[tls.TlsStream[Any], Peer]:
    """A spargio client whose server is in the test's hands."""
    ours, theirs = plain_pair()
    peer = Peer(theirs, contexts[0], server_side=True, name=None)
    if one_byte:
        peer.deliver = peer.byte_by_byte
    job = spargio.spawn_blocking(peer.handshake)
    stream = await tls.wrap(ours, contexts[1], server_hostname="localhost", **settings)
    while not job.done():  # Its tickets may be more than the socket holds.
        with suppress(TimeoutError), spargio.timeout(0.01):
            await stream.read_exactly(1)
    return stream, peer


def test_one_byte_at_a_time(versioned: Contexts) -> None:
    async def main() -> None:
        stream, peer = await met(versioned, one_byte=True)
        data = bytes(range(256)) * 10
        writing = spargio.spawn_blocking(peer.write, data)
        assert await stream.read_exactly(len(data)) == data
        await writing
        await stream.write_all(data)
        assert peer.read(1 << 16) == data
        await stream.close()
        peer.sock.close()

    spargio.run(main)


def test_many_small_records_in_one_piece(versioned: Contexts) -> None:
    async def main() -> None:
        stream, peer = await met(versioned)
        records = b"".join(peer.seal(bytes((number % 256,))) for number in range(3000))
        writing = spargio.spawn_blocking(peer.sock.sendall, records)
        assert await stream.read_exactly(3000) == bytes(number % 256 for number in range(3000))
        await writing
        await stream.close()
        peer.sock.close()

    spargio.run(main)


@pytest.mark.parametrize("cut", ["before a record", "within a header", "within a record"])
def test_truncation_is_told_apart_from_an_end(versioned: Contexts, cut: str) -> None:
    async def main() -> None:
        stream, peer = await met(versioned)
        if cut == "before a record":
            peer.write(b"data")
        record = peer.seal(b"never whole")
        at = {"before a record": 0, "within a header": 3, "within a record": len(record) - 1}[cut]
        peer.sock.sendall(record[:at])
        peer.sock.close()
        if cut == "before a record":
            assert await stream.recv(100) == b"data"
        for _ in range(2):
            with pytest.raises(
                tls.TruncatedError, match="without the peer's close_notify"
            ) as caught:
                await stream.recv(100)
            assert isinstance(caught.value, ssl.SSLEOFError)
            assert isinstance(caught.value, spargio.SpargioError)
        await stream.close()

    spargio.run(main)


def test_truncation_is_an_end_where_that_is_wanted(versioned: Contexts) -> None:
    async def main() -> None:
        stream, peer = await met(versioned, standard_compatible=False)
        peer.write(b"all there is")
        peer.sock.close()
        assert await stream.recv(100) == b"all there is"
        assert await stream.recv(100) == b""
        assert await stream.recv_into(bytearray(10)) == 0
        with pytest.raises(spargio.IncompleteReadError):
            await stream.read_exactly(1)
        await stream.close()

    spargio.run(main)


def test_close_notify_is_an_end(versioned: Contexts) -> None:
    async def main() -> None:
        stream, peer = await met(versioned)
        peer.write(b"bye")
        with pytest.raises(ssl.SSLWantReadError):
            peer.ssl.unwrap()
        peer.flush()
        peer.sock.close()
        assert await stream.recv(100) == b"bye"
        assert await stream.recv(100) == b""
        assert await stream.recv(100) == b""
        await stream.close()

    spargio.run(main)


def test_an_end_within_the_handshake(contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = plain_pair()
        with support.in_thread(lambda: (theirs.recv(10), theirs.shutdown(1))):
            with pytest.raises(ssl.SSLEOFError, match="within the handshake"):
                await tls.wrap(ours, contexts[1], server_hostname="localhost")
        theirs.close()

    spargio.run(main)


def _cut(record: bytes, choice: random.Random) -> bytes:
    return record[: choice.randrange(len(record))]


def _flip(record: bytes, choice: random.Random) -> bytes:
    at = choice.randrange(len(record))
    return record[:at] + bytes((record[at] ^ 1 << choice.randrange(8),)) + record[at + 1 :]


def _twice(record: bytes, _: random.Random) -> bytes:
    return record + record


def _noise(record: bytes, choice: random.Random) -> bytes:
    return choice.randbytes(choice.randrange(1, 200)) + record


def _length(record: bytes, choice: random.Random) -> bytes:
    return record[:3] + choice.randbytes(2) + record[5:]


def _empty(record: bytes, _: random.Random) -> bytes:
    return record[:3] + b"\0\0" + record


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [
    _cut,
    _flip,
    _twice,
    _noise,
    _length,
    _empty,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__.strip("_"))
def test_damaged_records(versioned: Contexts, damage: Any) -> None:
    """Whatever comes, what is read is a beginning of what was written, and then there is an error."""

    async def main() -> None:
        choice = random.Random(f"{SEED} {damage.__name__}")
        for _ in range(8):
            stream, peer = await met(versioned)
            good = choice.randbytes(choice.randrange(1, 2000))
            peer.write(good)
            record = peer.seal(choice.randbytes(choice.randrange(1, 2000)))
            damaged = damage(record, choice)
            peer.sock.sendall(damaged)
            peer.sock.shutdown(1)
            found = b""
            with pytest.raises(ssl.SSLError), spargio.timeout(support.LIMIT_S):
                while data := await stream.recv(choice.randrange(1, 3000)):
                    found += data
            assert found[: len(good)] == good[: len(found)] and len(found) >= len(good)
            await stream.close()
            peer.sock.close()

    spargio.run(main)


def test_damaged_handshakes(contexts: Contexts) -> None:
    async def main() -> None:
        choice = random.Random(SEED)
        for _ in range(30):
            ours, theirs = plain_pair()
            peer = Peer(theirs, contexts[0], server_side=True, name=None)

            def damaged(data: bytes, peer: Peer = peer) -> None:
                peer.sock.sendall(DAMAGES[choice.randrange(len(DAMAGES))](data, choice))
                peer.sock.shutdown(1)

            peer.deliver = damaged

            def serve(peer: Peer = peer) -> None:
                with suppress(ssl.SSLError, OSError):
                    peer.handshake()

            with support.in_thread(serve):
                with pytest.raises((ssl.SSLError, OSError)), spargio.timeout(support.LIMIT_S):
                    stream = await tls.wrap(ours, contexts[1], server_hostname="localhost")
                    await stream.recv(1)
            await ours.close()
            theirs.close()

    spargio.run(main)
