"""What is asked of the kernel for a thread or a process: its time slice, its end."""

from __future__ import annotations

import ctypes
import os
import platform
import signal

_PR_SET_PDEATHSIG = 1
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


def die_with_parent(parent: int) -> None:
    """In a new child, before its program: the kernel kills it when the thread that started it is
    gone, however that ended. `parent` is the number of that process, which may be gone already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
