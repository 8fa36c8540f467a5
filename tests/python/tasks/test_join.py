"""JoinHandle: results, many awaiters, failures that nobody asks for, garbage."""

from __future__ import annotations

import gc
import threading
import traceback
import weakref
from typing import Any

import programs
import pytest
import support
from support import value

import spargio


async def fail(text: str) -> None:
    await spargio.yield_now()
    raise ValueError(text)


def test_await_twice(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(value(5))
        assert (await job, await job, job.result(0)) == (5, 5, 5)
        assert (job.done(), job.cancelled(), job.cancel()) == (True, False, False)

    spargio.run(main, **options)


def test_many_awaiters_on_all_shards(options: dict[str, Any]) -> None:
    go = threading.Event()

    async def first() -> str:
        await support.until(go.is_set)
        return "first"

    async def wait(job: spargio.JoinHandle[str], n: int) -> tuple[int, str]:
        return n, await job

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(first())
        waiting = [
            handle.spawn_with_placement(spargio.TaskPlacement.RoundRobin, wait(job, n))
            for n in range(200)
        ]
        await support.started(*waiting)
        go.set()
        assert [await one for one in waiting] == [(n, "first") for n in range(200)]

    spargio.run(main, **options)


def test_await_of_a_task_that_ended_long_ago() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_stealable(value(n)) for n in range(50)]
        await support.until(lambda: all(job.done() for job in jobs))
        assert [await job for job in jobs] == list(range(50))

    spargio.run(main, shards=2)


def test_a_failed_task_raises_for_each_awaiter(options: dict[str, Any]) -> None:
    async def wait(job: spargio.JoinHandle[None]) -> str:
        try:
            await job
        except ValueError as error:
            return str(error)
        raise AssertionError("it must raise")

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(fail("failed"))
        waiting = [handle.spawn_stealable(wait(job)) for _ in range(20)]
        assert [await one for one in waiting] == ["failed"] * 20
        assert (job.done(), job.cancelled()) == (True, False)

    spargio.run(main, **options)


def test_the_traceback_of_a_failed_task_does_not_grow() -> None:
    """A later awaiter must not see which tasks it went through before."""

    async def main(handle: spargio.RuntimeHandle) -> list[int]:
        job = handle.spawn_stealable(fail("failed"))
        lengths = []
        for _ in range(4):
            with pytest.raises(ValueError) as caught:
                await job
            lengths.append(len(traceback.extract_tb(caught.value.__traceback__)))
        return lengths

    lengths = spargio.run(main, shards=1)
    assert lengths == lengths[:1] * 4


def test_what_is_cancelled_gives_task_cancelled(options: dict[str, Any]) -> None:
    async def sleeper() -> None:
        await spargio.sleep(1000)

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(sleeper())
        await support.started(job)
        assert job.cancel()
        for _ in range(2):
            with pytest.raises(spargio.TaskCancelled):
                await job
        assert (job.done(), job.cancelled(), job.cancel()) == (True, True, False)
        assert not issubclass(spargio.TaskCancelled, spargio.CancelledError)
        assert issubclass(spargio.TaskCancelled, Exception)
        assert not issubclass(spargio.CancelledError, Exception)

    spargio.run(main, **options)


def test_a_task_cannot_await_itself() -> None:
    async def self_await(box: list[spargio.JoinHandle[None]]) -> str:
        await support.until(lambda: box)
        with pytest.raises(RuntimeError, match="itself"):
            await box[0]
        return "refused"

    async def main(handle: spargio.RuntimeHandle) -> None:
        box: list[Any] = []
        box.append(handle.spawn_stealable(self_await(box)))
        assert await box[0] == "refused"
        box.clear()

    spargio.run(main, shards=2)


def test_name_and_shard() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(1, value(1), name="named")
        other = handle.spawn_stealable(value(1))
        assert (job.name, other.name) == ("named", None)
        assert job.shard in (None, 1)
        await job
        await other
        assert job.shard == 1
        assert other.shard in (0, 1)

    spargio.run(main, shards=2)


