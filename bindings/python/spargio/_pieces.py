"""Data in several pieces."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from itertools import islice
from typing import Protocol

from ._blocking import files
from ._validate import at_least, check_separator
from .errors import IncompleteReadError

IOV_MAX = 1024

_JOIN_ASIDE = 4 << 20
"""So many bytes are put together on a thread of the pool: the copy keeps a shard for longer."""


def one_call(buffers: Sequence[object]) -> tuple[object, ...]:
    """As many from the front as one readv(2), writev(2) or sendmsg(2) takes. Of a longer list those
    without a byte are left out, so that a call that moves nothing means what it says."""
    if len(buffers) <= IOV_MAX:
        return tuple(buffers)
    return tuple(islice((one for one in buffers if memoryview(one).nbytes), IOV_MAX))  # type: ignore[arg-type]


class Unsent:
    """What is left to send of several buffers, a call at a time."""

    __slots__ = ("_at", "_views")

    def __init__(self, views: list[memoryview]) -> None:
        self._views = views
        self._at = 0

    def batch(self) -> tuple[memoryview, ...]:
        """For the next call; empty at the end."""
        return tuple(self._views[self._at : self._at + IOV_MAX])

    def took(self, count: int) -> None:
        """That call moved `count` bytes."""
        views = self._views
        while self._at < len(views) and count >= len(views[self._at]):
            count -= len(views[self._at])
            self._at += 1
        if count:
            views[self._at] = views[self._at][count:]


async def joined(parts: list[bytes]) -> bytes:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    if sum(map(len, parts)) < _JOIN_ASIDE:
        return b"".join(parts)
    return await files.call(b"".join, parts)


class Readable(Protocol):
    """What a line is read from."""

    def recv(self, size: int, /) -> Awaitable[bytes]: ...
    def unread(self, data: bytes, /) -> None: ...


async def read_until(source: Readable, separator: bytes, limit: int, piece: int) -> bytes:
    """All up to and with `separator`, in receives of `piece` bytes. What is read too far is unread,
    also after a cancellation; what came before an early end is in the ``IncompleteReadError``."""
    check_separator(separator)
    limit = at_least("limit", limit, 0)
    data = b""
    try:
        while True:
            searched = max(0, len(data) - len(separator) + 1)
            more = await source.recv(piece)
            if not more:
                raise IncompleteReadError(data, len(data) + len(separator))
            data += more
            at = data.find(separator, searched)
            end = at + len(separator) if at >= 0 else len(data)
            if end > limit:
                raise ValueError(f"no {separator!r} within limit = {limit} bytes")
            if at >= 0:
                line, data = data[:end], data[end:]
                return line
    except IncompleteReadError:
        data = b""
        raise
    finally:
        if data:
            source.unread(data)
