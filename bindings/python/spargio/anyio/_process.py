"""Child processes, started by the standard library on a thread, awaited on the ring."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine, Sequence
from typing import IO, Any, TypeVar

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, abc

from .._children import Process as Started
from .._children import Start
from .._ffi.core import native
from .._process import PipeReader, PipeWriter, _take
from ..errors import CancelledError
from ._loop import checkpoint
from ._scope import CancelScope

T = TypeVar("T")

Word = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class _End:
    """Of a pipe. One that is forgotten is closed."""

    _closed = False
    _pipe: PipeReader | PipeWriter

    async def aclose(self) -> None:
        self._closed = True
        await self._pipe.close()
        await checkpoint()

    def __del__(self) -> None:
        with contextlib.suppress(OSError, RuntimeError, AttributeError):
            self._pipe._io.take_unread()
            os.close(self._pipe._io.detach())


class Reader(_End, abc.ByteReceiveStream):
    """What the child writes."""

    _pipe: PipeReader

    def __init__(self, pipe: PipeReader) -> None:
        self._pipe = pipe

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if max_bytes < 1:
            raise ValueError("max_bytes must be a positive integer")
        if self._closed:
            raise ClosedResourceError
        data = await _told(self, self._pipe.recv(max_bytes))
        if not data:
            raise EndOfStream
        return data


class Writer(_End, abc.ByteSendStream):
    """What the child reads."""

    _pipe: PipeWriter

    def __init__(self, pipe: PipeWriter) -> None:
        self._pipe = pipe

    async def send(self, item: bytes) -> None:
        if self._closed:
            raise ClosedResourceError
        await _told(self, self._pipe.write_all(item))


async def _told(stream: Reader | Writer, operation: Coroutine[Any, Any, T]) -> T:
    try:
        return await operation
    except OSError as error:
        if stream._closed:
            raise ClosedResourceError from None
        raise BrokenResourceError from error


class Process(abc.Process):
    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._started = Started(popen, own_group=False)
        self._stdin = None if popen.stdin is None else Writer(PipeWriter(_take(popen.stdin)))
        self._stdout = None if popen.stdout is None else Reader(PipeReader(_take(popen.stdout)))
        self._stderr = None if popen.stderr is None else Reader(PipeReader(_take(popen.stderr)))

    async def aclose(self) -> None:
        with CancelScope(shield=True):
            for stream in (self._stdin, self._stdout, self._stderr):
                if stream is not None:
                    await stream.aclose()
        try:
            await self.wait()
        except BaseException:
            self.kill()
            with CancelScope(shield=True):
                await self.wait()
            raise

    async def wait(self) -> int:
        if self._started.over:
            await checkpoint()
        code = await self._started.wait()
        self._started.close()
        return 0 if code is None else code

    def terminate(self) -> None:
        self._started.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._started.send_signal(signal.SIGKILL)

    def send_signal(self, signal: signal.Signals) -> None:
        self._started.send_signal(signal)

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def returncode(self) -> int | None:
        started = self._started
        if not started.over:
            with started._number() as pidfd:
                started._take_status(pidfd)
        return started.returncode

    @property
    def stdin(self) -> abc.ByteSendStream | None:
        return self._stdin

    @property
    def stdout(self) -> abc.ByteReceiveStream | None:
        return self._stdout

    @property
    def stderr(self) -> abc.ByteReceiveStream | None:
        return self._stderr

    def __del__(self) -> None:
        started = getattr(self, "_started", None)
        if started is not None:
            started.close()


async def open_process(
    command: Word | Sequence[Word],
    stdin: int | IO[Any] | None,
    stdout: int | IO[Any] | None,
    stderr: int | IO[Any] | None,
    options: dict[str, Any],
) -> Process:
    await checkpoint()
    shell = isinstance(command, (str, bytes, os.PathLike))
    given: Any = os.fspath(command) if isinstance(command, os.PathLike) else command

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            given, bufsize=0, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, **options
        )

    return Process(await Start(begin).outcome())


async def kill_at_the_end(workers: set[abc.Process]) -> None:
    """Of a pool of processes: they end with the runtime."""
    forever: Callable[[], Any] = native.future
    try:
        await forever()
    except CancelledError:
        for process in workers:
            if process.returncode is None:
                process.kill()
        for process in workers:
            await process.aclose()
        raise
