"""Starts the native runtime, and says so if it could not get what it could have: io_uring, rings
of the wanted size, or anything at all."""

from __future__ import annotations

import errno
import os
import sys

from . import _watchdog
from ._ffi import constants
from ._ffi.core import Runtime, native
from .time import FOREVER_NS

_NAMES = {constants.BACKEND_IO_URING: "io_uring", constants.BACKEND_EPOLL: "epoll"}

RAISE_MEMLOCK = (
    "raise it (`ulimit -l`, /etc/security/limits.d, LimitMEMLOCK= of systemd, --ulimit memlock= of "
    "Docker), or use fewer shards or smaller ring_entries."
)
RAISE_FILES = "raise it (`ulimit -n`, /etc/security/limits.d, LimitNOFILE= of systemd)"


def start(address: int, *, driven: bool, debug: bool, ring_entries: int) -> Runtime:
    """With the options at `address`, whose `ring_entries` it compares with what it got."""
    try:
        runtime = native.start(address, int(driven), int(debug))
    except OSError as error:
        assert error.errno is not None
        call = str(error.strerror).rpartition(": ")[2]
        raise OSError(error.errno, f"{error.strerror}. {_advice(error.errno, call)}") from None
    _, reason, entries, call = runtime.backend()
    _report(reason, entries, ring_entries, call)
    if debug:
        _watchdog.start(runtime)
    return runtime


def begin_beside(runtime: Runtime, *, monitored: bool, blocked_ms: int | None) -> None:
    """The threads that answer a monitor, and that log what blocks a shard."""
    if monitored:
        from . import _monitor

        try:
            _monitor.start(runtime)
        except BaseException:
            runtime.shutdown(FOREVER_NS)
            raise
    if blocked_ms is not None:
        from . import _blocked_log

        seconds = blocked_ms / 1000
        _watchdog.beside(runtime, lambda one: _blocked_log.watch(one, seconds), "spargio-blocked")


def _report(reason: int, entries: int, wanted: int, call: str) -> None:
    """In the log, if it is less than was wanted."""
    if not reason and entries >= wanted:
        return
    warning = (
        "valgrind keeps its lock while a thread is in io_uring_enter; using the epoll backend. "
        "SPARGIO_BACKEND=epoll or backend='epoll' chooses it without this warning."
        if call == "valgrind"
        else f"io_uring is not available ({errno.errorcode.get(reason, reason)}: "
        f"{os.strerror(reason)}) by {call}; using the slower epoll backend instead. "
        f"{_advice(reason, call)} SPARGIO_BACKEND=epoll or backend='epoll' chooses it without this "
        "warning."
    )
    try:
        import logging
    except ImportError:  # The program changed its root or its user. So nobody has set it up either.
        if reason:
            print(warning, file=sys.stderr)
        return
    log = logging.getLogger("spargio")
    if reason:
        log.warning("%s", warning)
    else:
        log.info("rings have %d entries. %s", entries, _advice(errno.ENOMEM, call))


def backend_name(runtime: Runtime) -> str:
    return _NAMES[runtime.backend()[0]]


def _advice(reason: int, call: str) -> str:
    """Which limit that call met, and how to raise it."""
    of_rings = call.startswith("io_uring")
    if of_rings and reason in (errno.EPERM, errno.EACCES):
        return (
            "Allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, or "
            "set the sysctl kernel.io_uring_disabled to 0."
        )
    if of_rings and reason == errno.ENOSYS:
        return (
            "The kernel has no io_uring (Linux 5.19 or newer is needed), or a seccomp profile "
            "hides it: allow io_uring_setup, io_uring_enter and io_uring_register."
        )
    if reason in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        return f"Allow {call} in the seccomp profile."
    if reason == errno.ENOMEM and call == "io_uring_setup" and not _locks_freely():
        return (
            f"The limit of locked memory, for the rings of all processes of this user, is "
            f"{_limit('RLIMIT_MEMLOCK', 1024, ' KiB')}: {RAISE_MEMLOCK}"
        )
    if reason == errno.ENOMEM:
        return (
            f"The kernel has no memory for it: the limit of address space is "
            f"{_limit('RLIMIT_AS', 1024, ' KiB')} (`ulimit -v`), and the control group may "
            "have one (memory.max, --memory of Docker)."
        )
    if reason == errno.ENFILE:
        return "The system's limit of open files is reached: raise the sysctl fs.file-max."
    if reason == errno.ENOSPC and call == "epoll_ctl":
        return "This user watches too much: raise the sysctl fs.epoll.max_user_watches."
    if reason == errno.EMFILE:
        return (
            f"The limit of open files is {_limit('RLIMIT_NOFILE')}: {RAISE_FILES}, or use fewer "
            "shards."
        )
    if reason == errno.EAGAIN:
        return (
            f"The limit of processes and threads of this user is {_limit('RLIMIT_NPROC')}: "
            "raise it (`ulimit -u`, TasksMax= of systemd, --pids-limit of Docker), or use fewer "
            "shards."
        )
    return "`spargio doctor` says what it needs."


def _locks_freely() -> bool:
    """Whether no limit of locked memory holds for this process: CAP_IPC_LOCK."""
    if _limit("RLIMIT_MEMLOCK") == "unlimited":
        return True
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return False
    return bool(int(line.split()[1], 16) >> 14 & 1)


def _limit(which: str, unit: int = 1, name: str = "") -> str:
    try:
        import resource
    except ImportError:
        return "not known after a change of the root or the user"
    value, _ = resource.getrlimit(getattr(resource, which))
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value // unit}{name}"