def test_shard_is_none_while_queued() -> None:
    with spargio.Runtime.builder().shards(1).build() as handle:
        with support.Blocker(handle, 0):
            job = handle.spawn_pinned(0, value(1))
            assert (job.shard, job.done()) == (None, False)
        assert job.result(support.LIMIT_S) == 1
        assert job.shard == 0


def test_handles_are_generic_and_not_made_by_hand() -> None:
    assert spargio.JoinHandle[int] is not None
    with pytest.raises(TypeError):
        spargio.JoinHandle()
    with pytest.raises(TypeError):
        spargio.JoinHandle.cancel = None  # type: ignore[assignment,method-assign]


# ---- failures that nobody asks for ----


def test_an_unasked_failure_is_reported_with_the_name(
    options: dict[str, Any], unraisables: Any
) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_stealable(fail("named"), name="the name")]
        jobs += [handle.spawn_stealable(fail("bare"))]
        await support.until(lambda: all(job.done() for job in jobs))

    spargio.run(main, **options)
    reports = sorted((one.kind, one.text, one.object) for one in unraisables.take())
    assert reports == [(ValueError, "bare", "fail"), (ValueError, "named", "the name")]


def test_a_failure_of_a_dropped_handle_is_reported(unraisables: Any) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        handle.spawn_stealable(fail("dropped"))
        await support.until(lambda: handle.stats_snapshot().tasks_ended >= 1)

    spargio.run(main, shards=2)
    assert [one.text for one in unraisables.take()] == ["dropped"]


def test_a_failure_that_was_asked_for_is_not_reported(unraisables: Any) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        with pytest.raises(ValueError):
            await handle.spawn_stealable(fail("awaited"))
        job = handle.spawn_stealable(fail("asked"))
        await support.until(job.done)
        with pytest.raises(ValueError):
            job.result()

    spargio.run(main, shards=2)
    assert unraisables.take() == []


def test_a_cancellation_is_not_reported(unraisables: Any) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(spargio_sleep())
        await support.started(job)
        job.cancel()
        await support.until(job.done)

    async def spargio_sleep() -> None:
        await spargio.sleep(1000)

    spargio.run(main, shards=2)
    assert unraisables.take() == []


