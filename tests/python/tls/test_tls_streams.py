"""What a TLS stream does between two spargio streams: bytes, ends, what was agreed, bad input."""

from __future__ import annotations

import gc
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest
from wire import Contexts, pair, plain_pair

import spargio
from spargio import io, net, tls

SIZES = [1, 2, 100, 16383, 16384, 16385, 40000, 65536, 200001]


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def echo(stream: tls.TlsStream[Any]) -> None:
    while data := await stream.recv(1 << 20):
        await stream.write_all(data)
    await stream.shutdown()


def test_bytes_of_all_sizes_come_back(versioned: Contexts) -> None:
    async def main() -> None:
        async with pair(versioned) as (near, far), spargio.TaskGroup() as group:
            group.spawn(echo(far))
            for size in SIZES:
                data = pattern(size)
                writing = group.spawn(near.write_all(data))
                assert await near.read_exactly(size) == data
                await writing
            await near.shutdown()
            assert await near.recv(10) == b""

    spargio.run(main)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_written(contexts: Contexts, kind: Any) -> None:
    async def main() -> None:
        async with pair(contexts) as (near, far):
            await near.write_all(kind(b"some words"))
            assert await far.recv(100) == b"some words"
            await near.write_all(kind(b""))
            assert await near.send(kind(b"more")) == 4
            assert await far.recv(100) == b"more"

    spargio.run(main)


def test_a_read_takes_what_it_asks_for_and_leaves_the_rest(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts) as (near, far):
            await near.write_all(pattern(50000))
            parts = [await far.recv(size) for size in (1, 7, 100, 16384)]
            assert [len(part) for part in parts[:3]] == [1, 7, 100]
            rest = await far.read_exactly(50000 - sum(map(len, parts)))
            assert b"".join(parts) + rest == pattern(50000)
            assert await far.recv(0) == b""

    spargio.run(main)


def test_recv_into(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts) as (near, far):
            await near.write_all(b"into this")
            room = bytearray(4)
            assert await far.recv_into(room) == 4
            assert room == b"into"
            assert await far.recv_into(memoryview(room)[1:3]) == 2
            assert room == b"i to"
            assert await far.recv_into(bytearray(0)) == 0
            await near.shutdown()
            assert await far.read_exactly(3) == b"his"
            assert await far.recv_into(room) == 0
            with pytest.raises((TypeError, BufferError)):
                await far.recv_into(b"frozen")

    spargio.run(main)


def test_lines_and_what_is_read_too_far(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts) as (near, far):
            await near.write_vectored([b"one\n", bytearray(b"two\nth"), memoryview(b"ree")])
            assert await far.read_until() == b"one\n"
            assert await far.read_until() == b"two\n"
            far.unread(b"before ")
            assert await far.read_exactly(12) == b"before three"
            far.unread(b"kept")
            assert far.take_unread() == b"kept"
            assert far.take_unread() == b""
            await near.write_all(b"no end of the line")
            with pytest.raises(ValueError, match="within limit = 5"):
                await far.read_until(limit=5)
            assert await far.recv(100) == b"no end of the line"
            await near.write_all(b"part")
            await near.shutdown()
            with pytest.raises(spargio.IncompleteReadError) as caught:
                await far.read_exactly(10)
            assert caught.value.partial == b"part"

    spargio.run(main)


def test_vectored_writes_larger_than_a_flight(contexts: Contexts) -> None:
    async def main() -> None:
        pieces = [pattern(30000), b"", pattern(70000), pattern(10), pattern(40000)]
        async with pair(contexts) as (near, far), spargio.TaskGroup() as group:
            writing = group.spawn(near.write_vectored(pieces))
            assert await far.read_exactly(140010) == b"".join(pieces)
            assert await writing == 140010

    spargio.run(main)


def test_half_close(contexts: Contexts) -> None:
    """TLS 1.3 (RFC 8446, 6.1): the other direction goes on."""

    async def main() -> None:
        async with pair(contexts) as (near, far):
            await far.write_all(pattern(70000)[:60000])
            assert await near.recv(1) == pattern(1)  # The rest of the record is read ahead.
            await near.shutdown()
            await near.shutdown()
            assert await far.recv(10) == b""
            assert await far.recv(10) == b""
            await far.write_all(b"still here")
            assert await near.read_exactly(59999) == pattern(60000)[1:]
            assert await near.recv(100) == b"still here"
            with pytest.raises(spargio.ClosedError, match="shut down"):
                await near.write_all(b"x")
            with pytest.raises(ValueError, match="SHUT_WR"):
                await near.shutdown(0)

    spargio.run(main)


