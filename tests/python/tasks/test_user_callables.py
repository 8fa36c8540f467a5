"""Errors of what users hand over to be called: encoders, hashes, callables, loggers, functions of C.
Each is raised or reported, and the runtime goes on."""

from __future__ import annotations

import logging
import threading
from typing import Any

import programs
import pytest
import support
from support import still_works, value

import spargio
from spargio import boundary, fs, sync


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
        job = handle.spawn_native(programs.address(function))
        with pytest.raises(error):
            await job
        await still_works(handle)

    spargio.run(main, shards=2)
