"""Signals."""

from __future__ import annotations

import os
from signal import Signals
from types import TracebackType

from .._signal import SignalStream, stream
from ._loop import checkpoint


class SignalReceiver:
    """A context manager that gives an iterator of the signals that come."""

    def __init__(self, signals: tuple[Signals, ...]) -> None:
        self._signals = signals
        self._stream: SignalStream | None = None

    def __enter__(self) -> SignalReceiver:
        self._stream = stream(*self._signals)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        opened, self._stream = self._stream, None
        if opened is not None:
            opened._remove()
            os.close(opened._io.detach())

    def __aiter__(self) -> SignalReceiver:
        return self

    async def __anext__(self) -> Signals:
        await checkpoint()
        if self._stream is None:
            raise StopAsyncIteration
        return await self._stream.recv()
