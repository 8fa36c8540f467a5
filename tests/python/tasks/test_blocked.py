"""A task that blocks its shard: who takes what is queued there, what is counted, and what debug mode
says. And tasks that are always ready, beside which nobody may starve."""

from __future__ import annotations

import contextlib
import logging
import re
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import programs
import pytest
import support

import spargio
from spargio import net, sync

ROUNDS = 20


async def where() -> int:
    return spargio.current_shard()


class Greedy:
    """Coroutines that never run out of work, until told."""

    def __init__(self) -> None:
        self.stop = False

    async def yields(self) -> None:
        while not self.stop:
            await spargio.yield_now()


# ---- who takes what is queued ----


@pytest.mark.parametrize("shards", [2, 4])
@pytest.mark.alone
def test_the_queue_of_a_stuck_shard_runs_elsewhere_in_time(shards: int) -> None:
    """Documented for two to four shards: 10 ms. The median, because the machine may be busy."""
    took = []
    with spargio.Runtime.builder().shards(shards).build() as handle:
        for _ in range(15):
            with support.Blocker(handle, 0):
                began = time.monotonic()
                jobs = [handle.spawn_stealable_on(0, where()) for _ in range(20)]
                assert 0 not in {job.result(support.LIMIT_S) for job in jobs}
                took.append(time.monotonic() - began)
    print(f"{sorted(took)}")
    assert statistics.median(took) < 0.05


@pytest.mark.alone
def test_tasks_of_a_millisecond_without_the_interpreter_are_shared() -> None:
    """Each is over before a pause of the search is: a look comes back when it has taken long enough.
    Without that a tenth of them moves."""

    async def nap() -> None:
        time.sleep(0.0008)

    async def main(handle: spargio.RuntimeHandle) -> float:
        before = handle.stats_snapshot()
        for _ in range(10):
            for job in [handle.spawn_stealable_on(0, nap()) for _ in range(64)]:
                await job
        interval = handle.stats_snapshot() - before
        return interval.stealable_stolen / interval.stealable_executed

    assert max(spargio.run(main, shards=2) for _ in range(3)) > 0.25


def test_shards_that_are_never_out_of_work_take_it_too() -> None:
    greedy = Greedy()
    took = []
    with spargio.Runtime.builder().shards(3).build() as handle:
        busy = [handle.spawn_pinned(shard, greedy.yields()) for shard in (1, 2)]
        for _ in range(5):
            with support.Blocker(handle, 0):
                began = time.monotonic()
                jobs = [handle.spawn_stealable_on(0, where()) for _ in range(20)]
                assert 0 not in {job.result(support.LIMIT_S) for job in jobs}
                took.append(time.monotonic() - began)
        greedy.stop = True
        for job in busy:
            job.result(support.LIMIT_S)
    print(f"{sorted(took)}")
    assert statistics.median(took) < 0.5


@pytest.mark.alone
def test_a_searcher_that_gets_work_of_its_own_lets_another_one_search() -> None:
    """Shard 1 is woken to look for work, and has some before it looks; it is blocked then, so that
    only shard 2 can take what is queued: told by shard 1, not at its backstop of 0.5 s."""
    took = []
    for _ in range(30):
        with spargio.Runtime.builder().shards(3).build() as handle:
            with support.Blocker(handle, 0):
                support.eventually(lambda h=handle: h.stats_snapshot().shards[1].parks >= 1)
                job = handle.spawn_stealable_on(0, where())
                began = time.monotonic()
                with support.Blocker(handle, 1):
                    assert job.result(support.LIMIT_S) in (1, 2)
                    took.append(time.monotonic() - began)
    print(f"{sorted(took)}")
    assert statistics.median(took) < 0.25


def test_a_block_counts_for_its_shard() -> None:
    async def block(seconds: float) -> None:
        time.sleep(seconds)

    with spargio.Runtime.builder().shards(2).blocked_threshold_ms(50).build() as handle:
        for seconds in (0.06, 0.001, 0.06):
            handle.spawn_pinned(1, block(seconds)).result(support.LIMIT_S)
            handle.spawn_pinned(1, where()).result(support.LIMIT_S)  # That pass is over.
        stats = handle.stats_snapshot()
    assert stats.options["blocked_threshold_ms"] == 50
    assert [shard.blocked_passes for shard in stats.shards] == [0, 2]


