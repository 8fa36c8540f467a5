"""Child processes. Python's own subprocess module starts them, on a thread of the pool: a shard
must not wait for it, and it is safe in a program with threads. Their ends and their pipes are
operations of the ring."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import IO, Any

from ._blocking import redeliver_all, spawn_blocking, to_its_end
from ._counts import view_of
from ._ffi import opcodes
from ._ffi.core import Descriptor, native
from ._ffi.types import Buffer, Coro
from .errors import CancelledError
from .groups import TaskGroup
from .io import copy_to_vec

__all__ = ("DEVNULL", "INHERIT", "PIPE", "STDOUT", "Child", "Command", "Output")

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT
"""For `stderr`: where stdout goes."""
INHERIT = None
"""This process's own."""

Stdio = int | IO[Any] | None

_P_PIDFD = 3
_WEXITED_NOWAIT = 4 | 0x01000000
_SIGINFO_SIZE = 128
_POLLIN = 1


@dataclass(frozen=True)
class Output:
    """What a finished child left. `returncode` is its exit status, or minus the signal that ended
    it."""

    returncode: int
    stdout: bytes
    stderr: bytes


class PipeReader:
    """The end of a pipe that the child writes to."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._io = descriptor

    def __repr__(self) -> str:
        return f"<PipeReader, {self._io!r}>"

    def recv(self, max_bytes: int) -> Coro[bytes]:
        """At least one byte and at most `max_bytes`; ``b""`` at the end. ``IORING_OP_READ``."""
        return self._io.read_at(0, max_bytes)

    def close(self) -> Coro[None]:
        """Close; idempotent."""
        return self._io.close()


class PipeWriter:
    """The end of a pipe that the child reads from."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._io = descriptor

    def __repr__(self) -> str:
        return f"<PipeWriter, {self._io!r}>"

    def write_all(self, data: Buffer) -> Coro[None]:
        """All of `data`; ``BrokenPipeError`` where the child reads no more. ``IORING_OP_WRITE``."""
        return self._io.write_all_at(0, data)

    def shutdown(self) -> Coro[None]:
        """The child reads the end."""
        return self._io.close()

    def close(self) -> Coro[None]:
        """Close; idempotent."""
        return self._io.close()


