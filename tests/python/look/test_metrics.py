"""OpenMetrics: what a real parser makes of it, against the snapshot."""

from __future__ import annotations

import re
import urllib.request

import pytest

import spargio
from spargio import metrics
from spargio.latency import Latencies, Recorder

parser = pytest.importorskip(
    "prometheus_client.openmetrics.parser", reason="no prometheus-client: pip install '.[test]'"
)


async def work() -> None:
    await spargio.yield_now()


def test_every_counter_of_every_shard() -> None:
    recorder = Recorder('of "metrics"\\')
    recorder.record_ns(1_500_000, bytes=10)
    recorder.record_ns(40_000_000_000, outcome="timeout")

    async def main(handle: spargio.RuntimeHandle) -> spargio.RuntimeStats:
        for job in [handle.spawn(work()) for _ in range(50)]:
            await job
        return handle.stats_snapshot()

    stats = spargio.run(main, shards=2)
    families = {
        one.name: one for one in parser.text_string_to_metric_families(metrics.render(stats))
    }
    for shard in stats.shards:
        for name, value in shard.as_dict().items():
            if name in ("shard", "ring_msgs_failed_by_errno"):
                continue
            family = families[f"spargio_{re.sub('_ns$', '_seconds', name)}"]
            wanted = value / 1e9 if name.endswith("_ns") else value
            found = [
                one.value for one in family.samples if one.labels.get("shard") == str(shard.shard)
            ]
            assert found == [pytest.approx(wanted)], name
    latency = (
        families["spargio_latency"]
        if "spargio_latency" in families
        else families["spargio_latency_seconds"]
    )
    own = [one for one in latency.samples if one.labels["recorder"] == recorder.name]
    buckets = {one.labels["le"]: one.value for one in own if one.name.endswith("_bucket")}
    assert buckets["0.001"] == 0
    assert buckets["0.002"] == buckets["20.0"] == 1
    assert buckets["50.0"] == buckets["+Inf"] == 2
    outcomes = {
        one.labels["outcome"]: one.value
        for one in families["spargio_outcomes"].samples
        if one.labels["recorder"] == recorder.name
    }
    assert outcomes == {"ok": 1, "timeout": 1, "overloaded": 0}
    assert families["spargio_busy_seconds"].unit == "seconds"


def test_how_many_series_does_not_depend_on_the_load() -> None:
    def lines(count: int) -> int:
        async def main(handle: spargio.RuntimeHandle) -> str:
            for job in [handle.spawn(work()) for _ in range(count)]:
                await job
            return metrics.render(handle.stats_snapshot())

        return spargio.run(main, shards=2).count("\n")

    assert lines(1) == lines(500) < 400 + 60 * 256


def test_each_bucket_counts_all_below_it() -> None:
    latencies = Latencies.of([500, 1000, 1001, 5_000_000, 60_000_000_000])
    counts = dict(zip(metrics.BOUNDS_NS, metrics._at_most(latencies), strict=True))
    assert counts[1000] == 2
    assert counts[2000] == 3
    assert counts[5_000_000] in (3, 4)  # Its bucket reaches beyond the bound.
    assert counts[10_000_000] == 4
    assert counts[50_000_000_000] == 4


def test_a_scrape() -> None:
    async def main(handle: spargio.RuntimeHandle) -> tuple[str, str]:
        listener = await spargio.net.TcpListener.bind("127.0.0.1", 0)
        stop = spargio.CancellationToken()
        server = handle.spawn(spargio.net.serve(listener, metrics.scrape, stop=stop))
        url = f"http://127.0.0.1:{listener.local_addr[1]}/metrics"

        def get() -> tuple[str, str]:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return answer.headers["Content-Type"], answer.read().decode()

        found = await spargio.spawn_blocking(get)
        stop.cancel()
        await server
        return found

    kind, text = spargio.run(main, shards=2)
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert any(one.name == "spargio_polls" for one in parser.text_string_to_metric_families(text))


def test_opentelemetry() -> None:
    api = pytest.importorskip("opentelemetry.metrics", reason="no opentelemetry-api")
    with spargio.Runtime.builder().shards(2).build() as handle:
        metrics.observe(handle.stats_snapshot, api.get_meter("spargio"))
