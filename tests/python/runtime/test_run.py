"""run, run_with and @main: results, exceptions, the handle, what is left when main ends."""

from __future__ import annotations

import functools
import threading
import traceback
from typing import Any

import pytest
import support

import spargio


def test_result(options: dict[str, Any]) -> None:
    async def main() -> str:
        await spargio.yield_now()
        return "result"

    assert spargio.run(main, **options) == "result"


@pytest.mark.parametrize("value", [None, (), (1, 2), StopIteration(3), KeyError("as a value"), 0])
def test_a_result_arrives_as_it_is(value: object) -> None:
    async def main(handle: spargio.RuntimeHandle) -> object:
        async def give() -> object:
            await spargio.yield_now()
            return value

        return await handle.spawn_stealable(give())

    assert spargio.run(main, shards=2) is value


def test_exception_with_traceback(options: dict[str, Any]) -> None:
    async def deep() -> None:
        await spargio.yield_now()
        raise KeyError("deep")

    async def main() -> None:
        await deep()

    with pytest.raises(KeyError, match="deep") as caught:
        spargio.run(main, **options)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["main", "deep"]


def test_exception_of_a_spawned_task_keeps_its_traceback(options: dict[str, Any]) -> None:
    async def work() -> None:
        await spargio.yield_now()
        raise ValueError("work")

    async def main(handle: spargio.RuntimeHandle) -> None:
        await handle.spawn_stealable(work())

    with pytest.raises(ValueError, match="work") as caught:
        spargio.run(main, **options)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["main", "work"]


def test_the_handle_is_given_to_a_main_that_takes_an_argument() -> None:
    async def with_handle(handle: spargio.RuntimeHandle) -> spargio.RuntimeHandle:
        return handle

    async def with_default(handle: object = None) -> object:
        return handle

    async def without() -> tuple[()]:
        return ()

    async def named(*, shards: int = 5) -> int:
        return shards

    class Service:
        async def main(self, handle: spargio.RuntimeHandle) -> int:
            return handle.shard_count()

        async def alone(self) -> Service:
            return self

    async def two(first: int, handle: spargio.RuntimeHandle) -> tuple[int, int]:
        return first, handle.shard_count()

    service = Service()
    assert isinstance(spargio.run(with_handle), spargio.RuntimeHandle)
    assert isinstance(spargio.run(with_default), spargio.RuntimeHandle)
    assert spargio.run(without) == ()
    assert spargio.run(named) == 5
    assert spargio.run(service.main, shards=3) == 3
    assert spargio.run(service.alone) is service
    assert spargio.run(functools.partial(two, 1), shards=2) == (1, 2)


def test_run_with_takes_a_builder_more_than_once() -> None:
    builder = spargio.Runtime.builder().shards(2)

    async def main(handle: spargio.RuntimeHandle) -> int:
        return handle.shard_count()

    assert [spargio.run_with(builder, main) for _ in range(3)] == [2, 2, 2]
    assert spargio.run_with(builder.shards(1), main) == 1


def test_main_decorator() -> None:
    @spargio.main
    async def plain() -> str:
        """Its text."""
        return "plain"

    @spargio.main(shards=3)
    async def with_options(handle: spargio.RuntimeHandle) -> int:
        return handle.shard_count()

    assert plain() == "plain"
    assert with_options() == with_options() == 3
    assert (plain.__name__, plain.__doc__) == ("plain", "Its text.")
    with pytest.raises(TypeError):
        plain(1)  # type: ignore[call-arg]


def test_main_runs_on_shard_0_which_is_the_calling_thread(options: dict[str, Any]) -> None:
    async def main() -> tuple[int, int]:
        return spargio.current_shard(), threading.get_ident()

    assert spargio.run(main, **options) == (0, threading.get_ident())


