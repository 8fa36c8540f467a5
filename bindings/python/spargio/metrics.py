"""Statistics for Prometheus and others, as OpenMetrics text. How many series there are does not
depend on the load: one per counter and shard, and some 40 per recorder."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _counters
from .stats import RuntimeStats

if TYPE_CHECKING:
    from .latency import Latencies
    from .net import Stream

__all__ = ("CONTENT_TYPE", "observe", "render", "scrape")

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

BOUNDS_NS = tuple(digit * 10**power for power in range(3, 11) for digit in (1, 2, 5))
"""Upper bounds of the buckets that a scrape has: 1 us to 50 s, three for each power of ten."""

_CLASSES = (_counters.SpawnCounters, _counters.ShardCounters, _counters.Gauges)


def render(snapshot: RuntimeStats) -> str:
    """The text of one scrape. A counter bears ``_total``, times are seconds, and the label
    ``shard`` has the shard's number, or ``outside`` for threads that are no shard."""
    return "".join(f"{line}\n" for line in _lines(snapshot))


def _lines(snapshot: RuntimeStats) -> Iterator[str]:
    yield "# TYPE spargio info"
    yield f'spargio_info{{version="{snapshot.library}",backend="{snapshot.backend}"}} 1'
    for cls in _CLASSES:
        for name, kind in cls.__annotations__.items():
            if kind == "int":
                yield from _family(name, snapshot)
    yield "# TYPE spargio_ring_msgs_failed_errno counter"
    for errno, count in snapshot.ring_msgs_failed_by_errno.items():
        yield f'spargio_ring_msgs_failed_errno_total{{errno="{errno}"}} {count}'
    yield from _recorders(snapshot.recorders)
    yield "# EOF"


def _family(name: str, snapshot: RuntimeStats) -> Iterator[str]:
    """One counter or gauge of all shards."""
    nanoseconds = name.endswith("_ns")
    family = f"spargio_{name.removesuffix('_ns')}{'_seconds' if nanoseconds else ''}"
    is_gauge = name in _counters.GAUGES | _counters.MAXIMA
    yield f"# TYPE {family} {'gauge' if is_gauge else 'counter'}"
    if nanoseconds:
        yield f"# UNIT {family} seconds"
    suffix = "" if is_gauge else "_total"
    parts: list[tuple[object, dict[str, Any]]] = [
        (shard.shard, shard.as_dict()) for shard in snapshot.shards
    ]
    parts.append(("outside", snapshot.outside.as_dict()))
    for label, values in parts:
        if name in values:
            value = values[name] / 1e9 if nanoseconds else values[name]
            yield f'{family}{suffix}{{shard="{label}"}} {value}'


def _recorders(recorders: dict[str, Latencies]) -> Iterator[str]:
    family = "spargio_latency_seconds"
    yield f"# TYPE {family} histogram"
    yield f"# UNIT {family} seconds"
    for name, one in recorders.items():
        label = f'recorder="{_escaped(name)}"'
        for bound, count in zip(BOUNDS_NS, _at_most(one), strict=True):
            yield f'{family}_bucket{{{label},le="{bound / 1e9!r}"}} {count}'
        yield f'{family}_bucket{{{label},le="+Inf"}} {one.count}'
        yield f"{family}_count{{{label}}} {one.count}"
        yield f"{family}_sum{{{label}}} {one.sum_ns / 1e9}"
    yield "# TYPE spargio_outcomes counter"
    for name, one in recorders.items():
        kinds = {"ok": one.ok, "timeout": one.timeout, "overloaded": one.overloaded}
        for kind, count in {**kinds, **one.errors}.items():
            labels = f'recorder="{_escaped(name)}",outcome="{_escaped(kind)}"'
            yield f"spargio_outcomes_total{{{labels}}} {count}"
    for what in ("bytes", "operations"):
        yield f"# TYPE spargio_recorded_{what} counter"
        for name, one in recorders.items():
            labels = f'recorder="{_escaped(name)}"'
            yield f"spargio_recorded_{what}_total{{{labels}}} {getattr(one, what)}"


def _at_most(latencies: Latencies) -> Iterator[int]:
    """How many took at most each bound: a bucket counts where its greatest value lies."""
    from .latency._latencies import highest_of

    pairs = iter(latencies.buckets.items())
    pair = next(pairs, None)
    total = 0
    for bound in BOUNDS_NS:
        while pair is not None and highest_of(pair[0]) <= bound:
            total += pair[1]
            pair = next(pairs, None)
        yield total


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


async def scrape(stream: Stream) -> None:
    """Answers one HTTP request with the metrics of the runtime that runs this task: what
    ``net.serve`` takes. The path does not matter::

        listener = await spargio.net.TcpListener.bind("127.0.0.1", 9464)
        await spargio.net.serve(listener, spargio.metrics.scrape)
    """
    from .runtime import current_handle

    head = b""
    while b"\r\n\r\n" not in head and len(head) < 65536:
        data = await stream.recv(4096)
        if not data:
            return
        head += data
    body = render(current_handle().stats_snapshot()).encode()
    await stream.write_all(
        f"HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )


def observe(read: Any, meter: Any) -> None:
    """Registers the counters with an OpenTelemetry meter (``metrics.get_meter(...)``), as
    observable counters and gauges; ``read()`` returns a snapshot, as ``handle.stats_snapshot``
    does. It is called once per instrument and export. Needs ``opentelemetry-api``."""
    observation = import_module("opentelemetry.metrics").Observation

    def callback(name: str, factor: float) -> Any:
        def look(_: object) -> list[Any]:
            shards = read().shards
            return [
                observation(getattr(one, name) * factor, {"shard": one.shard}) for one in shards
            ]

        return look

    for cls in _CLASSES:
        for name, kind in cls.__annotations__.items():
            if kind != "int":
                continue
            nanoseconds = name.endswith("_ns")
            full = f"spargio.{name.removesuffix('_ns')}"
            is_gauge = name in _counters.GAUGES | _counters.MAXIMA
            make = meter.create_observable_gauge if is_gauge else meter.create_observable_counter
            make(
                full,
                callbacks=[callback(name, 1e-9 if nanoseconds else 1)],
                unit="s" if nanoseconds else "1",
            )