def test_unwrap_gives_the_transport_back(versioned: Contexts) -> None:
    async def main() -> None:
        async with pair(versioned) as (near, far):
            await near.write_all(b"secret")
            assert await far.recv(100) == b"secret"
            async with spargio.TaskGroup() as group:
                mine = group.spawn(near.unwrap())
                assert await far.recv(100) == b""
                theirs = await far.unwrap()
            plain = await mine
            await plain.write_all(b"open")
            assert await theirs.recv(100) == b"open"
            with pytest.raises(spargio.ClosedError):
                await near.recv(1)
            await plain.close()
            await theirs.close()

    spargio.run(main)


def test_unwrap_gives_what_came_behind_tls_to_the_transport(contexts: Contexts) -> None:
    async def main() -> None:
        one, other = net.UnixStream.pair()
        async with spargio.TaskGroup() as group:
            left = group.spawn(tls.wrap(one, contexts[1], server_hostname="localhost"))
            right = group.spawn(tls.wrap(other, contexts[0], server_side=True))
        near, far = await left, await right
        await far.shutdown()
        await other.write_all(b"in the clear")  # One receive brings both.
        plain = await near.unwrap()
        assert await plain.recv(100) == b"in the clear"
        await far.close()
        await plain.close()

    spargio.run(main)


def test_unwrap_with_data_that_was_not_read(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts) as (near, far):
            await far.write_all(b"data")
            with pytest.raises(RuntimeError, match="4 bytes or more that were not read"):
                await near.unwrap()
            assert await near.recv(10) == b"data"

    spargio.run(main)


def test_what_was_agreed(contexts: Contexts) -> None:
    async def main() -> None:
        contexts[0].set_alpn_protocols(["h2", "http/1.1"])
        contexts[1].set_alpn_protocols(["http/1.1"])
        async with pair(contexts) as (near, far):
            for one in (near, far):
                assert one.version() == "TLSv1.3"
                assert one.selected_alpn_protocol() == "http/1.1"
                cipher = one.cipher()
                assert cipher is not None and cipher[1] == "TLSv1.3"
            assert not near.server_side
            assert far.server_side
            assert near.server_hostname == "localhost"
            assert ("DNS", "localhost") in near.getpeercert()["subjectAltName"]
            assert near.getpeercert(binary_form=True)[:1] == b"\x30"
            assert far.getpeercert() is None
            assert near.context is contexts[1]
            assert isinstance(near.ssl_object, ssl.SSLObject)
            assert far.shared_ciphers()
            assert near.get_channel_binding() == far.get_channel_binding() or True
            assert repr(near).startswith("<TlsStream, TLSv1.3, over <UnixStream")
            assert near.transport.fileno() >= 0
        assert repr(near).startswith("<TlsStream, closed")

    spargio.run(main)


def test_sessions_are_resumed(versioned: Contexts) -> None:
    async def main() -> None:
        async with pair(versioned) as (near, far):
            assert not near.session_reused
            await far.write_all(b"x")
            await near.recv(1)  # With TLS 1.3 the tickets come before it.
            session = near.session
        assert session is not None
        async with pair(versioned, session=session) as (near, far):
            assert near.session_reused
            assert far.session_reused
            await near.write_all(b"again")
            assert await far.recv(10) == b"again"

    spargio.run(main)


def test_client_certificates(contexts: Contexts, authority: Any) -> None:
    async def main() -> None:
        contexts[0].verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(contexts[0])
        with pytest.raises(BaseException) as caught:
            async with pair(contexts) as (near, _):
                await near.recv(1)
        assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(
            [*getattr(caught.value, "exceptions", [caught.value])]
        )
        authority.issue_cert("me@example.org").configure_cert(contexts[1])
        async with pair(contexts) as (near, far):
            assert ("email", "me@example.org") in far.getpeercert()["subjectAltName"]
            await near.write_all(b"it is me")
            assert await far.recv(100) == b"it is me"

    spargio.run(main)


