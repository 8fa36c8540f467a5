"""Errors of users' code where a task runs it: in the task, in clean-up, in finalizers. Each is raised
or reported, and the runtime goes on."""

from __future__ import annotations

import functools
import gc
from collections.abc import AsyncIterator
from typing import Any

import programs
import pytest
import support
from support import still_works, value

import spargio
from spargio import sync

# ---- tasks ----


class Base(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    "error",
    [ValueError("text"), Base("base"), MemoryError(), GeneratorExit(), Unprintable()],
    ids=type,
)
def test_whatever_a_task_raises_its_handle_raises(
    error: BaseException, options: dict[str, Any]
) -> None:
    async def fail() -> None:
        await spargio.yield_now()
        raise error

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(fail())
        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                await job
            assert caught.value is error
        await still_works(handle)

    spargio.run(main, **options)


def test_a_stop_iteration_does_not_pass_for_a_result() -> None:
    async def fail() -> None:
        await spargio.spawn_blocking(next, iter(()))

    async def main(handle: spargio.RuntimeHandle) -> None:
        for awaitable in (spargio.spawn_blocking(next, iter(())), handle.spawn_stealable(fail())):
            with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
                await awaitable
            assert isinstance(caught.value.__cause__, StopIteration)

    spargio.run(main, shards=2)


def test_endless_recursion_is_an_error_of_the_task() -> None:
    async def deeper(n: int) -> None:
        await deeper(n + 1)

    async def main(handle: spargio.RuntimeHandle) -> None:
        for shard in (0, 1):
            with pytest.raises(RecursionError):
                await handle.spawn_pinned(shard, deeper(0))
        await still_works(handle)

    spargio.run(main, shards=2)


def test_a_failing_task_on_each_shard_at_once(unraisables: Any) -> None:
    async def fail(n: int) -> None:
        await spargio.sleep(0.0001 * (n % 3))
        raise ValueError(n)

    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_stealable(fail(n)) for n in range(400)]
        for n, job in enumerate(jobs[:200]):
            with pytest.raises(ValueError, match=f"^{n}$"):
                await job
        await support.until(lambda: all(job.done() for job in jobs))

    spargio.run(main, shards=4)
    # The others nobody asked for: each is reported, with its task's name.
    reports = unraisables.take()
    assert sorted(int(one.text) for one in reports) == list(range(200, 400))
    assert {one.object.rpartition(".")[2] for one in reports} == {"fail"}


