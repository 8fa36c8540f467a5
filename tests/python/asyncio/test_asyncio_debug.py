"""Debug mode, contexts, reports of what failed, executors, statistics."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

import aio
import pytest

import spargio
from spargio.asyncio import EventLoop, run

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


# ---- debug mode ----


def test_slow_callbacks_are_named(loop: EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    """Callbacks, steps of tasks, and the calls of protocols."""

    def dawdle() -> None:
        time.sleep(0.002)

    async def dawdler() -> None:
        time.sleep(0.002)

    class Slow(aio.Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            time.sleep(0.002)

    async def main() -> None:
        loop.call_soon(dawdle)
        await asyncio.create_task(dawdler())
        _, protocol, theirs = await aio.connected(Slow)
        theirs.send(b"x")
        theirs.close()
        await protocol.closed

    loop.set_debug(True)
    loop.slow_callback_duration = 0.002
    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_until_complete(main())
    lines = [line for line in caplog.messages if line.startswith("Executing <")]
    for name in ("dawdle()", "dawdler()", "data_received"):
        assert any(name in line for line in lines), (name, lines)
    assert all(line.endswith("seconds") for line in lines)


def test_a_long_turn_of_the_loop_is_not_reported_as_one_blocking_call(
    loop: EventLoop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """spargio's debug mode watches polls, and a turn of many short callbacks is one of them."""

    async def main() -> None:
        for _ in range(30):
            loop.call_soon(time.sleep, 0.01)
        await asyncio.sleep(0)
        assert "spargio-watch" in [thread.name for thread in threading.enumerate()]

    monkeypatch.setenv("SPARGIO_DEBUG", "1")
    loop.set_debug(True)
    with caplog.at_level(logging.WARNING):
        loop.run_until_complete(main())
    assert caplog.messages == []


def test_a_closed_loop_leaves_no_runtime_in_debug_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which one sign is that operations remember who made them."""
    for name in ("SPARGIO_DEBUG", "SPARGIO_WATCHDOG", "SPARGIO_MONITOR"):
        monkeypatch.setenv(name, "1")
    run(asyncio.sleep(0))
    monkeypatch.undo()

    async def main() -> None:
        one, other = spargio.net.UnixStream.pair()
        async with one, other:
            with pytest.warns(RuntimeWarning) as caught:
                one.recv(10)
            texts = [str(warning.message) for warning in caught]
            assert texts == [f"operation recv of socket {one.fileno()} was never awaited"]

    spargio.run(main, shards=1)
    kinds = ("spargio-watch", "spargio-blocked", "spargio-monitor")
    assert not [thread.name for thread in threading.enumerate() if thread.name in kinds]


def test_a_call_from_the_wrong_thread_is_refused(loop: EventLoop) -> None:
    loop.set_debug(True)
    errors: list[str] = []

    def call() -> None:
        for method in (
            loop.call_soon,
            lambda f: loop.call_later(1, f),
            lambda f: loop.call_at(1, f),
        ):
            try:
                method(print)
            except RuntimeError as error:
                errors.append(str(error))
        loop.call_soon_threadsafe(int)

    loop.run_until_complete(asyncio.to_thread(call))
    loop.run_until_complete(loop.shutdown_default_executor())
    assert len(errors) == 3 and all("other than the current one" in one for one in errors)


def test_what_is_no_callback_is_refused(loop: EventLoop) -> None:
    async def coroutine() -> None:
        pass

    loop.set_debug(True)
    made = coroutine()
    for wrong in (coroutine, made, 5):
        with pytest.raises(TypeError):
            loop.call_soon(wrong)  # type: ignore[arg-type]
    made.close()


def test_handles_know_where_they_were_made(loop: EventLoop) -> None:
    loop.set_debug(True)
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    def fail() -> None:
        raise LookupError

    handle = loop.call_soon(fail)
    assert "created at" in repr(handle)
    loop.run_until_complete(asyncio.sleep(0))
    assert told[0]["source_traceback"][-1].name == "test_handles_know_where_they_were_made"
    assert told[0]["handle"] is handle


# ---- contexts ----


def test_every_way_to_schedule_takes_a_context(loop: EventLoop) -> None:
    seen: list[str] = []

    def look(name: str) -> None:
        seen.append(f"{name} {variable.get()}")

    context = contextvars.copy_context()
    context.run(variable.set, "given")
    loop.call_soon(look, "soon", context=context)
    loop.call_soon_threadsafe(look, "threadsafe", context=context)
    loop.call_later(0, look, "later", context=context)
    loop.call_at(0, look, "at", context=context)
    loop.call_soon(look, "copied")
    loop.run_until_complete(asyncio.sleep(0.005))
    wanted = [f"{name} given" for name in ("soon", "threadsafe", "later", "at")]
    assert sorted(seen) == sorted([*wanted, "copied none"])
    with pytest.raises(TypeError, match="context"):
        loop.call_soon(look, "wrong", contest=context)  # type: ignore[call-arg]


def test_a_failure_is_reported_in_the_context_of_what_failed(loop: EventLoop) -> None:
    """Of a callback, of a task that nobody asks, and of a protocol; also by the handler's own."""
    seen: list[tuple[str, str]] = []
    loop.set_exception_handler(
        lambda _, context: seen.append((context["message"][:20], variable.get()))
    )

    def fail() -> None:
        variable.set("callback")
        raise LookupError

    async def task() -> None:
        variable.set("task")
        raise LookupError

    async def main() -> None:
        loop.call_soon(fail)
        child = loop.create_task(task())
        await asyncio.sleep(0.001)
        del child
        gc.collect()
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    values = dict(seen)
    assert values["Exception in callbac"] in ("callback", "none")
    assert len(seen) == 2


