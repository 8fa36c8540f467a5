"""What tasks share says what it is and in which state, and is neither copied nor pickled."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import support

import spargio
from spargio import boundary, io, sync
from spargio.io.framed import LengthDelimited
from spargio.time import Sleep

OBJECTS: list[Callable[[], Any]] = [
    sync.Lock,
    lambda: sync.Semaphore(2),
    sync.Condition,
    sync.RwLock,
    lambda: sync.RwLock().read(),
    sync.Event,
    lambda: sync.Barrier(2),
    sync.OnceCell,
    lambda: sync.channel(1)[0],
    lambda: sync.channel(1)[1],
    lambda: sync.broadcast(1),
    lambda: sync.broadcast(1).subscribe(),
    lambda: sync.watch(1),
    lambda: sync.watch(1).watch(),
    spargio.TaskGroup,
    spargio.TaskStatus,
    spargio.CancellationToken,
    lambda: spargio.CancellationToken().child(),
    lambda: Sleep(1),
    lambda: boundary.channel(1)[0],
    lambda: boundary.channel(1)[1],
    lambda: boundary.Ticket(None),
    lambda: boundary.Request(1, boundary.Ticket(None)),
    lambda: io.duplex()[0],
    lambda: io.BufReader(io.duplex()[0]),
    lambda: io.BufWriter(io.duplex()[0]),
    lambda: LengthDelimited(io.duplex()[0]),
]


@pytest.mark.parametrize("make", OBJECTS)
def test_no_copies(make: Callable[[], Any]) -> None:
    made = make()
    name = type(made).__name__
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=f"^{name} cannot be copied or pickled: tasks and"):
            attempt(made)
    assert repr(made).startswith(f"<{name} ")
    assert " at 0x" not in repr(made)


def test_reprs_tell_the_state() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        lock, event = sync.Lock(), sync.Event()
        assert repr(lock) == "<Lock free>"

        async def hold() -> None:
            async with lock:
                await event.wait()

        jobs = [handle.spawn_pinned(0, hold(), name=f"job {n}") for n in range(3)]
        await support.until(lambda: "2 waiting" in repr(lock))
        assert repr(lock) == "<Lock held by <JoinHandle 'job 0' begun on shard 0>, 2 waiting>"
        assert repr(event) == "<Event not set, 1 waiting>"
        condition = sync.Condition(lock)
        assert repr(condition) == f"<Condition 0 waiting, of {lock!r}>"
        event.set()
        for job in jobs:
            await job
        assert (repr(lock), repr(event)) == ("<Lock free>", "<Event set, 0 waiting>")

        async with (rw := sync.RwLock()).read(), rw.read():
            assert repr(rw) == "<RwLock 2 readers, 0 waiting>"
        async with rw.write():
            assert repr(rw) == "<RwLock held by a writer, 0 waiting>"
        async with sync.Semaphore(2) as _, (semaphore := sync.Semaphore(2)):
            assert repr(semaphore) == "<Semaphore 1 of 2 permits free, 0 waiting>"
        sender, receiver = sync.channel(2)
        sender.try_send(1)
        assert repr(sender) == "<Sender 1 of 2 values, 0 sending, 0 receiving>"
        receiver.close()
        assert repr(receiver) == "<Receiver 0 of 2 values, 0 sending, 0 receiving, closed>"
        group = spargio.TaskGroup()
        assert repr(group) == "<TaskGroup not entered, 0 children>"
        async with group:
            group.spawn(event.wait())
            assert repr(group) == "<TaskGroup open, 1 child>"
        assert repr(group) == "<TaskGroup closed, 0 children>"

    spargio.run(main, shards=1)


# ---- a BufWriter ----


def test_a_buf_writer_that_goes_away_with_bytes_warns() -> None:
    async def main() -> None:
        writer = io.BufWriter(io.duplex()[0])
        await writer.write_all(b"x" * 100)
        with pytest.warns(ResourceWarning, match="went away with 100 bytes that were not sent"):
            del writer
            gc.collect()
        writer = io.BufWriter(io.duplex()[0])
        await writer.write_all(b"x" * 100)
        await writer.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del writer
            gc.collect()
        with pytest.raises(TypeError):
            io.BufWriter()  # type: ignore[call-arg]
        gc.collect()  # One that was never made has nothing to tell.

    spargio.run(main, shards=1)


def test_a_buf_writer_flushes_at_the_end_of_its_block() -> None:
    async def main() -> None:
        one, other = io.duplex()
        async with io.BufWriter(one) as writer:
            await writer.write_all(b"hello")
            assert writer.buffered() == 5
        assert await other.recv(100) == b"hello"
        with warnings.catch_warnings(), pytest.raises(KeyError):
            warnings.simplefilter("error")
            async with io.BufWriter(one) as writer:
                await writer.write_all(b"not all of it")
                raise KeyError
        await other.close()
        writer = io.BufWriter(one)
        await writer.write_all(b"x")
        with pytest.raises(BrokenPipeError):
            await writer.flush()
        with pytest.raises(OSError, match="an earlier write failed.*BrokenPipeError"):
            await writer.flush()

    spargio.run(main, shards=1)
