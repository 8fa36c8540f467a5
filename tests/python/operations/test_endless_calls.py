"""Calls that last until somebody else does something, the opening of a FIFO above all: a time limit, a
cancellation and Ctrl-C end them, on both backends. On epoll a thread is in them."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import programs
import pytest
import support

import spargio
from spargio import fs

both_backends = pytest.mark.parametrize("backend", ["io_uring", "epoll"])


async def _open_to_write(path: Path) -> None:
    async with await fs.File.open(path, "w"):
        pass


async def _read(path: Path) -> None:
    await fs.read(path)


async def _read_many(path: Path) -> None:
    async for _ in fs.read_many([path] * 3):
        pass


async def _copy(path: Path) -> None:
    await fs.copy(path, path.with_name("copy"))


def has_reader(fifo: Path) -> bool:
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        assert error.errno == errno.ENXIO
        return False
    return True


OPENS = [_open_to_write, _read, _read_many, _copy]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@both_backends
@pytest.mark.parametrize("opens", OPENS, ids=lambda opens: opens.__name__)
def test_a_time_limit_ends_the_open_of_a_fifo(
    opens: Callable[[Path], Awaitable[None]], backend: str, fifo: Path
) -> None:
    async def main() -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError), spargio.timeout(0.02):
                await opens(fifo)
        # A thread that was left there would be a reader. (io_uring opens some at once, and closes a moment later.)
        await support.until(lambda: not has_reader(fifo))

    spargio.run(main, shards=1, backend=backend)


@both_backends
def test_many_are_cancelled_and_files_go_on(backend: str, fifo: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_stealable(_read(fifo)) for _ in range(40)]
        await support.started(*jobs)
        await support.in_flight(handle, 40)
        assert await fs.read(__file__) == Path(__file__).read_bytes()
        for job in jobs:
            job.cancel()
        for job in jobs:
            with pytest.raises(spargio.TaskCancelled):
                await job
        assert await fs.read(__file__) == Path(__file__).read_bytes()
        assert handle.stats_snapshot().threads_left == 0

    spargio.run(main, shards=2, backend=backend)


@both_backends
def test_ctrl_c_ends_the_open_of_a_fifo(backend: str, fifo: Path) -> None:
    source = f"""
import spargio
from spargio import fs

async def main(handle):
    job = handle.spawn_pinned(1, fs.read({str(fifo)!r}))
    while not handle.stats_snapshot().ops_in_flight:
        await spargio.sleep(0.001)
    print("ready", flush=True)
    await fs.read({str(fifo)!r})

try:
    spargio.run(main, shards=2, backend={backend!r})
except KeyboardInterrupt:
    print("ended")
"""
    with programs.start_program(source) as process:
        programs.interrupt(process, signal.SIGINT)
        out, errors = process.communicate(timeout=support.LIMIT_S)
    assert (process.returncode, out, errors) == (0, "ended\n", "")


def test_the_other_end_may_still_come(fifo: Path) -> None:
    """The signal ends the call that is not wanted, and no other of that thread."""

    async def main(handle: spargio.RuntimeHandle) -> bytes:
        with pytest.raises(TimeoutError), spargio.timeout(0.02):
            await fs.read(fifo)
        job = handle.spawn_stealable(fs.read(fifo))
        await fs.write(fifo, b"here")
        return await job

    assert spargio.run(main, shards=2, backend="epoll") == b"here"


def test_a_thread_that_nothing_ends_is_left_behind_and_counted(fifo: Path) -> None:
    """Its signals are all in use by the program; then the program ends all the same."""
    done = programs.run_program(
        f"""
import os, signal, time
import spargio
from spargio import fs

for number in (signal.SIGURG, 48, 49, 50):
    signal.signal(number, lambda number, frame: None)

def workers():
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{{task}}/comm") as comm:
                names.append(comm.read().strip())
        except (FileNotFoundError, ProcessLookupError):
            pass  # It has just ended.
    return names.count("spargio-files")

async def main(handle):
    await fs.read("/proc/self/comm")  # What is imported at the first use takes no part of the time.
    for _ in range(2):
        try:
            with spargio.timeout(0.01):
                await fs.File.open({str(fifo)!r})
        except TimeoutError:
            pass
    assert await fs.metadata({str(fifo)!r})
    print(handle.stats_snapshot().threads_left)

spargio.run(main, shards=1, backend="epoll")
print(workers())
fd = os.open({str(fifo)!r}, os.O_WRONLY | os.O_NONBLOCK)  # Now they come back, and end.
deadline = time.monotonic() + 20
while workers() and time.monotonic() < deadline:
    time.sleep(0.001)
print(workers())
os.close(fd)

async def leave_one(handle):
    try:
        with spargio.timeout(0.01):
            await fs.File.open({str(fifo)!r})
    except TimeoutError:
        print("left")

spargio.run(leave_one, shards=1, backend="epoll")
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n2\n0\nleft\n", "")


def test_the_signal_is_given_back(fifo: Path) -> None:
    def caught() -> int:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("SigCgt:"))
        return int(line.split()[1], 16) >> (signal.SIGURG - 1) & 1

    async def main() -> int:
        with pytest.raises(TimeoutError), spargio.timeout(0.01):
            await fs.File.open(fifo)
        return caught()

    assert spargio.run(main, shards=1, backend="epoll") == 1
    assert caught() == 0
