"""Types that signatures name."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union

T = TypeVar("T")

Coro = Coroutine[Any, Any, T]
"""What is to be awaited. Native awaitables are coroutines to a type checker (and have ``send``,
``throw`` and ``close`` as these), so that one without ``await`` is reported."""

if TYPE_CHECKING:
    from typing_extensions import Buffer
elif sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    Buffer = Union[bytes, bytearray, memoryview]  # noqa: UP007


class Event(NamedTuple):
    """A message that a shard received."""

    from_shard: int | None
    """The sender; None if an ordinary thread sent it."""
    tag: int
    value: int


__all__ = ("Buffer", "Coro", "Event")
