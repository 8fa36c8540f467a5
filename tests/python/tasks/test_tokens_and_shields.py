"""Tokens and shields: who is told, once, and that nothing is left over."""

from __future__ import annotations

import contextlib
import gc
import random
import signal
import threading
import weakref
from collections.abc import Generator
from typing import Any

import pytest
import support
from support import Unraisables

import spargio
from spargio._ffi.core import native


def test_a_token_is_told_once_to_all(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        token = spargio.CancellationToken()
        child = token.child()
        grandchild = child.child()
        jobs = [handle.spawn_stealable(one.cancelled()) for one in (token, child, grandchild) * 3]
        await support.until(lambda: len(grandchild._calls) == 3 and len(token._calls) == 4)
        child.cancel()
        assert (token.is_cancelled(), child.is_cancelled()) == (False, True)
        assert grandchild.is_cancelled()
        for n, job in enumerate(jobs):
            if n % 3:
                await job
        assert not any(job.done() for job in jobs[::3])
        token.cancel()
        token.cancel()
        for job in jobs:
            await job
        await token.cancelled()
        assert token.child().is_cancelled()

    spargio.run(main, **options)


def test_children_that_nobody_holds_are_forgotten() -> None:
    token = spargio.CancellationToken()
    for _ in range(100):
        token.child().child()
    gc.collect()
    assert not token._calls
    kept = token.child()
    gone = weakref.ref(token.child())
    gc.collect()
    assert gone() is None
    token.cancel()
    assert kept.is_cancelled()


def test_run_until_cancelled(options: dict[str, Any]) -> None:
    async def value() -> int:
        await spargio.sleep(0)
        return 5

    async def main(handle: spargio.RuntimeHandle) -> None:
        token = spargio.CancellationToken()
        assert await token.run(value()) == 5
        with pytest.raises(KeyError):
            await token.run(support.fail(KeyError()))
        job = handle.spawn_stealable(token.run(support.forever()))
        await support.started(job)
        threading.Timer(0.001, token.cancel).start()
        with pytest.raises(spargio.TaskCancelled, match="the token was cancelled"):
            await job
        with pytest.raises(spargio.TaskCancelled):
            await token.run(support.forever())  # Cancelled before.
        assert not token._calls
        await spargio.sleep(0)

    spargio.run(main, **options)


def test_tokens_under_races(options: dict[str, Any]) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(300):
            token = spargio.CancellationToken()
            jobs = [handle.spawn_stealable(work(token)) for _ in range(3)]
            for _ in range(chosen.randrange(4)):
                await spargio.yield_now()
            canceller = handle.spawn_pinned(handle.shard_count() - 1, cancel(token))
            jobs[0].cancel()
            for job in jobs:
                with contextlib.suppress(spargio.TaskCancelled):
                    assert await job == "slept"
            await canceller
            assert not token._calls

    async def work(token: spargio.CancellationToken) -> str:
        return await token.run(naps())

    async def naps() -> str:
        for _ in range(3):
            await spargio.sleep(0)
        return "slept"

    async def cancel(token: spargio.CancellationToken) -> None:
        token.cancel()

    spargio.run(main, **options)


def test_a_long_line_of_descendants() -> None:
    first = last = spargio.CancellationToken()
    line = [first]
    for _ in range(5_000):
        last = last.child()
        line.append(last)
    first.cancel()
    assert all(token.is_cancelled() for token in line)


def test_a_child_of_one_that_is_cancelled() -> None:
    token = spargio.CancellationToken()
    token.cancel()
    child = token.child()
    assert child.is_cancelled()
    assert not token._calls


def test_children_that_die_while_others_are_made() -> None:
    """The collector may run within the token's own code."""

    class Cycle:
        pass

    token = spargio.CancellationToken()
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(2_000):
            cycle: Any = Cycle()
            cycle.itself, cycle.token = cycle, token.child()
            del cycle
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert not token._calls


def test_cancelled_by_a_signal_handler() -> None:
    tokens: list[spargio.CancellationToken] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: tokens[-1].cancel())

    async def main() -> None:
        for _ in range(50):
            tokens.append(spargio.CancellationToken())
            signal.raise_signal(signal.SIGUSR1)
            await tokens[-1].cancelled()
            await tokens[-1].child().cancelled()

    try:
        spargio.run(main, shards=1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_children_made_while_another_thread_cancels() -> None:
    """None is missed: each is cancelled from the start or later."""
    for _ in range(200):
        token = spargio.CancellationToken()
        barrier = threading.Barrier(2)

        def cancel(token: Any = token, barrier: Any = barrier) -> None:
            barrier.wait(support.LIMIT_S)
            token.cancel()

        with support.in_thread(cancel):
            barrier.wait(support.LIMIT_S)
            children = [token.child() for _ in range(20)]
        assert all(child.is_cancelled() for child in children)
        assert not token._calls


def test_what_is_run_may_end_all_the_same() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        token = spargio.CancellationToken()

        async def stubborn() -> str:
            try:
                await support.forever()
            except spargio.CancelledError:
                await spargio.sleep(0)  # It is told once.
            return "ended"

        job = handle.spawn_stealable(token.run(stubborn()))
        await support.started(job)
        token.cancel()
        assert await job == "ended"

    spargio.run(main, shards=1)


def test_a_cancellation_from_outside_stays_one(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        found: list[type[BaseException]] = []

        async def runs(token: spargio.CancellationToken) -> None:
            try:
                await token.run(support.forever())
            except BaseException as error:
                found.append(type(error))
                raise

        for both in (False, True):
            token = spargio.CancellationToken()
            job = handle.spawn_pinned(0, runs(token))
            await support.until(lambda token=token: token._calls)
            job.cancel()
            if both:
                token.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
            assert not token._calls
        assert found == [spargio.CancelledError] * 2
        # A time limit within and around.
        token = spargio.CancellationToken()
        with pytest.raises(TimeoutError), spargio.timeout(0.001):
            await token.run(support.forever())

        async def limited() -> None:
            with spargio.timeout(support.LIMIT_S):
                await support.forever()

        job = handle.spawn_stealable(token.run(limited()))
        await support.until(lambda: token._calls)
        token.cancel()
        with pytest.raises(spargio.TaskCancelled, match="the token was"):
            await job

    spargio.run(main, shards=1)


class Work:
    """Work that ends when it is told to."""

    def __init__(self) -> None:
        self.begun: spargio.Future[None] = native.future()
        self.go: spargio.Future[int] = native.future()
        self.ended: spargio.Future[None] = native.future()

    async def run(self) -> int:
        self.begun.set_result(None)
        try:
            return await self.go
        finally:
            self.ended.set_result(None)


def test_a_shield_lets_the_work_go_on(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        work = Work()
        work.go.set_result(7)
        assert await spargio.shield(work.run()) == 7
        with pytest.raises(KeyError):
            await spargio.shield(support.fail(KeyError()))

        work = Work()
        job = handle.spawn_stealable(spargio.shield(work.run()))
        await work.begun
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        assert not work.ended.done()
        work.go.set_result(1)
        await work.ended  # Its end, not a cancellation.

        work = Work()
        with pytest.raises(TimeoutError), spargio.timeout(0.001):
            await spargio.shield(work.run())
        work.go.set_result(1)
        await work.ended

    spargio.run(main, **options)


def test_a_shield_around_a_handle_and_a_later_await() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        work = Work()
        inner = handle.spawn_stealable(work.run())
        outer = handle.spawn_stealable(spargio.shield(inner))
        await support.started(inner, outer)
        outer.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await outer
        work.go.set_result(7)
        assert await inner == 7
        assert await spargio.shield(inner) == 7
        assert await spargio.shield(work.go) == 7

        class Answer:
            def __await__(self) -> Generator[Any, None, int]:
                yield from spargio.yield_now().__await__()
                return 42

        assert await spargio.shield(Answer()) == 42
        with pytest.raises(TypeError, match="shield takes an awaitable, not 5"):
            await spargio.shield(5)  # type: ignore[arg-type]

    spargio.run(main, shards=2)


def test_a_failure_that_nobody_hears_of_is_reported(unraisables: Unraisables) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        work = Work()
        job = handle.spawn_stealable(spargio.shield(work.run()))
        await work.begun
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        work.go.set_exception(LookupError("unheard"))
        await work.ended

    spargio.run(main, shards=1)
    (told,) = unraisables.take()
    assert (told.kind, told.text) == (LookupError, "unheard")


def test_the_end_of_the_runtime_cancels_what_is_shielded() -> None:
    work = Work()

    async def main(handle: spargio.RuntimeHandle) -> None:
        handle.spawn_stealable(spargio.shield(work.run()))
        await work.begun

    spargio.run(main, shards=2)
    assert work.ended.done()
    assert not work.go.done()
