"""spargio: a work-stealing async runtime for Linux on io_uring.

Coroutines run on *shards*: threads with a ring and a scheduler each. Importing makes no io_uring
call; a runtime does when it starts. The parts (``fs``, ``net``, ``process``, ...) load when they
are first used; :func:`preload` loads them all.
"""

from __future__ import annotations

from . import (
    asyncio,
    boundary,
    extension,
    fs,
    io,
    latency,
    net,
    process,
    signal,
    sync,
    tls,
    uring,
)
from ._blocking import spawn_blocking
from ._ffi.core import Future, JoinHandle, NativeJoinHandle
from ._ffi.library import version as _version
from ._lazy import preload
from .cancellation import CancellationToken, shield
from .errors import (
    BusyError,
    CancelledError,
    ClosedError,
    IncompleteReadError,
    Overloaded,
    RuntimeClosed,
    SpargioError,
    TaskCancelled,
)
from .groups import TaskGroup, TaskStatus
from .messages import Event, RemoteShard, RingMsg, ShardCtx
from .options import IdleStrategy, RuntimeBuilder
from .placement import TaskPlacement
from .probe import ProbeInfo, probe
from .runtime import (
    Runtime,
    RuntimeHandle,
    current_handle,
    current_shard,
    current_task,
    main,
    run,
    run_local_on,
    run_with,
)
from .stats import RuntimeStats, ShardStats
from .time import (
    Interval,
    MissedTickBehavior,
    Sleep,
    interval,
    interval_at,
    move_on_after,
    sleep,
    sleep_until,
    timeout,
    timeout_at,
    yield_now,
)

__version__ = _version()

__all__ = (
    "BusyError",
    "CancellationToken",
    "CancelledError",
    "ClosedError",
    "Event",
    "Future",
    "IdleStrategy",
    "IncompleteReadError",
    "Interval",
    "JoinHandle",
    "MissedTickBehavior",
    "NativeJoinHandle",
    "Overloaded",
    "ProbeInfo",
    "RemoteShard",
    "RingMsg",
    "Runtime",
    "RuntimeBuilder",
    "RuntimeClosed",
    "RuntimeHandle",
    "RuntimeStats",
    "ShardCtx",
    "ShardStats",
    "Sleep",
    "SpargioError",
    "TaskCancelled",
    "TaskGroup",
    "TaskPlacement",
    "TaskStatus",
    "asyncio",
    "boundary",
    "current_handle",
    "current_shard",
    "current_task",
    "extension",
    "fs",
    "interval",
    "interval_at",
    "io",
    "latency",
    "main",
    "move_on_after",
    "net",
    "preload",
    "probe",
    "process",
    "run",
    "run_local_on",
    "run_with",
    "shield",
    "signal",
    "sleep",
    "sleep_until",
    "spawn_blocking",
    "sync",
    "timeout",
    "timeout_at",
    "tls",
    "uring",
    "yield_now",
)
