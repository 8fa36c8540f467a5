"""The operations of one shard of the generator, in the order of their arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from random import Random

from ._load import Load
from ._targets import Operation


class Source:
    """Each operation is taken once. All shards draw the same sequence and keep every n-th of it, so
    it does not depend on how many they are. Used by the tasks of one shard only."""

    def __init__(self, load: Load, start_ns: int, part: int = 0) -> None:
        self._load = load
        self._start_ns = start_ns
        self._end = load.warmup + load.duration
        self._part = part
        self._operations = self._draw()
        self._route = load.connection_keys
        self._routes = Random(f"{load.seed} routes")
        self._waiting: list[deque[Operation]] = [
            deque() for _ in range(load.connections if self._route else 0)
        ]
        self.taken = 0

    def _draw(self) -> Iterator[Operation]:
        load = self._load
        times = load.arrivals.times(Random(f"{load.seed} times"))
        random = Random(f"{load.seed} operations")
        for number, seconds in enumerate(times):
            if seconds >= self._end:
                return
            operation = Operation(
                number,
                self._start_ns + int(seconds * 1e9),
                load.mix.draw(random),
                load.sizes.draw(random),
                load.keys.draw(random),
            )
            if number % load.shards == self._part:
                yield operation

    def take(self, connection: int) -> Operation | None:
        """The next one for a connection; None when there is no more."""
        found = next(self._operations, None) if self._route is None else self._routed(connection)
        self.taken += found is not None
        return found

    def _routed(self, connection: int) -> Operation | None:
        assert self._route is not None
        mine = self._waiting[connection]
        while not mine:
            operation = next(self._operations, None)
            if operation is None:
                return None
            self._waiting[self._route.draw(self._routes)].append(operation)
        return mine.popleft()

    def rest(self) -> Iterator[Operation]:
        """Those that nobody took."""
        for queue in self._waiting:
            while queue:
                yield queue.popleft()
        yield from self._operations


class ClosedSource:
    """For a closed loop: each operation should begin now."""

    def __init__(self, load: Load, start_ns: int, part: int = 0) -> None:
        self._load = load
        self._random = Random(f"{load.seed} operations {part}")
        self._end_ns = start_ns + int((load.warmup + load.duration) * 1e9)
        self.taken = 0

    def take(self, now_ns: int) -> Operation | None:
        if now_ns >= self._end_ns:
            return None
        load, random = self._load, self._random
        number = self.taken
        self.taken += 1
        return Operation(
            number, now_ns, load.mix.draw(random), load.sizes.draw(random), load.keys.draw(random)
        )
