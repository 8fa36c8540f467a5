"""The counters of a server on this machine while a load runs, asked of its monitor."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Any

from spargio import monitor

from ._report import counters_of

__all__ = ("ServerWatch",)


class ServerWatch:
    """Asks once in `every` seconds, on a thread of its own, from its ``with`` on. `name` is a PID,
    or ``PID.N``. ``LookupError`` and ``PermissionError`` at the start as :func:`monitor.ask`; a
    server that ends meanwhile is asked no more."""

    def __init__(self, name: str | int, every: float = 1.0) -> None:
        self.name = name
        self.every = every
        self._taken: list[tuple[int, bytes]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spargio-load-server", daemon=True)

    def _ask(self) -> None:
        data = monitor.ask(self.name, "stats")
        self._taken.append((time.monotonic_ns(), data))

    def _run(self) -> None:
        while not self._end.wait(self.every):
            try:
                self._ask()
            except (LookupError, OSError):
                return  # It has ended.

    def __enter__(self) -> ServerWatch:
        self._ask()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        with contextlib.suppress(LookupError, OSError):  # What was taken before stays.
            self._ask()

    def counters(self) -> list[tuple[float, dict[str, Any]]]:
        """(seconds, counters since the one before)."""
        return counters_of(self._taken)
