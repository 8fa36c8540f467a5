"""Subprocesses: each is waited for by a pidfd of its own, so no signal handler and no thread is
needed, and children of others are left alone."""

from __future__ import annotations

import errno
import logging
import os
import threading
from asyncio import unix_events
from typing import Any

_log = logging.getLogger("asyncio")
# If the kernel has no pidfd, or a sandbox forbids it.
_REFUSED = (errno.ENOSYS, errno.EPERM, errno.EINVAL)
_UNKNOWN = 255
"""asyncio's return code for a child that somebody else has reaped."""

_Transport: Any = unix_events._UnixSubprocessTransport  # type: ignore[attr-defined]


async def make_transport(loop: Any, protocol: Any, args: Any, **options: Any) -> Any:
    """A transport for a started child, as BaseEventLoop wants it."""
    waiter = loop.create_future()
    transport = _Transport(loop, protocol, args, waiter=waiter, **options)
    try:
        _watch(loop, transport)
        await waiter
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException:
        transport.close()
        await _end(loop, transport)
        raise
    return transport


async def _end(loop: Any, transport: Any) -> None:
    """Until the child, which was killed, is gone; also if it could not be watched."""
    if transport.get_pid() not in loop._children:
        returncode = await loop.run_in_executor(None, _reap, transport.get_pid())
        transport._process_exited(returncode)
    await transport._wait()


def _watch(loop: Any, transport: Any) -> None:
    pid = transport.get_pid()
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        loop._children[pid] = None
        threading.Thread(target=_wait_on_a_thread, args=(loop, transport), daemon=True).start()
        return
    loop._children[pid] = pidfd
    loop._add_reader(pidfd, _ended, loop, transport, pid, pidfd)


def _ended(loop: Any, transport: Any, pid: int, pidfd: int) -> None:
    loop._remove_reader(pidfd)
    returncode = _reap_by(pidfd, pid)
    loop._children.pop(pid, None)
    os.close(pidfd)
    # What its pipes hold is read before: one turn later, as in asyncio.
    loop.call_soon(loop.call_soon, transport._process_exited, returncode)


def _reap_by(pidfd: int, pid: int) -> int:
    try:
        found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ChildProcessError:
        return _reaped_elsewhere(pid)
    assert found is not None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _reap(pid: int) -> int:
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return _reaped_elsewhere(pid)
    return os.waitstatus_to_exitcode(status)


def _reaped_elsewhere(pid: int) -> int:
    _log.warning(
        "child process pid %d exit status already read:  will report returncode %d", pid, _UNKNOWN
    )
    return _UNKNOWN


def _wait_on_a_thread(loop: Any, transport: Any) -> None:
    pid = transport.get_pid()
    returncode = _reap(pid)
    loop._children.pop(pid, None)
    try:
        loop.call_soon_threadsafe(loop.call_soon, transport._process_exited, returncode)
    except RuntimeError:  # The loop is closed.
        _log.warning("Loop that handles pid %d is closed", pid)


def forget(loop: Any) -> None:
    """The loop closes: nobody waits for its children any more."""
    while loop._children:
        _, pidfd = loop._children.popitem()
        if pidfd is not None:
            os.close(pidfd)
