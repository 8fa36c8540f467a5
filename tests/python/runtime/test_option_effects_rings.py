"""Each option of rings, threads, idling and messages, changed, changes what it names."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import IdleStrategy
from spargio.options import OPTION_NAMES


async def where() -> int:
    return spargio.current_shard()


async def nothing() -> None:
    pass


def build(**options: Any) -> spargio.Runtime:
    return spargio.RuntimeBuilder().apply(**options).build()


def ring_sizes() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[io_uring]":
                text = Path(f"/proc/self/fdinfo/{name}").read_text()
                mask = next(line for line in text.splitlines() if line.startswith("SqMask:"))
                found.append(int(mask.split()[1], 0) + 1)
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_backend(backend: str) -> None:
    """More in tests/python/runtime/test_backend.py."""
    with build(shards=1, backend=backend) as handle:
        assert (ring_sizes() == []) is (backend == "epoll")
        assert handle.backend() == backend


@support.needs_io_uring
@pytest.mark.parametrize("entries", [8, 256, 1024])
def test_ring_entries(entries: int) -> None:
    with build(shards=2, ring_entries=entries) as handle:
        assert ring_sizes() == [entries, entries]
        handle.spawn_stealable(nothing()).result(support.LIMIT_S)


def thread_names() -> set[str]:
    return {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}


def test_thread_prefix() -> None:
    with build(shards=2):
        assert {"spargio-0", "spargio-1"} <= thread_names()
    with build(shards=3, thread_prefix="my service"):
        names = thread_names()
        assert {"my service-0", "my service-1", "my service-2"} <= names
        assert not any(name.startswith("spargio") for name in names)


def test_run_leaves_the_callers_thread_its_name() -> None:
    name = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    before = name.read_text()

    async def main() -> set[str]:
        assert name.read_text() == before
        return thread_names()

    assert "prefix-1" in spargio.run(main, shards=2, thread_prefix="prefix")
    assert name.read_text() == before


def test_thread_affinity() -> None:
    cpus = sorted(os.sched_getaffinity(0))

    async def mine() -> set[int]:
        return os.sched_getaffinity(threading.get_native_id())

    wanted = [[cpus[-1]], [cpus[0], cpus[-1]], []]
    for given in wanted:
        with build(shards=3, thread_affinity=given) as handle:
            jobs = [handle.spawn_pinned(shard, mine()) for shard in range(3)]
            found = [job.result(support.LIMIT_S) for job in jobs]
        if given:
            assert found == [{given[shard % len(given)]} for shard in range(3)]
        else:
            assert found == [set(cpus)] * 3
    assert os.sched_getaffinity(0) == set(cpus)


def idle_for(seconds: float, passes: int = 0, **options: Any) -> dict[str, int]:
    """What the one shard counted in that time without work, which is a wait on this thread, not a
    sync; and until it has counted so many passes."""
    with build(shards=1, **options) as handle:
        handle.spawn_stealable(nothing()).result(support.LIMIT_S)
        before = handle.stats_snapshot()
        threading.Event().wait(seconds)
        support.eventually(lambda: handle.stats_snapshot().passes - before.passes >= passes)
        after = handle.stats_snapshot()
        handle.spawn_stealable(nothing()).result(support.LIMIT_S)
    return {
        name: after.as_dict()[name] - before.as_dict()[name]
        for name in ("passes", "parks", "idle_ns", "busy_ns")
    }


def test_idle_strategy() -> None:
    park = idle_for(0.2, idle_strategy="park")
    assert park["parks"] <= 2
    assert park["passes"] <= 4
    for name in ("spin", "yield"):
        awake = idle_for(0.0, passes=1000, idle_strategy=name)
        assert awake["parks"] == 0
        assert awake["idle_ns"] == 0
    for sleep_s, passes in ((0.002, 20), (0.05, 4)):
        asleep = idle_for(0.0, passes, idle_strategy=IdleStrategy.sleep(sleep_s))
        # The first counted park may have begun before, and the last one may go on.
        assert asleep["parks"] >= passes - 1
        assert asleep["idle_ns"] >= (asleep["parks"] - 2) * sleep_s * 1e9
        assert asleep["idle_ns"] < asleep["parks"] * sleep_s * 20e9  # Also on a busy machine.
        assert asleep["busy_ns"] < asleep["idle_ns"]


def chatter(**options: Any) -> spargio.RuntimeStats:
    """Two shards that wait for each other's tasks, and an ordinary thread that waits for theirs."""

    async def across(handle: spargio.RuntimeHandle) -> None:
        for _ in range(50):
            await handle.spawn_pinned(1 - spargio.current_shard(), where())

    with build(shards=2, **options) as handle:
        for shard in (0, 1, 0, 1):
            handle.spawn_pinned(shard, across(handle)).result(support.LIMIT_S)
    return handle.stats_snapshot()


