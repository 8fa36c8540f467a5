"""What the shards did last, event by event, as a file for https://ui.perfetto.dev: a trace of this
process (:meth:`RuntimeHandle.trace`), one that writes itself when something goes wrong
(:meth:`RuntimeHandle.flight_recorder`), or one of another process (:func:`of_process`)."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from . import _validate
from ._ffi.core import Runtime
from .monitor import connect, no_answer, read_all
from .time import nanoseconds

__all__ = ("EVENTS", "FlightRecorder", "Trace", "of_process")

EVENTS = 65_536
"""Default size of each shard's ring, in events of 24 bytes."""
_LEAST, _MOST = 64, 4_194_304
_FILES_MOST = 10_000


def check_events(events: int) -> int:
    """Raises ``TypeError`` or ``ValueError``."""
    return _validate.within("events", events, _LEAST, _MOST)


class Trace:
    """Is on from its making to :meth:`stop`, or the end of its ``with``; can be read at any time,
    and after it too, until another one begins. Any thread."""

    def __init__(self, runtime: Runtime, events: int) -> None:
        self._runtime = runtime
        self._since = runtime.trace_start(check_events(events))
        self._on = True

    def stop(self) -> None:
        """Turn it off. Idempotent."""
        if self._on:
            self._on = False
            self._runtime.trace_stop()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Chrome's trace events (JSON): open it at https://ui.perfetto.dev. Takes a moment: on a
        shard, let :func:`spargio.spawn_blocking` do it."""
        with open(path, "wb") as file:
            self._runtime.trace_write(self._since, file.fileno())

    def read(self) -> dict[str, Any]:
        """The same, loaded: ``"traceEvents"``, and in ``"otherData"`` how many events each shard
        (and at last the other threads) has overwritten."""
        with tempfile.TemporaryFile() as file:
            self._runtime.trace_write(self._since, file.fileno())
            file.seek(0)
            found: dict[str, Any] = json.load(file)
        return found

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class FlightRecorder:
    """A trace that stays on, and is written when something goes wrong. Ends with the runtime, or by
    :meth:`stop`. Any thread."""

    def __init__(
        self,
        runtime: Runtime,
        folder: str | os.PathLike[str],
        *,
        blocked: float | None,
        recorder: str | None,
        p99: float | None,
        signal: int | None,
        events: int,
        files: int,
    ) -> None:
        if (recorder is None) != (p99 is None):
            raise ValueError(
                f"recorder and p99 must be given together, got recorder={recorder!r}, p99={p99!r}"
            )
        if blocked is None and recorder is None and signal is None:
            raise ValueError(
                "a flight recorder must have a reason to write: blocked, recorder and p99, or "
                "signal; got none"
            )
        self.folder = Path(folder)
        self._runtime = runtime
        self._on = False
        if not self.folder.is_dir():
            raise NotADirectoryError(
                f"folder must be a folder that exists, got {os.fspath(folder)!r}"
            )
        runtime.flight_start(
            os.fsencode(self.folder.absolute()),
            check_events(events),
            0 if blocked is None else max(nanoseconds(blocked, "blocked"), 1),
            b"" if recorder is None else recorder.encode(),
            0 if p99 is None else max(nanoseconds(p99, "p99"), 1),
            0 if signal is None else _validate.within("signal", signal, 1, 64),
            _validate.within("files", files, 1, _FILES_MOST),
        )
        self._on = True

    def files(self) -> list[Path]:
        """What it has written, in order: ``spargio-PID-NUMBER-REASON.json``."""
        found = self.folder.glob(f"spargio-{os.getpid()}-*.json")
        return sorted(found, key=lambda path: int(path.name.split("-")[2]))

    def stop(self) -> None:
        """Turn it off, after a file that is being written. Idempotent."""
        if self._on:
            self._on = False
            self._runtime.flight_stop()

    def __enter__(self) -> FlightRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def of_process(name: str | int, seconds: float = 1.0, *, events: int = EVENTS) -> bytes:
    """What a process that can be asked (:mod:`spargio.monitor`) does in the next `seconds`, as a
    trace file's bytes; 0: what a trace that is on there, such as a flight recorder's, has now.
    Ctrl-C ends the time early. ``LookupError``, ``PermissionError`` as :func:`monitor.ask`;
    ``RuntimeError``: it is not traced, or somebody else traces it."""
    ns = 0 if seconds == 0 else nanoseconds(seconds, "seconds")
    asked = f"trace {-(-ns // 1_000_000)} {check_events(events) if ns else 0}\n"
    data = b""
    with connect(name, seconds + 30) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(asked.encode())
        try:
            data = read_all(sock)
        except KeyboardInterrupt:
            sock.shutdown(socket.SHUT_WR)
            data = read_all(sock)
    if data.startswith(b'{"error"'):
        raise RuntimeError(f"process {name}: {json.loads(data)['error']}")
    if not data:
        raise no_answer(name)
    return data
