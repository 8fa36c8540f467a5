"""What the bridge says if a program uses it in the wrong place: errors that name the way out."""

from __future__ import annotations

import os
import sys
from types import CoroutineType

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ORIGIN_DEPTH = 10


def origin() -> str:
    """Where the code is that called, without what is spargio's own; in debug mode only."""
    import traceback

    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    stack = traceback.StackSummary.extract(
        traceback.walk_stack(frame), limit=_ORIGIN_DEPTH, lookup_lines=False
    )
    stack.reverse()
    return "made at (most recent call last):\n" + "".join(stack.format())


def outside(what: str) -> RuntimeError:
    """No task of spargio runs here."""
    if in_asyncio_of_ours():
        return RuntimeError(_in_asyncio_of_ours(what))
    text = (
        f"{what} outside a spargio task: it works only in a coroutine that spargio.run() or a "
        "spawn method runs"
    )
    handle = any(word in what for word in ("JoinHandle", "native task", "future"))
    if in_asyncio():
        text += ". An asyncio loop of another kind runs here: " + (
            "`await asyncio.to_thread(handle.result)` has the outcome"
            if handle
            else "run the program on spargio's, asyncio.run(main(), "
            "loop_factory=spargio.asyncio.new_event_loop), or the coroutine on a spargio.Runtime "
            "beside it, `await handle.spawn(coroutine)`"
        )
    elif handle:
        text += ". On an ordinary thread call result()"
    return RuntimeError(text)


def in_asyncio() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def in_asyncio_of_ours() -> bool:
    """Whether spargio's asyncio loop runs here."""
    ours = sys.modules.get("spargio.asyncio._loop")
    if ours is None:
        return False
    return isinstance(sys.modules["asyncio"]._get_running_loop(), ours.EventLoop)


def _in_asyncio_of_ours(what: str) -> str:
    if what == "timeout()":
        return (
            "spargio's timeout(), move_on_after() and TaskGroup are for spargio's own tasks, and "
            "an asyncio task runs here: use asyncio.timeout() and asyncio.TaskGroup"
        )
    return (
        f"{what} outside a task: on spargio's asyncio loop it works in asyncio's tasks, "
        "where it is awaited"
    )


def other_loop() -> RuntimeError | None:
    """A task awaits in its own loop, which blocks the shard: it would wait forever."""
    if not in_asyncio():
        return None
    return RuntimeError(
        "a spargio task runs an asyncio loop, which cannot wait for spargio's awaitables: call "
        "asyncio.run() by spargio.spawn_blocking(asyncio.run, coroutine), with asyncio's own in it"
    )


_INSTEAD = {
    "asyncio": "This is asyncio's, which needs its own loop",
    "trio": "This is trio's, which needs its own loop",
    "concurrent": "This is a thread pool's: `spargio.spawn_blocking(future.result)` waits for it",
}


def foreign(value: object) -> RuntimeError:
    """A task awaited what yields `value`."""
    kind = type(value)
    origin = kind.__module__.split(".")[0].lstrip("_")
    why = f". {_INSTEAD[origin]}" if origin in _INSTEAD else ""
    if value is None:
        why = ". asyncio.sleep(0) yields None: spargio.yield_now() gives way"
    return RuntimeError(
        f"a spargio task awaited something that yields {kind.__name__[:200]}: only awaitables of "
        f"spargio can be awaited here (spargio.sleep, spargio.net, spargio.TaskGroup, ...){why}"
    )


_NO_LOOP = (
    "no running event loop",
    "should be used inside a task",
    "cannot determine the parent task",
    "'NoneType' object has no attribute 'create_future'",
)
_WAY_OUT = (
    "a spargio task runs here, and no asyncio loop: use spargio's own (spargio.sleep, "
    "spargio.timeout, spargio.TaskGroup, spargio.sync, spargio.net), or run a program that is "
    "written for asyncio by spargio.asyncio.run(main())"
)


def explain(error: BaseException) -> None:
    """A task ends with it: what asyncio raises without a loop does not say why there is none."""
    text = error.args[0] if error.args else None
    if not isinstance(text, str) or not any(words in text for words in _NO_LOOP):
        return
    if sys.version_info >= (3, 11):
        if _WAY_OUT not in getattr(error, "__notes__", ()):
            error.add_note(_WAY_OUT)
    elif _WAY_OUT not in text:
        error.args = (f"{text}: {_WAY_OUT}", *error.args[1:])


def no_buffer(error: BaseException, given: object, writable: bool) -> BaseException:
    """`given` exports no buffer, or none that may be written to."""
    kind = type(given).__name__
    if isinstance(error, BufferError) and writable:
        return BufferError(
            f"buffer is a {kind}, which is read-only: a read needs a writable one, as a bytearray"
        )
    if not isinstance(error, TypeError):
        return error
    way = "; text.encode() makes bytes of a str" if isinstance(given, str) else ""
    return TypeError(
        f"data must be a bytes-like object (bytes, bytearray, memoryview), got {_short(given)}{way}"
    )


def _short(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


def run_twice(coroutine: object, error: BaseException) -> BaseException:
    """A coroutine's first step failed with `error`, and ran no line of it."""
    if not isinstance(coroutine, CoroutineType) or not isinstance(
        error, (RuntimeError, ValueError)
    ):
        return error
    name = coroutine.__qualname__
    better = RuntimeError(
        f"{error}: a coroutine runs once, and this one was spawned or awaited before. Call "
        f"{name}() anew for each task"
    )
    better.__cause__ = error
    return better
