"""What is closed at the end of an ``async with`` block."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

_Self = TypeVar("_Self", bound="AsyncCloseable")


class AsyncCloseable:
    """``async with`` closes it, however the block ends."""

    __slots__ = ()

    def close(self) -> Awaitable[None]:
        """Close; idempotent."""
        raise NotImplementedError

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