def test_msg_ring() -> None:
    stats = chatter(msg_ring=True)
    if not stats.ring_msgs_submitted:
        pytest.skip("this kernel has no IORING_OP_MSG_RING")
    assert sum(shard.ring_msgs_submitted for shard in stats.shards) > 0
    assert sum(shard.eventfd_wakes for shard in stats.shards) == 0
    assert 0 < stats.ring_msgs_completed <= stats.ring_msgs_submitted
    assert (stats.ring_msgs_failed, stats.ring_msgs_failed_by_errno) == (0, {})
    off = chatter(msg_ring=False)
    assert off.ring_msgs_submitted == off.ring_msgs_completed == 0
    assert sum(shard.eventfd_wakes for shard in off.shards) > 0
    assert off.outside.ring_msgs_submitted == 0  # Where a bell was needed at all: a shard may spin.


# ---- messages ----


def in_main(work: Callable[[spargio.ShardCtx], Any], **options: Any) -> Any:
    async def main() -> Any:
        return await work(spargio.ShardCtx.current())

    return spargio.run(main, shards=1, **options)


@pytest.mark.parametrize("capacity", [1, 5])
def test_msg_ring_queue_capacity(capacity: int) -> None:
    async def fill(ctx: spargio.ShardCtx) -> int:
        for count in range(100):
            try:
                ctx.send_raw_nowait(0, 1, count)
            except spargio.Overloaded:
                return count
        raise AssertionError

    assert in_main(fill, msg_ring_queue_capacity=capacity) == capacity


@pytest.mark.parametrize("option", ["hot_msg_tag", "hot_msg_tags"])
def test_hot_msg_tags(option: str) -> None:
    async def both(ctx: spargio.ShardCtx) -> list[int]:
        for tag in (1, 2):
            ctx.send_raw_nowait(0, tag, 10 * tag)
        return [(await ctx.next_hot_event()).value, (await ctx.next_event()).value]

    assert in_main(both, **{option: 1 if option == "hot_msg_tag" else [1]}) == [10, 20]


test_hot_msg_tag = test_hot_msg_tags


@pytest.mark.parametrize("option", ["coalesced_hot_msg_tag", "coalesced_hot_msg_tags"])
def test_coalesced_hot_msg_tags(option: str) -> None:
    async def count(ctx: spargio.ShardCtx) -> int:
        for value in (1, 2, 3):
            ctx.send_raw_nowait(0, 9, value)
        return await ctx.next_hot_count(9)

    assert in_main(count, **{option: 9 if option == "coalesced_hot_msg_tag" else [9]}) == 6


test_coalesced_hot_msg_tag = test_coalesced_hot_msg_tags


def test_hot_counter_wake_threshold() -> None:
    async def waits(ctx: spargio.ShardCtx) -> bool:
        ctx.send_raw_nowait(0, 9, 4)
        job = ctx.spawn_local(take(ctx))
        await spargio.yield_now()
        await spargio.yield_now()
        return not job.done()

    async def take(ctx: spargio.ShardCtx) -> int:
        return await ctx.next_hot_count(9)

    for threshold, waiting in ((4, False), (5, True)):
        found = in_main(waits, coalesced_hot_msg_tag=9, hot_counter_wake_threshold=threshold)
        assert found is waiting


# ---- the rings' set-up ----

RINGS = """
import os, spargio

async def read() -> bytes:
    async with await spargio.fs.File.open("/proc/self/cmdline") as file:
        return await file.read_at(0, 100)

async def main(handle):
    await handle.spawn_pinned(0, read())
    await handle.spawn_pinned(1, read())
    threads = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/comm") as file, \
                open(f"/proc/self/task/{task}/status") as status:
            allowed = next(line for line in status if line.startswith("Cpus_allowed_list"))
            if file.read().startswith("iou-sqp"):
                threads.append(allowed.split()[1])
    print(len(threads), *set(threads))

spargio.run(main, shards=2, **OPTIONS)
"""


def ring_threads(**options: Any) -> list[str]:
    done = programs.run_program(RINGS.replace("OPTIONS", repr(options)))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@support.needs_io_uring
def test_io_uring_sqpoll() -> None:
    assert ring_threads()[0] == "0"
    assert ring_threads(io_uring_sqpoll=50)[0] == "2"


@support.needs_io_uring
def test_io_uring_sqpoll_cpu() -> None:
    cpu = max(os.sched_getaffinity(0))
    assert ring_threads(io_uring_sqpoll_cpu=cpu) == ["2", str(cpu)]


@support.needs_io_uring
def test_io_uring_throughput_mode() -> None:
    assert ring_threads(io_uring_throughput_mode=50)[0] == "2"


