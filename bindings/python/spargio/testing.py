"""For tests of one's own code: a clock that a test moves. The pytest plugin, which gives each test
a runtime, is :mod:`spargio.pytest_plugin`; ``docs/testing-your-code.md`` shows both."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from time import monotonic as real_monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _boundary
from . import time as _time
from ._asyncgens import current_runtime
from ._ffi import constants
from ._ffi.core import Runtime, native
from ._validate import wrong

if TYPE_CHECKING:
    from ._ffi.core import JoinHandle, TimeLimit

__all__ = ("MockClock",)

_NS = 1_000_000_000
_LOOK_S = 0.001

_installed: MockClock | None = None
_patched = (
    (_time, "monotonic", "time"),
    (_time, "_sleep", "_sleep"),
    (_time, "_arm", "_arm"),
    (_time, "_rearm", "_rearm"),
    (_time, "_disarm", "_disarm"),
    (_time, "_alarm", "_alarm"),
    (_boundary, "monotonic", "time"),
)


class MockClock:
    """Time that stands still until it is moved, for all of spargio in this process: ``sleep``,
    ``timeout``, ``interval``, ``Sleep``, limits of calls, and what anyio has of that on the backend
    ``spargio``. It is another time than
    ``time.monotonic()``'s, which goes on: :meth:`time` says it::

        with MockClock():
            spargio.run(main)  # `await spargio.sleep(3600)` there takes some milliseconds

    When every shard has slept for `autojump_threshold` seconds of real time, it jumps to the next
    instant that something waits for. Real work, such as a file or a thread, is done in that while;
    a test whose work takes longer gives more. None: it moves only by :meth:`jump`.

    ``ValueError`` for a threshold below 0. ``RuntimeError`` on entry if one is in use already.
    """

    def __init__(self, *, autojump_threshold: float | None = 0.01) -> None:
        if autojump_threshold is not None and not autojump_threshold >= 0:
            raise ValueError(wrong("autojump_threshold", "0 or more", autojump_threshold))
        self._threshold = autojump_threshold
        self._now_ns = 0
        # Only single steps on these two: a waiter may go away in a finalizer, on any thread.
        self._waits: dict[object, tuple[int, Callable[[], object]]] = {}
        self._runtimes: dict[Runtime, None] = {}
        self._moving = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def time(self) -> float:
        """Seconds since it was made, by this clock. Any thread."""
        return self._now_ns / _NS

    def jump(self, seconds: float) -> None:
        """Move it by so many seconds at once: whatever waits for an instant until then goes on, in
        that order. What these tasks wait for next counts from the new time. Any thread.
        ``ValueError`` for a negative number."""
        if not 0 <= seconds < 1e9:
            raise ValueError(wrong("seconds", "0 or more, below 1e9", seconds))
        with self._moving:
            self._move(self._now_ns + int(seconds * _NS))

    def _move(self, until_ns: int) -> None:
        due = [(at, key) for key, (at, _) in list(self._waits.items()) if at <= until_ns]
        self._now_ns = max(self._now_ns, until_ns)
        for _, key in sorted(due, key=lambda one: one[0]):
            if (wait := self._waits.pop(key, None)) is not None:
                wait[1]()

    # ---- what takes the place of the shards' timers ----

    def _wait(self, key: object, duration_ns: int, fire: Callable[[], object]) -> None:
        self._runtimes.setdefault(current_runtime())
        self._waits[key] = (self._now_ns + duration_ns, fire)

    def _sleep(self, duration_ns: int) -> Any:
        return native.sleep(0) if duration_ns == 0 else self._sleeping(duration_ns)

    async def _sleeping(self, duration_ns: int) -> None:
        key, over = object(), native.future()
        self._wait(key, duration_ns, lambda: over.set_result(None))
        try:
            await over
        finally:
            self._waits.pop(key, None)

    def _arm(self, limit: TimeLimit, duration_ns: int) -> None:
        # A limit of no time is over at once, by whatever clock.
        limit.arm(0 if duration_ns == 0 else _time.FOREVER_NS)
        if 0 < duration_ns < _time.FOREVER_NS:
            self._wait(limit, duration_ns, limit.expire)

    def _rearm(self, limit: TimeLimit, duration_ns: int) -> None:
        limit.rearm(0 if duration_ns == 0 else _time.FOREVER_NS)
        self._waits.pop(limit, None)
        if 0 < duration_ns < _time.FOREVER_NS:
            self._wait(limit, duration_ns, limit.expire)

    def _disarm(self, limit: TimeLimit) -> bool:
        self._waits.pop(limit, None)
        return limit.disarm()

    def _alarm(self, _: JoinHandle[Any], callback: Callable[[], object], duration_ns: int) -> Any:
        return _Alarm(self, callback, duration_ns)

    # ---- jumping by itself ----

    def _rest(self) -> list[int] | None:
        """Polls of each runtime, if all shards sleep; two equal answers: no task ran since."""
        polls = []
        for runtime in list(self._runtimes):
            if (count := runtime.resting()) is None:
                return None
            polls.append(count)
        return polls

    def _watch(self, threshold_s: float) -> None:
        since, seen = real_monotonic(), self._rest()
        while not self._stop.wait(min(_LOOK_S, threshold_s) or _LOOK_S / 10):
            rest = self._rest()
            now = real_monotonic()
            if rest is None or rest != seen or not self._waits:
                since, seen = now, rest
            elif now - since >= threshold_s:
                with self._moving:
                    self._move(min((at for at, _ in list(self._waits.values())), default=0))
                since, seen = now, None

    def __enter__(self) -> MockClock:
        global _installed
        if _installed is not None:
            raise RuntimeError("a MockClock is in use already: it is the clock of the process")
        _installed = self
        self._saved = [(module, name, getattr(module, name)) for module, name, _ in _patched]
        for module, name, own in _patched:
            setattr(module, name, getattr(self, own))
        if self._threshold is not None:
            self._stop.clear()
            self._thread = threading.Thread(
                target=self._watch, args=(self._threshold,), name="spargio-clock", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _installed
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
        for module, name, value in self._saved:
            setattr(module, name, value)
        self._runtimes.clear()
        _installed = None


class _Alarm:
    """A call on the shard that it was set on, when the clock has come so far."""

    def __init__(self, clock: MockClock, callback: Callable[[], object], duration_ns: int) -> None:
        self._clock = clock
        self._callback: Callable[[], object] | None = callback
        self._runtime, self._shard = current_runtime(), native.current_shard()
        clock._wait(self, duration_ns, self._fire)

    def _fire(self) -> None:
        with contextlib.suppress(RuntimeError):  # The runtime has ended.
            self._runtime.spawn(constants.PLACE_PINNED, self._shard, self._ring(), "alarm")

    async def _ring(self) -> None:
        if self._callback is not None:
            self._callback()

    def cancel(self) -> None:
        self._callback = None
        self._clock._waits.pop(self, None)
