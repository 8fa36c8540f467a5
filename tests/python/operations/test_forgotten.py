"""An awaitable that nobody awaited has done nothing: a RuntimeWarning says so, as for a coroutine. Never for
one that was awaited, closed like a coroutine, or that works without an await."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import support
from support import Unraisables

import spargio
from spargio import fs, net, uring
from spargio._ffi.core import native


@contextmanager
def never_awaited() -> Iterator[list[str]]:
    """The texts of what was told in the block."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
        gc.collect()
        texts += [str(one.message) for one in caught if "was never awaited" in str(one.message)]


STREAM: dict[str, Callable[[net.UnixStream], object]] = {
    "recv": lambda stream: stream.recv(10),
    "recv_into": lambda stream: stream.recv_into(bytearray(10)),
    "read_exactly": lambda stream: stream.read_exactly(10),
    "send": lambda stream: stream.send(b"x"),
    "write_all": lambda stream: stream.write_all(b"x"),
    "write_all_zero_copy": lambda stream: stream.write_all_zero_copy(bytearray(b"x")),
    "shutdown": lambda stream: stream.shutdown(),
    "close": lambda stream: stream.close(),
}
FILE: dict[str, Callable[[fs.File], object]] = {
    "read_at": lambda file: file.read_at(0, 10),
    "read_many_at": lambda file: file.read_many_at([0, 1], 10),
    "read_at_into": lambda file: file.read_at_into(0, bytearray(10)),
    "write_at": lambda file: file.write_at(0, b"x"),
    "write_all_at": lambda file: file.write_all_at(0, b"x"),
    "READV": lambda file: file.read_vectored_at(0, [bytearray(10)]),
    "WRITEV": lambda file: file.write_vectored_at(0, [b"x"]),
    "fsync": lambda file: file.fsync(),
    "close": lambda file: file.close(),
}


@pytest.mark.parametrize("name", STREAM)
def test_an_operation_of_a_stream(name: str) -> None:
    async def main() -> None:
        one, other = net.UnixStream.pair()
        async with one, other:
            with never_awaited() as texts:
                STREAM[name](one)
            assert texts == [f"operation {name} of socket {one.fileno()} was never awaited"]

    spargio.run(main, shards=1)


