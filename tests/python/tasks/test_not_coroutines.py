"""What is spawned, run or awaited where it cannot be: no coroutine, one that has run, another runtime's."""

from __future__ import annotations

import asyncio
import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
import support
from support import still_works, value

import spargio
from spargio import net


class Class:
    pass


def a_generator() -> Generator[int, None, None]:
    yield 1


async def an_async_generator() -> AsyncIterator[int]:
    yield 1


def a_function() -> None:
    pass


@types.coroutine
def old_style() -> Generator[Any, Any, int]:
    yield from spargio.yield_now().__await__()
    return 5


NOT_COROUTINES: dict[str, tuple[Callable[[], Any], str]] = {
    "function": (lambda: a_function, r"not the function <function a_function at .*>: call it"),
    "coroutine function": (lambda: value, r"not the function <function value at .*>: call it"),
    "partial": (
        lambda: functools.partial(value, 1),
        r"not the function functools.partial.*: call it",
    ),
    "class": (lambda: Class, r"not the function <class '.*Class'>: call it"),
    "generator": (a_generator, r"not the generator <generator .*>: define it with `async def`"),
    "async generator": (
        an_async_generator,
        r"not the asynchronous generator <async_gen.*`async for`",
    ),
    "None": (lambda: None, r"not None$"),
    "number": (lambda: 5, r"not 5$"),
    "text": (lambda: "a %s {} \n", r"not 'a %s {} \\n'$"),
}


@pytest.mark.parametrize("name", NOT_COROUTINES)
def test_what_is_no_coroutine_is_a_type_error_that_names_it(name: str) -> None:
    make, text = NOT_COROUTINES[name]

    async def main(handle: spargio.RuntimeHandle) -> None:
        spawns: list[Callable[[Any], Any]] = [
            handle.spawn_stealable,
            functools.partial(handle.spawn_pinned, 0),
            functools.partial(handle.spawn_with_placement, spargio.TaskPlacement.RoundRobin),
        ]
        for spawn in spawns:
            with pytest.raises(TypeError, match=f"^spawn takes a coroutine, {text}"):
                spawn(make())
        assert handle.stats_snapshot().spawn_pinned_submitted == 1  # Main.

    spargio.run(main, shards=1)


def test_what_can_be_awaited_can_be_spawned() -> None:
    class Awaitable:
        def __await__(self) -> Iterator[Any]:
            yield from spargio.yield_now().__await__()
            return "of a class"  # type: ignore[return-value]

    async def main(handle: spargio.RuntimeHandle) -> None:
        assert await handle.spawn_stealable(Awaitable()) == "of a class"  # type: ignore[arg-type]
        assert await handle.spawn_stealable(old_style()) == 5  # type: ignore[arg-type]
        assert await handle.spawn_stealable(handle.spawn_stealable(value(6))) == 6  # type: ignore[arg-type]

    spargio.run(main, shards=1)


def test_awaitables_that_break_their_promise() -> None:
    class NoIterator:
        def __await__(self) -> Any:
            return 5

    class Raises:
        def __await__(self) -> Any:
            raise KeyError("await")

    async def main(handle: spargio.RuntimeHandle) -> None:
        with pytest.raises(TypeError, match="non-iterator"):
            await handle.spawn_stealable(NoIterator())  # type: ignore[arg-type]
        with pytest.raises(KeyError, match="await"):
            await handle.spawn_stealable(Raises())  # type: ignore[arg-type]

    spargio.run(main, shards=1)


def test_an_asyncio_future_says_what_it_is() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()

    async def main(handle: spargio.RuntimeHandle) -> None:
        with pytest.raises(RuntimeError, match="yields Future: only awaitables of spargio"):
            await handle.spawn_stealable(future)  # type: ignore[arg-type]
        await still_works(handle)

    try:
        spargio.run(main, shards=1)
    finally:
        loop.close()


