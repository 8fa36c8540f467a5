"""spargio: a work-stealing async runtime for Linux on io_uring.

Coroutines run on *shards*: threads with a ring and a scheduler each. Importing makes no io_uring
call; a runtime does when it starts.
"""

from __future__ import annotations

from . import fs, net
from ._blocking import spawn_blocking
from ._ffi.core import Future, JoinHandle, NativeJoinHandle
from ._ffi.library import version as _version
from .errors import (
    CancelledError,
    ClosedError,
    IncompleteReadError,
    Overloaded,
    RuntimeClosed,
    SpargioError,
    TaskCancelled,
)
from .options import IdleStrategy, RuntimeBuilder
from .placement import TaskPlacement
from .probe import ProbeInfo, probe
from .runtime import Runtime, RuntimeHandle, current_handle, current_shard, main, run, run_with
from .stats import RuntimeStats, ShardStats
from .time import sleep, timeout, yield_now

__version__ = _version()

__all__ = (
    "CancelledError",
    "ClosedError",
    "Future",
    "IdleStrategy",
    "IncompleteReadError",
    "JoinHandle",
    "NativeJoinHandle",
    "Overloaded",
    "ProbeInfo",
    "Runtime",
    "RuntimeBuilder",
    "RuntimeClosed",
    "RuntimeHandle",
    "RuntimeStats",
    "ShardStats",
    "SpargioError",
    "TaskCancelled",
    "TaskPlacement",
    "current_handle",
    "current_shard",
    "fs",
    "main",
    "net",
    "probe",
    "run",
    "run_with",
    "sleep",
    "spawn_blocking",
    "timeout",
    "yield_now",
)
