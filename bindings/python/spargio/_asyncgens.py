"""Asynchronous generators: one that is dropped half way gets its ``aclose`` run as a task, and
those that are left at the end of ``run`` are closed before it returns (PEP 525)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import AsyncGenerator
from typing import Any

from . import _threads
from ._ffi.core import Runtime, ShardHooks

_ORIGIN_DEPTH = 10
"""In debug mode the warning about a coroutine that was never awaited says where it was made."""

local = threading.local()
"""``local.runtime`` on a shard's thread: the native runtime it belongs to."""

_open: weakref.WeakKeyDictionary[AsyncGenerator[Any, Any], Runtime] = weakref.WeakKeyDictionary()
"""Used in steps that are whole by themselves: a finalizer may begin a generator in between."""

try:
    from sniffio import thread_local as _sniffio
except ImportError:  # Only those who detect the library have it.
    _sniffio = None  # type: ignore[assignment]


def _first_iteration(generator: AsyncGenerator[Any, Any]) -> None:
    _open[generator] = local.runtime


def _finalize(generator: AsyncGenerator[Any, Any]) -> None:
    runtime: Runtime | None = getattr(local, "runtime", None)
    if runtime is not None:
        runtime.spawn_cleanup(generator.aclose(), "aclose of a dropped generator")
        return
    # Dropped on a thread that is no shard: its clean-up runs as long as it awaits nothing; an of
    # our awaitables says where it belongs, and the interpreter reports that.
    with contextlib.suppress(StopIteration):
        generator.aclose().send(None)


def _last_task(runtime: Runtime, shard: int) -> None:
    """All tasks have ended, and with them the generators that they held: what is left is
    held elsewhere, and closed by tasks of its own."""
    for reference in _open.keyrefs():
        generator = reference()
        if generator is not None and _open.get(generator) is runtime:
            del _open[generator]
            runtime.spawn_cleanup(generator.aclose(), "aclose of a generator at the end")


def _attached(runtime: Runtime, shard: int, name: str | None) -> None:
    local.saved_hooks = sys.get_asyncgen_hooks()
    local.runtime = runtime
    local.saved_depth = sys.get_coroutine_origin_tracking_depth()
    if runtime.debugging() and not local.saved_depth:
        sys.set_coroutine_origin_tracking_depth(_ORIGIN_DEPTH)
    sys.set_asyncgen_hooks(firstiter=_first_iteration, finalizer=_finalize)
    if _sniffio is not None:
        local.saved_sniffio = getattr(_sniffio, "name", None)
        _sniffio.name = "spargio"
    _threads.idents[id(runtime), shard] = threading.get_ident()
    if name is not None:
        _threads.enter(name)


def _detached(runtime: Runtime, shard: int) -> None:
    _forget()
    _threads.idents.pop((id(runtime), shard), None)
    _threads.leave()


def _forget() -> None:
    if getattr(local, "runtime", None) is None:
        return  # A forked child that came back to run().
    if not hasattr(local, "saved_hooks"):  # A fork in an asyncio loop, whose hooks are asyncio's.
        del local.runtime
        return
    sys.set_asyncgen_hooks(*local.saved_hooks)
    sys.set_coroutine_origin_tracking_depth(local.saved_depth)
    if _sniffio is not None:
        _sniffio.name = local.saved_sniffio
    del local.runtime, local.saved_hooks, local.saved_depth
    local.__dict__.pop("loop", None)  # Of spargio.anyio.


# A child that was forked in a task is no shard: it may start a runtime of its own.
os.register_at_fork(after_in_child=_forget)

ShardHooks.attached = staticmethod(_attached)
ShardHooks.detached = staticmethod(_detached)
ShardHooks.last_task = staticmethod(_last_task)


def current_runtime() -> Runtime:
    runtime: Runtime | None = getattr(local, "runtime", None)
    if runtime is None:
        raise RuntimeError("not on a shard: this works only in a task of spargio")
    return runtime
