"""Errors of users' code, wherever spargio calls it: in tasks, in clean-up, in finalizers, in what is
handed over to be called. Each is raised or reported, and the runtime goes on."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
import threading
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
import support

import spargio
from spargio import boundary, fs, sync


async def value(result: object) -> object:
    await spargio.yield_now()
    return result


async def still_works(handle: spargio.RuntimeHandle) -> None:
    for shard in range(handle.shard_count()):
        assert await handle.spawn_pinned(shard, value(shard)) == shard


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
    done = support.run_program(
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


# ---- what is handed over to be called ----


class Message:
    def __init__(self, pair: Any) -> None:
        self.pair = pair

    def encode(self) -> Any:
        if isinstance(self.pair, Exception):
            raise self.pair
        return self.pair


@pytest.mark.parametrize(
    ("pair", "error"),
    [
        (LookupError("encode"), LookupError),
        ((1,), TypeError),
        ((1, 2, 3), TypeError),
        (None, TypeError),
        (("a", 1), TypeError),
        ((1, 1.5), TypeError),
        ((-1, 0), ValueError),
        ((0, 1 << 32), ValueError),
        ((1 << 16, 0), ValueError),
        ((1 << 80, 0), (ValueError, OverflowError)),
    ],
    ids=repr,
)
def test_an_encoder_that_fails_sends_nothing(pair: Any, error: Any) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        ctx = spargio.ShardCtx.current()
        remote = handle.remote(0)
        for send in (remote.send_nowait, remote.send, lambda one: remote.send_many_nowait([one])):
            with pytest.raises(error):
                send(Message(pair))
        # A whole batch or nothing, where the message is the caller's mistake.
        with pytest.raises(error):
            remote.send_many_nowait([Message((1, 1)), Message(pair)])
        remote.send_nowait(Message((7, 7)))
        assert (await ctx.next_event())[1:] == (7, 7)
        assert handle.stats_snapshot().messages_sent == 1

    spargio.run(main, shards=1)


def test_a_key_whose_hash_fails() -> None:
    class Key:
        def __hash__(self) -> int:
            raise LookupError("hash")

    with pytest.raises(LookupError, match="hash"):
        spargio.TaskPlacement.Sticky(Key())


def test_callables_that_fail(tmp_path: Any) -> None:
    (tmp_path / "file").mkdir()

    def fails(*_: object) -> None:
        raise LookupError("called")

    async def make() -> None:
        await spargio.yield_now()
        raise LookupError("made")

    async def walk() -> None:
        async for _ in fs.walk(tmp_path / "missing", on_error=fails):
            pass

    async def main(handle: spargio.RuntimeHandle) -> None:
        with pytest.raises(LookupError, match="called"):
            await handle.spawn_blocking(fails)
        with pytest.raises(TypeError):
            await handle.spawn_blocking(5)  # type: ignore[arg-type]
        cell: sync.OnceCell[object] = sync.OnceCell()
        for _ in range(2):
            with pytest.raises(LookupError, match="made"):
                await cell.get_or_init(make)
        assert await cell.get_or_init(lambda: value(5)) == 5
        with pytest.raises(LookupError, match="called"):
            await walk()
        await still_works(handle)

    spargio.run(main, shards=2)


def test_an_answer_that_is_an_exception_is_raised_at_the_client() -> None:
    async def serve(server: boundary.Server) -> None:
        async for request in server:
            try:
                request.respond(1 / request.request)
            except ZeroDivisionError as error:
                request.respond(error)

    with spargio.Runtime.builder().shards(1).build() as handle:
        client, server = boundary.channel(10)
        job = handle.spawn_pinned(0, serve(server))
        assert client.try_call(2).wait_timeout() == 0.5
        with pytest.raises(ZeroDivisionError):
            client.try_call(0).wait_timeout()
        client.close()
        job.result(support.LIMIT_S)


class Broken(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise LookupError("filter")


def test_a_logger_that_fails_stops_neither_the_watch_nor_the_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reports.append(str(args.exc_value)))
    log = logging.getLogger("spargio")
    broken = Broken()
    log.addFilter(broken)
    try:
        builder = spargio.Runtime.builder().shards(1).debug(True).blocked_threshold_ms(10)
        with builder.build() as handle:
            for expected in (1, 2):
                with support.Blocker(handle, 0):
                    support.eventually(lambda n=expected: len(reports) == n)
            assert handle.spawn_pinned(0, value(5)).result(support.LIMIT_S) == 5
    finally:
        log.removeFilter(broken)
    assert reports == ["filter"] * 2


# ---- functions of C ----


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (-4096 - 28, OSError),
        (-1, spargio.SpargioError),
        (-6, spargio.TaskCancelled),
        (-77, spargio.SpargioError),
        (-(1 << 31), OSError),
        (3, spargio.SpargioError),
        ((1 << 31) - 1, spargio.SpargioError),
    ],
)
def test_whatever_a_c_function_returns(status: int, error: type[BaseException]) -> None:
    import ctypes

    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64))
    function = prototype(lambda _ctx, _result: status)

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_native(support.address(function))
        with pytest.raises(error):
            await job
        await still_works(handle)

    spargio.run(main, shards=2)


# ---- what is no coroutine ----


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
    "class": (lambda: Base, r"not the function <class '.*Base'>: call it"),
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
            r"main is <function a_function at .*>, whose call gave None: allowed is",
        ),
        (lambda: an_async_generator, r"whose call gave <async_generator .*>: allowed is"),
        (lambda: 5, r"main is 5: allowed is a function"),
        (lambda: None, r"main is None: allowed is a function"),
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
    with pytest.raises(TypeError, match=r"main is <coroutine .*>: allowed is the function itself"):
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

    operation = spargio.sleep(0.2)
    with (
        spargio.Runtime.builder().shards(2).build() as two,
        spargio.Runtime.builder().shards(1).build() as one,
    ):
        begun = two.spawn_pinned(1, begin(operation))
        support.eventually(lambda: two.stats_snapshot().timers_set >= 1)
        one.spawn_stealable(main(two, operation)).result(support.LIMIT_S)
        begun.result(support.LIMIT_S)


@pytest.mark.parametrize("what", ["JoinHandle", "future", "an operation"])
def test_what_is_awaited_in_asyncio_says_so(what: str) -> None:
    with spargio.Runtime.builder().shards(1).build() as handle:

        async def main() -> None:
            awaitable: Any = {
                "JoinHandle": lambda: handle.spawn_stealable(value(5)),
                "future": lambda: handle.spawn_blocking(int),
                "an operation": lambda: spargio.sleep(0),
            }[what]()
            with pytest.raises(RuntimeError, match="outside a spargio task: it works only in a"):
                await awaitable

        asyncio.run(main())


# ---- a million ----

MILLION = 1_000_000


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@support.needs_io_uring  # Once is enough: the queues know no backend.
@pytest.mark.parametrize(("placement", "count"), [("stealable", MILLION), ("pinned", MILLION // 5)])
def test_a_million_queued(placement: str, count: int) -> None:
    """All of them run, once each; what they take while they are queued is bounded."""
    ran = 0

    async def one() -> None:
        nonlocal ran
        ran += 1

    with spargio.Runtime.builder().shards(1).stealable_queue_capacity(MILLION).build() as handle:
        spawn: Any = {
            "stealable": handle.spawn_stealable,
            "pinned": functools.partial(handle.spawn_pinned, 0),
        }[placement]
        with support.Blocker(handle, 0):
            before = resident()
            for _ in range(count):
                spawn(one())
            each = (resident() - before) / count
        support.eventually(lambda: ran == count)
        assert handle.stats_snapshot().tasks_started == count + 1
    assert each < 1024, f"{each:.0f} bytes for each"


@support.needs_io_uring
def test_what_is_refused_leaves_nothing_behind() -> None:
    async def one() -> None:
        raise AssertionError("it is cancelled")

    capacity, count = 4096, 200_000
    with spargio.Runtime.builder().shards(1).build() as handle:
        with support.Blocker(handle, 0):
            jobs = [handle.spawn_stealable(one()) for _ in range(capacity)]
            before = resident()
            coroutine = one()
            for _ in range(count):
                try:
                    handle.spawn_stealable(coroutine)
                except spargio.Overloaded:
                    continue
                raise AssertionError("the queue was full")
            coroutine.close()
            grown = resident() - before
            assert handle.stats_snapshot().stealable_backpressure == count
            for job in jobs:
                job.cancel()
    assert grown < 4 << 20
