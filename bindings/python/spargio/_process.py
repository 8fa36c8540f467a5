"""Child processes. Their starts are in `_children`; their ends and their pipes are operations of
the ring."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from ._blocking import to_its_end
from ._carried import in_a_task
from ._children import Process, Start, end
from ._ffi.core import Descriptor, native
from ._ffi.types import Buffer, Coro
from ._records import dataclass, replace
from ._resource import AsyncCloseable
from ._validate import at_least, view_of, wrong
from .groups import TaskGroup

if TYPE_CHECKING:
    import subprocess

__all__ = ("DEVNULL", "INHERIT", "PIPE", "STDOUT", "Child", "Command", "Output")

# The standard library's numbers; its module is imported for the first child.
PIPE = -1
STDOUT = -2
"""For `stderr`: where stdout goes."""
DEVNULL = -3
INHERIT = None
"""This process's own."""


@dataclass(frozen=True)
class Output:
    """What a finished child left. `returncode` is its exit status, or minus the signal that ended
    it; None if somebody else took it (see :meth:`Child.wait`)."""

    returncode: int | None
    stdout: bytes
    stderr: bytes


_PIPE = 3
"""As ``native.adopt`` has it."""


class PipeReader:
    """The end of a pipe that the child writes to."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._io = descriptor

    def __repr__(self) -> str:
        return f"<PipeReader, {self._io!r}>"

    def recv(self, max_bytes: int) -> Coro[bytes]:
        """At least one byte and at most `max_bytes`; ``b""`` at the end. ``IORING_OP_READ``."""
        return self._io.read_at(0, max_bytes)

    def unread(self, data: bytes) -> None:
        """Reads get `data` first. For the one task that reads, and has read too far."""
        self._io.unread(bytes(data))

    def fileno(self) -> int:
        """Its number; -1 if it is closed."""
        return self._io.fileno()

    def close(self) -> Coro[None]:
        """Close; idempotent."""
        return self._io.close()


class PipeWriter:
    """The end of a pipe that the child reads from."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._io = descriptor
        self._lock = threading.RLock()  # A finalizer may end a write on the thread that holds it.
        self._writes = 0
        self._unwanted = False

    def __repr__(self) -> str:
        return f"<PipeWriter, {self._io!r}>"

    async def write_all(self, data: Buffer) -> None:
        """All of `data`; ``BrokenPipeError`` if the child reads no more, :class:`BusyError` while
        another task writes. What ends it early has ``bytes_written``. ``IORING_OP_WRITE``."""
        with self._lock:
            self._writes += 1
        try:
            await self._io.write_all_at(0, data)
        finally:
            with self._lock:
                self._writes -= 1
                close = self._unwanted and self._writes == 0
            if close:
                await self._io.close()

    async def close_after_writes(self) -> None:
        """Close it; a write that is under way does so at its end."""
        with self._lock:
            self._unwanted = True
            busy = self._writes > 0
        if not busy:
            await self._io.close()

    def fileno(self) -> int:
        """Its number; -1 if it is closed."""
        return self._io.fileno()

    def shutdown(self) -> Coro[None]:
        """The child reads the end."""
        return self._io.close()

    def close(self) -> Coro[None]:
        """Close; idempotent."""
        return self._io.close()


Stdio = int | IO[Any] | PipeReader | PipeWriter | None