class Child:
    """A process that was started. Wait for it, or it stays as a zombie until the program ends."""

    def __init__(self, popen: subprocess.Popen[bytes], kill_on_drop: bool) -> None:
        self._popen = popen
        self._kill_on_drop = kill_on_drop
        self._pidfd = native.adopt(os.pidfd_open(popen.pid), 0)
        self.stdin = None if popen.stdin is None else PipeWriter(_take(popen.stdin))
        self.stdout = None if popen.stdout is None else PipeReader(_take(popen.stdout))
        self.stderr = None if popen.stderr is None else PipeReader(_take(popen.stderr))

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, or minus the signal; None as long as nobody has waited for it."""
        return self._popen.returncode

    def __repr__(self) -> str:
        code = self.returncode
        return f"<Child {self.pid}, {'running' if code is None else f'returned {code}'}>"

    async def wait(self) -> int:
        """Wait for its end; gives the exit status, or minus the signal. ``IORING_OP_WAITID`` of its
        pidfd, Linux 6.7; before, ``IORING_OP_POLL_ADD``. Any number of tasks may wait, also after
        :meth:`close`."""
        while self._popen.returncode is None:
            if self._pidfd.fileno() >= 0:
                await _wait_for(self._pidfd)
            else:
                # Closed. Until its status is taken its number is no other process's.
                with contextlib.suppress(ProcessLookupError):  # Another task was faster.
                    pidfd = native.adopt(os.pidfd_open(self._popen.pid), 0)
                    try:
                        await _wait_for(pidfd)
                    finally:
                        await pidfd.close()
            self._popen.poll()  # It has ended: this takes its status and does not wait.
        return self._popen.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing where it has ended."""
        self._popen.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def close(self) -> None:
        """Close the pipes that are left; kills and awaits it where `kill_on_drop` was asked for.
        Not cut short by a cancellation."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                await pipe.close()
        if self._kill_on_drop and self._popen.returncode is None:
            self.kill()
            await to_its_end(self.wait)
        await self._pidfd.close()

    async def __aenter__(self) -> Child:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        popen = getattr(self, "_popen", None)
        if popen is not None and self._kill_on_drop and popen.poll() is None:
            popen.kill()


async def _wait_for(pidfd: Descriptor) -> None:
    """Until that process has ended, another task has taken its status, or `pidfd` is closed."""
    try:
        if native.supports(opcodes.WAITID):
            await native.submit(
                opcodes.WAITID,
                pidfd.fileno(),
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
    except ChildProcessError:
        pass
    except OSError:
        if pidfd.fileno() >= 0:
            raise


def _end(popen: subprocess.Popen[bytes]) -> None:
    """For one that nobody will have."""
    with popen:  # Leaving it closes its pipes and takes its status.
        popen.kill()


class _Start:
    """The start of a child on a thread of the pool. Exactly one side has what was started: who
    awaits it, or, where that went away, the one that finds it and ends it. Each step is one `pop`
    and no lock: a coroutine may be closed by a finalizer, on the thread that would hold it."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._to_start = [start]
        self._started: list[subprocess.Popen[bytes]] = []
        self._left = False

    def _run(self) -> None:
        try:
            start = self._to_start.pop()
        except IndexError:
            return  # Withdrawn.
        self._started.append(start())
        if self._left:
            self._discard()

    def _withdraw(self) -> bool:
        """True where it has not begun, and never will."""
        try:
            self._to_start.pop()
        except IndexError:
            return False
        return True

    def _discard(self) -> None:
        try:
            popen = self._started.pop()
        except IndexError:
            return  # There is none yet, or the other side has it.
        _end(popen)

    async def outcome(self) -> subprocess.Popen[bytes]:
        """A start that has begun is waited for, and the cancellation comes at the next await."""
        answer = spawn_blocking(self._run)
        late: list[CancelledError] = []
        try:
            while True:
                try:
                    await answer
                    break
                except CancelledError as error:
                    if self._withdraw():
                        raise
                    late.append(error)
        except BaseException as error:
            self._left = True
            self._discard()
            if isinstance(error, Exception):  # Nothing was started: both are told.
                redeliver_all(late)
            raise
        redeliver_all(late)
        return self._started.pop()


def _take(file: IO[bytes]) -> Descriptor:
    number = os.dup(file.fileno())
    file.close()
    return native.adopt(number, 0)


Argument = str | bytes | os.PathLike[str]


def _no_argument(given: object) -> str:
    allowed = "allowed is a str, bytes or a path"
    if isinstance(given, (list, tuple)):
        kind = type(given).__name__
        return f"an argument of Command is the {kind} {given!r}: {allowed}; Command(*argv) takes it"
    return f"an argument of Command is {given!r}: {allowed}"


@dataclass(frozen=True)
class _Settings:
    env: Mapping[str, str] | None = None
    cwd: Argument | None = None
    stdin: Stdio = INHERIT
    stdout: Stdio = INHERIT
    stderr: Stdio = INHERIT
    process_group: bool = False
    kill_on_drop: bool = False


