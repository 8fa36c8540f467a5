"""Objects that go away where nobody expects it: on a shard, in the middle of a raise."""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import struct
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import fs
from spargio._ffi.core import native


async def nothing() -> None:
    await spargio.yield_now()


def shards_up() -> int:
    """Threads of runtimes in the background."""
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.append(path.read_text())
    return sum(name.startswith("spargio-") for name in names)


def address_space() -> int:
    return int(re.findall(r"^VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)[0])


@pytest.mark.parametrize("shards", [1, 3])
def test_a_runtime_dropped_in_a_task_ends_on_a_thread_of_its_own(shards: int) -> None:
    """Which cannot wait for itself: it tried, and its stack was never given back."""
    count = 40

    async def main() -> None:
        for _ in range(count):
            runtime = spargio.Runtime.builder().shards(shards).build()
            runtime.handle().spawn_pinned(shards - 1, nothing())
            del runtime
            gc.collect()
            await support.until(lambda: not shards_up())

    spargio.run(main, shards=1)
    before_kb = address_space()
    spargio.run(main, shards=1)
    assert address_space() - before_kb < count // 2 * 8192


def test_a_runtime_dropped_in_the_middle_of_a_raise_lets_it_go_on() -> None:
    with (
        pytest.warns(ResourceWarning, match="never shut down"),
        pytest.raises(ZeroDivisionError),
    ):
        spargio.Runtime.builder().shards(1).build().handle().spawn_pinned(0, int("1") / int("0"))  # type: ignore[arg-type]


def test_a_runtime_that_nobody_drove_is_dropped_in_the_middle_of_a_raise() -> None:
    done = programs.run_program(
        """
        from spargio._ffi.core import native
        from spargio.options import RuntimeBuilder

        builder = RuntimeBuilder().shards(1)
        try:
            (native.start(builder.address(), 1, 0), int("1") / int("0"))
        except ZeroDivisionError:
            print("caught")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\n", "")


def test_segments_of_a_closed_descriptor_leave_nothing_behind() -> None:
    def lists() -> int:
        gc.collect()
        return sum(type(one) is list for one in gc.get_objects())

    async def main() -> None:
        near, far = spargio.net.UnixStream.pair()
        await near.close()
        await far.close()
        before = lists()
        pieces = near._io.segments()
        for _ in range(100):
            with pytest.raises(spargio.ClosedError):
                await pieces
        assert lists() < before + 50

    spargio.run(main, shards=1)


def test_a_socket_that_lingers_holds_up_no_other_thread() -> None:
    """Its finalizer closes it, and waits for what was sent: without the interpreter."""
    ticks = 0
    over = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not over.wait(0.01):
            ticks += 1

    with support.peer() as (host, port, accept), support.in_thread(count):
        sender = socket.create_connection((host, port), support.LIMIT_S)
        accept()
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
        sender.setblocking(False)
        for _ in range(3):  # The peer's buffer grows meanwhile.
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.send(bytes(1 << 16))
            time.sleep(0.05)
        descriptor = native.adopt(sender.detach(), 1)
        before = ticks
        began = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del descriptor
        assert time.monotonic() - began > 0.9
        assert ticks > before + 10
        over.set()


def test_a_path_that_holds_its_file_is_collected(tmp_path: Path) -> None:
    class Name(str):
        file: fs.File

    class Place:
        file: fs.File

        def __fspath__(self) -> str:
            return str(tmp_path / "file")

    async def main() -> None:
        (tmp_path / "file").touch()
        for given in (Name(tmp_path / "file"), Place()):
            given.file = await fs.File.open(given)
            await given.file.close()
        plain = tmp_path / "file"
        async with await fs.File.open(plain) as file:
            assert file.path is plain

    spargio.run(main, shards=1)
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one).__name__ == "Place"]


def test_offsets_that_run_code_when_they_go_away(tmp_path: Path) -> None:
    gone = []

    class Offset(int):
        def __del__(self) -> None:
            gone.append(operation)

    async def main() -> None:
        nonlocal operation
        (tmp_path / "file").write_text("0123456789")
        async with await fs.File.open(tmp_path / "file") as file:
            operation = file.read_many_at([Offset(one) for one in range(10)], 1)
            assert len(gone) == 10, "the offsets are numbers from here on"
            assert await operation == [b"%d" % one for one in range(10)]

    operation: Any = None
    spargio.run(main, shards=1)


class Odd:
    async def __call__(self) -> None:
        raise AssertionError


def test_a_run_that_cannot_begin_leaves_no_shards() -> None:
    """With the leak check of every test."""
    odd = Odd()
    vars(odd)["__qualname__"] = 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Its coroutine was never awaited.
        with pytest.raises(TypeError, match="name must be a str.*, got 5"):
            spargio.run(odd, shards=3)
    assert not shards_up()


def test_a_long_chain_of_handles_and_futures_goes_away() -> None:
    """Each link within the last one's deallocator: it took more stack than there is."""
    done = programs.run_program(
        """
        import spargio
        from spargio._ffi.core import native

        async def keep(link):
            return link

        async def main(handle):
            link = None
            for n in range(200_000):
                link = handle.spawn_pinned(0, keep(link))
                if n % 1000 == 0:
                    await spargio.yield_now()
            await link

        spargio.run(main, shards=1)
        link = None
        for _ in range(200_000):
            future = native.future()
            future.set_result(link)
            link = future
        del link, future
        print("gone")
        """
    )
    assert (done.returncode, done.stdout) == (0, "gone\n"), done.stderr
