"""spargio's awaitables in tasks of asyncio's: cancel, timeouts, shield, gather, contexts; handles of a
runtime on loops of every kind."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import hashlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aio
import pytest

import spargio
from spargio import fs, net, process
from spargio.asyncio import new_event_loop, run

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
Run = Callable[[Any], Any]
LOOPS: dict[str, Run] = {"ours": run, "asyncio": asyncio.run}


@pytest.fixture(params=LOOPS)
def run_on(request: pytest.FixtureRequest) -> Run:
    return LOOPS[request.param]


# ---- operations ----


def test_shield_gather_wait_and_as_completed(tmp_path: Path) -> None:
    paths = [tmp_path / str(n) for n in range(20)]
    for n, path in enumerate(paths):
        path.write_bytes(b"%d" % n)

    async def main() -> None:
        assert await asyncio.shield(fs.read(paths[3])) == b"3"
        assert await asyncio.wait_for(fs.read(paths[4]), aio.LIMIT_S) == b"4"
        tasks = [asyncio.ensure_future(fs.read(path)) for path in paths]
        done, pending = await asyncio.wait(tasks)
        assert not pending and sorted(t.result() for t in done) == sorted(
            b"%d" % n for n in range(20)
        )
        found = [await one for one in asyncio.as_completed([fs.read(path) for path in paths])]
        assert len(found) == 20
        results = await asyncio.gather(
            fs.read(paths[0]), fs.read(tmp_path / "none"), return_exceptions=True
        )
        assert results[0] == b"0" and isinstance(results[1], FileNotFoundError)
        inner = asyncio.ensure_future(fs.read(paths[5]))
        outer = asyncio.shield(inner)
        outer.cancel()
        assert await inner == b"5"

    run(main())


def test_a_context_lives_through_an_await(tmp_path: Path) -> None:
    """Whether the operation ends at once or later, and in tasks that were begun eagerly."""
    path = tmp_path / "file"
    path.write_bytes(b"x")

    async def task(name: str) -> str:
        variable.set(name)
        for _ in range(3):
            await fs.read(path)
            await spargio.yield_now()
            await spargio.sleep(0.001)
            assert variable.get() == name
            variable.set(name)
        return variable.get()

    async def main() -> None:
        names = [f"task {n}" for n in range(10)]
        assert await asyncio.gather(*(task(name) for name in names)) == names
        assert variable.get() == "none"
        if sys.version_info >= (3, 12):
            loop = asyncio.get_running_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            assert await asyncio.gather(*(task(name) for name in names)) == names
            assert variable.get() == "none"

    run(main())


def test_timeouts_end_operations_and_lose_nothing() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        stream = net.UnixStream.from_socket(ours)
        for n in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.recv(10), 0.001)
            theirs.send(b"%d" % n)
            assert await stream.recv(10) == b"%d" % n
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await stream.read_exactly(4)
            theirs.send(b"ab")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await stream.read_exactly(4)
            theirs.send(b"cd")
            assert await stream.read_exactly(4) == b"abcd"
        theirs.close()
        await stream.close()

    run(main())


def test_files_streams_and_processes(tmp_path: Path) -> None:
    data = os.urandom(300_000)

    async def main() -> None:
        await fs.write(tmp_path / "file", data)
        async with await fs.File.open(tmp_path / "file") as file:
            assert await file.read_at(1000, 5000) == data[1000:6000]
        found = {path: value async for path, value in fs.read_many([tmp_path / "file"])}
        assert list(found.values()) == [data]
        listener = await net.TcpListener.bind("127.0.0.1", 0)

        async def serve() -> None:
            stream, _ = await listener.accept()
            async with stream:
                while chunk := await stream.recv(65536):
                    await stream.write_all(chunk)

        serving = asyncio.create_task(serve())
        stream = await net.TcpStream.connect(*listener.local_addr[:2])
        writing = asyncio.create_task(_write(stream, data))
        assert await stream.read_exactly(len(data)) == data
        await writing
        await stream.close()
        await serving
        await listener.close()
        done = await process.Command("sh", "-c", "cat; exit 3").output(b"hello")
        assert (done.returncode, done.stdout) == (3, b"hello")

    async def _write(stream: Any, data: bytes) -> None:
        await stream.write_all(data)

    run(main())


def test_many_awaits_at_once_are_cancelled_together() -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(_sleep()) for _ in range(300)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)

    async def _sleep() -> None:
        await spargio.sleep(1000)

    run(main())


# ---- handles of a runtime ----


async def answer(value: Any, seconds: float = 0.001) -> Any:
    await spargio.sleep(seconds)
    if isinstance(value, BaseException):
        raise value
    return value


def test_handles_are_awaited_on_every_loop(run_on: Run) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        assert await handle.spawn_stealable(answer(7)) == 7
        jobs = [handle.spawn(answer(n)) for n in range(30)]
        assert await asyncio.gather(*jobs) == list(range(30))
        assert await asyncio.gather(*jobs) == list(range(30))  # Done by now: again.
        with pytest.raises(LookupError, match="there"):
            await handle.spawn_pinned(1, answer(LookupError("there")))
        job = handle.spawn(answer(1, 1000))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(job), 0.01)
        assert not job.done()  # The wait has ended, and not the job.
        waiting = asyncio.ensure_future(job)
        await asyncio.sleep(0.005)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not job.done()
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job

    with spargio.Runtime.builder().shards(2).build() as handle:
        run_on(main(handle))


def test_a_runtime_that_closes_answers_those_who_wait(run_on: Run) -> None:
    async def main() -> None:
        with spargio.Runtime.builder().shards(1).build() as handle:
            job = handle.spawn(answer(1, 1000))
            waiting = asyncio.ensure_future(job)
            await asyncio.sleep(0.01)
            handle.shutdown()
            with pytest.raises(spargio.TaskCancelled):
                await asyncio.wait_for(waiting, aio.LIMIT_S)
            with pytest.raises(spargio.TaskCancelled):
                await asyncio.wait_for(asyncio.ensure_future(job), aio.LIMIT_S)

    run_on(main())


def test_a_loop_may_be_gone_when_the_answer_comes(run_on: Run) -> None:
    async def main(job: Any) -> None:
        waiting = asyncio.ensure_future(job)
        await asyncio.sleep(0.001)
        waiting.cancel()

    with spargio.Runtime.builder().shards(1).build() as handle:
        job = handle.spawn(answer(5, 0.05))
        run_on(main(job))
        assert job.result(aio.LIMIT_S) == 5


def test_a_coroutine_of_the_loops_hashes_on_the_runtime(tmp_path: Path) -> None:
    """A loop in the foreground, a runtime in the background: they share nothing by accident."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)

    async def digest() -> str:
        data = await fs.read(path)
        assert isinstance(data, bytes)
        return hashlib.sha256(data).hexdigest()

    async def main(handle: spargio.RuntimeHandle) -> None:
        there = [handle.spawn_stealable(digest()) for _ in range(10)]
        here = await asyncio.gather(*(digest() for _ in range(10)))
        assert set(await asyncio.gather(*there)) == set(here) and len(set(here)) == 1

    with spargio.Runtime.builder().shards(2).build() as handle:
        run(main(handle))


def test_on_a_loop_of_another_kind_the_error_says_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        for make in (
            functools.partial(fs.read, tmp_path),
            functools.partial(spargio.sleep, 1),
            spargio.yield_now,
        ):
            with pytest.raises(RuntimeError, match=r"loop_factory=spargio\.asyncio"):
                await make()

    asyncio.run(main())


def test_an_asyncio_loop_inside_a_spargio_task_is_refused() -> None:
    """And one that ran elsewhere is closed there."""
    ran = new_event_loop()
    ran.run_until_complete(asyncio.sleep(0))

    async def main() -> None:
        loop = new_event_loop()
        with pytest.raises(RuntimeError, match="cannot run in a spargio task"):
            loop.run_until_complete(loop.create_future())
        loop.close()
        ran.close()
        await spargio.current_handle().spawn(answer(1))

    spargio.run(main)
