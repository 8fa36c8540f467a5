"""Signals while a runtime is driven. What a handler of the program raises (KeyboardInterrupt,
SystemExit) could strike between two steps of a clean-up, in a finalizer, which drops it, or in a
thread pool's bookkeeping, which then waits forever. So it is kept, every task is cancelled, and
``run`` raises it. Only a second Ctrl-C is raised at once: a way out of a task that never awaits.
And a signal that the kernel hands to another thread ends a wait of the driving one too."""

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


class _WakeUp:
    """Python's C handlers write a byte to a pipe, on whatever thread they run; shard 0 reads it."""

    def __init__(self) -> None:
        self._ends: tuple[int, ...] = ()

    def install(self, runtime: Runtime) -> None:
        try:
            self._ends = reader, writer = os.pipe2(os.O_CLOEXEC)
        except OSError:
            return  # No descriptor left: such a signal is found at the next look.
        os.set_blocking(writer, False)
        if (theirs := signal.set_wakeup_fd(writer, warn_on_full_buffer=False)) >= 0:
            signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
        else:
            runtime.signal_fd(reader)

    def restore(self) -> None:
        if not self._ends:
            return
        if (now := signal.set_wakeup_fd(-1)) not in (-1, self._ends[1]):
            signal.set_wakeup_fd(now, warn_on_full_buffer=False)
        ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)


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
        if not self.run.active:
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
        self._wake_up = _WakeUp()
        self._runtime: Runtime | None = None
        self.active = False
        self._kept: list[BaseException] = []

    def keep(self, number: int, error: BaseException) -> bool:
        """False if it is to be raised now."""
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
        if self._main:
            self._wake_up.install(runtime)
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
            self.active = True
            _current = self  # First: a child that is forked in between restores what there is.
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
        if self._main and self.active:  # In a forked child it is restored already.
            self.restore()

    def restore(self) -> None:
        """What was there before the run."""
        global _current
        for number in _NUMBERS:
            handler = getsignal(number)
            ours = isinstance(handler, _Deferred) and handler.run is self
            if ours and not native.signal_watched(number):
                signal.signal(number, handler.before)
        self._wake_up.restore()
        self.active = False
        self._runtime = None
        _current = None


_current: Guard | None = None
"""Of the run on the main thread, if there is one."""


def _look(runtime: Runtime, shard: int) -> None:
    guard = _current
    if guard is not None and guard._runtime is runtime:
        guard.adopt()


ShardHooks.signals = staticmethod(_look)


def _in_child() -> None:
    """A forked child has nothing to stop, and wakes nobody here."""
    if _current is not None:
        _current.restore()


os.register_at_fork(after_in_child=_in_child)