def test_server_names_choose_a_context(contexts: Contexts, authority: Any) -> None:
    """The callback runs within the handshake, with the engine's lock held, and asks the stream."""

    async def main() -> None:
        other = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("other.example").configure_cert(other)
        asked: list[str | None] = []

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
            asked.append(name)
            if name == "other.example":
                connection.context = other
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if name == "refused.example" else None

        contexts[0].sni_callback = choose  # type: ignore[assignment]
        async with pair(contexts, server_hostname="other.example") as (near, far):
            assert far.context is other
            await near.write_all(b"hello")
            assert await far.recv(100) == b"hello"
        async with pair(contexts) as (near, far):
            assert far.context is contexts[0]
        with pytest.raises(BaseException) as caught:
            async with pair(contexts, server_hostname="refused.example"):
                pass
        # The client hears it by the alert; the server may say it first.
        said = str([*getattr(caught.value, "exceptions", [caught.value])])
        assert "UNRECOGNIZED_NAME" in said or "CALLBACK_FAILED" in said
        assert asked == ["other.example", "localhost", "refused.example"]

    spargio.run(main)


def test_keys_are_logged(contexts: Contexts, folder: Path) -> None:
    async def main() -> None:
        contexts[0].keylog_filename = str(folder / "keys")  # type: ignore[assignment]
        async with pair(contexts) as (near, far):
            await near.write_all(b"x")
            assert await far.recv(1) == b"x"

    spargio.run(main)
    contexts[0].keylog_filename = None  # type: ignore[assignment]  # Closes it.
    assert "CLIENT_TRAFFIC_SECRET_0" in (folder / "keys").read_text()


def test_tls_in_tls(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts) as (near, far), spargio.TaskGroup() as group:
            left = group.spawn(tls.wrap(near, contexts[1], server_hostname="localhost"))
            right = group.spawn(tls.wrap(far, contexts[0], server_side=True))
            inner, outer = await left, await right
            group.spawn(echo(outer))
            for size in SIZES:
                writing = group.spawn(inner.write_all(pattern(size)))
                assert await inner.read_exactly(size) == pattern(size)
                await writing
            await inner.shutdown()
            assert await inner.recv(1) == b""

    spargio.run(main)


def test_over_a_stream_in_memory(contexts: Contexts) -> None:
    async def main() -> None:
        one, other = io.duplex(1000)
        async with spargio.TaskGroup() as group:
            left = group.spawn(tls.wrap(one, contexts[1], server_hostname="localhost"))
            right = group.spawn(tls.wrap(other, contexts[0], server_side=True))
            near, far = await left, await right
            group.spawn(echo(far))
            writing = group.spawn(near.write_all(pattern(100000)))
            assert await near.read_exactly(100000) == pattern(100000)
            await writing
            await near.shutdown()
        await near.close()
        await far.close()

    spargio.run(main)


def test_starttls_takes_what_was_read_already(contexts: Contexts) -> None:
    async def main() -> None:
        one, other = net.UnixStream.pair()
        async with spargio.TaskGroup() as group:
            left = group.spawn(tls.wrap(one, contexts[1], server_hostname="localhost"))
            hello = await other.recv(65536)
            other.unread(hello)
            right = group.spawn(tls.wrap(other, contexts[0], server_side=True))
        near, far = await left, await right
        await near.write_all(b"after")
        assert await far.recv(100) == b"after"
        await near.close()
        await far.close()

    spargio.run(main)


def test_the_first_operation_does_the_handshake(contexts: Contexts) -> None:
    async def main() -> None:
        async with await tls.TlsListener.bind("127.0.0.1", 0, contexts[0]) as listener:
            assert repr(listener).startswith("<TlsListener of <TcpListener")
            port = listener.local_addr[1]

            async def client() -> None:
                async with await tls.connect("localhost", port, context=contexts[1]) as stream:
                    await stream.write_all(b"hello")
                    assert await stream.recv(100) == b"HELLO"

            async with spargio.TaskGroup() as group:
                group.spawn(client())
                stream, address = await listener.accept(timeout=10)
                async with stream:
                    assert stream.version() is None or stream.version() == "TLSv1.3"
                    assert address[0] == "127.0.0.1"
                    await stream.write_all((await stream.recv(100)).upper())
                    assert await stream.recv(1) == b""
            with pytest.raises(TimeoutError):
                await listener.accept(timeout=0.01)

    spargio.run(main)


