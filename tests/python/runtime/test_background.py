"""A runtime in the background: work from ordinary threads, and its end."""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import Any

import programs
import pytest
import support

import spargio


def build(**options: Any) -> spargio.Runtime:
    return spargio.RuntimeBuilder().apply(**options).build()


async def square(n: int) -> int:
    await spargio.yield_now()
    return n * n


def test_spawn_and_result(options: dict[str, Any]) -> None:
    with build(**options) as handle:
        jobs = [handle.spawn_stealable(square(n)) for n in range(100)]
        assert [job.result(support.LIMIT_S) for job in jobs] == [n * n for n in range(100)]
        assert all(job.done() and not job.cancelled() for job in jobs)


def test_spawn_from_many_threads(options: dict[str, Any]) -> None:
    results: dict[int, list[int]] = {}
    barrier = threading.Barrier(8)

    def client(handle: spargio.RuntimeHandle, number: int) -> None:
        barrier.wait(support.LIMIT_S)
        jobs = [handle.spawn_stealable(square(number * 1000 + n)) for n in range(200)]
        results[number] = [job.result(support.LIMIT_S) for job in jobs]

    with build(**options) as handle:
        threads = [threading.Thread(target=client, args=(handle, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(support.LIMIT_S)
    assert results == {n: [(n * 1000 + i) ** 2 for i in range(200)] for n in range(8)}


def test_result_has_a_time_limit(options: dict[str, Any]) -> None:
    with build(**options) as handle:
        job = handle.spawn_stealable(support.forever())
        for limit in (0, 0.01):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                job.result(limit)
            assert limit <= time.monotonic() - began < support.LIMIT_S
        with pytest.raises(TimeoutError):
            job.result(timeout=0.01)
        assert not job.done()


@pytest.mark.parametrize("limit", [-1, float("nan")])
def test_a_time_limit_below_zero_is_refused(limit: float) -> None:
    with build(shards=1) as handle:
        job = handle.spawn_stealable(square(2))
        with pytest.raises(ValueError, match="timeout"):
            job.result(limit)
        with pytest.raises(TypeError):
            job.result(1, 2)  # type: ignore[call-arg]
        assert job.result(float("inf")) == 4


def test_result_takes_no_other_keyword() -> None:
    with build(shards=1) as handle:
        job = handle.spawn_stealable(square(2))
        with pytest.raises(TypeError):
            job.result(limit=1)  # type: ignore[call-arg]


def test_result_raises_what_the_task_raised() -> None:
    async def fail() -> None:
        raise LookupError("failed")

    with build(shards=2) as handle:
        job = handle.spawn_stealable(fail())
        for _ in range(2):
            with pytest.raises(LookupError, match="failed"):
                job.result(support.LIMIT_S)


def test_result_on_a_shard_is_refused() -> None:
    async def ask(job: spargio.JoinHandle[None]) -> str:
        with pytest.raises(RuntimeError, match="await the handle"):
            job.result()
        return "refused"

    with build(shards=1) as handle:
        waiting = handle.spawn_stealable(support.forever())
        assert handle.spawn_stealable(ask(waiting)).result(support.LIMIT_S) == "refused"


def test_many_threads_wait_for_one_task() -> None:
    go = threading.Event()

    async def work() -> int:
        await support.until(go.is_set)
        return 7

    with build(shards=2) as handle:
        job = handle.spawn_stealable(work())
        results: list[int] = []
        threads = [
            threading.Thread(target=lambda: results.append(job.result(support.LIMIT_S)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        go.set()
        for thread in threads:
            thread.join(support.LIMIT_S)
    assert results == [7] * 8


def test_shutdown_cancels_what_runs(options: dict[str, Any]) -> None:
    ended: list[str] = []

    async def left() -> None:
        try:
            await spargio.sleep(1000)
        finally:
            await spargio.sleep(0.001)
            ended.append("cleaned up")

    runtime = build(**options)
    handle = runtime.handle()
    jobs = [handle.spawn_stealable(left()) for _ in range(10)]
    support.eventually(lambda: handle.stats_snapshot().timers_set == 10)
    runtime.shutdown()
    assert ended == ["cleaned up"] * 10
    for job in jobs:
        assert job.cancelled()
        with pytest.raises(spargio.TaskCancelled):
            job.result()


def test_shutdown_again_and_spawn_after_it() -> None:
    runtime = build(shards=2)
    handle = runtime.handle()
    runtime.shutdown()
    runtime.shutdown()
    runtime.shutdown(0)
    handle.shutdown()
    for spawn in (
        lambda coroutine: handle.spawn_stealable(coroutine),
        lambda coroutine: handle.spawn_pinned(1, coroutine),
        lambda coroutine: handle.spawn_with_placement(spargio.TaskPlacement.RoundRobin, coroutine),
    ):
        with pytest.raises(spargio.RuntimeClosed):
            spawn(square(1))
    assert handle.stats_snapshot().spawn_refused == 3


def test_shutdown_with_a_time_limit() -> None:
    """A task that blocks its shard cannot be cancelled before it comes to an await."""
    runtime = build(shards=2)
    handle = runtime.handle()
    blocker = support.Blocker(handle, 1)
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"0\.01"):
            runtime.shutdown(0.01)
    with pytest.raises(spargio.RuntimeClosed):
        handle.spawn_stealable(square(1))
    blocker.release()
    runtime.shutdown(support.LIMIT_S)


def test_shutdown_from_two_threads_waits_in_both() -> None:
    runtime = build(shards=2)
    blocker = support.Blocker(runtime.handle(), 0)
    with support.in_thread(runtime.shutdown) as first:
        support.eventually(lambda: not _accepts(runtime.handle()))
        with support.in_thread(runtime.shutdown) as second:
            assert first.thread.is_alive()
            assert second.thread.is_alive()
            blocker.release()


def _accepts(handle: spargio.RuntimeHandle) -> bool:
    try:
        handle.spawn_pinned(1, square(1))
    except spargio.RuntimeClosed:
        return False
    return True


def test_shutdown_inside_a_task_of_it_is_refused() -> None:
    async def end(runtime: spargio.Runtime) -> str:
        with pytest.raises(RuntimeError):
            runtime.shutdown()
        return "refused"

    runtime = build(shards=1)
    try:
        job = runtime.handle().spawn_stealable(end(runtime))
        assert job.result(support.LIMIT_S) == "refused"
    finally:
        runtime.shutdown()


def test_the_context_manager_shuts_down_when_the_block_raises() -> None:
    with pytest.raises(LookupError), build(shards=2) as handle:
        job = handle.spawn_stealable(support.forever())
        raise LookupError
    assert job.cancelled()


def test_handle_shutdown_ends_it_without_waiting() -> None:
    with build(shards=2) as handle:
        job = handle.spawn_stealable(support.forever())
        handle.shutdown()
        with pytest.raises(spargio.TaskCancelled):
            job.result(support.LIMIT_S)


def test_a_forgotten_runtime_is_stopped_with_a_warning() -> None:
    runtime = build(shards=2)
    job = runtime.handle().spawn_stealable(support.forever())
    with pytest.warns(ResourceWarning, match="never shut down"):
        del runtime
        gc.collect()
    assert job.cancelled()


def test_a_runtime_that_was_shut_down_gives_no_warning() -> None:
    runtime = build(shards=2)
    runtime.shutdown()
    del runtime
    gc.collect()


def test_two_runtimes_side_by_side() -> None:
    async def across(other: spargio.RuntimeHandle) -> int:
        job = other.spawn_stealable(square(5))
        return await job + 1

    with build(shards=2) as first, build(shards=2) as second:
        jobs = [first.spawn_stealable(across(second)) for _ in range(100)]
        assert [job.result(support.LIMIT_S) for job in jobs] == [26] * 100


def test_a_runtime_outlives_the_run_that_used_it() -> None:
    with build(shards=1) as handle:

        async def main() -> int:
            return await handle.spawn_stealable(square(3))

        assert [spargio.run(main, shards=1) for _ in range(5)] == [9] * 5


def test_starting_and_stopping_again_and_again() -> None:
    for _ in range(50):
        with build(shards=2) as handle:
            assert handle.spawn_stealable(square(2)).result(support.LIMIT_S) == 4


@pytest.mark.parametrize("msg_ring", [True, False])
def test_a_stop_gives_the_rings_back_although_the_runtime_is_held(msg_ring: bool) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def nothing() -> None:
        pass

    before = descriptors()
    runtime = spargio.Runtime.builder().shards(3).msg_ring(msg_ring).build()
    handle = runtime.handle()
    handle.spawn_stealable(nothing()).result(support.LIMIT_S)
    assert descriptors() >= before + 3
    runtime.shutdown()
    assert descriptors() == before
    assert handle.stats_snapshot().tasks_ended == 1
    with pytest.raises(spargio.RuntimeClosed):
        handle.spawn_stealable(nothing())


@pytest.mark.alone
def test_a_stop_waits_for_no_backstop() -> None:
    """The shard that ends the last task leaves its loop: the others must hear of it all the same.
    Where they did not, half of these stops took 0.1 to 0.5 s each."""

    async def nothing() -> None:
        pass

    began = time.monotonic()
    for _ in range(60):
        with spargio.Runtime.builder().shards(4).build() as handle:
            for _ in range(20):
                handle.spawn_stealable(nothing())
    assert time.monotonic() - began < 6


def test_spawning_while_it_shuts_down_runs_or_refuses_each() -> None:
    """Every spawn that was accepted has a result, every other one raised."""
    ran: list[int] = []

    async def work(n: int) -> None:
        ran.append(n)

    for _ in range(20):
        ran.clear()
        jobs: list[spargio.JoinHandle[None]] = []
        runtime = build(shards=2)
        handle = runtime.handle()

        def produce(handle: spargio.RuntimeHandle, jobs: list[Any]) -> None:
            for n in range(1_000_000):
                coroutine = work(n)
                try:
                    jobs.append(handle.spawn_stealable_on(n % 2, coroutine))
                except spargio.RuntimeClosed:
                    break
                except spargio.Overloaded:
                    coroutine.close()

        with support.in_thread(produce, handle, jobs):
            support.eventually(lambda jobs=jobs: len(jobs) > 20)
            runtime.shutdown(support.LIMIT_S)
        assert all(job.done() for job in jobs)
        assert len(ran) == sum(not job.cancelled() for job in jobs)


# ---- the end of the interpreter ----

FORGETS = """
    import spargio

    async def forever():
        try:
            await spargio.sleep(1000)
        finally:
            print("cleaned up", flush=True)

    runtime = spargio.Runtime.builder().shards(2).build()
    job = runtime.handle().spawn_stealable(forever())
    while not runtime.handle().stats_snapshot().timers_set:
        pass
    print("end of the program", flush=True)
"""


def test_a_program_that_forgets_its_runtime_ends_quietly() -> None:
    done = programs.run_program(FORGETS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "end of the program\ncleaned up\n"


def test_a_program_that_forgets_its_runtime_is_told_where_warnings_are_on() -> None:
    done = programs.run_program(FORGETS, "-W", "always::ResourceWarning")
    assert done.returncode == 0
    assert done.stdout == "end of the program\ncleaned up\n"
    warnings = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith("ResourceWarning: a spargio runtime was never shut down")


def test_a_program_that_forgets_its_runtime_ends_where_warnings_are_errors() -> None:
    done = programs.run_program(FORGETS, "-W", "error")
    assert done.returncode == 0
    assert done.stdout == "end of the program\ncleaned up\n"
    assert "ResourceWarning: a spargio runtime was never shut down" in done.stderr


def test_a_program_ends_while_other_threads_still_spawn() -> None:
    done = programs.run_program(
        """
        import threading
        import spargio

        async def work():
            await spargio.yield_now()

        def produce():
            while True:
                try:
                    handle.spawn_stealable(work())
                except spargio.Overloaded:
                    pass
                except spargio.RuntimeClosed:
                    break

        runtime = spargio.Runtime.builder().shards(2).build()
        handle = runtime.handle()
        for _ in range(3):
            threading.Thread(target=produce, daemon=True).start()
        while handle.stats_snapshot().stealable_executed < 1000:
            pass
        print("end")
        """,
        "-W",
        "ignore::RuntimeWarning",  # Refused coroutines are never awaited.
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
