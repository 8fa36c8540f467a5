"""The thread that answers programs that look at a runtime from outside, also while shards are
blocked. Requests for the statistics are served by the library, without Python; the others here."""

from __future__ import annotations

import json
import os

from . import _watchdog
from ._ffi.core import Runtime


def start(runtime: Runtime) -> None:
    """``OSError`` if the socket cannot be made."""
    runtime.monitor_open()
    _watchdog.beside(runtime, _serve, "spargio-monitor")


def _serve(runtime: Runtime) -> None:
    while (found := runtime.monitor_next()) is not None:
        fd, request = found
        try:
            data = _answer(runtime, request.decode("ascii", "replace").strip())
            while data:
                data = data[os.write(fd, data) :]
        except Exception:
            pass  # The client is gone, or the runtime is about to stop: nobody reads an answer.
        finally:
            os.close(fd)


def _answer(runtime: Runtime, request: str) -> bytes:
    if request == "tasks":
        from ._tasks import collect

        found = [one._asdict() for one in collect(runtime, 1.0)]
        return json.dumps({"pid": os.getpid(), "tasks": found}).encode()
    return json.dumps({"error": f"a request must be stats or tasks, got {request!r}"}).encode()
