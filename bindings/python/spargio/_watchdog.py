"""Threads beside the shards of a runtime, which end with it; and that of debug mode, which says
which task blocks a shard, and where it is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from ._ffi.core import Runtime

_threads: dict[Runtime, list[threading.Thread]] = {}


def beside(runtime: Runtime, function: Callable[[Runtime], None], name: str) -> None:
    """Run ``function(runtime)`` on a thread; it ends when the runtime has stopped."""
    thread = threading.Thread(target=function, args=(runtime,), name=name, daemon=True)
    _threads.setdefault(runtime, []).append(thread)
    thread.start()


def start(runtime: Runtime) -> None:
    beside(runtime, _watch, "spargio-watch")


def join(runtime: Runtime) -> None:
    """After the runtime has stopped: nothing of it runs Python any more."""
    for thread in _threads.pop(runtime, ()):
        if thread is not threading.current_thread():  # The collector may call this on any.
            thread.join()


def leave(runtime: Runtime) -> None:
    """For a thread that must not wait: they end with the runtime, and hold that until then."""
    _threads.pop(runtime, None)


def _watch(runtime: Runtime) -> None:
    while (found := runtime.watch()) is not None:
        try:
            _tell(*found)
        except Exception:  # Of a handler or filter that the program set.
            error = (*sys.exc_info(), threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(error))
            del error
        del found  # The wait would keep the frames alive.


def _tell(shard: int, name: str | None, coroutine: Any, thread: int, ns: int) -> None:
    who = "a C function" if name is None else f"task {name!r}"
    stack = _stack(coroutine, thread)
    import logging

    log = logging.getLogger("spargio")
    log.warning("%s has blocked shard %d for %.3f s%s", who, shard, ns / 1e9, stack)


def _stack(coroutine: Any, thread: int) -> str:
    """The thread's stack from the task's own coroutine on."""
    if coroutine is None:
        return ""
    frame = sys._current_frames().get(thread)
    first = getattr(coroutine, "cr_frame", None)
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        if frame is first:
            break
        frame = frame.f_back
    if first is not None and frame is None:
        return ""  # It has gone on meanwhile.
    return ":\n" + _lines(frames[::-1])


def _lines(frames: list[FrameType]) -> str:
    """As in a traceback. Without the source if its modules cannot be imported any more, because
    the program changed its root or its user."""
    try:
        import traceback

        lines = traceback.StackSummary.extract((one, one.f_lineno) for one in frames).format()
    except ImportError:
        lines = [
            f'  File "{one.f_code.co_filename}", line {one.f_lineno}, in {one.f_code.co_name}\n'
            for one in frames
        ]
    return "".join(lines).rstrip()
