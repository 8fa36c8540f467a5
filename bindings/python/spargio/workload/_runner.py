"""Carries a load out. Each connection is a task that takes the next arrival, sleeps until it, and
does it: with all connections busy the next arrival begins late, and its latency says so."""

from __future__ import annotations

import itertools
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import spargio
from spargio._ffi import schedule
from spargio._ffi.core import native
from spargio._ffi.library import gil_is_shared
from spargio.latency import Recorder

from ._arrivals import Closed
from ._report import LoadReport, Raw, show_line
from ._source import ClosedSource, Source
from ._targets import Failed, Operation, Session

if TYPE_CHECKING:
    from ._load import Load

__all__ = ("Generator", "run")

START_DELAY_NS = 20_000_000
SLICE_NS = 100_000
"""A short time slice lets the generator run soon after it wakes, on a machine that it shares."""
_close_ns = 150_000

# A process has a bounded number of recorders: generators that are done give theirs back.
_free_sets: list[int] = []
_set_numbers = itertools.count()
_sets_lock = threading.Lock()


class _Recorders:
    """Those of one generator: names are told apart, up to 16 of them."""

    def __init__(self, names: list[str]) -> None:
        with _sets_lock:
            self.number = _free_sets.pop() if _free_sets else next(_set_numbers)
        prefix = f"spargio.load {self.number}"
        shown = names[:16]
        self.by_name = {name: Recorder(f"{prefix} {n}") for n, name in enumerate(shown)}
        self.others = Recorder(f"{prefix} others")
        self.late = Recorder(f"{prefix} late")
        self.warmup = Recorder(f"{prefix} warmup")
        self.names = shown + (["others"] if len(names) > len(shown) else [])

    def of(self, name: str) -> Recorder:
        return self.by_name.get(name, self.others)

    def raw(self) -> dict[str, bytes]:
        """Undecoded: this is taken while the load runs."""
        found = {name: self.of(name)._read() for name in self.names}
        return {**found, "\0late": self.late._read()}

    def give_back(self) -> None:
        with _sets_lock:
            _free_sets.append(self.number)


class Generator:
    """A load whose connections stay open between rounds, inside a runtime::

        async with Generator(load) as generator:
            first = await generator.round()
            second = await generator.round(duration=0.25, seed=2)

    For programs that measure two servers in turns. One round at a time. On the shards of the
    runtime that enters it: `load.shards` of them are used."""

    def __init__(self, load: Load, handle: spargio.RuntimeHandle | None = None) -> None:
        self.load = load
        self._handle = handle
        self._sessions: list[Session] = []
        self._recorders = _Recorders(list(load.mix.weights))
        self._live: Callable[[str], None] | None = None
        self.ends: tuple[bytes, bytes] | None = None
        """Snapshots of the runtime (CBOR) where what counts of the last round began and ended."""

    async def __aenter__(self) -> Generator:
        self._handle = self._handle or spargio.current_handle()
        if self._handle.shard_count() < self.load.shards:
            raise ValueError(
                f"shards must be at most {self._handle.shard_count()}, the runtime's, got "
                f"{self.load.shards}"
            )
        try:
            for n in range(self.load.connections):
                job = self._handle.spawn_pinned(n % self.load.shards, self._connect())
                self._sessions.append(await job)
        except BaseException:
            await self._close()
            raise
        return self

    async def _connect(self) -> Session:
        return await self.load.target.connect()

    async def __aexit__(self, *exception: object) -> None:
        await spargio.shield(self._close())

    async def _close(self) -> None:
        assert self._handle is not None
        for n, session in enumerate(self._sessions):
            with suppress(Exception):
                await self._handle.spawn_pinned(n % self.load.shards, _closed(session))
        self._sessions.clear()
        self._recorders.give_back()

    async def round(self, **changes: Any) -> LoadReport:
        """Carry the load out once, with `changes` to it (see :meth:`Load.changed`)."""
        load = self.load.changed(**changes) if changes else self.load
        if (load.connections, load.shards) != (self.load.connections, self.load.shards):
            raise ValueError("a round keeps connections and shards of its generator")
        return await _Round(self, load).run()

    def live(self, tell: Callable[[str], None] | None) -> None:
        """`tell` gets a line per window of the rounds from now on."""
        self._live = tell


async def _closed(session: Session) -> None:
    await session.close()