class Command:
    """What to run, and how. Immutable: each method gives a changed copy::

    output = await Command("git", "status").cwd(path).output()
    """

    def __init__(self, *argv: Argument) -> None:
        if not argv:
            raise ValueError("Command() without a program: allowed is 1 argument or more")
        for argument in argv:
            if not isinstance(argument, (str, bytes, os.PathLike)):
                raise TypeError(_no_argument(argument))
        self.argv = argv
        self._settings = _Settings()

    def __repr__(self) -> str:
        return f"Command({', '.join(map(repr, self.argv))})"

    def _with(self, **changed: Any) -> Command:
        other = Command(*self.argv)
        other._settings = replace(self._settings, **changed)
        return other

    def args(self, more: Sequence[Argument]) -> Command:
        """More arguments."""
        if isinstance(more, (str, bytes)):
            raise TypeError(f"args() takes a list of arguments, not {more!r}: args([{more!r}])")
        other = Command(*self.argv, *more)
        other._settings = self._settings
        return other

    def env(self, env: Mapping[str, str] | None) -> Command:
        """The whole environment, names and values as str; None for this process's own."""
        if env is not None:
            if not isinstance(env, Mapping):
                raise TypeError(f"env is {env!r}: allowed is a dict of str, or None")
            for item in env.items():
                if not all(isinstance(part, (str, bytes)) for part in item):
                    raise TypeError(f"env has {item[0]!r}: {item[1]!r}: allowed is a str for both")
        return self._with(env=env)

    def cwd(self, path: str | bytes | os.PathLike[str] | None) -> Command:
        """Its working directory."""
        return self._with(cwd=path)

    def stdin(self, what: Stdio) -> Command:
        """``PIPE``, ``DEVNULL``, ``INHERIT``, a descriptor or an open file."""
        if isinstance(what, (str, bytes)):
            raise TypeError(
                f"stdin is {what!r}: allowed is PIPE, DEVNULL, INHERIT, a descriptor or an open "
                "file; output(data) gives the child its input"
            )
        return self._with(stdin=what)

    def stdout(self, what: Stdio) -> Command:
        """The same."""
        return self._with(stdout=what)

    def stderr(self, what: Stdio) -> Command:
        """The same, or ``STDOUT``."""
        return self._with(stderr=what)

    def process_group(self, own: bool) -> Command:
        """In a session of its own, so that signals of this terminal do not reach it."""
        return self._with(process_group=own)

    def kill_on_drop(self, yes: bool) -> Command:
        """Kill it when its :class:`Child` goes away before it has ended."""
        return self._with(kill_on_drop=yes)

    async def spawn(self) -> Child:
        """Start it; ``FileNotFoundError`` and other ``OSError`` where that fails. Where this is
        cancelled while the child is being started, it is given all the same, and the cancellation
        comes at the next await."""
        popen = await _Start(self._popen).outcome()
        try:
            return Child(popen, self._settings.kill_on_drop)
        except BaseException:
            _end(popen)
            raise

    def _popen(self) -> subprocess.Popen[bytes]:
        chosen = self._settings
        return subprocess.Popen(
            self.argv,
            bufsize=0,
            stdin=chosen.stdin,
            stdout=chosen.stdout,
            stderr=chosen.stderr,
            cwd=chosen.cwd,
            env=chosen.env,
            start_new_session=chosen.process_group,
        )

    async def status(self) -> int:
        """Run it to its end; gives the exit status, or minus the signal. Where this is cancelled
        it is killed."""
        async with await self.kill_on_drop(True).spawn() as child:
            return await child.wait()

    async def output(self, data: Buffer | None = None) -> Output:
        """Run it to its end, with `data` as its input; gives all that it wrote to stdout and
        stderr (to where they go unless they were left to INHERIT). Where this is cancelled it is
        killed."""
        if data is not None:
            view_of(data).release()  # Said before anything is started.
        chosen = self._settings
        command = self._with(
            kill_on_drop=True,
            stdin=PIPE if data is not None else chosen.stdin,
            stdout=PIPE if chosen.stdout is INHERIT else chosen.stdout,
            stderr=PIPE if chosen.stderr is INHERIT else chosen.stderr,
        )
        async with await command.spawn() as child:
            async with TaskGroup() as group:
                if data is not None and child.stdin is not None:
                    group.spawn(_feed(child.stdin, data))
                readers = [
                    None if pipe is None else group.spawn(copy_to_vec(pipe))
                    for pipe in (child.stdout, child.stderr)
                ]
            code = await child.wait()
            out, err = [b"" if reader is None else await reader for reader in readers]
            return Output(code, out, err)


async def _feed(pipe: PipeWriter, data: Buffer) -> None:
    try:
        await pipe.write_all(data)
    except BrokenPipeError:
        pass  # It did not want all of it.
    finally:
        await pipe.close()