def setup_flags(**options: Any) -> int:
    """What the shards' rings were made with, as strace saw it."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    program = f"import spargio\nasync def main(): pass\nspargio.run(main, shards=1, **{options!r})"
    command = ["strace", "-f", "-e", "trace=io_uring_setup", "-X", "raw", sys.executable, "-c"]
    done = subprocess.run(
        [*command, program], capture_output=True, text=True, timeout=support.LIMIT_S, check=True
    )
    calls = re.findall(r"io_uring_setup\(\w+, \{flags=(\w+)", done.stderr)
    if not calls:
        pytest.skip("the backend is not io_uring")
    return int(calls[-1], 0)


SINGLE_ISSUER, COOP_TASKRUN, DEFER_TASKRUN = 1 << 12, 1 << 8, 1 << 13


@support.needs_io_uring
def test_io_uring_single_issuer() -> None:
    before = setup_flags(io_uring_single_issuer=True)
    if not before & SINGLE_ISSUER:
        pytest.skip("this kernel has no IORING_SETUP_SINGLE_ISSUER (6.0)")
    assert before == setup_flags()
    assert not setup_flags(io_uring_single_issuer=False) & (SINGLE_ISSUER | DEFER_TASKRUN)


@support.needs_io_uring
def test_monitor() -> None:
    from spargio import monitor

    with build(shards=1, monitor=True):
        assert len(monitor.read_stats(os.getpid()).shards) == 1
    with build(shards=1), pytest.raises(LookupError):
        monitor.read_stats(os.getpid())


def test_watchdog(caplog: pytest.LogCaptureFixture) -> None:
    """More of it in python/look/test_watchdog.py."""

    async def blocks() -> None:
        end = time.monotonic() + support.LIMIT_S
        while time.monotonic() < end and not caplog.records:
            time.sleep(0.01)

    with build(shards=1, watchdog=True, blocked_threshold_ms=30) as handle:
        handle.spawn(blocks()).result(support.LIMIT_S)
    assert "blocks shard 0" in caplog.records[0].getMessage()


def test_scheduler_latency() -> None:
    """More of it in python/look/test_scheduler_latency.py."""
    with build(shards=1, scheduler_latency=True) as handle:
        before = handle.stats_snapshot().recorders["spargio poll"].count
        handle.spawn(nothing()).result(support.LIMIT_S)
        assert handle.stats_snapshot().recorders["spargio poll"].count > before


def test_io_uring_coop_taskrun() -> None:
    if not setup_flags() & DEFER_TASKRUN:
        pytest.skip("this kernel has no IORING_SETUP_DEFER_TASKRUN (6.1)")
    flags = setup_flags(io_uring_coop_taskrun=True)
    assert flags & COOP_TASKRUN
    assert not flags & DEFER_TASKRUN


@pytest.mark.parametrize(
    "options",
    [
        {"io_uring_sqpoll": 1},
        {"io_uring_sqpoll": 100, "ring_entries": 8},
        {"io_uring_coop_taskrun": True},
        {"io_uring_single_issuer": False},
    ],
    ids=repr,
)
def test_work_is_done_whatever_the_rings_are_like(options: dict[str, Any], tmp_path: Any) -> None:
    """Many files over two shards, on rings that are small or fall asleep in between."""
    names = [tmp_path / f"{n}" for n in range(200)]

    async def write(n: int) -> int:
        data = str(n).encode() * 1000
        await spargio.fs.write(names[n], data)
        await spargio.sleep(0.003 if n % 50 == 0 else 0)
        assert await spargio.fs.read(names[n]) == data
        return n

    async def main(handle: spargio.RuntimeHandle) -> int:
        jobs = [handle.spawn_pinned(n % 2, write(n)) for n in range(len(names))]
        return sum([await job for job in jobs])

    assert spargio.run(main, shards=2, **options) == sum(range(200))


def test_blocked_threshold_ms() -> None:
    async def block() -> None:
        time.sleep(0.02)

    async def main(handle: spargio.RuntimeHandle) -> int:
        for _ in range(3):
            await handle.spawn_pinned(1, block())
            await handle.spawn_pinned(1, where())  # The pass before is over.
        return int(handle.stats_snapshot().shards[1].blocked_passes)

    assert spargio.run(main, shards=2, blocked_threshold_ms=10) == 3
    assert spargio.run(main, shards=2, blocked_threshold_ms=10_000) == 0


def test_debug() -> None:
    """More of it in test_blocked.py."""

    async def watchers() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name == "spargio-watch"]

    assert spargio.run(watchers, debug=True) == ["spargio-watch"]
    assert spargio.run(watchers, debug=False) == []


def test_stop_signals() -> None:
    """More of it in test_stop_signals.py."""

    async def main() -> None:
        signal.raise_signal(signal.SIGTERM)
        await spargio.sleep(1000)

    with pytest.raises(SystemExit) as caught:
        spargio.run(main, stop_signals=(signal.SIGTERM,))
    assert caught.value.code == 143


def test_each_option_has_a_test_here() -> None:
    """Here, in test_option_effects.py, or in a file of its own."""
    both = Path(__file__).parent.glob("test_option_effects*.py")
    tests = set(re.findall(r"^def test_(\w+)\(", "".join(map(Path.read_text, both)), re.MULTILINE))
    elsewhere = {"hot_msg_tag", "coalesced_hot_msg_tag", "options_file"}
    assert set(OPTION_NAMES) - tests == elsewhere