class Child(AsyncCloseable):
    """A process that was started. Wait for it, or it stays as a zombie until the program ends."""

    def __init__(
        self, popen: subprocess.Popen[bytes], kill_on_drop: bool, own_group: bool = False
    ) -> None:
        self._kill_on_drop = kill_on_drop
        self._process = Process(popen, own_group)
        self.stdin = None if popen.stdin is None else PipeWriter(_take(popen.stdin))
        self.stdout = None if popen.stdout is None else PipeReader(_take(popen.stdout))
        self.stderr = None if popen.stderr is None else PipeReader(_take(popen.stderr))

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, or minus the signal; None as long as nobody has waited for it, and if the
        status is lost."""
        return self._process.returncode

    def __repr__(self) -> str:
        code = self.returncode
        state = "running" if not self._process.over else f"returned {code}"
        return f"<Child {self.pid}, {state}>"

    async def wait(self) -> int | None:
        """Wait for its end; returns the exit status, or minus the signal. ``IORING_OP_WAITID`` of
        its pidfd, Linux 6.7; before, ``IORING_OP_POLL_ADD``. Any number of tasks may wait, also
        after :meth:`close`. None if the status is lost: SIGCHLD is ignored, or something else in
        the program waits for all children.

        Closes :attr:`stdin` first (after a write that is under way), or a child that reads to the
        end would never end. Take it out before to go on writing:
        ``stdin, child.stdin = child.stdin, None``."""
        if self.stdin is not None:
            await self.stdin.close_after_writes()
        return await self._process.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing if it has ended."""
        self._process.send_signal(number)

    def signal_group(self, number: int) -> None:
        """Send a signal to its process group: to it and to what it has started, also if it has
        ended itself (Linux 6.9; before, as long as nobody has waited for it). ``ValueError`` if
        it was started without ``process_group(True)`` or ``new_session(True)``."""
        if not self._process.own_group:
            raise ValueError(
                f"child {self.pid} has no process group of its own: start it with "
                "process_group(True) or new_session(True)"
            )
        self._process.signal_group(number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL. See :meth:`signal_group` for what it has started."""
        self.send_signal(signal.SIGKILL)

    async def close_pipes(self) -> None:
        """Close those that are left."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                await pipe.close()

    async def close(self) -> None:
        """Close the pipes that are left. If `kill_on_drop` was asked for and it has not ended,
        kill it, with its process group if it has one of its own, and await that all of it is gone
        (2.5 s at most if init does not wait for its orphans). Not cut short by a
        cancellation."""
        await self.close_pipes()
        if self._kill_on_drop and not self._process.over:
            await to_its_end(self._process.end)
        self._process.close()

    def __del__(self) -> None:
        process = getattr(self, "_process", None)
        if process is None:
            return
        if self._kill_on_drop and not process.over:
            process.kill()
        if process.is_open():
            process.close()  # First: a warning may be an error.
            warnings.warn(f"child {process.pid} was not closed", ResourceWarning, stacklevel=2)


def _take(file: IO[bytes]) -> Descriptor:
    number = os.dup(file.fileno())
    file.close()
    return native.adopt(number, _PIPE)


Argument = str | bytes | os.PathLike[str]


def _no_argument(given: object) -> str:
    allowed = "an argument of Command must be a str, bytes or a path"
    if isinstance(given, (list, tuple)):
        kind = type(given).__name__
        return f"{allowed}, got the {kind} {given!r}; Command(*argv) takes it"
    return f"{allowed}, got {given!r}"


@dataclass(frozen=True)
class _Settings:
    env: Mapping[str, str] | None = None
    cwd: Argument | None = None
    stdin: Stdio = INHERIT
    stdout: Stdio = INHERIT
    stderr: Stdio = INHERIT
    process_group: bool = False
    new_session: bool = False
    kill_on_drop: bool = False


class Command:
    """What to run, and how. Immutable: each method returns a changed copy::

    output = await Command("git", "status").cwd(path).output()
    """

    def __init__(self, *argv: Argument) -> None:
        if not argv:
            raise ValueError(
                "Command() must have 1 argument or more, got none: the first is the program"
            )
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
                raise TypeError(wrong("env", "a dict of str, or None", env))
            for item in env.items():
                if not all(isinstance(part, (str, bytes)) for part in item):
                    raise TypeError(
                        f"env must have str for names and values, got {item[0]!r}: {item[1]!r}"
                    )
        return self._with(env=env)

    def cwd(self, path: str | bytes | os.PathLike[str] | None) -> Command:
        """Its working directory."""
        return self._with(cwd=path)

    def stdin(self, what: Stdio) -> Command:
        """``PIPE``, ``DEVNULL``, ``INHERIT``, a descriptor, an open file, or a pipe of another
        child (its :attr:`Child.stdout`), which is this one's alone from the start on: it is closed
        here."""
        return self._with(stdin=_checked("stdin", what, "DEVNULL"))

    def stdout(self, what: Stdio) -> Command:
        """The same; the pipe is another child's :attr:`Child.stdin`."""
        return self._with(stdout=_checked("stdout", what, "DEVNULL"))

    def stderr(self, what: Stdio) -> Command:
        """The same, or ``STDOUT``."""
        return self._with(stderr=_checked("stderr", what, "DEVNULL, STDOUT"))

    def process_group(self, own: bool) -> Command:
        """In a process group of its own: signals of the terminal do not reach it, and what kills it
        (`kill_on_drop`, a cancelled :meth:`status` or :meth:`output`) kills all that it has
        started. Python 3.10 can only make a session."""
        return self._with(process_group=own)

    def new_session(self, own: bool) -> Command:
        """In a session of its own (setsid(2)), without a terminal; that is a process group as
        well."""
        return self._with(new_session=own)

    def kill_on_drop(self, yes: bool) -> Command:
        """Kill it when its :class:`Child` goes away before it has ended."""
        return self._with(kill_on_drop=yes)

    async def spawn(self) -> Child:
        """Start it; ``FileNotFoundError`` and other ``OSError`` if that fails. If this is
        cancelled while the child is being started, it is given all the same, and the cancellation
        comes at the next await."""
        chosen = self._settings
        own_group = chosen.process_group or chosen.new_session
        stdio = (chosen.stdin, chosen.stdout, chosen.stderr)
        given = [one for one in stdio if isinstance(one, (PipeReader, PipeWriter))]
        with self._numbers() as (stdin, stdout, stderr):
            popen = await Start(lambda: self._popen(stdin, stdout, stderr)).outcome()
        try:
            child = Child(popen, chosen.kill_on_drop, own_group)
        except BaseException:
            end(popen)
            raise
        for pipe in given:
            await pipe.close()
        return child

    @contextmanager
    def _numbers(self) -> Iterator[list[Any]]:
        """What Popen gets. Pipes as duplicates: another task may close one during the start."""
        chosen = self._settings
        made: list[int] = []
        wanted: list[Any] = []
        try:
            for name in ("stdin", "stdout", "stderr"):
                what = getattr(chosen, name)
                if isinstance(what, (PipeReader, PipeWriter)):
                    if what.fileno() < 0:
                        raise ValueError(f"{name} must be an open pipe, got one that is closed")
                    if left := what._io.take_unread():  # The child would never see them.
                        what._io.unread(left)
                        raise ValueError(
                            f"{name} must be a pipe with nothing read ahead, got one with "
                            f"{len(left)} bytes that were read and not used: recv() returns them"
                        )
                    made.append(what := os.dup(what.fileno()))
                wanted.append(what)
            yield wanted
        finally:
            for number in made:
                os.close(number)

    def _popen(self, stdin: Any, stdout: Any, stderr: Any) -> subprocess.Popen[bytes]:
        import subprocess

        chosen = self._settings
        options: dict[str, Any] = {}
        session = chosen.new_session
        if chosen.process_group and not session:
            if sys.version_info >= (3, 11):
                options["process_group"] = 0
            else:
                session = True
        return subprocess.Popen(
            self.argv,
            bufsize=0,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=chosen.cwd,
            env=chosen.env,
            start_new_session=session,
            **options,
        )

    @in_a_task
    async def status(self) -> int | None:
        """Run it to its end; returns what :meth:`Child.wait` does. Pipes are closed at once, for
        nobody has their other ends. If this is cancelled it is killed, with its process group if
        it has one of its own."""
        async with await self.kill_on_drop(True).spawn() as child:
            await child.close_pipes()
            return await child.wait()

    @in_a_task
    async def output(self, data: Buffer | None = None, *, limit: int | None = None) -> Output:
        """Run it to its end, with `data` as its input; returns all that it wrote to stdout and
        stderr (to if they go unless they were left to INHERIT). ``ValueError`` if more than
        `limit` bytes come from one of them. If this fails or is cancelled it is killed, with its
        process group if it has one of its own, and the exception has what had come until then as
        `stdout` and `stderr`; so has the ``TimeoutError`` of a time limit."""
        if data is not None:
            view_of(data).release()  # Said before anything is started.
        if limit is not None:
            limit = at_least("limit", limit, 0)
        chosen = self._settings
        command = self._with(
            kill_on_drop=True,
            stdin=PIPE if data is not None else chosen.stdin,
            stdout=PIPE if chosen.stdout is INHERIT else chosen.stdout,
            stderr=PIPE if chosen.stderr is INHERIT else chosen.stderr,
        )
        child = await command.spawn()
        came = bytearray(), bytearray()
        try:
            async with child:
                code = await _converse(child, data, came, limit)
        except BaseException as error:
            error.stdout, error.stderr = map(bytes, came)  # type: ignore[attr-defined]
            raise
        return Output(code, bytes(came[0]), bytes(came[1]))


def _checked(name: str, what: Stdio, more: str) -> Stdio:
    wrong_end = PipeWriter if name == "stdin" else PipeReader
    if isinstance(what, wrong_end) or not (
        what is None or isinstance(what, int) or hasattr(what, "fileno")
    ):
        is_data = name == "stdin" and isinstance(what, (str, bytes))
        raise TypeError(
            f"{name} must be PIPE, {more}, INHERIT, a descriptor, an open file or another child's "
            f"{'stdout' if name == 'stdin' else 'stdin'}, got {what!r}"
            f"{'; output(data) gives the child its input' if is_data else ''}"
        )
    return what


async def _converse(
    child: Child, data: Buffer | None, came: tuple[bytearray, bytearray], limit: int | None
) -> int | None:
    if data is None and child.stdin is not None:
        await child.stdin.close()
    too_much: list[str] = []

    async def collect(name: str, pipe: PipeReader, into: bytearray) -> None:
        while part := await pipe.recv(64 * 1024):
            into += part
            if limit is not None and len(into) > limit:
                del into[limit:]
                too_much.append(name)
                group.cancel()
                return

    async with TaskGroup() as group:
        if data is not None and child.stdin is not None:
            group.spawn(_feed(child.stdin, data))
        if child.stdout is not None:
            group.spawn(collect("stdout", child.stdout, came[0]))
        if child.stderr is not None:
            group.spawn(collect("stderr", child.stderr, came[1]))
    if too_much:
        raise ValueError(f"more than limit = {limit} bytes came from {too_much[0]}")
    return await child.wait()


async def _feed(pipe: PipeWriter, data: Buffer) -> None:
    try:
        await pipe.write_all(data)
    except BrokenPipeError:
        pass  # It did not want all of it.
    finally:
        await pipe.close()