# ---- debug mode ----


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    with caplog.at_level(logging.WARNING, logger="spargio"):
        yield lambda: [one.getMessage() for one in caplog.records if one.name == "spargio"]


def blocks_deep(release: threading.Event) -> None:
    assert release.wait(support.LIMIT_S)


def test_debug_mode_names_the_task_once_while_it_blocks(
    warnings: Callable[[], list[str]],
) -> None:
    release = threading.Event()

    async def inner() -> None:
        blocks_deep(release)

    async def outer() -> None:
        await spargio.yield_now()
        await inner()

    builder = spargio.Runtime.builder().shards(2).debug(True).blocked_threshold_ms(20)
    with builder.build() as handle:
        job = handle.spawn_pinned(1, outer(), name="the name")
        other = handle.spawn_pinned(0, where())
        (said,) = support.eventually(warnings)
        assert not job.done()
        # Another pass of the watch: the same poll is not told twice.
        other.result(support.LIMIT_S)
        time.sleep(0.1)
        release.set()
        job.result(support.LIMIT_S)
        assert warnings() == [said]
        release.clear()
        again = handle.spawn_pinned(1, outer())
        support.eventually(lambda: len(warnings()) == 2)
        release.set()
        again.result(support.LIMIT_S)
    found = re.match(r"task 'the name' has blocked shard 1 for (\d\.\d{3}) s:\n", said)
    assert found and float(found[1]) >= 0.02
    frames = re.findall(r"in (\w+)$", said, re.MULTILINE)
    assert frames[:3] == ["outer", "inner", "blocks_deep"], said
    assert re.match(r"task '[\w.<>]*outer' has blocked shard 1", warnings()[1])


def test_debug_mode_sees_a_call_that_keeps_the_interpreter(
    warnings: Callable[[], list[str]],
) -> None:
    """With a GIL nobody can look at the stack during the call; just after it, it is the same."""

    async def power() -> None:
        began = time.monotonic()
        while time.monotonic() - began < 0.06:
            pow(7, 50_000)

    async def main(handle: spargio.RuntimeHandle) -> None:
        await handle.spawn_pinned(0, power(), name="power")

    for _ in range(20):
        spargio.run(main, shards=1, debug=True, blocked_threshold_ms=20)
        if warnings():
            break
    assert warnings()[0].startswith("task 'power' has blocked shard 0 for 0.")
    assert "in power" in warnings()[0]


def test_debug_mode_tells_of_a_blocking_del(warnings: Callable[[], list[str]]) -> None:
    """What a coroutine held goes away with it, in the same poll."""
    seen = threading.Event()

    class Slow:
        def __del__(self) -> None:
            seen.wait(support.LIMIT_S)

    async def hold(slow: Slow) -> None:
        await spargio.yield_now()

    async def make(handle: spargio.RuntimeHandle) -> None:
        # On the shard: without a GIL an object goes away at once only on the thread that made it.
        await handle.spawn_pinned(0, hold(Slow()), name="holder")

    builder = spargio.Runtime.builder().shards(1).debug(True).blocked_threshold_ms(20)
    with builder.build() as handle:
        job = handle.spawn_pinned(0, make(handle))
        (said,) = support.eventually(warnings)
        seen.set()
        job.result(support.LIMIT_S)
    assert said.startswith("task 'holder' has blocked shard 0")


def test_debug_mode_tells_of_a_native_task(warnings: Callable[[], list[str]]) -> None:
    import ctypes

    spin = programs.address(programs.compiled().spin)
    ns = ctypes.c_int64(150_000_000)
    builder = spargio.Runtime.builder().shards(1).debug(True).blocked_threshold_ms(20)
    with builder.build() as handle:
        job = handle.spawn_native(spin, ctypes.addressof(ns))
        job.result(support.LIMIT_S)
    (said,) = warnings()
    assert said.startswith("a C function has blocked shard 0 for 0.")


