"""What all selectors of one runtime share: operations under way, and leases."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from .. import _asyncgens
from .._ffi.core import Runtime, native
from .._validate import wrong
from ._leases import RANK, AffinityViolation, Lease, LeaseTable

_states: weakref.WeakValueDictionary[int, State] = weakref.WeakValueDictionary()
_states_lock = threading.RLock()


def state_of(runtime: Runtime) -> State:
    """One per runtime, while anybody holds it."""
    with _states_lock:
        # It holds the runtime: the number is not used again meanwhile.
        found = _states.get(id(runtime))
        if found is None:
            found = _states[id(runtime)] = State(runtime)
        return found


def _in_child() -> None:
    """A forked child has none of the threads that may have held the lock."""
    global _states_lock
    _states_lock = threading.RLock()
    _states.clear()


os.register_at_fork(after_in_child=_in_child)


class State:
    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.shards = runtime.shard_count()
        self.leases = LeaseTable(threading.RLock())
        # Sets, because adding, discarding and counting are atomic without a lock.
        self._queued: list[set[Any]] = [set() for _ in range(self.shards)]
        self._flying: list[set[Any]] = [set() for _ in range(self.shards)]
        self._purge_at = [64] * self.shards

    def check_shard(self, shard: int) -> int:
        if not 0 <= shard < self.shards:
            raise ValueError(wrong("shard", f"between 0 and {self.shards - 1}", shard))
        return shard

    def here(self) -> int | None:
        """The shard of the task that runs this, if it is one of this runtime."""
        if getattr(_asyncgens.local, "runtime", None) is not self.runtime:
            return None
        return native.current_shard() if native.current_task() is not None else None

    # ---- the selector ----

    def select(self, fd: int | None, preferred: int | None) -> int:
        lease = None if fd is None else self.leases.of(fd)
        if lease is not None:
            if RANK[lease.kind] > RANK["weak"]:
                return lease.shard
            preferred = lease.shard if preferred is None else preferred
        depths = [
            depth + len(queued)
            for depth, queued in zip(native.ops_in_flight(self.runtime), self._queued, strict=True)
        ]
        least = min(depths)
        if preferred is not None and depths[preferred] <= least + 1:
            return preferred
        here = self.here()
        return here if here is not None and depths[here] == least else depths.index(least)

    def check_hard(self, fd: int | None, shard: int) -> None:
        lease = None if fd is None else self.leases.of(fd)
        if lease is not None and lease.kind == "hard" and lease.shard != shard:
            native.count_affinity_violation(self.runtime)
            raise AffinityViolation(
                f"descriptor {fd} is held on shard {lease.shard} by a hard lease: an operation on "
                f"shard {shard} is refused"
            )

    def take_lease(self, fd: int, kind: str, shard: int, lifetime: float | None) -> Lease:
        try:
            return self.leases.take(fd, kind, shard, lifetime)
        except AffinityViolation:
            native.count_affinity_violation(self.runtime)
            raise

    # ---- what is under way ----

    def queue(self, op: object, shard: int) -> None:
        self._queued[shard].add(op)
        if len(self._queued[shard]) >= self._purge_at[shard]:
            self._purge(shard)
            self._purge_at[shard] = max(64, 2 * len(self._queued[shard]))

    def unqueue(self, op: object, shard: int) -> None:
        self._queued[shard].discard(op)

    def begin(self, op: object, shard: int) -> None:
        self._flying[shard].add(op)
        self._queued[shard].discard(op)

    def end(self, op: object, shard: int) -> None:
        self._flying[shard].discard(op)

    def count(self) -> int:
        for shard in range(self.shards):
            self._purge(shard)
        return sum(map(len, self._queued)) + sum(map(len, self._flying))

    def shard_of(self, op: object) -> int | None:
        for sets in (self._flying, self._queued):
            for shard, ops in enumerate(sets):
                if op in ops:
                    return None if op.done() else shard  # type: ignore[attr-defined]
        return None

    def _purge(self, shard: int) -> None:
        """A task that was cancelled before it began says nothing."""
        for op in self._queued[shard].copy():
            if op.done():
                self._queued[shard].discard(op)
