"""Signals as something to await. While a stream is open the process's handler for its signals is
spargio's; the one that was there comes back when the last stream ends. It does not matter on which
thread a signal arrives, or which one runs the runtime."""

from __future__ import annotations

import os
import signal

from ._ffi.core import native
from ._resource import AsyncCloseable
from ._validate import wrong

__all__ = ("SignalStream", "ctrl_c", "stream")

_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


class SignalStream(AsyncCloseable):
    """From :func:`stream`. Signals of one kind that come faster than they are taken may be told as
    one, as the kernel does. One task at a time."""

    # Not looked up by `__del__`: the module's names may be gone by then, at the interpreter's end.
    _unwatch = staticmethod(native.signal_remove)

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self._keys: dict[int, int] = {}
        self._ready: list[signal.Signals] = []
        if not numbers:
            raise ValueError("signals must be 1 or more, got none")
        for number in numbers:
            if not isinstance(number, int):
                raise TypeError(wrong("signal", "a number as signal.SIGTERM", number))
            if number in _FAULTS:
                raise ValueError(wrong("signal", "one that can be awaited, not a fault", number))
        descriptor = os.eventfd(0, os.EFD_CLOEXEC)
        self._io = native.adopt(descriptor, 0)
        try:
            for number in numbers:
                if number not in self._keys:
                    self._keys[number] = native.signal_add(number, descriptor)
        except BaseException:
            self._remove()
            os.close(self._io.detach())
            raise

    def __repr__(self) -> str:
        names = ", ".join(signal.Signals(number).name for number in self._keys)
        return f"<SignalStream, {names or 'closed'}>"

    async def recv(self) -> signal.Signals:
        """The next signal; one that is cancelled takes none. ``IORING_OP_READ`` of an eventfd."""
        while not self._ready:
            if not self._collect():
                await self._io.read_at(0, 8)
                self._collect()
        return self._ready.pop(0)

    def _collect(self) -> bool:
        for number, key in self._keys.items():
            if native.signal_take(key):
                self._ready.append(signal.Signals(number))
        return bool(self._ready)

    def _remove(self) -> None:
        while self._keys:
            _, key = self._keys.popitem()
            self._unwatch(key)

    async def close(self) -> None:
        """The handlers from before come back; idempotent."""
        self._remove()
        await self._io.close()

    def __aiter__(self) -> SignalStream:
        return self

    async def __anext__(self) -> signal.Signals:
        return await self.recv()

    def __del__(self) -> None:
        self._remove()


def stream(*numbers: int) -> SignalStream:
    """Each of these signals from this call on::

        async with spargio.signal.stream(signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals: ...

    ``ValueError`` for one that a program cannot handle. Any thread may call it."""
    return SignalStream(numbers)


async def ctrl_c() -> None:
    """Wait for SIGINT, which then does not cancel the program."""
    async with stream(signal.SIGINT) as signals:
        await signals.recv()
