"""What runs, and what it waits for: the tasks of a runtime with the stacks of their awaits. A stack
is read on the task's own shard, between two polls: reading a coroutine that runs on another thread
is a race. A shard that does not answer is blocked, and its thread's stack says where."""

from __future__ import annotations

import gc
import linecache
import os
import sys
import time
from types import AsyncGeneratorType, CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _threads
from ._asyncgens import local
from ._blocking import spawn_blocking
from ._ffi import constants
from ._ffi.core import Future, JoinHandle, Runtime, native

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("TaskInfo", "stack_of_task", "tasks")

DEPTH_MAX = 100
_COLLECTOR = "spargio: tasks"
_PACKAGE = os.path.dirname(__file__) + os.sep


class TaskInfo(NamedTuple):
    """One task that has begun and not ended, or a shard that is blocked."""

    name: str
    """As it was spawned, or that of its coroutine."""
    shard: int
    state: str
    """``"waiting"``, ``"ready"`` (it will run soon), ``"running"``, or ``"ending"`` (its operations
    are being cancelled). ``"blocked"``: the shard has not answered; `stack` is its thread's."""
    age: float
    """Seconds since it was spawned; 0.0 for C functions, and a blocked shard."""
    waits_for: str
    """What it awaits: an operation with its descriptor, another task, a lock, a timer; or empty."""
    stack: list[str]
    """Its awaits, outermost call first, as in a traceback."""
    spawned_at: list[str]
    """In debug mode: where its coroutine was made."""


def tasks(runtime: Runtime, timeout: float) -> Future[list[TaskInfo]]:
    """On a thread of the pool, because shards must not wait for each other."""
    return spawn_blocking(collect, runtime, timeout)


def collect(runtime: Runtime, timeout: float) -> list[TaskInfo]:
    """On a thread that may wait. Each shard has until `timeout` seconds from now."""
    deadline = time.monotonic() + timeout
    jobs = [
        runtime.spawn(constants.PLACE_PINNED, shard, _tasks_here(shard), _COLLECTOR)
        for shard in range(runtime.shard_count())
    ]
    found: list[TaskInfo] = []
    for shard, job in enumerate(jobs):
        try:
            found += job.result(max(deadline - time.monotonic(), 0.001))
        except TimeoutError:
            job.cancel()
            found.append(_blocked(runtime, shard))
    return found


async def _tasks_here(shard: int) -> list[TaskInfo]:
    own = native.current_task()
    return [
        _info(shard, handle, coroutine, state, age_ns, until)
        for handle, coroutine, _, state, age_ns, until in native.tasks_here()
        if handle is not own and (handle is None or handle.name != _COLLECTOR)
    ]


def _info(
    shard: int, handle: JoinHandle[Any] | None, coroutine: Any, state: str, age_ns: int, until: int
) -> TaskInfo:
    if handle is None:
        return TaskInfo("(a C function)", shard, state, 0.0, "", [], [])
    name = handle.name or getattr(coroutine, "__qualname__", None) or repr(coroutine)
    frames, awaited = _chain(coroutine)
    waits_for = ""
    if state == "waiting":
        waits_for = "" if awaited is None else _words(awaited, coroutine)
        if until >= 0:
            waits_for += f", {until / 1e9:.3f} s left"
    origin = getattr(coroutine, "cr_origin", None) or ()
    made = [_line(file, line, function) for file, line, function in reversed(origin)]
    return TaskInfo(name, shard, state, age_ns / 1e9, waits_for, frames, made)


def _words(awaited: object, coroutine: object) -> str:
    """Its repr without what says that it is one; of a future, also the function that made it
    wait."""
    try:
        text = repr(awaited)
    except Exception as error:  # Of a class of the program's.
        text = f"<{type(awaited).__name__}, whose repr raises {type(error).__name__}>"
    if text.startswith("<Operation "):
        text = text.removeprefix("<Operation ").removesuffix(">").removesuffix(", under way")
    elif isinstance(awaited, Future):
        text = _entry(coroutine) or text
    return text


