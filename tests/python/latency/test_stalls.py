"""Coordinated omission: a load that waits for a stalled server's answer before its next request
hides the queue that users would be in. An open load, and `record_from`, show it."""

from __future__ import annotations

import time

import pytest
from test_workload import echo_server

import spargio
from spargio import workload
from spargio.latency import Recorder


@pytest.mark.parametrize("shards", [1, 2])
def test_a_stall_is_seen_from_the_intended_start(shards: int) -> None:
    """Half of the time the server stalls. A closed loop waits with it and has seen two slow
    answers; users who come meanwhile have waited."""
    with echo_server(stall=0.25, every=0.5) as port:
        base = workload.Load(
            f"tcp://127.0.0.1:{port}", 400, duration=1, connections=2 * shards, shards=shards
        )
        open_loop = base.run()
        closed = base.changed(arrivals=workload.Closed(0.002)).run()
    assert open_loop.latency.percentile_ns(80) > 100_000_000
    assert open_loop.latency.p99_ns > 200_000_000
    assert closed.latency.percentile_ns(80) < 50_000_000
    assert any("closed loop" in one for one in closed.warnings)


def test_a_tenth_of_the_time_is_a_p99_near_the_stall() -> None:
    """A tenth of the arrivals comes while the server stalls, and one in a hundred at its beginning."""
    with echo_server(stall=0.4, every=4.0) as port:
        load = workload.Load(f"tcp://127.0.0.1:{port}", 250, duration=4, connections=4)
        report = load.run()
        closed = load.changed(arrivals=workload.Closed(0.004)).run()
    assert 340_000_000 <= report.latency.p99_ns <= 500_000_000
    assert report.latency.p50_ns < 50_000_000
    # The four connections saw one slow answer each, of some three thousand.
    assert closed.latency.p99_ns < 100_000_000
    assert closed.latency.max_ns > 280_000_000


def test_record_from_shows_it_and_a_plain_duration_does_not() -> None:
    """A worker that should begin every 2.5 ms, and is held up for a tenth of the time."""
    from_start, plain = Recorder("stalls from the start"), Recorder("stalls plain")
    step, count = 0.0025, 1000

    async def operation(n: int) -> None:
        if n == count // 2:
            await spargio.sleep(step * count / 10)

    async def main() -> None:
        first = time.monotonic()
        for n in range(count):
            intended = first + n * step
            await spargio.sleep(max(intended - time.monotonic(), 0.0))
            with plain.time():
                await operation(n)
            from_start.record_from(intended)

    spargio.run(main, shards=1)
    assert 212_000_000 <= from_start.read().p99_ns <= 350_000_000
    assert plain.read().p99_ns < 100_000_000
