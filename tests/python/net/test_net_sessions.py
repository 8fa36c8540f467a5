"""Sessions on shards, and reads and writes of several parts."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import support

import spargio
from spargio import io, net

Main = Callable[..., Coroutine[Any, Any, Any]]


def run(main: Main) -> Any:
    return spargio.run(main, shards=2)


# ---- sessions ----


def test_sessions_have_shards() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        policy = net.StreamSessionPolicy

        async def where() -> int:
            return spargio.current_shard()

        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            host, port = listener.local_addr
            streams = await net.TcpStream.connect_many_round_robin(host, port, 6)
            shards = [stream.session_shard for stream in streams]
            first = shards[0] or 0
            assert shards == [(first + n) % 3 for n in range(6)]
            for stream in streams:
                assert await stream.spawn_on_session(where()) == stream.session_shard
            for chosen, wanted in (
                (policy.Fixed(2), 2),
                (policy.Opener, spargio.current_shard()),
            ):
                stream, _ = await listener.accept_with_session_policy(chosen)
                assert stream.session_shard == wanted
                assert await stream.spawn_stealable_on_session(where()) in range(3)
                await stream.close()
            sticky = {
                (await listener.accept_with_session_policy(policy.Sticky("k")))[0].session_shard
                for _ in range(3)
            }
            assert len(sticky) == 1
            placed = handle.spawn_with_placement(spargio.TaskPlacement.Sticky("k"), where())
            assert sticky == {await placed}
            with pytest.raises(ValueError, match="shard must be between 0 and 2, got 3"):
                await listener.accept_with_session_policy(policy.Fixed(3))
            for stream in streams:
                await stream.close()

    with pytest.warns(ResourceWarning, match="unclosed"):  # The three sticky ones.
        spargio.run(main, shards=3)
        import gc

        gc.collect()


def test_connect_many_leaves_none_open_where_one_fails() -> None:
    before = len(support.descriptors())

    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                targets = [listener.local_addr] * 3 + [closed.getsockname()]
                with pytest.raises(ConnectionRefusedError):
                    await net.TcpStream.connect_many_with_session_policy(
                        targets, net.StreamSessionPolicy.Opener
                    )

    run(main)
    assert len(support.descriptors()) == before


# ---- reading and writing ----


def test_read_until_loses_nothing() -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)
    lines = [chosen.randbytes(chosen.randrange(200)).replace(b"\r\n", b"") for _ in range(300)]
    data = b"".join(line + b"\r\n" for line in lines)

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()

        async def write() -> None:
            at = 0
            while at < len(data):
                size = chosen.randrange(1, 300)
                await one.write_all(data[at : at + size])
                at += size
            await one.write_all(b"rest")
            await one.shutdown()

        job = handle.spawn_pinned(1, write())
        for line in lines:
            assert await other.read_until(b"\r\n") == line + b"\r\n"
        with pytest.raises(spargio.IncompleteReadError) as caught:
            await other.read_until(b"\n")
        assert caught.value.partial == b"rest"
        await job
        await one.close()
        await other.close()

    run(main)


def test_read_until_that_is_cancelled_or_too_long_leaves_the_bytes() -> None:
    async def main() -> None:
        one, other = net.UnixStream.pair()
        await one.write_all(b"no end")
        with pytest.raises(TimeoutError), spargio.timeout(0.02):
            await other.read_until()
        await one.write_all(b" yet\nnext")
        with pytest.raises(ValueError, match="limit = 5"):
            await other.read_until(limit=5)
        assert await other.read_until() == b"no end yet\n"
        assert await other.read_exactly(4) == b"next"
        with pytest.raises(ValueError, match="separator"):
            await other.read_until(b"")
        await one.close()
        await other.close()

    run(main)


def test_a_batch_costs_as_much_as_its_parts() -> None:
    """CPU time of one batch of many pieces, and of the same in batches of 1,000: each piece sent
    must not move all that follow."""
    parts = [b"0123456789"] * 200_000

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        job = handle.spawn_pinned(1, io.copy_to_vec(other))
        began = time.process_time()
        for at in range(0, len(parts), 1_000):
            await one.send_all_batch(parts[at : at + 1_000])
        between = time.process_time()
        await one.send_all_batch(parts)
        ended = time.process_time()
        await one.close()
        assert len(await job) == 2 * 10 * len(parts)
        await other.close()
        assert ended - between < 10 * (between - began)

    run(main)


def test_batches_and_vectors() -> None:
    parts = [os.urandom(random.Random(n).randrange(5_000)) for n in range(3_000)]

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        whole = b"".join(parts)
        job = handle.spawn_pinned(1, other.read_exactly(len(whole)))
        assert await one.send_all_batch(parts) == len(whole)
        assert await job == whole
        assert await one.send_all_batch([]) == 0
        assert await one.write_vectored([b"ab", bytearray(b"cd"), memoryview(b"e")]) == 5
        assert await other.recv(10) == b"abcde"
        await one.close()
        with pytest.raises(spargio.ClosedError):
            await one.send_all_batch([b"x"])
        await other.close()

    run(main)
