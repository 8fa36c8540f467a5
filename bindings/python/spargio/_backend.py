"""Starts the native runtime, and says so where it could not get what it could have: io_uring, rings
of the wanted size, or anything at all."""

from __future__ import annotations

import errno
import os
import sys

from . import _watch
from ._ffi import constants
from ._ffi.core import Runtime, native
from .options import RuntimeBuilder

_NAMES = {constants.BACKEND_IO_URING: "io_uring", constants.BACKEND_EPOLL: "epoll"}


def start(builder: RuntimeBuilder, *, driven: bool) -> Runtime:
    debug = builder.is_debug()
    try:
        runtime = native.start(builder.address(), int(driven), int(debug))
    except OSError as error:
        assert error.errno is not None
        raise OSError(error.errno, f"{error.strerror}. {_advice(error.errno)}") from None
    _, reason, entries = runtime.backend()
    _tell(builder, reason, entries)
    if debug:
        _watch.start(runtime)
    return runtime


def _tell(builder: RuntimeBuilder, reason: int, entries: int) -> None:
    """In the log, if it is less than was wanted."""
    if not reason and entries >= builder._options.ring_entries:
        return
    warning = (
        f"io_uring is not to be had ({errno.errorcode.get(reason, reason)}: "
        f"{os.strerror(reason)}): running on epoll, which is slower. {_advice(reason)} "
        "SPARGIO_BACKEND=epoll or "
        "backend='epoll' chooses it without this warning."
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
        log.info("rings have %d entries. %s", entries, _advice(errno.ENOMEM))


def backend_name(runtime: Runtime) -> str:
    return _NAMES[runtime.backend()[0]]


def _advice(reason: int) -> str:
    """Which limit it was, and how to raise it."""
    if reason in (errno.EPERM, errno.EACCES):
        return (
            "Allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, or "
            "set the sysctl kernel.io_uring_disabled to 0."
        )
    if reason == errno.ENOMEM:
        return (
            f"The limit of locked memory, for the rings of all processes of this user, is "
            f"{_limit('RLIMIT_MEMLOCK', 1024, ' KiB')}: raise it (`ulimit -l`, "
            "/etc/security/limits.d, LimitMEMLOCK= of systemd, --ulimit memlock= of Docker), or "
            "use fewer shards or smaller ring_entries."
        )
    if reason == errno.EMFILE:
        return (
            f"The limit of open files is {_limit('RLIMIT_NOFILE')}: raise it (`ulimit -n`, "
            "/etc/security/limits.d, LimitNOFILE= of systemd), or use fewer shards."
        )
    if reason == errno.EAGAIN:
        return (
            f"The limit of processes and threads of this user is {_limit('RLIMIT_NPROC')}: "
            "raise it (`ulimit -u`, TasksMax= of systemd, --pids-limit of Docker), or use fewer "
            "shards."
        )
    return "`spargio doctor` says what it needs."


def _limit(which: str, unit: int = 1, name: str = "") -> str:
    try:
        import resource
    except ImportError:
        return "not known after a change of the root or the user"
    value, _ = resource.getrlimit(getattr(resource, which))
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value // unit}{name}"
