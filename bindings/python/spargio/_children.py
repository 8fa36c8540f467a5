"""How a child starts and how it ends. Python's own subprocess module starts it, on a thread of a
pool: a shard must not wait for it, and it is safe in a program with threads. From then on its pidfd
stands for it, because its number may be another process's as soon as somebody has taken its
status."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from time import monotonic

from ._blocking import pool, redeliver_all
from ._ffi import opcodes
from ._ffi.core import native
from ._wait import Persistence
from .errors import CancelledError
from .time import sleep

_starts = pool(8, "spargio-starts")

ORPHANS_S = 2.5
"""The longest that a kill waits until init has taken the status of what a group has left behind."""

_P_PIDFD = 3
_WEXITED_NOWAIT = 4 | 0x01000000
_SIGINFO_SIZE = 128
_POLLIN = 1

_PIDFD_SIGNAL_PROCESS_GROUP = 4  # Linux 6.9.
_PIDFD_GET_INFO = 0xC040FF0B  # Linux 6.13, with the first size of its struct.
_PIDFD_INFO_EXIT = 8  # Linux 6.15: the status of one that was waited for already.
_PIDFD_INFO_SIZE = 64
_INFO_EXIT_CODE = 60


class Process:
    """A child that was started. Any thread may use it; each status is taken once."""

    def __init__(self, popen: subprocess.Popen[bytes], own_group: bool) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.own_group = own_group
        self.returncode: int | None = None
        self.over = False
        """It has ended: its status is known, or lost."""
        self._lock = threading.RLock()  # A finalizer may come on the thread that holds it.
        self._pidfd = _open(self.pid)
        self._users = 0
        self._closed = False
        if self._pidfd < 0:
            self._end(None)  # Somebody else has taken its status (SIGCHLD may be ignored).

    async def wait(self) -> int | None:
        """Exit status, or minus the signal; None if somebody else took it."""
        while not self.over:
            with self._number() as pidfd:
                if pidfd >= 0:
                    await _wait_for(pidfd)
                self._take_status(pidfd)
        return self.returncode

    def _take_status(self, pidfd: int) -> None:
        with self._lock:
            if self.over:
                return
            if pidfd < 0:
                self._end(None)
                return
            try:
                found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                self._end(_told_after_all(pidfd))
            else:
                if found is not None:
                    exited = found.si_code == os.CLD_EXITED
                    self._end(found.si_status if exited else -found.si_status)

    def _end(self, returncode: int | None) -> None:
        self.returncode = returncode
        self.over = True
        # Popen neither waits for it from now on nor says that it is still running.
        self.popen.returncode = 0 if returncode is None else returncode

    @contextlib.contextmanager
    def _number(self) -> Iterator[int]:
        """The pidfd, which stays open in the block, after a close another one; -1 if it is
        over."""
        with self._lock:
            if self._pidfd < 0 and not self.over:
                self._pidfd = _open(self.pid)
            self._users += 1
            number = self._pidfd
        try:
            yield number
        finally:
            with self._lock:
                self._users -= 1
                self._close_unused()

    def _close_unused(self) -> None:
        if self._closed and self._users == 0 and self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def send_signal(self, number: int) -> None:
        """Nothing if it has ended."""
        with self._number() as pidfd, self._lock, contextlib.suppress(ProcessLookupError):
            if pidfd >= 0 and not self.over:
                signal.pidfd_send_signal(pidfd, number)

    def signal_group(self, number: int) -> None:
        """Also what its first process has left behind, as long as the pidfd is open."""
        with self._number() as pidfd, self._lock, contextlib.suppress(ProcessLookupError):
            if pidfd < 0:
                return
            try:
                signal.pidfd_send_signal(pidfd, number, None, _PIDFD_SIGNAL_PROCESS_GROUP)
            except OSError as error:
                if isinstance(error, ProcessLookupError) or self.over:
                    return
                os.killpg(self.pid, number)  # Its status was not taken: the number is the group's.

    def kill(self) -> None:
        """All there is of it."""
        self.send_signal(signal.SIGKILL)
        if self.own_group:
            self.signal_group(signal.SIGKILL)

    async def end(self) -> None:
        """Kill it and wait for it. Its group is gone then: what is dying and, for a while, orphans
        whose status nobody has taken yet."""
        self.kill()
        await self.wait()
        deadline, pause = monotonic() + ORPHANS_S, 0.001
        while self.own_group and self._has_group() and monotonic() < deadline:
            await sleep(pause)
            pause = min(2 * pause, 0.05)

    def _has_group(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def is_open(self) -> bool:
        """Whether it holds a descriptor."""
        return self._pidfd >= 0

    def close(self) -> None:
        """Idempotent; those who wait go on waiting."""
        with self._lock:
            self._closed = True
            self._close_unused()


def _open(pid: int) -> int:
    """A pidfd; -1 if it is not our child any more."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except BaseException as error:
        os.close(pidfd)
        if isinstance(error, ChildProcessError):
            return -1
        raise
    return pidfd


