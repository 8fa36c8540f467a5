"""What a process sees of the library: system calls, CPU time, descriptors, memory."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio._ffi.core import native


def test_import_makes_no_io_uring_call_and_no_thread(tmp_path: Path) -> None:
    source = "import spargio, spargio.net, spargio.fs; spargio.Runtime.builder().shards(4)"
    assert (
        programs.system_calls(tmp_path, source, *programs.RING_CALLS, "clone", "clone3", "eventfd2")
        == []
    )


@support.needs_io_uring
def test_a_run_makes_such_calls(tmp_path: Path) -> None:
    """So the test above would see them."""
    source = """
        import spargio

        async def main():
            await spargio.sleep(0)

        spargio.run(main, shards=1)
        """
    assert programs.system_calls(tmp_path, source, *programs.RING_CALLS)


def test_an_idle_runtime_uses_hardly_any_cpu() -> None:
    """4 shards with nothing to do: under 1 % of one CPU over 3 s, whatever runs beside it."""
    done = programs.run_program(
        """
        import resource, time
        import spargio

        def cpu_s():
            used = resource.getrusage(resource.RUSAGE_SELF)
            return used.ru_utime + used.ru_stime

        async def nothing():
            pass

        with spargio.Runtime.builder().shards(4).build() as handle:
            for shard in range(4):
                handle.spawn_pinned(shard, nothing()).result()
            before, began = cpu_s(), time.monotonic()
            time.sleep(3)
            print((cpu_s() - before) / (time.monotonic() - began))
        """
    )
    assert done.stderr == ""
    assert float(done.stdout) < 0.01


@pytest.mark.alone
def test_a_run_that_waits_uses_hardly_any_cpu() -> None:
    """The driven shard wakes ten times a second to look for signals, no more."""

    async def main() -> None:
        await spargio.sleep(0.5)

    before = resource.getrusage(resource.RUSAGE_THREAD)
    spargio.run(main, shards=2)
    after = resource.getrusage(resource.RUSAGE_THREAD)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used_s < 0.1


def test_the_gil_stays_off_on_a_free_threaded_build() -> None:
    if not hasattr(sys, "_is_gil_enabled"):
        pytest.skip("this Python has no sys._is_gil_enabled")
    done = programs.run_program("import spargio, sys; print(sys._is_gil_enabled())")
    assert done.stderr == ""
    assert done.stdout.strip() == str(not support.free_threaded())


def test_nobody_counts_the_references_to_the_library_s_functions() -> None:
    if not support.free_threaded():
        pytest.skip("with a GIL a count costs next to nothing")
    function = native.companion
    before = sys.getrefcount(function)
    held = [function] * 10
    assert sys.getrefcount(function) == before
    assert len(held) == 10


def test_subprocesses_of_a_task_inherit_nothing(options: dict[str, Any]) -> None:
    async def main() -> str:
        command = [sys.executable, "-c", "import os; print(sorted(os.listdir('/proc/self/fd')))"]
        done = subprocess.run(command, close_fds=False, capture_output=True, text=True, timeout=30)
        return done.stdout

    before = {
        name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")
    }
    inheritable = {name for name in before if int(name) > 2 and os.get_inheritable(int(name))}
    found = set(re.findall(r"\d+", spargio.run(main, **options)))
    assert len(found - {"0", "1", "2"} - inheritable) <= 1  # The one that lists them.


# ---- memory ----


def test_memory_does_not_grow() -> None:
    """Tasks, operations, time limits, failures and cancellations in rounds: after the first ones the
    process is as large as it gets."""

    async def work(n: int) -> None:
        with spargio.timeout(1000):
            await spargio.sleep(0)
        if n % 7 == 0:
            raise ValueError(n)
        if n % 5 == 0:
            await spargio.sleep(1000)

    def resident_kib() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4

    def round_of(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_stealable(work(n)) for n in range(2_000)]
        for n, job in enumerate(jobs):
            if n % 5 == 0:
                job.cancel()
            with contextlib.suppress(ValueError, spargio.TaskCancelled):
                job.result(support.LIMIT_S)

    with spargio.Runtime.builder().shards(2).build() as handle:
        for _ in range(10):
            round_of(handle)
            gc.collect()
        before = resident_kib()
        for _ in range(30):
            round_of(handle)
            gc.collect()
        # A leak of 100 bytes per task would be 6,000 KiB.
        assert resident_kib() - before < 3_000


def test_runtimes_do_not_grow_the_process() -> None:
    async def nothing() -> None:
        pass

    def resident_kib() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4

    def round_of() -> None:
        for _ in range(30):
            with spargio.Runtime.builder().shards(2).build() as handle:
                handle.spawn_stealable(nothing()).result(support.LIMIT_S)
            spargio.run(nothing, shards=2)

    round_of()
    gc.collect()
    before = resident_kib()
    for _ in range(3):
        round_of()
    gc.collect()
    # A leak of a page per runtime would be 720 KiB, one of a ring much more.
    assert resident_kib() - before < 1_500


def test_no_thread_is_left_running_in_the_background() -> None:
    before = threading.active_count()
    with spargio.Runtime.builder().shards(3).build():
        assert threading.active_count() == before + 3
    assert threading.active_count() == before
