"""Signals while a runtime is driven. Ctrl-C as asyncio's runner has it: the first one cancels, so
that it cannot strike between two steps of a clean-up; the second is an ordinary KeyboardInterrupt.
And a signal that the kernel hands to another thread ends a wait of the driving one too."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from ._ffi.core import Runtime


@contextlib.contextmanager
def cancelling(runtime: Runtime) -> Iterator[list[int]]:
    """While inside, SIGINT stops `runtime`; gives a list that is filled when it came. Leaves alone
    what the program set itself, before or inside, and does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    wake_up, ctrl_c = _WakeUp(), _CtrlC(runtime)
    installed: tuple[_WakeUp | _CtrlC, ...] = (wake_up, ctrl_c)
    _installed.extend(installed)  # First: a child that is forked in between restores nothing.
    try:
        wake_up.install(runtime)
        ctrl_c.install()
        yield ctrl_c.seen
    finally:
        _installed.clear()
        for one in installed:
            one.restore()


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


class _CtrlC:
    def __init__(self, runtime: Runtime) -> None:
        seen: list[int] = []  # Not through `self` in the handler: that would be a cycle.

        def handler(number: int, frame: FrameType | None) -> None:
            if seen:
                raise KeyboardInterrupt
            seen.append(number)
            runtime.request_stop()

        self.seen = seen
        self._handler = handler

    def install(self) -> None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handler)

    def restore(self) -> None:
        if signal.getsignal(signal.SIGINT) is self._handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)


_installed: list[_WakeUp | _CtrlC] = []


def _in_child() -> None:
    """A forked child has nothing to stop, and wakes nobody here."""
    while _installed:
        _installed.pop().restore()


os.register_at_fork(after_in_child=_in_child)
