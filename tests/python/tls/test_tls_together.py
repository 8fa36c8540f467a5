"""One connection, several tasks and shards: both directions at once, cancellations, ends."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import support
from wire import Contexts, Peer, pair, plain_pair

import spargio
from spargio import net, tls

on = spargio.TaskPlacement.Pinned
PIECE = 65536


async def send(stream: tls.TlsStream[Any], pieces: int) -> None:
    for number in range(pieces):
        await stream.write_all(bytes((number % 251,)) * PIECE)


async def receive(stream: tls.TlsStream[Any], pieces: int) -> None:
    for number in range(pieces):
        assert await stream.read_exactly(PIECE) == bytes((number % 251,)) * PIECE


@pytest.mark.parametrize("shards", [1, 2])
def test_reader_and_writer_on_two_shards(versioned: Contexts, shards: int) -> None:
    async def main() -> None:
        async with pair(versioned) as (near, far), spargio.TaskGroup() as group:
            last = shards - 1
            group.spawn(send(near, 60), placement=on(0))
            group.spawn(receive(near, 60), placement=on(last))
            group.spawn(send(far, 60), placement=on(last))
            group.spawn(receive(far, 60), placement=on(0))

    spargio.run(main, shards=shards)


def test_a_second_writer_is_refused(contexts: Contexts) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with pair(contexts) as (near, far), spargio.TaskGroup() as group:
            writing = group.spawn(near.write_all(bytes(4 << 20)))
            await support.in_flight(handle, 1)
            with pytest.raises(spargio.BusyError, match="another task writes"):
                await near.write_all(b"no")
            with pytest.raises(spargio.BusyError, match="another task writes"):
                await near.shutdown()
            assert await far.read_exactly(4 << 20) == bytes(4 << 20)
            await writing
            await near.write_all(b"now")
            assert await far.recv(10) == b"now"

    spargio.run(main)


def test_two_readers_share_what_comes(contexts: Contexts) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with pair(contexts) as (near, far), spargio.TaskGroup() as group:
            reading = [group.spawn(near.recv(1), placement=on(shard)) for shard in (0, 1, 0)]
            await support.started(*reading)
            await far.write_all(b"a")
            await far.write_all(b"b")
            await far.write_all(b"c")
            assert sorted([await one for one in reading]) == [b"a", b"b", b"c"]

    spargio.run(main, shards=2)


def test_one_task_waits_for_the_turn_of_a_read(contexts: Contexts, engine: str) -> None:
    if engine != "native":
        pytest.skip("a coroutine refuses the second task by itself")

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with pair(contexts) as (near, far), spargio.TaskGroup() as group:
            first = group.spawn(near.recv(1))
            await support.in_flight(handle, 1)
            shared = near.recv(1)

            async def wait() -> bytes:
                return await shared

            second = group.spawn(wait())
            while "under way" not in repr(shared):
                await spargio.yield_now()
            with pytest.raises(RuntimeError, match="awaited by two tasks"):
                await shared
            await far.write_all(b"ab")
            assert [await first, await second] == [b"a", b"b"]

    spargio.run(main, shards=1)


def test_a_cancelled_read_loses_nothing(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts) as (near, far):
            for number in range(200):
                job = spargio.current_handle().spawn(near.read_exactly(3))
                await spargio.yield_now()
                await far.write_all(b"%03d" % number)
                if number % 2:
                    await spargio.yield_now()
                job.cancel()
                try:
                    found = await job
                except spargio.TaskCancelled:
                    found = await near.read_exactly(3)
                assert found == b"%03d" % number

    spargio.run(main)


def test_part_of_a_record_survives_a_cancellation(contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = plain_pair()
        peer = Peer(theirs, contexts[0], server_side=True, name=None)
        with support.in_thread(peer.handshake):
            near = await tls.wrap(ours, contexts[1], server_hostname="localhost")
        record = peer.seal(b"whole")
        for cut in range(1, len(record), 5):
            theirs.sendall(record[:cut])
            with pytest.raises(TimeoutError):
                with spargio.timeout(0.001):
                    await near.recv(100)
            theirs.sendall(record[cut:])
            assert await near.recv(100) == b"whole"
            record = peer.seal(b"whole")
        await near.close()
        theirs.close()

    spargio.run(main)


def test_a_cancelled_write_tears_no_record(versioned: Contexts) -> None:
    """What was sealed arrives, as `bytes_written` says; the next write follows it."""

    async def main() -> None:
        data = bytes(range(256)) * 8192  # More than the sockets hold.
        async with pair(versioned) as (near, far):
            expected = b""
            for _ in range(3):
                with pytest.raises(TimeoutError) as caught, spargio.timeout(0.02):
                    await near.write_all(data)
                written = caught.value.bytes_written  # type: ignore[attr-defined]
                assert 0 < written < len(data)
                expected += data[:written]
                assert await far.read_exactly(written) == data[:written]
            async with spargio.TaskGroup() as group:
                group.spawn(near.write_all(b"the next"))
                assert await far.read_exactly(8) == b"the next"

    spargio.run(main)


def test_what_a_cancelled_write_has_sealed_goes_out_by_itself(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts) as (near, far):
            with pytest.raises(TimeoutError) as caught, spargio.timeout(0.02):
                await near.write_all(bytes(8 << 20))
            written = caught.value.bytes_written  # type: ignore[attr-defined]
            with spargio.timeout(support.LIMIT_S):
                assert await far.read_exactly(written) == bytes(written)

    spargio.run(main)


def test_close_wakes_those_that_wait(contexts: Contexts) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with pair(contexts) as (near, far):
            reading = handle.spawn_pinned(1, near.recv(1))
            writing = handle.spawn_pinned(0, near.write_all(bytes(8 << 20)))
            await support.in_flight(handle, 2)
            await near.close()
            for one in (reading, writing):
                with pytest.raises(spargio.ClosedError):
                    await one
            for operation in (near.recv(1), near.write_all(b"x"), near.shutdown()):
                with pytest.raises(spargio.ClosedError):
                    await operation
            await near.close()
            # The write was cut, so there is no proper end for the peer.
            with pytest.raises(tls.TruncatedError):
                while await far.recv(1 << 20):
                    pass

    spargio.run(main, shards=2)


def test_close_sends_close_notify(versioned: Contexts) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with pair(versioned) as (near, far):
            reading = handle.spawn(near.recv(1))
            await support.in_flight(handle, 1)
            await near.write_all(b"last words")
            await near.close()
            with pytest.raises(spargio.ClosedError):
                await reading
            assert await far.recv(100) == b"last words"
            assert await far.recv(100) == b""

    spargio.run(main)


def test_close_does_not_wait_for_a_peer_that_does_not_read(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts, shutdown_timeout=0.05) as (near, far):
            with pytest.raises(TimeoutError), spargio.timeout(0.02):
                await near.write_all(bytes(8 << 20))
            with spargio.timeout(support.LIMIT_S):
                await near.close()
            with pytest.raises((tls.TruncatedError, ConnectionResetError)):
                while await far.recv(1 << 20):
                    pass

    spargio.run(main)


def test_unwrap_has_a_limit(contexts: Contexts) -> None:
    async def main() -> None:
        async with pair(contexts, shutdown_timeout=0.02) as (near, _):
            with pytest.raises(TimeoutError):
                await near.unwrap()

    spargio.run(main)


def test_a_handshake_has_a_limit(contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = plain_pair()
        with pytest.raises(TimeoutError):
            await tls.wrap(ours, contexts[1], server_hostname="localhost", handshake_timeout=0.02)
        assert ours.fileno() == -1
        theirs.close()
        async with await tls.TlsListener.bind(
            "127.0.0.1", 0, contexts[0], handshake_timeout=0.02
        ) as listener:
            async with await net.TcpStream.connect(*listener.local_addr) as silent:
                stream, _ = await listener.accept()
                async with stream:
                    with pytest.raises(TimeoutError):
                        await stream.recv(1)
                assert await silent.recv(1) == b""

    spargio.run(main)


def test_a_runtime_that_ends_ends_its_connections(contexts: Contexts) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        async with spargio.TaskGroup() as group:
            left = group.spawn(tls.wrap(one, contexts[1], server_hostname="localhost"))
            right = group.spawn(tls.wrap(other, contexts[0], server_side=True))
        near, far = await left, await right

        async def until_the_end(stream: tls.TlsStream[Any]) -> None:
            async with stream:
                await stream.recv(1)

        jobs = [handle.spawn(until_the_end(near)), handle.spawn(until_the_end(far))]
        await support.in_flight(handle, 2)
        await support.started(*jobs)

    spargio.run(main, shards=2)


def test_the_error_of_a_broken_connection_stays(contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = plain_pair()
        peer = Peer(theirs, contexts[0], server_side=True, name=None)
        with support.in_thread(peer.handshake):
            near = await tls.wrap(ours, contexts[1], server_hostname="localhost")
        peer.write(b"good")
        record = bytearray(peer.seal(b"bad"))
        record[-1] ^= 1
        theirs.sendall(record)
        assert await near.read_exactly(4) == b"good"
        for _ in range(2):
            with pytest.raises(ssl.SSLError) as caught:
                await near.recv(1)
            assert caught.value.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
        with pytest.raises(ssl.SSLError):
            await near.write_all(b"x")
        with pytest.raises(ssl.SSLError, match="bad record mac"):  # The alert that it was sent.
            await spargio.spawn_blocking(peer.read)
        await near.close()
        theirs.close()

    spargio.run(main)