def test_the_default_hook_prints_name_and_traceback() -> None:
    done = programs.run_program(
        """
        import spargio

        async def work():
            raise ValueError("nobody asks")

        async def main(handle):
            handle.spawn_stealable(work(), name="the name")
            while handle.stats_snapshot().tasks_ended < 1:
                await spargio.yield_now()

        spargio.run(main, shards=1)
        """
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "'the name'" in done.stderr
    assert "in work" in done.stderr
    assert done.stderr.endswith("ValueError: nobody asks\n")


def test_a_failure_in_a_cycle_is_reported_once(unraisables: Any) -> None:
    """Its traceback leads to a frame that holds its own handle."""

    async def cyclic(box: list[Any]) -> None:
        await spargio.yield_now()
        raise ValueError(f"cyclic {len(box)}")

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(10):
            box: list[Any] = []
            box.append(handle.spawn_pinned(0, cyclic(box)))
            await support.until(box[0].done)
            del box
        gc.collect()

    spargio.run(main, shards=1)
    assert [one.text for one in unraisables.take()] == ["cyclic 1"] * 10


def test_a_hook_may_keep_the_exception_of_a_cycle() -> None:
    """As pytest's and sentry's hooks do: what is reported must not be half torn down."""
    done = programs.run_program(
        """
        import gc, sys
        import spargio

        kept = []
        sys.unraisablehook = kept.append

        async def cyclic(box):
            await spargio.yield_now()
            raise ValueError("cyclic")

        async def main(handle):
            box = []
            box.append(handle.spawn_pinned(0, cyclic(box)))
            while not box[0].done():
                await spargio.yield_now()
            del box
            gc.collect()

        spargio.run(main, shards=1)
        gc.collect()
        for one in kept:
            print(repr(one.exc_value), one.exc_value.__traceback__ is not None)
        """
    )
    assert (done.returncode, done.stdout) == (0, "ValueError('cyclic') True\n"), done.stderr


# ---- garbage ----


class Witness:
    """What a task holds: it is gone when the task is."""


def test_a_finished_task_lets_go_of_its_coroutine() -> None:
    witness = Witness()
    gone = weakref.ref(witness)

    async def hold(witness: Witness) -> None:
        await spargio.yield_now()

    async def main(handle: spargio.RuntimeHandle) -> spargio.JoinHandle[None]:
        nonlocal witness
        job = handle.spawn_stealable(hold(witness))
        del witness
        await job
        return job

    job = spargio.run(main, shards=2)
    gc.collect()
    assert gone() is None
    assert job.done()


def test_cycles_of_handles_are_collected() -> None:
    gone: list[weakref.ref[Witness]] = []

    async def cycle(box: list[Any], witness: Witness) -> list[Any]:
        await spargio.yield_now()
        box.append(witness)
        return box

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(100):
            box: list[Any] = []
            witness = Witness()
            gone.append(weakref.ref(witness))
            job = handle.spawn_stealable(cycle(box, witness))
            box.append(job)
            await support.until(job.done)
            del job

    spargio.run(main, shards=2)
    gc.collect()
    assert [ref() for ref in gone] == [None] * 100


def test_collecting_while_tasks_run() -> None:
    """The collector visits handles that are queued, running and waiting, from any thread."""
    stop = threading.Event()

    def collect() -> None:
        while not stop.wait(0.001):  # It stops the world: the others need some of the time.
            gc.collect()

    async def work(n: int) -> int:
        await spargio.sleep(0)
        return n

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(10):
            jobs = [handle.spawn_stealable(work(n)) for n in range(100)]
            assert [await job for job in jobs] == list(range(100))

    with support.in_thread(collect):
        try:
            spargio.run(main, shards=4)
        finally:
            stop.set()


def test_a_deep_chain_of_awaits() -> None:
    async def link(handle: spargio.RuntimeHandle, depth: int) -> int:
        if depth == 0:
            return 0
        return 1 + await handle.spawn_stealable(link(handle, depth - 1))

    async def main(handle: spargio.RuntimeHandle) -> int:
        return await link(handle, 5_000)

    assert spargio.run(main, shards=2) == 5_000


def test_a_deep_chain_that_is_cancelled() -> None:
    async def link(handle: spargio.RuntimeHandle, depth: int) -> None:
        if depth == 0:
            await spargio.sleep(1000)
        await handle.spawn_stealable(link(handle, depth - 1))

    async def main(handle: spargio.RuntimeHandle) -> None:
        handle.spawn_stealable(link(handle, 5_000))
        await support.until(lambda: handle.stats_snapshot().timers_set >= 2)

    spargio.run(main, shards=2)


def test_a_close_that_ends_a_child_first_is_no_error_of_its_parent(
    unraisables: list[object],
) -> None:
    """The parent's shard is held while another one ends the child: nobody's mistake to report."""
    parent_awaits = threading.Event()

    async def child() -> None:
        await spargio.sleep(1000)

    async def parent(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, child())
        parent_awaits.set()
        support.eventually(job.done)  # Holds this shard.
        await job

    async def main(handle: spargio.RuntimeHandle) -> None:
        handle.spawn_pinned(1, parent(handle))
        await support.until(parent_awaits.is_set)

    spargio.run(main, shards=2)
    gc.collect()
    assert unraisables == []


def test_a_failure_is_raised_on_several_threads_at_once() -> None:
    """Without an interpreter's lock: one exception, whose traceback each raise changes."""
    done = programs.run_program(
        """
        import time
        import spargio

        async def fail():
            raise LookupError

        async def ask(failed, until):
            while time.monotonic() < until:
                try:
                    await failed
                except LookupError:
                    pass

        with spargio.Runtime.builder().shards(3).build() as handle:
            failed = handle.spawn_pinned(0, fail())
            until = time.monotonic() + 1
            jobs = [handle.spawn_pinned(shard, ask(failed, until)) for shard in range(3)]
            for job in jobs:
                job.result()
        print("done")
        """
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