def test_serve(contexts: Contexts) -> None:
    async def main() -> None:
        stop = spargio.CancellationToken()
        listener = await tls.TlsListener.bind("127.0.0.1", 0, contexts[0])
        port = listener.local_addr[1]
        async with spargio.TaskGroup() as group:
            group.spawn(tls.serve(listener, echo, stop=stop))
            # No TLS at all is an end like any other.
            async with await net.TcpStream.connect("127.0.0.1", port) as plain:
                await plain.write_all(b"GET / HTTP/1.1\r\n\r\n")
                while await plain.recv(1000):
                    pass
            for _ in range(3):
                async with await tls.connect(
                    "127.0.0.1", port, context=contexts[1], server_hostname="localhost", timeout=10
                ) as stream:
                    await stream.write_all(b"again")
                    assert await stream.read_exactly(5) == b"again"
            stop.cancel()

    spargio.run(main)


def test_alpn_of_connect(contexts: Contexts) -> None:
    async def main() -> None:
        contexts[0].set_alpn_protocols(["h2"])
        async with await tls.TlsListener.bind("127.0.0.1", 0, contexts[0]) as listener:
            async with spargio.TaskGroup() as group:
                connecting = group.spawn(
                    tls.connect(
                        "localhost",
                        listener.local_addr[1],
                        context=contexts[1],
                        alpn=["h2", "http/1.1"],
                    )
                )
                accepted, _ = await listener.accept()
                await accepted.handshake()
                stream = await connecting
            assert stream.selected_alpn_protocol() == "h2"
            await stream.close()
            await accepted.close()

    spargio.run(main)


def test_bad_input(contexts: Contexts) -> None:
    async def main() -> None:
        one, other = net.UnixStream.pair()
        with pytest.raises(TypeError, match="context must be an ssl.SSLContext.*, got 3"):
            await tls.wrap(one, 3)  # type: ignore[arg-type]
        assert one.fileno() == -1  # It was taken over.
        await other.close()
        with pytest.raises(TypeError, match="listener must be a net.TcpListener.*, got 'x'"):
            tls.TlsListener("x", contexts[0])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a listener must be a TlsListener.*, got 3"):
            await tls.serve([3], echo)  # type: ignore[list-item]
        with pytest.raises(ValueError, match="listeners must be one or more"):
            await tls.serve([], echo)
        with pytest.raises(ValueError, match="handshake_timeout must .*got -1"):
            await tls.TlsListener.bind("127.0.0.1", 0, contexts[0], handshake_timeout=-1)
        with pytest.raises(TypeError, match="alpn must be several names.*, got 'h2'"):
            await tls.connect("localhost", 1, alpn="h2")
        async with pair(contexts) as (near, _):
            with pytest.raises(TypeError, match="str"):
                await near.write_all("text")  # type: ignore[arg-type]
            with pytest.raises((TypeError, ValueError), match="max_bytes"):
                await near.recv(-1)
            with pytest.raises(TypeError, match="max_bytes"):
                await near.recv("1")  # type: ignore[arg-type]
            with pytest.raises(AttributeError, match=r"use write_all\(data\)"):
                near.sendall(b"")  # type: ignore[attr-defined]

    spargio.run(main)


def test_the_certificate_must_be_for_the_name(contexts: Contexts) -> None:
    async def main() -> None:
        one, other = plain_pair()
        with pytest.raises(ValueError, match="server_hostname"):
            await tls.wrap(one, contexts[1])
        other.close()

    spargio.run(main)


def test_a_stream_that_is_dropped_goes_away(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts) as (near, far):
            await near.write_all(b"x")
            await far.recv(1)
            watched = weakref.ref(near.ssl_object), weakref.ref(near)
        del near, far
        gc.collect()
        assert [one() for one in watched] == [None, None]

    spargio.run(main)


def test_the_ssl_object_outlives_the_stream(contexts: Contexts) -> None:
    async def main() -> ssl.SSLObject:
        async with pair(contexts) as (near, _):
            return near.ssl_object

    kept = spargio.run(main)
    gc.collect()
    assert kept.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        kept.read(1)