def test_a_hook_that_fails_itself_ends_nothing() -> None:
    done = programs.run_program(
        """
        import sys, spargio

        def hook(report):
            raise RuntimeError("the hook")

        async def fail():
            raise ValueError("the task")

        async def main(handle):
            handle.spawn_pinned(1, fail())
            while handle.stats_snapshot().tasks_ended < 1:
                await spargio.yield_now()
            print("goes on")

        sys.unraisablehook = hook
        spargio.run(main, shards=2)
        """
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n")
    assert "RuntimeError: the hook" in done.stderr


# ---- clean-up ----


def test_a_clean_up_that_fails_replaces_the_cancellation(options: dict[str, Any]) -> None:
    """As in any Python: what `finally` raises is the outcome, and the cancellation its context."""

    async def at_once() -> None:
        try:
            await spargio.sleep(1000)
        finally:
            raise ValueError("clean-up")

    async def later() -> None:
        try:
            await spargio.sleep(1000)
        finally:
            await spargio.sleep(0.001)
            raise ValueError("clean-up")

    async def main(handle: spargio.RuntimeHandle) -> None:
        for kind in (at_once, later):
            job = handle.spawn_stealable(kind())
            await support.started(job)
            job.cancel()
            with pytest.raises(ValueError, match="clean-up") as caught:
                await job
            assert isinstance(caught.value.__context__, spargio.CancelledError)
            assert not job.cancelled()
        await still_works(handle)

    spargio.run(main, **options)


def test_a_clean_up_that_fails_while_the_runtime_closes(unraisables: Any) -> None:
    async def stubborn(n: int) -> None:
        try:
            await spargio.sleep(1000)
        finally:
            raise ValueError(n)

    async def main(handle: spargio.RuntimeHandle) -> str:
        jobs = [handle.spawn_stealable(stubborn(n)) for n in range(20)]
        await support.started(*jobs)
        return "result"

    assert spargio.run(main, shards=2) == "result"
    assert sorted(int(one.text) for one in unraisables.take()) == list(range(20))


def test_scopes_end_when_their_clean_up_fails(options: dict[str, Any]) -> None:
    """A group's children have all ended, a limit is gone, a lock is free."""
    ended: list[int] = []

    async def child(n: int) -> None:
        try:
            await spargio.sleep(1000)
        finally:
            ended.append(n)
            raise ValueError(n)

    async def scopes(lock: sync.Lock) -> None:
        with spargio.timeout(1000):
            async with lock, spargio.TaskGroup() as group:
                jobs = [group.spawn(child(n)) for n in range(3)]
                await support.started(*jobs)
                raise KeyError("block")

    async def main(handle: spargio.RuntimeHandle) -> None:
        lock = sync.Lock()
        with pytest.raises(BaseException) as caught:
            await handle.spawn_stealable(scopes(lock))
        assert sorted(map(str, caught.value.exceptions)) == ["'block'", "0", "1", "2"]  # type: ignore[attr-defined]
        assert sorted(ended) == [0, 1, 2]
        with spargio.timeout(support.LIMIT_S):
            async with lock:
                pass
        await still_works(handle)

    spargio.run(main, **options)


def test_an_aclose_that_fails_is_reported_or_raised(unraisables: Any) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await spargio.yield_now()
            raise ValueError("aclose")

    async def main(handle: spargio.RuntimeHandle) -> None:
        generator = numbers()
        assert await generator.__anext__() == 1
        with pytest.raises(ValueError, match="aclose"):
            await generator.aclose()  # type: ignore[attr-defined]
        async for _ in numbers():
            break
        await support.until(lambda: unraisables)
        await still_works(handle)

    spargio.run(main, shards=1)
    (report,) = unraisables.take()
    assert (report.kind, report.text) == (ValueError, "aclose")


# ---- finalizers ----


def test_a_del_that_fails_or_uses_the_runtime(unraisables: Any) -> None:
    """It runs on the shard, in the middle of whatever drops the object."""
    seen: list[object] = []

    class Fails:
        def __del__(self) -> None:
            raise KeyError("del")

    class Spawns:
        def __init__(self, handle: spargio.RuntimeHandle) -> None:
            self.handle = handle

        def __del__(self) -> None:
            seen.append(self.handle.spawn_pinned(0, value("of a finalizer")))

    class Runs:
        def __del__(self) -> None:
            try:
                spargio.run(value, shards=1)
            except RuntimeError as error:
                seen.append(str(error))

    async def hold(_: object) -> None:
        await spargio.yield_now()

    async def main(handle: spargio.RuntimeHandle) -> None:
        for make in (Fails, functools.partial(Spawns, handle), Runs):
            await handle.spawn_pinned(0, hold(make()))
        await support.until(lambda: len(seen) == 2)
        jobs = [one for one in seen if isinstance(one, spargio.JoinHandle)]
        assert [await job for job in jobs] == ["of a finalizer"]
        assert [one for one in seen if isinstance(one, str)] == [
            "spargio.run() inside a spargio task: await the coroutine instead"
        ]
        seen.clear()
        await still_works(handle)

    spargio.run(main, shards=2)
    (report,) = unraisables.take()
    assert (report.kind, report.text) == (KeyError, "'del'")


def test_a_del_of_garbage_that_a_collection_on_a_shard_finds(unraisables: Any) -> None:
    class Fails:
        own: object

        def __del__(self) -> None:
            raise KeyError("cyclic")

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(50):
            one = Fails()
            one.own = one
        del one
        gc.collect()
        await still_works(handle)

    spargio.run(main, shards=2)
    assert {one.text for one in unraisables.take()} == {"'cyclic'"}


def test_a_shield_of_what_is_no_awaitable_says_so() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"^shield takes an awaitable, not 5$"):
            await spargio.shield(5)  # type: ignore[arg-type]

    spargio.run(main, shards=1)


def test_what_is_kept_for_long_says_what_it_is() -> None:
    async def main() -> None:
        assert repr(spargio.interval(0.5)) == "<Interval of 0.5 s, burst after missed ticks>"
        assert repr(spargio.fs.read_dir("a")) == "<Entries of 'a'>"
        assert repr(spargio.fs.read_tree(b"\xff")) == "<Entries of '\\udcff'>"
        buffers = spargio.fs.RegisteredBuffers(2, 64)
        assert repr(buffers) == "<RegisteredBuffers 2 of 64 bytes, not registered>"

    spargio.run(main, shards=1)
