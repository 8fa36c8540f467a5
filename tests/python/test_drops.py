"""Objects that go away where nobody expects it: on a shard, in the middle of a raise."""

from __future__ import annotations

import contextlib
import gc
import re
from pathlib import Path

import pytest
import support

import spargio


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
    done = support.run_program(
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