def test_run_in_threads_at_once() -> None:
    async def main(handle: spargio.RuntimeHandle) -> int:
        async def work(n: int) -> int:
            await spargio.sleep(0.001)
            return n

        return sum([await job for job in [handle.spawn_stealable(work(n)) for n in range(50)]])

    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(spargio.run(main, shards=2)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(support.LIMIT_S)
    assert results == [sum(range(50))] * 4


def test_tasks_that_are_left_are_cancelled_and_clean_up(options: dict[str, Any]) -> None:
    log: list[tuple[int, str]] = []

    async def left(n: int) -> None:
        try:
            await spargio.sleep(1000)
        except spargio.CancelledError:
            log.append((n, "cancelled"))
            raise
        finally:
            await spargio.sleep(0.001)
            log.append((n, "cleaned up"))

    async def main(handle: spargio.RuntimeHandle) -> str:
        jobs = [
            handle.spawn_with_placement(spargio.TaskPlacement.RoundRobin, left(n)) for n in range(8)
        ]
        await support.started(*jobs)
        await support.until(lambda: handle.stats_snapshot().timers_set >= 8)
        return "done"

    assert spargio.run(main, **options) == "done"
    assert sorted(log) == [(n, what) for n in range(8) for what in ("cancelled", "cleaned up")]


def test_tasks_that_never_began_are_closed_without_a_warning(options: dict[str, Any]) -> None:
    began: list[int] = []

    async def never(n: int) -> None:
        began.append(n)

    async def main(handle: spargio.RuntimeHandle) -> None:
        for n in range(20):
            handle.spawn_pinned(0, never(n))
            handle.spawn_stealable_on(0, never(n))
        # It ends in the same step: none on this shard can have begun.

    spargio.run(main, shards=1)
    assert began == []
    spargio.run(main, **options)


def test_main_that_raises_cancels_the_others() -> None:
    ended: list[str] = []

    async def left() -> None:
        try:
            await spargio.sleep(1000)
        finally:
            ended.append("left")

    async def main(handle: spargio.RuntimeHandle) -> None:
        await support.started(handle.spawn_pinned(0, left()))
        raise LookupError("main")

    with pytest.raises(LookupError, match="main"):
        spargio.run(main, shards=1)
    assert ended == ["left"]


def test_a_spawn_after_main_has_ended_is_for_those_who_clean_up() -> None:
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    async def left(handle: spargio.RuntimeHandle) -> None:
        try:
            await spargio.sleep(1000)
        finally:
            handle.spawn_stealable(other())

    async def main(handle: spargio.RuntimeHandle) -> spargio.RuntimeHandle:
        await support.started(handle.spawn_pinned(0, left(handle)))
        return handle

    handle = spargio.run(main, shards=1)
    assert ran == ["other"]
    coroutine = other()
    with pytest.raises(spargio.RuntimeClosed):
        handle.spawn_stealable(coroutine)
    with pytest.raises(spargio.RuntimeClosed):
        handle.spawn_pinned(0, other())
    assert handle.shard_count() == 1
    assert handle.stats_snapshot().spawn_refused >= 2


def test_nested_run_is_refused(options: dict[str, Any]) -> None:
    async def inner() -> None:
        raise AssertionError("it must not run")

    async def main() -> int:
        for _ in range(3):
            with pytest.raises(RuntimeError, match="inside a spargio task"):
                spargio.run(inner, shards=1)
        await spargio.yield_now()
        return 5

    assert spargio.run(main, **options) == 5


def test_handle_shutdown_ends_main() -> None:
    log: list[str] = []

    async def main(handle: spargio.RuntimeHandle) -> None:
        handle.shutdown()
        handle.shutdown()
        log.append("goes on until it awaits")
        try:
            await spargio.sleep(1000)
        finally:
            log.append("cleaned up")

    with pytest.raises(spargio.TaskCancelled):
        spargio.run(main, shards=2)
    assert log == ["goes on until it awaits", "cleaned up"]


@pytest.mark.parametrize("mistake", [5, None, lambda: 5, lambda: None])
def test_what_is_no_coroutine_function_is_a_type_error(mistake: Any) -> None:
    with pytest.raises(TypeError):
        spargio.run(mistake, shards=1)


def test_a_coroutine_instead_of_a_function_is_a_type_error() -> None:
    async def main() -> None:
        pass

    coroutine = main()
    try:
        with pytest.raises(TypeError):
            spargio.run(coroutine, shards=1)  # type: ignore[arg-type]
    finally:
        coroutine.close()


@pytest.mark.parametrize("mistake", [5, None, "text", len])
def test_spawn_of_what_is_no_coroutine_is_a_type_error(mistake: Any) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        with pytest.raises(TypeError, match="spawn takes a coroutine"):
            handle.spawn_stealable(mistake)

    spargio.run(main, shards=1)


def test_spawn_of_a_coroutine_function_says_to_call_it() -> None:
    async def work() -> None:
        pass

    async def main(handle: spargio.RuntimeHandle) -> None:
        with pytest.raises(TypeError, match="call it"):
            handle.spawn_stealable(work)  # type: ignore[arg-type]

    spargio.run(main, shards=1)


def test_a_large_tree_of_tasks() -> None:
    async def tree(handle: spargio.RuntimeHandle, depth: int) -> int:
        if depth == 0:
            return 1
        left = handle.spawn_stealable(tree(handle, depth - 1))
        right = handle.spawn_stealable(tree(handle, depth - 1))
        return await left + await right

    async def main(handle: spargio.RuntimeHandle) -> int:
        return await tree(handle, 11)

    assert spargio.run(main, shards=4, stealable_queue_capacity=1 << 14) == 1 << 11


def test_busy_tasks_let_timers_and_the_others_run() -> None:
    """Two that only give way never keep the shard from its timers."""
    stop = False

    async def busy() -> int:
        rounds = 0
        while not stop:
            await spargio.yield_now()
            rounds += 1
        return rounds

    async def main(handle: spargio.RuntimeHandle) -> None:
        nonlocal stop
        jobs = [handle.spawn_pinned(0, busy()) for _ in range(2)]
        for _ in range(3):
            await spargio.sleep(0.001)
        stop = True
        for job in jobs:
            assert await job > 3

    spargio.run(main, shards=1)