def test_a_coroutine_runs_once() -> None:
    """One that has run, one that is spawned twice, one that spawns itself."""
    twice = value(5)
    over = value(1)
    over.close()
    own: list[Any] = []

    async def itself(handle: spargio.RuntimeHandle) -> None:
        own.append(handle.spawn_pinned(0, own[0]))

    async def main(handle: spargio.RuntimeHandle) -> None:
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await handle.spawn_stealable(over)
        jobs = [handle.spawn_pinned(0, twice) for _ in range(2)]
        assert await jobs[0] == 5
        with pytest.raises(RuntimeError, match="already"):
            await jobs[1]
        own.append(itself(handle))
        await handle.spawn_pinned(0, own[0])
        with pytest.raises(RuntimeError, match="already"):
            await own[1]
        await still_works(handle)

    spargio.run(main, shards=2)
    assert inspect.getcoroutinestate(twice) == inspect.CORO_CLOSED


@pytest.mark.parametrize(
    ("main", "text"),
    [
        (
            lambda: a_function,
            r"main must be .*, got <function a_function at .*>, whose call returned None",
        ),
        (
            lambda: an_async_generator,
            r"main must be a function .* whose call returned <async_generator .*>",
        ),
        (lambda: 5, r"main must be a function.*, got 5"),
        (lambda: None, r"main must be a function.*, got None"),
    ],
)
@pytest.mark.parametrize("run", ["run", "run_with", "run_local_on", "main"])
def test_what_run_cannot_run(main: Callable[[], Any], text: str, run: str) -> None:
    with pytest.raises(TypeError, match=text):
        start(run, main())


def start(run: str, main: Any) -> object:
    builder = spargio.Runtime.builder().shards(2)
    if run == "run":
        return spargio.run(main, shards=2)
    if run == "run_with":
        return spargio.run_with(builder, main)
    if run == "run_local_on":
        return spargio.run_local_on(builder, 1, main)
    return spargio.main(shards=2)(main)() if main is not None else spargio.run(main)


def test_run_of_a_coroutine_says_to_leave_out_the_call() -> None:
    coroutine = value(5)
    with pytest.raises(TypeError, match=r"main must be the function itself.*, got <coroutine .*>"):
        spargio.run(coroutine, shards=1)  # type: ignore[arg-type]
    coroutine.close()


# ---- twice, and from elsewhere ----


def test_what_belongs_to_another_runtime() -> None:
    """Handles, futures and locks know no runtime; an operation that has begun does."""

    async def main(other: spargio.RuntimeHandle, operation: Any) -> None:
        job = other.spawn_stealable(value("theirs"))
        assert (await job, await job) == ("theirs", "theirs")
        with pytest.raises(RuntimeError, match="two tasks"):
            await operation
        sleeper = other.spawn_stealable(spargio.sleep(1000))  # type: ignore[arg-type]
        await support.until(lambda: sleeper.shard is not None)
        sleeper.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await sleeper
        here = spargio.current_handle()
        with pytest.raises(RuntimeError):
            await other_ctx[0].next_event()
        assert here.shard_count() == 1

    other_ctx: list[spargio.ShardCtx] = []

    async def begin(operation: Any) -> None:
        other_ctx.append(spargio.ShardCtx.current())
        await operation

    async def end() -> None:
        async with near, far:
            await far.write_all(b"x")
            await begun

    near, far = net.UnixStream.pair()
    operation = near.recv(10)
    with (
        spargio.Runtime.builder().shards(2).build() as two,
        spargio.Runtime.builder().shards(1).build() as one,
    ):
        begun = two.spawn_pinned(1, begin(operation))
        support.eventually(lambda: two.stats_snapshot().ops_in_flight >= 1)
        one.spawn_stealable(main(two, operation)).result(support.LIMIT_S)
        two.spawn_pinned(1, end()).result(support.LIMIT_S)


@pytest.mark.parametrize("what", ["future", "an operation"])
def test_what_is_awaited_in_asyncio_says_so(what: str) -> None:
    with spargio.Runtime.builder().shards(1).build() as handle:

        async def main() -> None:
            awaitable: Any = {
                "future": lambda: handle.spawn_blocking(int),
                "an operation": lambda: spargio.sleep(0),
            }[what]()
            with pytest.raises(RuntimeError, match="outside a spargio task: it works only in a"):
                await awaitable

        asyncio.run(main())
