"""The native half as Python sees it. The library makes the functions and types at import; `shapes`
tells type checkers what they are."""

from __future__ import annotations

import errno as errno_module
import os
from collections.abc import Awaitable, Coroutine
from types import AsyncGeneratorType, GeneratorType, ModuleType
from typing import TYPE_CHECKING, Any

from .. import errors
from . import constants, library, messages
from .types import Event as Event

if TYPE_CHECKING:
    from typing import TypeGuard

    from .shapes import (
        Descriptor as Descriptor,
    )
    from .shapes import (
        DirEntry as DirEntry,
    )
    from .shapes import (
        EntryBlock as EntryBlock,
    )
    from .shapes import (
        EntryStream as EntryStream,
    )
    from .shapes import (
        Exchange as Exchange,
    )
    from .shapes import (
        Functions as Functions,
    )
    from .shapes import (
        Future as Future,
    )
    from .shapes import (
        Incoming as Incoming,
    )
    from .shapes import (
        JoinHandle as JoinHandle,
    )
    from .shapes import (
        NativeJoinHandle as NativeJoinHandle,
    )
    from .shapes import (
        RecorderCore as RecorderCore,
    )
    from .shapes import (
        Runtime as Runtime,
    )
    from .shapes import (
        Segments as Segments,
    )
    from .shapes import (
        TimeLimit as TimeLimit,
    )
    from .shapes import (
        Timing as Timing,
    )
    from .shapes import (
        TlsEngine as TlsEngine,
    )
    from .shapes import (
        Walker as Walker,
    )


class ShardHooks:
    """Called on a shard's thread at its start (with the thread's name, None for a caller's thread)
    and end, when a closing runtime has one task left, and now and then if it looks for signals;
    set by the module that needs them."""

    attached: Any = None
    detached: Any = None
    last_task: Any = None
    signals: Any = None
    stack: Any = None
    join_elsewhere: Any = None
    """(JoinHandle) -> what awaits it in an asyncio loop that is not spargio's."""


def _join_elsewhere(job: object) -> Any:
    if not messages.in_asyncio() or ShardHooks.join_elsewhere is None:
        return None
    return ShardHooks.join_elsewhere(job)


def _attached(runtime: object, shard: int, name: str | None) -> None:
    if ShardHooks.attached is not None:
        ShardHooks.attached(runtime, shard, name)


def _detached(runtime: object, shard: int) -> None:
    if ShardHooks.detached is not None:
        ShardHooks.detached(runtime, shard)


def _last_task(runtime: object, shard: int) -> None:
    if ShardHooks.last_task is not None:
        ShardHooks.last_task(runtime, shard)


def _stack(handle: object, runtime: object) -> list[str]:
    found: list[str] = ShardHooks.stack(handle, runtime)
    return found


def _signals(runtime: object, shard: int) -> None:
    if ShardHooks.signals is not None:
        ShardHooks.signals(runtime, shard)


_ITERABLE_COROUTINE = 0x100


def is_awaitable(given: object) -> TypeGuard[Awaitable[Any]]:
    """As ``inspect.isawaitable``, whose module costs more than all of this package."""
    if isinstance(given, GeneratorType):  # Of types.coroutine().
        return bool(given.gi_code.co_flags & _ITERABLE_COROUTINE)
    return isinstance(given, Awaitable)


def adopt(given: object, taker: str = "spawn takes a coroutine") -> Any:
    """For spawns of something that is not a native coroutine: Cython's, or another awaitable."""
    if isinstance(given, Coroutine):
        return given
    if is_awaitable(given):
        awaitable = given

        async def run() -> object:
            return await awaitable

        return run()
    raise TypeError(f"{taker}, not {_kind(given)}")


def _kind(given: object) -> str:
    if isinstance(given, AsyncGeneratorType):
        return f"the asynchronous generator {given!r}: a coroutine iterates it, with `async for`"
    if isinstance(given, GeneratorType):
        return f"the generator {given!r}: define it with `async def`, or by types.coroutine()"
    if callable(given):
        return f"the function {given!r}: call it"
    return repr(given)


def _os_error(number: int, text: str | None, filename: object) -> OSError:
    if number == errno_module.EPERM and text is None and native.submits_as_other():
        text = (
            "io_uring_sqpoll's kernel thread keeps the rights of the one that started the runtime, "
            "and this thread's user or group is another one now: start it after that change, or "
            "without io_uring_sqpoll"
        )
    if number == errno_module.EAGAIN and text is None and filename is not None:
        text = (
            "the kernel could make no thread for it: raise the limit of processes and threads "
            "(`ulimit -u`, pids.max of the control group)"
        )
    words = os.strerror(number) if text is None else f"{os.strerror(number)}: {text}"
    if isinstance(filename, tuple):  # Two paths: a rename, a link.
        return OSError(number, words, filename[0], None, filename[1])
    return OSError(number, words) if filename is None else OSError(number, words, filename)


_ERRNO_BASE = -4096


def _spargio_error(code: int) -> BaseException:
    text = library.strerror(code)
    if code <= _ERRNO_BASE:
        number = _ERRNO_BASE - code
        return OSError(number, os.strerror(number))
    if code == constants.E_NOMEM:
        return MemoryError(text)
    classes: dict[int, type[Exception]] = {
        constants.E_OVERLOADED: errors.Overloaded,
        constants.E_CLOSED: errors.RuntimeClosed,
        constants.E_CANCELLED: errors.TaskCancelled,
        constants.E_ON_SHARD: RuntimeError,
    }
    if code == constants.E_CLOSED:
        text = "the runtime is shutting down: it takes no new tasks"
    return classes.get(code, errors.SpargioError)(text)


class Sign:
    """A value that is nothing but itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


# For annotations; the type itself is the library's.
if not TYPE_CHECKING:
    Exchange = Any

NOTHING: Any = Sign("NOTHING")
CLOSED: Any = Sign("CLOSED")
"""What an exchange returns: there is nothing now; there never will be."""


_made = library.start_bridge(
    {
        "CancelledError": errors.CancelledError,
        "TaskCancelled": errors.TaskCancelled,
        "Overloaded": errors.Overloaded,
        "ClosedError": errors.ClosedError,
        "BusyError": errors.BusyError,
        "SpargioError": errors.SpargioError,
        "IncompleteReadError": errors.IncompleteReadError,
        "NOTHING": NOTHING,
        "CLOSED": CLOSED,
        "Event": Event,
        "adopt": adopt,
        "attached": _attached,
        "detached": _detached,
        "last_task": _last_task,
        "origin": messages.origin,
        "outside": messages.outside,
        "join_elsewhere": _join_elsewhere,
        "foreign": messages.foreign,
        "no_buffer": messages.no_buffer,
        "other_loop": messages.other_loop,
        "run_twice": messages.run_twice,
        "explain": messages.explain,
        "signals": _signals,
        "stack": _stack,
        "os_error": _os_error,
        "spargio_error": _spargio_error,
    }
)

# A module: without a GIL its references are not counted, those of another object by all shards.
native: Functions = ModuleType("native")
vars(native).update(_made)

if not TYPE_CHECKING:
    JoinHandle = _made["JoinHandle"]
    NativeJoinHandle = _made["NativeJoinHandle"]
    Descriptor = _made["Descriptor"]
    Future = _made["Future"]
    Runtime = _made["Runtime"]
    RecorderCore = _made["RecorderCore"]
    DirEntry = _made["DirEntry"]
