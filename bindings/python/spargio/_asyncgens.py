"""Asynchronous generators: one that is dropped half way gets its ``aclose`` run as a task, and those
that are left at the end of ``run`` are closed before it returns (PEP 525)."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import AsyncGenerator
from typing import Any

from ._ffi import constants
from ._ffi.core import Runtime, ShardHooks

local = threading.local()
"""``local.runtime`` on a shard's thread: the native runtime it belongs to."""

_open: weakref.WeakKeyDictionary[AsyncGenerator[Any, Any], None] = weakref.WeakKeyDictionary()
_lock = threading.Lock()

try:
    from sniffio import thread_local as _sniffio
except ImportError:  # Only those who detect the library have it.
    _sniffio = None  # type: ignore[assignment]


def _first_iteration(generator: AsyncGenerator[Any, Any]) -> None:
    with _lock:
        _open[generator] = None


def _finalize(generator: AsyncGenerator[Any, Any]) -> None:
    runtime: Runtime | None = getattr(local, "runtime", None)
    if runtime is not None and not runtime.closing():
        close = generator.aclose()
        runtime.spawn(constants.PLACE_PINNED, local.shard, close, "aclose of a dropped generator")
        return
    _close_now(generator)


def _close_now(generator: AsyncGenerator[Any, Any]) -> None:
    """Without a runtime its clean-up can run as long as it awaits nothing."""
    close = generator.aclose()
    try:
        close.send(None)
    except StopIteration:
        return
    close.close()
    raise RuntimeError(f"{generator!r} awaited in its clean-up while the runtime was closing")


async def close_all() -> None:
    """Close the generators that are suspended; those that run belong to tasks that will be ended."""
    with _lock:
        left = [g for g in _open if not g.ag_running]  # type: ignore[attr-defined]
    for generator in left:
        await generator.aclose()


def _attached(runtime: Runtime, shard: int) -> None:
    local.saved_hooks = sys.get_asyncgen_hooks()
    local.runtime = runtime
    local.shard = shard
    sys.set_asyncgen_hooks(firstiter=_first_iteration, finalizer=_finalize)
    if _sniffio is not None:
        local.saved_sniffio = getattr(_sniffio, "name", None)
        _sniffio.name = "spargio"


def _detached(runtime: Runtime, shard: int) -> None:
    sys.set_asyncgen_hooks(*local.saved_hooks)
    if _sniffio is not None:
        _sniffio.name = local.saved_sniffio
    del local.runtime, local.shard, local.saved_hooks


ShardHooks.attached = staticmethod(_attached)
ShardHooks.detached = staticmethod(_detached)
