"""Clean-up at the end of a runtime, whatever the end is, may do all that a task may do: spawn, shield, use
groups, read and write many files, use another shard. What it does is done, once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs, net, sync

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

Handle = spargio.RuntimeHandle


async def _save(path: Path) -> None:
    await spargio.sleep(0.001)
    await fs.write(path, b"saved")


async def by_spawn(handle: Handle, path: Path) -> None:
    await handle.spawn_stealable(_save(path))


async def by_spawn_on_another_shard(handle: Handle, path: Path) -> None:
    await handle.spawn_pinned(1, _save(path))


async def by_shield(handle: Handle, path: Path) -> None:
    await spargio.shield(_save(path))


async def by_group(handle: Handle, path: Path) -> None:
    async with spargio.TaskGroup() as group:
        group.spawn(_save(path))
        group.spawn(spargio.sleep(0.002))


async def by_write_many(handle: Handle, path: Path) -> None:
    async for _ in fs.write_many([(path, b"saved")]):
        pass


async def by_reading_many(handle: Handle, path: Path) -> None:
    contents = [content async for _, content in fs.read_many([__file__] * 3)]
    assert contents == [Path(__file__).read_bytes()] * 3
    await _save(path)


async def by_a_task_that_nobody_awaits(handle: Handle, path: Path) -> None:
    handle.spawn_pinned(1, _save(path))


WAYS = [
    by_spawn,
    by_spawn_on_another_shard,
    by_shield,
    by_group,
    by_write_many,
    by_reading_many,
    by_a_task_that_nobody_awaits,
]


async def by_return() -> None:
    pass


async def by_system_exit() -> None:
    raise SystemExit(3)


async def by_an_error() -> None:
    raise LookupError("the end")


async def by_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    await spargio.sleep(1000)


async def by_sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await spargio.sleep(1000)


ENDS = {
    by_return: None,
    by_system_exit: SystemExit,
    by_an_error: LookupError,
    by_ctrl_c: KeyboardInterrupt,
    by_sigterm: SystemExit,
}


@pytest.mark.parametrize("grouped", [False, True], ids=["", "grouped"])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_clean_up(
    way: Callable[[Handle, Path], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
    grouped: bool,
    tmp_path: Path,
) -> None:
    """Of a task on either shard, and of main; in a group too, which cancels its children as well."""
    errors: list[BaseException] = []
    begun = 0

    async def work(handle: Handle, name: str, body: Callable[[], Awaitable[None]]) -> None:
        nonlocal begun
        begun += 1
        try:
            await body()
        finally:
            try:
                await way(handle, tmp_path / name)
            except BaseException as error:
                errors.append(error)
                raise

    async def main(handle: Handle) -> None:
        async def all_begun_then_end() -> None:
            await support.until(lambda: begun == 3)
            await end()

        def forever() -> Awaitable[None]:
            return spargio.sleep(1000)

        if grouped:
            async with spargio.TaskGroup() as group:
                for shard in (0, 1):
                    placement = spargio.TaskPlacement.Pinned(shard)
                    group.spawn(work(handle, f"{shard}", forever), placement=placement)
                await work(handle, "main", all_begun_then_end)
                group.cancel()
        else:
            for shard in (0, 1):
                handle.spawn_pinned(shard, work(handle, f"{shard}", forever))
            await work(handle, "main", all_begun_then_end)

    expected = ENDS[end]
    options: dict[str, Any] = {"shards": 2, "stop_signals": (signal.SIGTERM,)}
    if expected is None:
        spargio.run(main, **options)
    else:
        with pytest.raises((expected, BaseExceptionGroup)):
            spargio.run(main, **options)
    assert errors == []
    saved = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    names = {"0", "1", "main"}
    if way is by_a_task_that_nobody_awaits:
        # What is spawned before the runtime closes may be a task that is left: main's, a group's.
        names = set() if grouped else names - {"main"}
    assert dict.fromkeys(names, b"saved").items() <= saved.items()


def test_clean_up_of_a_runtime_in_the_background(tmp_path: Path) -> None:
    async def work(handle: Handle) -> None:
        try:
            await spargio.sleep(1000)
        finally:
            await by_spawn(handle, tmp_path / "file")

    with spargio.Runtime.builder().shards(2).build() as handle:
        handle.spawn_pinned(1, work(handle))
        support.eventually(lambda: handle.stats_snapshot().timers_set)
    assert (tmp_path / "file").read_bytes() == b"saved"


def test_clean_up_after_a_task_that_was_ended_before(tmp_path: Path) -> None:
    """The end of what it awaits comes before its own is told."""

    async def main(handle: Handle) -> None:
        async def awaits() -> None:
            try:
                await handle.spawn_pinned(1, spargio.sleep(1000))
            finally:
                await by_spawn(handle, tmp_path / "file")

        handle.spawn_pinned(0, awaits())
        await support.until(lambda: handle.stats_snapshot().timers_set >= 2)

    for _ in range(20):
        spargio.run(main, shards=2)
        (tmp_path / "file").unlink()


def test_what_a_task_spawns_before_it_is_told_of_the_end_ends_too() -> None:
    """Otherwise nothing would ever end it."""
    ran: list[int] = []

    async def endless() -> None:
        ran.append(1)
        await spargio.sleep(1000)

    async def main(handle: Handle) -> None:
        handle.shutdown()
        job = handle.spawn_pinned(0, endless())
        try:
            await job
        except spargio.CancelledError:
            assert job.cancelled()
            raise

    with pytest.raises(spargio.TaskCancelled):
        spargio.run(main, shards=2)
    assert ran == []


def test_a_clean_up_that_does_not_end_is_cancelled_when_all_are_again() -> None:
    told: list[str] = []

    async def helper() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await spargio.sleep(1000)
        except spargio.CancelledError:
            told.append("helper")
            raise

    async def main(handle: Handle) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await spargio.sleep(1000)
        finally:
            await handle.spawn_pinned(1, helper())

    with pytest.raises(SystemExit):
        spargio.run(main, shards=2, stop_signals=(signal.SIGTERM,))
    assert told == ["helper"]


def test_a_spawn_from_outside_is_refused_by_its_name() -> None:
    refused: list[BaseException] = []

    async def nothing() -> None:
        pass

    def try_it(handle: Handle) -> None:
        coroutine = nothing()
        try:
            handle.spawn_stealable(coroutine)
        except spargio.SpargioError as error:
            refused.append(error)

    async def main(handle: Handle) -> None:
        try:
            handle.shutdown()
            await spargio.sleep(1000)
        finally:
            await spargio.spawn_blocking(try_it, handle)

    with pytest.raises(spargio.TaskCancelled):
        spargio.run(main, shards=1)
    assert [type(error) for error in refused] == [spargio.RuntimeClosed]


# ---- cancelled, then closed, from another shard ----


async def _stream() -> tuple[Any, Any]:
    async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
        near = await net.TcpStream.connect(*listener.local_addr[:2])
        far, _ = await listener.accept()
    return near, far


async def _receiving() -> tuple[Any, Any, Any]:
    near, far = await _stream()
    return near.recv(10), near, far


async def _reading_exactly() -> tuple[Any, Any, Any]:
    near, far = await _stream()
    return near.read_exactly(10), near, far


async def _sending() -> tuple[Any, Any, Any]:
    near, far = await _stream()
    return near.write_all(bytes(64 << 20)), near, far


async def _accepting() -> tuple[Any, Any, Any]:
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    return listener.accept(), listener, listener


async def _receiving_a_datagram() -> tuple[Any, Any, Any]:
    socket = await net.UdpSocket.bind("127.0.0.1", 0)
    return socket.recv_from(10), socket, socket


class _End:
    """Of a channel: its close is no coroutine."""

    def __init__(self, end: Any) -> None:
        self._end = end

    async def close(self) -> None:
        self._end.close()


async def _receiving_from_a_channel() -> tuple[Any, Any, Any]:
    sender, receiver = sync.channel(1)
    return receiver.recv(), _End(receiver), _End(sender)


async def _sending_to_a_channel() -> tuple[Any, Any, Any]:
    sender, receiver = sync.channel(1)
    sender.try_send(1)
    return sender.send(2), _End(receiver), _End(sender)


async def _receiving_from_a_broadcast() -> tuple[Any, Any, Any]:
    source = sync.broadcast(1)
    return source.subscribe().recv(), _End(source), _End(source)


@pytest.mark.parametrize(
    "situation",
    [
        _receiving,
        _reading_exactly,
        _sending,
        _accepting,
        _receiving_a_datagram,
        _receiving_from_a_channel,
        _sending_to_a_channel,
        _receiving_from_a_broadcast,
    ],
    ids=lambda situation: situation.__name__,
)
def test_one_that_is_cancelled_and_then_loses_its_stream_is_cancelled(situation: Any) -> None:
    async def main(handle: Handle) -> None:
        held = threading.Event()
        let_go = threading.Event()

        async def hold() -> None:  # So that both have come when the waiter looks.
            held.set()
            let_go.wait(support.LIMIT_S)

        async def wait(operation: Awaitable[Any]) -> None:
            await operation

        operation, thing, other = await situation()
        waiter = handle.spawn_pinned(1, wait(operation))
        await support.started(waiter)
        await support.until(lambda: handle.stats_snapshot().parks)
        handle.spawn_pinned(1, hold())
        await support.until(held.is_set)
        waiter.cancel()
        closing = handle.spawn_pinned(0, thing.close())
        await support.until(lambda: closing.shard is not None)
        for _ in range(20):
            await spargio.yield_now()
        let_go.set()
        with pytest.raises(spargio.TaskCancelled):
            await waiter
        await closing
        await other.close()

    spargio.run(main, shards=2)