class _Round:
    def __init__(self, generator: Generator, load: Load) -> None:
        assert generator._handle is not None
        self.handle = generator._handle
        self.generator = generator
        self.load = load
        self.recorders = generator._recorders
        self.live = generator._live
        self.raw: list[Raw] = []

    async def run(self) -> LoadReport:
        load = self.load
        self.start_ns = time.monotonic_ns() + START_DELAY_NS
        self.measured_ns = self.start_ns + int(load.warmup * 1e9)
        self.end_ns = self.measured_ns + int(load.duration * 1e9)
        self.before = self.recorders.raw()  # The warm-up has a recorder of its own.
        kind = ClosedSource if load.is_closed else Source
        self.sources: list[Any] = [kind(load, self.start_ns, part) for part in range(load.shards)]
        watcher = self.handle.spawn_pinned(0, self._watch(), name="load windows")
        workers = [
            self.handle.spawn_pinned(n % load.shards, self._work(n), name=f"load {n}")
            for n in range(load.connections)
        ]
        await self._finish(workers)
        await watcher
        self._count_unstarted()
        self._take(last=True)
        assert self.raw[0].stats is not None and self.raw[-1].stats is not None
        self.generator.ends = self.raw[0].stats, self.raw[-1].stats
        return LoadReport.from_raw(load, self.raw, self._facts())

    async def _finish(self, workers: list[spargio.JoinHandle[None]]) -> None:
        limit_ns = self.end_ns + int(self.load.drain * 1e9)
        for worker in workers:
            left = (limit_ns - time.monotonic_ns()) / 1e9
            with spargio.move_on_after(max(left, 0.001)) as limit:
                await worker
            if not limit.expired():
                continue
            for other in workers:
                other.cancel()
            break
        for worker in workers:
            with suppress(spargio.TaskCancelled):
                await worker

    async def _watch(self) -> None:
        """Takes what the recorders hold, at the end of each window."""
        await _until(self.measured_ns)
        self._take()
        step = int(self.load.window * 1e9)
        at = self.measured_ns
        while at < self.end_ns:
            at = min(at + step, self.end_ns)
            await _until(at)
            self._take()
            if self.live is not None:
                self.live(show_line(self.raw[-2], self.raw[-1], self.measured_ns))

    def _take(self, *, last: bool = False) -> None:
        wanted = last or not self.raw or self._is_due()
        stats = self.handle._runtime.stats() if wanted else None
        held = self.recorders.raw() if self.raw else self.before
        self.raw.append(Raw(time.monotonic_ns(), time.process_time_ns(), held, stats))

    def _is_due(self) -> bool:
        """The runtime's counters are taken once in a second."""
        last = max(one.time_ns for one in self.raw if one.stats is not None)
        return time.monotonic_ns() - last > 900_000_000

    async def _work(self, n: int) -> None:
        load = self.load
        source = self.sources[n % load.shards]
        sessions = self.generator._sessions
        await _until(self.start_ns)
        free_ns = 0
        closed = load.arrivals if isinstance(load.arrivals, Closed) else None
        while True:
            operation = source.take(n) if closed is None else source.take(time.monotonic_ns())
            if operation is None:
                return
            if not await _until(operation.intended_ns):
                await spargio.yield_now()  # An operation that never waits must not keep the shard.
            began_ns = time.monotonic_ns()
            if operation.intended_ns >= self.measured_ns:
                # The generator's own lateness: it was free, and the arrival was due.
                self.recorders.late.record_ns(began_ns - max(operation.intended_ns, free_ns))
            if not await self._perform(sessions[n], operation):
                await self._reconnect(n)
            free_ns = time.monotonic_ns()
            if closed is not None and closed.think:
                await spargio.sleep(closed.think)

    async def _perform(self, session: Session, operation: Operation) -> bool:
        """False: the connection is of no use any more."""
        recorder = self._recorder(operation)
        outcome: str | BaseException = "ok"
        moved = 0
        try:
            if self.load.timeout is None:
                moved = await session.perform(operation)
            else:
                with spargio.timeout(self.load.timeout):
                    moved = await session.perform(operation)
        except spargio.CancelledError:
            recorder.record_from(operation.intended_ns, outcome="timeout")
            raise
        except Failed as error:
            outcome = str(error)
        except Exception as error:
            outcome = error
        recorder.record_from(operation.intended_ns, outcome=outcome, bytes=moved)
        return not isinstance(outcome, BaseException) or isinstance(outcome, spargio.Overloaded)

    def _recorder(self, operation: Operation) -> Recorder:
        if operation.intended_ns < self.measured_ns:
            return self.recorders.warmup
        return self.recorders.of(operation.name)

    async def _reconnect(self, n: int) -> None:
        """The time that it takes is the server's: arrivals wait meanwhile."""
        session = self.generator._sessions[n]
        with suppress(Exception):
            await session.close()
        while time.monotonic_ns() < self.end_ns:
            with suppress(Exception):
                self.generator._sessions[n] = await self.load.target.connect()
                return
            await spargio.sleep(0.05)

    def _count_unstarted(self) -> None:
        """What waited until the end counts with the time that it waited."""
        self.unstarted = 0
        if self.load.is_closed:
            return
        for source in self.sources:
            for operation in source.rest():
                self.unstarted += 1
                self._recorder(operation).record_from(operation.intended_ns, outcome="timeout")

    def _facts(self) -> dict[str, Any]:
        return {
            "measured_ns": self.measured_ns,
            "end_ns": self.end_ns,
            "unstarted": self.unstarted,
            "offered": sum(source.taken for source in self.sources) + self.unstarted,
            "shared_gil": gil_is_shared(),
            "machine": machine(),
        }


def machine() -> dict[str, Any]:
    """What a report says of where it was made."""
    return {
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "gil": gil_is_shared(),
        "cpus": len(os.sched_getaffinity(0)),
        "spargio": spargio.__version__,
    }


async def _until(instant_ns: int) -> bool:
    """False if there was nothing to wait for. Timers are rounded up by a sixteenth of the time
    until then, so the last sixteenth is a sleep of its own."""
    waited = False
    while (left := instant_ns - time.monotonic_ns()) > 0:
        await native.sleep(left if left < _close_ns else left * 15 // 16)
        waited = True
    return waited


async def _slices(handle: spargio.RuntimeHandle, ns: int) -> None:
    async def here() -> None:
        schedule.set_slice(ns)

    for shard in range(handle.shard_count()):
        await handle.spawn_pinned(shard, here())


def run(load: Load, live: Callable[[str], None] | None) -> LoadReport:
    async def main(handle: spargio.RuntimeHandle) -> LoadReport:
        generator = Generator(load, handle)
        generator.live(live)
        await _slices(handle, SLICE_NS)
        async with generator:
            report = await generator.round()
        await _slices(handle, 0)  # Shard 0 is the caller's thread.
        return report

    return spargio.run(main, shards=load.shards, thread_prefix="load")
