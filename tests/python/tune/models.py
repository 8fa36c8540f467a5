"""A machine that is a model: rounds of a program whose latencies and counters follow from its options,
with noise from a seed. No process, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from types import SimpleNamespace
from typing import Any

from spargio.latency import Latencies
from spargio.latency._latencies import index_of
from spargio.tune._processes import ProcessFailed
from spargio.tune._rounds import Counters, Round
from spargio.tune._usage import Usage

DEFAULTS = {
    "shards": 2, "steal_budget": 64, "steal_victim_stride": 1, "steal_victim_probe_count": 2,
    "steal_batch_size": 4, "steal_locality_margin": 1, "steal_fail_cost": 1,
    "steal_backoff_min": 1, "steal_backoff_max": 32, "stealable_queue_capacity": 4096,
    "stealable_queue_backend": 0, "ring_entries": 256, "idle_strategy": 0,
}  # fmt: skip
NAMED = {"park": 0, "spin": 1, "mutex": 0, "lock_free": 1}


class Effect:
    """What a round of the program is, before the noise: nanoseconds and counters per second."""

    def __init__(self) -> None:
        self.p50, self.p99, self.p999 = 100_000.0, 400_000.0, 900_000.0
        self.cpu = 50_000.0
        self.busy = [0.3, 0.3]
        self.refused = 0
        self.errors = 0
        self.counters: dict[str, int] = {"polls": 1000, "passes": 1000, "idle_ns": 10**9}


def held(values: list[tuple[float, int]], errors: int) -> Latencies:
    """(nanoseconds, how many) of each, of which `errors` failed."""
    buckets: dict[int, int] = {}
    for ns, count in values:
        buckets[index_of(int(ns))] = buckets.get(index_of(int(ns)), 0) + count
    total = sum(buckets.values())
    return Latencies(
        {
            "name": "all", "buckets": dict(sorted(buckets.items())), "bytes": 0,
            "sum_ns": sum(int(ns) * count for ns, count in values), "operations": total,
            "min_ns": int(min(values)[0]), "max_ns": int(max(values)[0]),
            "outcomes": {
                "ok": total - errors, "timeout": 0, "overloaded": 0,
                "errors": {"Broken": errors} if errors else {},
            },
        }
    )  # fmt: skip


Model = Callable[[Mapping[str, Any], Effect], None]


class ModelLab:
    """`model` changes an :class:`Effect` by the options in force. `program` are the options that the
    program sets in its code; those of a side stand above them."""

    def __init__(
        self, model: Model, program: Mapping[str, Any] | None = None, seed: int = 1
    ) -> None:
        self.model, self.program = model, dict(program or {})
        self.random = Random(seed)
        self.sides: dict[str, dict[str, Any]] = {}
        self.started: list[tuple[str, dict[str, Any]]] = []
        self.rounds = 0
        self.foreign = [0.01]
        """Of the rounds in turn; the last one stays."""
        self.idle_usage = (0.01, 0.0)
        self.noise = 0.02
        self.machine: dict[str, Any] = {"cpu": "model", "affinity": [0, 1]}
        self.offers: dict[str, Mapping[str, Any]] = {}
        self.broken: Callable[[Mapping[str, Any]], str] = lambda options: ""
        self.interrupt_at = -1
        self.closed = False
        self.capacity = 20_000.0

    def settings(self) -> dict[str, Any]:
        return dict(self.machine)

    def idle(self, seconds: float) -> Usage:
        foreign, stolen = self.idle_usage
        return Usage(seconds, foreign * seconds * 2, stolen * seconds * 2, 0.0, 2)

    def start(self, side: str, options: Mapping[str, Any]) -> None:
        self.started.append((side, dict(options)))
        if text := self.broken(options):
            raise ProcessFailed(text)
        self.sides[side] = {**DEFAULTS, **self.program, **options}

    def choices(self) -> dict[str, Mapping[str, Any]]:
        return self.offers

    def close(self) -> None:
        self.closed = True

    def load(self, side: str, load: Any) -> Any:
        """A step of the search for the knee: beyond `capacity` the queue grows."""
        assert side in self.sides
        behind = load.arrivals.rate > self.capacity
        latency = held([(100_000, 990), (10**9 if behind else 200_000, 20)], 0)
        return SimpleNamespace(
            latency=latency,
            late_share=0.0,
            cpu_share=0.1,
            busy_share=0.1,
            completed_share=0.5 if behind else 1.0,
        )

    def round(self, side: str, shape: Any, seed: int) -> Round:
        self.rounds += 1
        if self.rounds == self.interrupt_at:
            raise KeyboardInterrupt
        effect = Effect()
        options = self.sides[side]
        self.model(options, effect)
        foreign = self.foreign.pop(0) if len(self.foreign) > 1 else self.foreign[0]
        return self._round(effect, options, foreign, shape)

    def _factor(self, size: float) -> float:
        return float(2.0 ** self.random.gauss(0, size))

    def _round(
        self, effect: Effect, options: Mapping[str, Any], foreign: float, shape: Any
    ) -> Round:
        noise = self.noise
        p50 = effect.p50 * self._factor(noise)
        p95 = (effect.p50 + effect.p99) / 2 * self._factor(noise)
        p99, p999 = effect.p99 * self._factor(noise), effect.p999 * self._factor(2 * noise)
        latency = held(
            [(p50, 4000), (p50 * 1.01, 3500), (p95, 400), (p99, 92), (p999, 8)], effect.errors
        )
        total = {**effect.counters, "stealable_backpressure": effect.refused}
        shards = [{"busy_ns": int(part * 1e9)} for part in effect.busy]
        values = {name: NAMED.get(options[name], options[name]) for name in DEFAULTS}
        counters = Counters(1.0, total, shards, {}, values)
        cpu = int(effect.cpu * self._factor(noise)) * latency.count
        return Round(
            latency, [(int(p95), int(p99))], latency.count, 1.0, cpu, 0.0, foreign, 0.0, counters
        )
