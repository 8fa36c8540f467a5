"""How the kernel schedules a thread."""

from __future__ import annotations

import ctypes
import os
import platform

_NUMBERS = {"x86_64": 314, "aarch64": 274}  # sched_setattr(2)


class _SchedAttr(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def set_slice(ns: int) -> bool:
    """Ask for a time slice of `ns` (100,000 to 100,000,000; 0: the usual one) for this thread, so
    that it runs soon after a wake-up: Linux 6.12 and newer. False if the kernel has no such thing.
    Needs no right."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attr = _SchedAttr(size=ctypes.sizeof(_SchedAttr), nice=nice, runtime=ns)
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(number, 0, ctypes.byref(attr), 0)) == 0