def test_a_report_from_within_a_callback_leaves_its_context_alone(loop: EventLoop) -> None:
    seen: list[str] = []
    loop.set_exception_handler(lambda _, context: None)

    class Reports(aio.Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            variable.set("mine")
            loop.call_exception_handler({"message": "told"})
            seen.append(variable.get())

    async def main() -> None:
        def callback() -> None:
            variable.set("its own")
            loop.call_exception_handler({"message": "told"})
            seen.append(variable.get())

        loop.call_soon(callback)
        _, protocol, theirs = await aio.connected(Reports)
        theirs.send(b"x")
        theirs.close()
        await protocol.closed

    loop.run_until_complete(main())
    assert seen == ["its own", "mine"]


def test_a_handler_that_fails_is_reported_itself(
    loop: EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(_: Any, context: dict[str, Any]) -> None:
        raise LookupError("the handler's own")

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert "Unhandled error in exception handler" in caplog.text


def test_a_handle_that_is_run_by_hand_keeps_the_outer_context(loop: EventLoop) -> None:
    seen: list[str] = []

    def inner() -> None:
        seen.append(variable.get())

    def outer() -> None:
        variable.set("outer")
        context = contextvars.copy_context()
        context.run(variable.set, "inner")
        handle = loop.call_soon(inner, context=context)
        handle._run()
        seen.append(variable.get())

    loop.call_soon(outer)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert seen == ["inner", "outer"]


# ---- executors and generators ----


def test_the_executor_ends_with_the_loop() -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(lambda n=n: n * n) for n in range(50)))

    before = threading.active_count()
    assert run(main()) == [n * n for n in range(50)]
    assert threading.active_count() == before


def test_generators_are_closed_at_the_end_and_when_dropped() -> None:
    closed: list[str] = []

    async def generator(name: str) -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(name)

    async def main() -> None:
        async for _ in generator("dropped"):
            break
        gc.collect()
        await aio.until(lambda: closed)
        kept.append(generator("kept"))
        await kept[0].__anext__()

    kept: list[Any] = []
    run(main())
    assert closed == ["dropped", "kept"]


# ---- statistics ----


def test_statistics_of_the_loop_and_its_shard(loop: EventLoop) -> None:
    before = loop.stats_snapshot()
    assert (before.callbacks_run, before.transports, before.shard) == (0, 0, None)

    async def main() -> None:
        _, protocol, theirs = await aio.connected()
        for _ in range(10):
            await asyncio.sleep(0)
        now = loop.stats_snapshot()
        assert now.callbacks_run >= 10 and now.transports == 1
        assert now.shard is not None and now.shard.passes > 0
        theirs.close()
        await protocol.closed

    loop.run_until_complete(main())
    after = loop.stats_snapshot()
    assert after.transports == 0 and after.callbacks_run > 10
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.stats_snapshot()