def _entry(coroutine: object) -> str:
    """The spargio function that the program awaits: ``Lock.acquire``."""
    link: object = coroutine
    for _ in range(DEPTH_MAX):
        frame, below = _link(link)
        if frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            name = _function(frame.f_code)
            if name != "_drive.<locals>.whole":
                return name
        if below is None:
            break
        link = below
    return ""


def _chain(coroutine: object) -> tuple[list[str], object]:
    """The lines of a suspended coroutine and of what it awaits in turn, and the last of these."""
    frames: list[FrameType] = []
    link: object = coroutine
    for _ in range(DEPTH_MAX):
        frame, below = _link(link)
        if frame is not None:
            frames.append(frame)
        elif below is None:
            return _lines(frames), (None if link is coroutine else link)
        if below is None:
            return _lines(frames), None
        link = below
    return [*_lines(frames), "  ...\n"], None


def _lines(frames: Sequence[FrameType]) -> list[str]:
    """Of the program's own frames; of all, if it has none there."""
    own = [one for one in frames if not one.f_code.co_filename.startswith(_PACKAGE)]
    return [
        _line(one.f_code.co_filename, one.f_lineno, _function(one.f_code)) for one in own or frames
    ]


def _link(one: object) -> tuple[FrameType | None, object]:
    """A frame, and what it awaits."""
    for prefix in ("cr", "gi", "ag"):
        if hasattr(one, f"{prefix}_frame"):
            below = "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await"
            return getattr(one, f"{prefix}_frame"), getattr(one, below)
    if type(one).__name__ in ("coroutine_wrapper", "async_generator_asend", "anext_awaitable"):
        for held in gc.get_referents(one):  # These say nothing of what they drive.
            if hasattr(held, "cr_frame") or isinstance(held, AsyncGeneratorType):
                return None, held
    return None, None


def _function(code: CodeType) -> str:
    return getattr(code, "co_qualname", code.co_name)


def _line(file: str, line: int, function: str) -> str:
    source = linecache.getline(file, line).strip()
    return f'  File "{file}", line {line}, in {function}\n' + (f"    {source}\n" if source else "")


def _blocked(runtime: Runtime, shard: int) -> TaskInfo:
    ident = _threads.idents.get((id(runtime), shard))
    frame = None if ident is None else sys._current_frames().get(ident)
    frames: list[FrameType] = []
    while frame is not None and len(frames) < DEPTH_MAX:
        frames.append(frame)
        frame = frame.f_back
    return TaskInfo(f"(shard {shard})", shard, "blocked", 0.0, "", _lines(frames[::-1]), [])


def stack_of_task(handle: JoinHandle[Any], runtime: Runtime) -> list[str]:
    """For :meth:`JoinHandle.stack`."""
    shard = handle.shard
    if shard is None:
        return []
    here = getattr(local, "runtime", None)
    if here is runtime and native.current_shard() == shard:
        return _stack_here(handle)
    if here is not None:
        raise RuntimeError(
            f"stack() of a task of shard {shard}: this is another shard, which must not wait for "
            "it. Use `await handle.tasks()`"
        )

    async def there() -> list[str]:
        return _stack_here(handle)

    return runtime.spawn(constants.PLACE_PINNED, shard, there(), _COLLECTOR).result(1.0)


def _stack_here(handle: JoinHandle[Any]) -> list[str]:
    coroutine = native.coroutine_of(handle)
    if coroutine is None:
        return []
    if handle is not native.current_task():
        return _chain(coroutine)[0]
    # It asks for itself.
    first = getattr(coroutine, "cr_frame", None)
    lines: list[str] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if lines or not frame.f_code.co_filename.startswith(_PACKAGE):
            code = frame.f_code
            lines.append(_line(code.co_filename, frame.f_lineno, _function(code)))
        if frame is first:
            break
        frame = frame.f_back
    return lines[::-1]
