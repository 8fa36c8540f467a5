"""Ctrl-C while a runtime is driven. As asyncio's runner does: the first one cancels, so that it
cannot strike between two steps of a clean-up; the second is an ordinary KeyboardInterrupt."""

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
    """While inside, SIGINT stops `runtime`; gives a list that is filled when it came. Leaves a
    handler alone that the program set itself, before or inside, and does nothing outside the main
    thread."""
    seen: list[int] = []
    owner = os.getpid()

    def handler(number: int, frame: FrameType | None) -> None:
        if seen or os.getpid() != owner:  # A forked child has nothing to stop.
            raise KeyboardInterrupt
        seen.append(number)
        runtime.request_stop()

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield seen
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield seen
    finally:
        if signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
