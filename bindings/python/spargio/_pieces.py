"""Data in several pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ._blocking import files

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
