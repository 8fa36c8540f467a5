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
    """Of each second the server stalls for 0.5 s. A closed loop waits with it and has seen two slow
    answers; users who come meanwhile have waited."""
    with echo_server(stall=0.5, every=1.0) as port:
        base = workload.Load(
            f"tcp://127.0.0.1:{port}", 200, duration=2, connections=2 * shards, shards=shards
        )
        open_loop = base.run()
        closed = base.changed(arrivals=workload.Closed(0.002)).run()
    assert open_loop.latency.percentile_ns(80) > 200_000_000
    assert open_loop.latency.p99_ns > 400_000_000
    assert closed.latency.percentile_ns(80) < 50_000_000
    assert any("closed loop" in one for one in closed.warnings)


def test_one_second_in_ten_is_a_p99_near_a_second() -> None:
    """A tenth of the arrivals comes while the server stalls, and one in a hundred at its beginning."""
    with echo_server(stall=1.0, every=10.0) as port:
        load = workload.Load(f"tcp://127.0.0.1:{port}", 100, duration=10, connections=4)
        report = load.run()
        closed = load.changed(arrivals=workload.Closed(0.01)).run()
    assert 850_000_000 <= report.latency.p99_ns <= 1_150_000_000
    assert report.latency.p50_ns < 50_000_000
    # The four connections saw one slow answer each, of some three thousand.
    assert closed.latency.p99_ns < 100_000_000
    assert closed.latency.max_ns > 700_000_000


def test_record_from_shows_it_and_a_plain_duration_does_not() -> None:
    """A worker that should begin every 10 ms, and is held up for 1 s in 10."""
    from_start, plain = Recorder("stalls from the start"), Recorder("stalls plain")
    step, count = 0.01, 1000

    async def operation(n: int) -> None:
        if n == count // 2:
            await spargio.sleep(1.0)

    async def main() -> None:
        first = time.monotonic()
        for n in range(count):
            intended = first + n * step
            await spargio.sleep(max(intended - time.monotonic(), 0.0))
            with plain.time():
                await operation(n)
            from_start.record_from(intended)

    spargio.run(main, shards=1)
    assert 850_000_000 <= from_start.read().p99_ns <= 1_150_000_000
    assert plain.read().p99_ns < 100_000_000
