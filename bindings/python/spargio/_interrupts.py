"""Signal handlers of the program while a runtime is driven. What one raises (KeyboardInterrupt,
SystemExit) could strike between two steps of a clean-up, in a finalizer, which drops it, or in a
thread pool's bookkeeping, which then waits for ever. So it is kept, every task is cancelled, and
``run`` raises it. Only a second Ctrl-C is raised at once: a way out of a task that never awaits."""

from __future__ import annotations

import os
import signal
import threading
from _signal import getsignal  # type: ignore[import-not-found]  # No enum: 20 times faster.
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any

from ._ffi.core import Runtime, ShardHooks, native

_NUMBERS = sorted(signal.valid_signals())


class _Deferred:
    """In place of a program's handler. After the run it is the handler itself, for those who
    remembered it as the one from before theirs."""

    __slots__ = ("before", "handler", "run")

    def __init__(self, handler: Any, run: Guard, before: Any) -> None:
        self.handler = handler
        self.run = run
        self.before = before
        """What comes back after the run."""

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        if not self.run.is_active():
            return self.handler(number, frame)
        try:
            return self.handler(number, frame)
        except BaseException as error:
            if not self.run.keep(number, error):
                raise
        return None


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Guard:
    """``with`` it around the life of a driven runtime; then ask :meth:`raise_kept`. Does nothing
    outside the main thread, where no handler runs."""

    def __init__(self, stop_signals: Iterable[int]) -> None:
        self._stop = tuple(stop_signals)
        self._main = threading.current_thread() is threading.main_thread()
        if self._stop and not self._main:
            raise RuntimeError("stop_signals outside the main thread: signals reach that one only")
        self._owner = os.getpid()
        self._runtime: Runtime | None = None
        self._active = False
        self._kept: list[BaseException] = []

    def is_active(self) -> bool:
        """A forked child has nothing to stop."""
        return self._active and os.getpid() == self._owner

    def keep(self, number: int, error: BaseException) -> bool:
        """False where it is to be raised now."""
        if self._kept and number == signal.SIGINT:
            return False
        again = bool(self._kept)
        self._kept.append(error)
        if self._runtime is not None:
            if again:
                self._runtime.cancel_again()
            else:
                self._runtime.request_stop()
        return True

    def drives(self, runtime: Runtime) -> None:
        """What is to be stopped: at once if a handler has raised already."""
        self._runtime = runtime
        if self._kept:
            runtime.request_stop()

    def raise_kept(self) -> None:
        """The first of what handlers raised."""
        if self._kept:
            first = self._kept[0]
            self._kept.clear()
            try:
                raise first
            finally:
                del first  # Its traceback holds this frame.

    def adopt(self) -> None:
        """Also of handlers that were set meanwhile."""
        for number in _NUMBERS:
            handler = getsignal(number)
            if not callable(handler):
                continue  # The kernel's own ways, or not Python's.
            if isinstance(handler, _Deferred):
                if handler.run is self:
                    continue
                handler = handler.handler  # Of another run, which has ended.
            if not native.signal_watched(number):  # That would take it from spargio.signal.
                signal.signal(number, _Deferred(handler, self, handler))

    def __enter__(self) -> Guard:
        global _current
        if self._main:
            self._active = True
            _current = self
            for number in self._stop:
                signal.signal(number, _Deferred(_exit, self, getsignal(number) or signal.SIG_DFL))
            self.adopt()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _current
        if not self._main:
            return
        for number in _NUMBERS:
            handler = getsignal(number)
            ours = isinstance(handler, _Deferred) and handler.run is self
            if ours and not native.signal_watched(number):
                signal.signal(number, handler.before)
        self._active = False
        self._runtime = None
        _current = None


_current: Guard | None = None
"""Of the run on the main thread, if there is one."""


def _look(runtime: Runtime, shard: int) -> None:
    guard = _current
    if guard is not None and guard._runtime is runtime and guard.is_active():
        guard.adopt()


ShardHooks.signals = staticmethod(_look)
