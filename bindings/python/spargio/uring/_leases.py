"""Which shard a descriptor belongs to, and for how long."""

from __future__ import annotations

import time
import weakref
from types import TracebackType
from typing import Any

from ..errors import SpargioError

RANK = {"weak": 1, "strong": 2, "hard": 3}

WEAK_LIFETIME_S = 1.0
"""How long a weak lease lasts after the descriptor's last operation, if nothing else is said."""

FILE_LIFETIME_S = 0.1
STREAM_LIFETIME_S = 1.0
"""The same for those that operations take by themselves."""


class AffinityViolation(SpargioError):
    """An operation or a lease on another shard than the one that holds the descriptor."""


class Lease:
    """Binds a descriptor to a shard: from :meth:`UringNativeAny.lease`, until it is closed, or left
    as a context manager, or dropped, or (with a lifetime) has not been used for so long. An
    operation under way is a use. Any thread."""

    __slots__ = (
        "__weakref__",
        "_closed",
        "_lifetime",
        "_table",
        "_used",
        "_users",
        "fd",
        "kind",
        "shard",
    )

    def __init__(
        self, table: LeaseTable | None, fd: int, kind: str, shard: int, lifetime: float | None
    ) -> None:
        self.fd = fd
        """The descriptor's number."""
        self.kind = kind
        """"weak", "strong" or "hard"."""
        self.shard = shard
        """The shard that it is bound to."""
        self._table = table
        self._lifetime = lifetime
        self._used = time.monotonic()
        self._users = 0
        self._closed = False

    @property
    def active(self) -> bool:
        """Whether it still holds."""
        if self._closed:
            return False
        return (
            self._lifetime is None
            or self._users > 0
            or time.monotonic() - self._used < self._lifetime
        )

    def close(self) -> None:
        """End it; idempotent. Operations under way go on where they are."""
        self._closed = True
        if self._table is not None:
            self._table.forget(self)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "" if self.active else " (ended)"
        return f"<{self.kind} lease of descriptor {self.fd} on shard {self.shard}{state}>"


class LeaseTable:
    """The leases of one runtime. What operations take by themselves is held here; the others belong
    to their callers."""

    def __init__(self, lock: object) -> None:
        # Re-entrant: the end of an operation may run in a finalizer, anywhere.
        self._lock: Any = lock
        self._explicit: dict[int, list[weakref.ref[Lease]]] = {}
        self._implicit: dict[int, Lease] = {}
        self._sweep_at = 256

    def take(self, fd: int, kind: str, shard: int, lifetime: float | None) -> Lease:
        with self._lock:
            strongest = self._strongest(fd)
            if strongest is not None and strongest.shard != shard and strongest.kind != "weak":
                raise AffinityViolation(
                    f"descriptor {fd} is held on shard {strongest.shard} by a {strongest.kind} "
                    f"lease: a {kind} lease on shard {shard} is refused"
                )
            lease = Lease(self, fd, kind, shard, lifetime)
            self._implicit.pop(fd, None)
            self._explicit.setdefault(fd, []).append(weakref.ref(lease))
            return lease

    def of(self, fd: int) -> Lease | None:
        """The strongest that holds: explicit ones go before those of operations."""
        with self._lock:
            return self._strongest(fd) or self._taken_by_itself(fd)

    def begin(self, fd: int, kind: str | None, shard: int) -> list[Lease]:
        """An operation begins on `shard`, and by itself takes a lease of `kind`. Gives what to hand
        to :meth:`end`."""
        with self._lock:
            held = self._holding(fd)
            own = self._taken_by_itself(fd)
            if kind is not None and not held and not _covers(own, kind, shard):
                own = self._implicit[fd] = Lease(None, fd, kind, shard, _LIFETIMES[kind])
                self._sweep()
            if own is not None and own.shard == shard:
                held.append(own)
            for lease in held:
                lease._users += 1
            return held

    def end(self, held: list[Lease]) -> None:
        now = time.monotonic()
        with self._lock:
            for lease in held:
                lease._users -= 1
                lease._used = now

    def forget(self, lease: Lease) -> None:
        with self._lock:
            self._holding(lease.fd)

    def _holding(self, fd: int) -> list[Lease]:
        """The explicit ones that hold; the rest is taken out."""
        references = self._explicit.get(fd)
        if references is None:
            return []
        live: list[Lease] = []
        for reference in references:
            lease = reference()
            if lease is not None and lease.active:
                live.append(lease)
        if not live:
            self._explicit.pop(fd, None)
        elif len(live) < len(references):
            self._explicit[fd] = [weakref.ref(lease) for lease in live]
        return live

    def _strongest(self, fd: int) -> Lease | None:
        return max(self._holding(fd), key=lambda lease: RANK[lease.kind], default=None)

    def _taken_by_itself(self, fd: int) -> Lease | None:
        lease = self._implicit.get(fd)
        return lease if lease is not None and lease.active else None

    def _sweep(self) -> None:
        """Descriptors come and go: numbers that nobody uses any more do not stay."""
        if len(self._implicit) < self._sweep_at:
            return
        for fd, lease in list(self._implicit.items()):
            if not lease.active:
                self._implicit.pop(fd, None)
        self._sweep_at = max(256, 2 * len(self._implicit))


def _covers(lease: Lease | None, kind: str, shard: int) -> bool:
    return lease is not None and lease.shard == shard and RANK[lease.kind] >= RANK[kind]


_LIFETIMES = {"weak": FILE_LIFETIME_S, "strong": STREAM_LIFETIME_S}