def test_debug_mode_is_silent_about_many_short_polls(
    warnings: Callable[[], list[str]],
) -> None:
    async def short() -> None:
        for _ in range(2_000):
            await spargio.yield_now()

    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_stealable(short()) for _ in range(20)]
        for job in jobs:
            await job

    spargio.run(main, shards=2, debug=True, blocked_threshold_ms=2_000)
    assert warnings() == []


PROGRAM = """
    import sys, threading, time, spargio

    async def main():
        time.sleep(0.3)
        return threading.active_count()

    print(spargio.run(main, shards=1, blocked_threshold_ms=20{}))
    """


@pytest.mark.parametrize(
    ("flags", "environment", "option", "on"),
    [
        ((), None, "", False),
        (("-X", "dev"), None, "", True),
        ((), "1", "", True),
        ((), "0", "", False),
        (("-X", "dev"), "1", ", debug=False", False),
        ((), None, ", debug=True", True),
    ],
)
def test_what_switches_debug_mode_on(
    flags: tuple[str, ...],
    environment: str | None,
    option: str,
    on: bool,
) -> None:
    unset = ("env", "-u", "PYTHONDEVMODE", "-u", "SPARGIO_DEBUG")
    given = () if environment is None else (f"SPARGIO_DEBUG={environment}",)
    done = programs.run_program(PROGRAM.format(option), *flags, before=(*unset, *given))
    assert (done.returncode, done.stdout) == (0, f"{1 + on}\n"), done.stderr
    assert ("has blocked shard 0" in done.stderr) == on, done.stderr


def test_handles_show_whose_they_are() -> None:
    async def sleeper() -> None:
        await spargio.sleep(1000)

    async def fail() -> None:
        raise ValueError

    with spargio.Runtime.builder().shards(1).build() as handle:
        with support.Blocker(handle, 0):
            queued = handle.spawn_pinned(0, sleeper(), name="a\n%s{}")
            assert repr(queued) == "<JoinHandle 'a\n%s{}' queued>"
        support.eventually(lambda: queued.shard is not None)
        assert repr(queued) == "<JoinHandle 'a\n%s{}' begun on shard 0>"
        queued.cancel()
        support.eventually(queued.done)
        assert repr(queued) == "<JoinHandle 'a\n%s{}' cancelled on shard 0>"
        job = handle.spawn_pinned(0, where())
        job.result(support.LIMIT_S)
        assert repr(job) == "<JoinHandle done on shard 0>"
        failed = handle.spawn_pinned(0, fail(), name="ä" * 300)
        with pytest.raises(ValueError):
            failed.result(support.LIMIT_S)
        assert repr(failed) == f"<JoinHandle '{'ä' * 100}' failed on shard 0>"
        coroutine = where()
        for wrong in (5, b"bytes", ["a"]):
            with pytest.raises(TypeError, match=r"name must be a str or None, got "):
                handle.spawn_pinned(0, coroutine, name=wrong)  # type: ignore[arg-type]
        coroutine.close()


# ---- tasks that are always ready ----


async def always_yields(handle: spargio.RuntimeHandle, over: Callable[[], bool]) -> None:
    while not over():
        await spargio.yield_now()


async def ready_at_once(handle: spargio.RuntimeHandle, over: Callable[[], bool]) -> None:
    while not over():
        await spargio.sleep(0)


async def ping_pong(handle: spargio.RuntimeHandle, over: Callable[[], bool]) -> None:
    one, two = sync.Semaphore(1), sync.Semaphore(1)
    await two.acquire()

    async def side(mine: sync.Semaphore, other: sync.Semaphore) -> None:
        while not over():
            await mine.acquire()
            other.release()
        with contextlib.suppress(RuntimeError):
            other.release()

    other = handle.spawn_pinned(0, side(two, one))
    await side(one, two)
    await other


