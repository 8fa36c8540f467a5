"""Which shard a connection belongs to."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from .._asyncgens import current_runtime
from .._records import dataclass
from ..placement import TaskPlacement
from ..runtime import current_shard


@dataclass(frozen=True)
class StreamSessionPolicy:
    """Chooses the `session_shard` of a connection when it is made. It moves nothing by itself:
    ``stream.spawn_on_session(...)`` uses it."""

    RoundRobin: ClassVar[StreamSessionPolicy]
    """The next shard in turn."""
    Opener: ClassVar[StreamSessionPolicy]
    """The shard that accepts or connects."""

    _placement: TaskPlacement | None

    @staticmethod
    def Fixed(shard: int) -> StreamSessionPolicy:
        """Always this shard."""
        return StreamSessionPolicy(TaskPlacement.Pinned(shard))

    @staticmethod
    def Sticky(key: Hashable) -> StreamSessionPolicy:
        """The shard of this key, as with :meth:`TaskPlacement.Sticky`."""
        return StreamSessionPolicy(TaskPlacement.Sticky(key))

    def choose(self) -> int:
        """The shard, inside a task; ``ValueError`` if there is no such shard."""
        if self._placement is None:
            return current_shard()
        return current_runtime().place(self._placement.kind, self._placement.value)


StreamSessionPolicy.RoundRobin = StreamSessionPolicy(TaskPlacement.RoundRobin)
StreamSessionPolicy.Opener = StreamSessionPolicy(None)