def _told_after_all(pidfd: int) -> int | None:
    """The status of a child that somebody else has waited for, if the kernel still knows it."""
    info = bytearray(_PIDFD_INFO_SIZE)
    info[:8] = _PIDFD_INFO_EXIT.to_bytes(8, "little")
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not int.from_bytes(info[:8], "little") & _PIDFD_INFO_EXIT:
        return None
    code = int.from_bytes(info[_INFO_EXIT_CODE : _INFO_EXIT_CODE + 4], "little")
    return os.waitstatus_to_exitcode(code)


async def _wait_for(pidfd: int) -> None:
    """Until that process has ended, or somebody has taken its status."""
    with contextlib.suppress(ChildProcessError):
        if native.supports(opcodes.WAITID):
            await native.submit(
                opcodes.WAITID,
                pidfd,
                bytearray(_SIGINFO_SIZE),
                0,
                _P_PIDFD,
                0,
                _WEXITED_NOWAIT,
                None,
                opcodes.NUMBER,
            )
        else:
            await native.submit(opcodes.POLL_ADD, pidfd, 0, 0, 0, _POLLIN, 0, None, opcodes.NUMBER)


def end(popen: subprocess.Popen[bytes]) -> None:
    """For one that nobody will have."""
    with popen:  # Leaving it closes its pipes and takes its status.
        popen.kill()


class Start:
    """The start of a child on a thread of the pool. Exactly one side has what was started: the task
    that awaits it, or, if that went away, the one that finds it and ends it. Each step is one `pop`
    and no lock: a coroutine may be closed by a finalizer, on the thread that would hold it."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._start = start
        # Of the task's thread: the pool's may have been made by another one.
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._started: list[subprocess.Popen[bytes]] = []
        self._left = False

    def _run(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        try:
            self._started.append(self._start())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if self._left:
            self._discard()

    def _discard(self) -> None:
        try:
            popen = self._started.pop()
        except IndexError:
            return  # There is none yet, or the other side has it.
        end(popen)

    async def outcome(self) -> subprocess.Popen[bytes]:
        """A start that has begun is waited for, and the cancellation comes at the next await."""
        job = _starts.begin(self._run)
        late: list[CancelledError] = []
        persistence = Persistence()
        try:
            while True:
                try:
                    await job.answer
                    break
                except CancelledError as error:
                    if job.withdraw():
                        raise
                    persistence.told(error)
                    late.append(error)
        except BaseException as error:
            job.abandon()
            self._left = True
            self._discard()
            if isinstance(error, Exception):  # Nothing was started: both are told.
                redeliver_all(late)
            raise
        finally:
            persistence.end()
            del job  # An error of its answer has this frame.
        redeliver_all(late)
        return self._started.pop()
