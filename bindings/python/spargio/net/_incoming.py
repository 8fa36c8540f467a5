"""Connections one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from .._ffi.core import Descriptor
from ._stream import Stream

S = TypeVar("S", bound=Stream)
A = TypeVar("A")


class Incoming(Generic[S, A]):
    """An accept that goes on: an asynchronous iterator of (stream, peer's address), to be entered
    with ``async with``. The kernel is asked once for many connections (multishot
    ``IORING_OP_ACCEPT``, Linux 5.19). A consumer that lags by 16 stops it until it has caught up,
    so that the rest waits in the backlog. On leaving, what was accepted and not taken stays with
    the listener: its next ``accept()`` or ``incoming()`` gets it first. One task only."""

    __slots__ = ("_listener", "_make", "_native", "_prepare")

    def __init__(
        self,
        listener: Descriptor,
        make: Callable[[Descriptor], S],
        prepare: Callable[[Descriptor], object],
    ) -> None:
        self._listener = listener
        self._native = listener.incoming()
        self._make = make
        self._prepare = prepare

    def __repr__(self) -> str:
        return f"<Incoming of {self._listener!r}>"

    def __aiter__(self) -> Incoming[S, A]:
        return self

    async def __anext__(self) -> tuple[S, A]:
        while True:
            descriptor = await self._native
            stream = self._make(descriptor)
            try:
                self._prepare(descriptor)
                return stream, stream.peer_addr
            except OSError:
                # The peer was gone before it was accepted; the listener goes on.
                await stream.close()

    async def __aenter__(self) -> Incoming[S, A]:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._native.stop()
        await self._native