async def storm(
    handle: spargio.RuntimeHandle, over: Callable[[], bool], placement: spargio.TaskPlacement
) -> None:
    """A hundred that each start a successor before they end."""

    async def one() -> None:
        if not over():
            try:
                jobs.append(handle.spawn_with_placement(placement, one()))
            except spargio.Overloaded as error:
                raise AssertionError("a hundred fit") from error

    jobs = [handle.spawn_with_placement(placement, one()) for _ in range(100)]
    while not over():
        await jobs.pop(0)
    for job in jobs:
        await job


async def storm_of_pinned(handle: spargio.RuntimeHandle, over: Callable[[], bool]) -> None:
    await storm(handle, over, spargio.TaskPlacement.Pinned(0))


async def storm_of_stealable(handle: spargio.RuntimeHandle, over: Callable[[], bool]) -> None:
    await storm(handle, over, spargio.TaskPlacement.StealablePreferred(0))


async def echoes(port: int) -> None:
    async with await net.TcpStream.connect("127.0.0.1", port) as stream:
        for n in range(ROUNDS):
            await stream.write_all(b"%d" % n)
            assert await stream.recv(10) == b"%d" % n


async def timers() -> None:
    for _ in range(ROUNDS):
        await spargio.sleep(0.001)


async def messages() -> None:
    ctx = spargio.ShardCtx.current()
    for n in range(ROUNDS):
        assert (await ctx.next_event()).value == n


@pytest.mark.parametrize(
    "greedy",
    [always_yields, ready_at_once, ping_pong, storm_of_pinned, storm_of_stealable],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize("shards", [1, 2])
def test_nobody_starves(
    greedy: Callable[[spargio.RuntimeHandle, Callable[[], bool]], Awaitable[None]], shards: int
) -> None:
    """Sockets, timers, the inbox and messages of a shard whose tasks are always ready."""
    over = threading.Event()
    with support.peer() as (_, port, accept):

        def echo() -> None:
            connection = accept()
            while data := connection.recv(10):
                connection.sendall(data)

        with support.in_thread(echo):
            with spargio.Runtime.builder().shards(shards).build() as handle:
                busy = [handle.spawn_pinned(0, greedy(handle, over.is_set)) for _ in range(3)]
                support.eventually(lambda: all(job.shard == 0 for job in busy))
                waiting = [
                    handle.spawn_pinned(0, one) for one in (echoes(port), timers(), messages())
                ]
                try:
                    for n in range(ROUNDS):
                        assert handle.spawn_pinned(0, where()).result(support.LIMIT_S) == 0
                        handle.remote(0).send_raw_nowait(1, n)
                    for job in waiting:
                        job.result(support.LIMIT_S)
                finally:
                    over.set()
                for job in busy:
                    job.result(support.LIMIT_S)


def test_ctrl_c_beside_native_tasks_that_are_always_ready() -> None:
    """Shard 0 is the main thread, and never idle."""
    source = Path(support.__file__).with_name("native.c")
    process = programs.start_program(
        f"""
        import contextlib, ctypes, subprocess, sys, tempfile, spargio

        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["cc", "-shared", "-fPIC", "-o", folder + "/a.so", {str(source)!r}], check=True)
            native = ctypes.CDLL(folder + "/a.so")
        address = ctypes.cast(native.wait_for_byte, ctypes.c_void_p).value
        byte = ctypes.c_uint8(0)

        async def main(handle):
            job = handle.spawn_native(address, ctypes.addressof(byte), spargio.TaskPlacement.Pinned(0))
            print("ready")
            try:
                await spargio.sleep(1000)
            finally:
                byte.value = 1
                with contextlib.suppress(spargio.TaskCancelled):
                    await job

        spargio.run(main, shards=1)
        """
    )
    programs.compiled()  # Skips without a compiler.
    with process:
        assert programs.interrupt(process) < 5
        assert process.returncode == -2 or process.returncode == 130 or process.returncode == 1
        assert process.stderr is not None
        assert process.stderr.read().endswith("KeyboardInterrupt\n")
