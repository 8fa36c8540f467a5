"""The watchdog: a thread that writes to the log of ``spargio`` when a shard does not come round,
with the stack of its thread. Unlike debug mode it costs the tasks nothing."""

from __future__ import annotations

import sys
import time
from types import FrameType

from . import _threads
from ._ffi.core import Runtime
from ._watchdog import _lines

_CO_COROUTINE = 0x80
PER_MINUTE = 6
"""Warnings of one runtime at most; what is left out is counted in the next one."""


class _Shard:
    """What was seen of one."""

    def __init__(self) -> None:
        self.polls = self.passes = -1
        self.poll_since = self.pass_since = 0.0
        self.told = False


class Watchdog:
    """Looks four times per `threshold` seconds."""

    def __init__(self, runtime: Runtime, threshold: float) -> None:
        self._runtime = runtime
        self._threshold = threshold
        self._shards = [_Shard() for _ in range(runtime.shard_count())]
        self._warned: list[float] = []
        self._left_out = 0

    def run(self) -> None:
        while (seen := self._runtime.progress(int(self._threshold * 250_000_000))) is not None:
            now = time.monotonic()
            for number, (polls, passes, parked) in enumerate(seen):
                self._look(number, polls, passes, parked, now)

    def _look(self, number: int, polls: int, passes: int, parked: bool, now: float) -> None:
        shard = self._shards[number]
        if polls != shard.polls:
            shard.polls, shard.poll_since = polls, now
        if passes != shard.passes or parked:
            shard.passes, shard.pass_since, shard.told = passes, now, False
            return
        if shard.told or now - shard.pass_since < self._threshold:
            return
        shard.told = True
        one_task = polls % 2 == 1 and now - shard.poll_since >= self._threshold
        self._warn(number, now - shard.pass_since, one_task, now)

    def _warn(self, number: int, seconds: float, one_task: bool, now: float) -> None:
        self._warned = [at for at in self._warned if now - at < 60]
        if len(self._warned) >= PER_MINUTE:
            self._left_out += 1
            return
        self._warned.append(now)
        ident = _threads.idents.get((id(self._runtime), number))
        frames: list[FrameType] = []
        frame = None if ident is None else sys._current_frames().get(ident)
        while frame is not None:
            frames.insert(0, frame)
            frame = frame.f_back
        first = next((n for n, one in enumerate(frames) if _is_coroutine(one)), None)
        name = "a callback" if frames else "a task"
        if first is not None:
            name = f"task {_name(frames[first])!r}"
        what = "blocks" if one_task else "and others keep"
        stack = ":\n" + _lines(frames[first or 0 :]) if frames else ""
        more = f" ({self._left_out} such warnings were left out)" if self._left_out else ""
        self._left_out = 0
        import logging

        logging.getLogger("spargio").warning(
            "%s %s shard %d for %.3f s: its I/O, timers and other tasks wait%s%s",
            name,
            what,
            number,
            seconds,
            more,
            stack,
        )


def _is_coroutine(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & _CO_COROUTINE)


def _name(frame: FrameType) -> str:
    return getattr(frame.f_code, "co_qualname", frame.f_code.co_name)


def watch(runtime: Runtime, threshold: float) -> None:
    """On a thread of its own, until the runtime has stopped."""
    Watchdog(runtime, threshold).run()
