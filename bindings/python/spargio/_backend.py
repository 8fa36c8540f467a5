"""Starts the native runtime, and says so where it could not get io_uring."""

from __future__ import annotations

import errno
import logging
import os

from . import _watch
from ._ffi import constants
from ._ffi.core import Runtime, native
from .options import RuntimeBuilder

_NAMES = {constants.BACKEND_IO_URING: "io_uring", constants.BACKEND_EPOLL: "epoll"}

_log = logging.getLogger("spargio")


def start(builder: RuntimeBuilder, *, driven: bool) -> Runtime:
    debug = builder.is_debug()
    runtime = native.start(builder.address(), int(driven), int(debug))
    _, reason = runtime.backend()
    if reason:
        _log.warning(
            "io_uring is not to be had (%s: %s): running on epoll, which is slower. %s "
            "SPARGIO_BACKEND=epoll or backend='epoll' chooses it without this warning.",
            errno.errorcode.get(reason, reason),
            os.strerror(reason),
            _advice(reason),
        )
    if debug:
        _watch.start(runtime)
    return runtime


def backend_name(runtime: Runtime) -> str:
    return _NAMES[runtime.backend()[0]]


def _advice(reason: int) -> str:
    if reason in (errno.EPERM, errno.EACCES):
        return (
            "Allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, or "
            "set the sysctl kernel.io_uring_disabled to 0."
        )
    if reason == errno.ENOMEM:
        return (
            "Raise the limit of locked memory (ulimit -l), or use fewer shards or smaller "
            "ring_entries."
        )
    if reason in (errno.EMFILE, errno.ENFILE):
        return "Raise the limit of open files (ulimit -n)."
    return "`spargio doctor` says what it needs."