@pytest.mark.parametrize("name", FILE)
def test_an_operation_of_a_file(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        async with await fs.File.open(path, "w+") as file:
            with never_awaited() as texts:
                FILE[name](file)
            number = file.fileno()
            assert texts == [f"operation {name} of file {number} '{path}' was never awaited"]

    spargio.run(main, shards=1)


def test_what_is_no_operation_of_a_descriptor() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        here = spargio.ShardCtx.current()
        unbound = handle.uring_native_unbound()
        for make, text in (
            (lambda: spargio.sleep(1), "operation sleep was never awaited"),
            (spargio.yield_now, "yield_now() was never awaited"),
            (here.next_event, "next_event was never awaited"),
            (here.next_hot_event, "next_hot_event was never awaited"),
            (lambda: here.next_hot_count(7), "next_hot_count was never awaited"),
            (here.flush, "flush was never awaited"),
            (
                lambda: unbound.read_at(0, 0, 1),
                "a native operation on descriptor 0 was never awaited",
            ),
            (
                lambda: unbound.submit_unsafe(uring.Sqe(opcode=uring.Opcode.NOP)),
                "a native operation was never awaited",
            ),
        ):
            with never_awaited() as texts:
                make()
            assert texts == [text]

    spargio.run(main, shards=1, coalesced_hot_msg_tag=7)


def test_each_of_many_is_told() -> None:
    async def main() -> None:
        with never_awaited() as texts:
            for _ in range(5):
                spargio.yield_now()
                await spargio.yield_now()
                spargio.sleep(1)
        assert len(texts) == 10

    spargio.run(main, shards=2)


def test_the_warning_names_the_line_and_in_debug_mode_where_it_was_made() -> None:
    made: list[object] = []

    def helper() -> None:
        made.append(spargio.sleep(1))

    async def main() -> list[warnings.WarningMessage]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            helper()
            made.clear()
            spargio.yield_now()
            return [one for one in caught if "was never awaited" in str(one.message)]

    for debug in (False, True):
        sleep, gave_way = spargio.run(main, shards=1, debug=debug)
        assert sleep.filename == gave_way.filename == __file__
        for one in (sleep, gave_way):
            assert ("made at (most recent call last):" in str(one.message)) is debug
        assert ("in helper" in str(sleep.message)) is debug
        assert str(gave_way.message).endswith("spargio.yield_now()") is debug


def test_debug_mode_says_where_a_coroutine_was_made() -> None:
    async def forgotten() -> None: ...

    async def main() -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            forgotten()
            return str(caught[0].message)

    assert "created at" in spargio.run(main, shards=1, debug=True)
    assert "created at" not in spargio.run(main, shards=1, debug=False)


def test_what_was_awaited_says_nothing_however_that_ended(tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        async with other:
            await one.close()
            operations: list[Coroutine[Any, Any, object]] = [
                one.recv(10),  # Closed.
                one.read_exactly(10),
            ]
            for operation in operations:
                with pytest.raises(spargio.ClosedError):
                    await operation
        del operations, operation
        # Cancelled before it began, at the await itself.
        for make in (
            lambda: spargio.sleep(10),
            spargio.yield_now,
            lambda: other.recv(10),
            spargio.ShardCtx.current().next_event,
        ):
            job = handle.spawn(_awaits(make))
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
            job = handle.spawn(_cancelled_first(make))
            with pytest.raises(spargio.TaskCancelled):
                await job

    with never_awaited() as texts:
        spargio.run(main, shards=1)
    assert texts == []


async def _awaits(make: Callable[[], Any]) -> None:
    await make()


async def _cancelled_first(make: Callable[[], Any]) -> None:
    task = native.current_task()
    assert task is not None
    task.cancel()
    await make()


def test_what_works_without_an_await_says_nothing() -> None:
    async def work() -> int:
        return 1

    async def main(handle: spargio.RuntimeHandle) -> None:
        handle.spawn(work())
        spargio.spawn_blocking(len, "x")
        spargio.ShardCtx.current().send_raw(0, 1, 2)  # It is sent: the ticket only tells when.
        handle.remote(0).send_raw(3, 4)
        handle.uring_native_unbound().sleep(0).start()
        client, server = spargio.boundary.channel(1)
        client.try_call(5)
        server.close()

    with never_awaited() as texts:
        spargio.run(main, shards=1)
    assert texts == []


def test_an_operation_is_taken_where_a_coroutine_is() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        async with one, other:
            given_up = one.recv(1)
            assert isinstance(given_up, Coroutine)
            given_up.close()
            await handle.spawn(other.write_all(b"abc"))
            assert await handle.spawn(one.recv(2)) == b"ab"
            assert await spargio.shield(one.recv(10)) == b"c"
            async with spargio.TaskGroup() as group:
                group.spawn(spargio.sleep(0))
                group.spawn(spargio.yield_now())
            job = handle.spawn(one.recv(10))
            job.cancel()  # Before it began: closed, as a coroutine is.
            with pytest.raises(spargio.TaskCancelled):
                await job

    with never_awaited() as texts:
        spargio.run(main, shards=1)
    assert texts == []


def test_close_and_throw_are_those_of_a_coroutine() -> None:
    async def main() -> None:
        one, other = net.UnixStream.pair()
        async with one, other:
            data = bytearray(b"x")
            operation = one.write_all(data)
            operation.close()
            operation.close()
            data += b"y"  # Its buffer is let go.
            with pytest.raises(RuntimeError, match="can be awaited once"):
                await operation
            operation = one.write_all(b"x")
            with pytest.raises(LookupError, match="why"):
                operation.throw(LookupError("why"))
            ticket = spargio.sleep(1)
            with pytest.raises(LookupError):
                ticket.throw(LookupError)
            with pytest.raises(TypeError):
                ticket.throw(5)  # type: ignore[call-overload]
            spargio.yield_now().close()

    with never_awaited() as texts:
        spargio.run(main, shards=1)
    assert texts == []


def test_an_await_in_the_wrong_place_is_an_await(unraisables: Unraisables) -> None:
    async def wrong() -> None:
        await spargio.sleep(0)

    with never_awaited() as texts, pytest.raises(RuntimeError, match="outside a spargio task"):
        asyncio.run(wrong())
    assert texts == []


def test_it_may_be_made_an_error(unraisables: Unraisables) -> None:
    async def main() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            spargio.sleep(1)

    spargio.run(main, shards=1)
    (told,) = unraisables.take()
    assert (told.kind, told.text) == (RuntimeWarning, "operation sleep was never awaited")


def test_on_every_shard_and_on_threads_that_are_none() -> None:
    async def forget() -> None:
        for _ in range(20):
            spargio.yield_now()
            spargio.sleep(1)
            await spargio.yield_now()

    async def main(handle: spargio.RuntimeHandle) -> None:
        for job in [handle.spawn_pinned(shard, forget()) for shard in range(3)]:
            await job

    with never_awaited() as texts:
        spargio.run(main, shards=3)
        spargio.yield_now()
        spargio.sleep(1)
    assert len(texts) == 3 * 40 + 2


def test_an_asyncio_loop_in_a_task_does_not_hang() -> None:
    """It would resume the operation forever, and keep the shard from what ends it."""

    async def wrong(make: Callable[[], Any]) -> None:
        await make()

    async def main(handle: spargio.RuntimeHandle) -> None:
        event = spargio.sync.Event()
        for make in (lambda: spargio.sleep(0), event.wait, lambda: handle.spawn(wrong(event.wait))):
            with pytest.raises(RuntimeError, match="a spargio task runs an asyncio loop"):
                asyncio.run(wrong(make))
        event.set()

    with spargio.Runtime.builder().shards(1).build() as handle:
        handle.spawn(main(handle)).result(support.LIMIT_S)
