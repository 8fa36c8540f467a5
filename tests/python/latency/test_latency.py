"""Recorders: what they count, from which thread, and what a reader sees."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from pathlib import Path

import pytest
import support

import spargio
from spargio.latency import Latencies, Recorder, read_hdr_log, write_hdr_log

_numbers = itertools.count()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(f"test {next(_numbers)}")


def test_the_same_name_is_the_same_recorder(recorder: Recorder) -> None:
    Recorder(recorder.name).record_ns(5)
    assert recorder.read().count == 1
    assert repr(recorder) == f"<Recorder {recorder.name!r}>"
    assert recorder == Recorder(recorder.name)
    assert recorder != Recorder(f"{recorder.name} too")
    assert recorder != recorder.name
    assert len({recorder, Recorder(recorder.name)}) == 1


@pytest.mark.parametrize("name", ["", "x" * 65, "\udcff"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(
        ValueError, match="name must be (1 to 64 bytes of text|text that UTF-8 can encode), got "
    ):
        Recorder(name)
    with pytest.raises(TypeError, match="name must be a str, got 5"):
        Recorder(5)  # type: ignore[arg-type]


def test_it_must_be_initialised() -> None:
    with pytest.raises(RuntimeError, match="__init__"):
        Recorder.__new__(Recorder).record_ns(1)


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_durations_that_cannot_be(recorder: Recorder, value: int) -> None:
    with pytest.raises(ValueError, match="ns "):
        recorder.record_ns(value)
    with pytest.raises(TypeError, match="ns must be an integer, got 'x'"):
        recorder.record_ns("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes 1 arguments"):
        recorder.record_ns()  # type: ignore[call-arg]
    assert recorder.read().count == 0


def test_three_significant_digits(recorder: Recorder) -> None:
    values = [int(1.37**n) for n in range(92)]
    for ns in values:
        recorder.record_ns(ns)
    assert recorder.read().buckets == Latencies.of(values).buckets
    for ns in values:
        found = Latencies.of([ns, 3_600_000_000_000]).percentile_ns(50)
        assert ns <= found <= ns * 1.001


def test_longer_than_an_hour_is_an_hour(recorder: Recorder) -> None:
    recorder.record_ns(2 * 3_600_000_000_000)
    found = recorder.read()
    assert 3_590_000_000_000 < found.percentile_ns(50) < 3_610_000_000_000
    assert found.max_ns == found.mean_ns == 2 * 3_600_000_000_000


def test_outcomes_bytes_and_operations(recorder: Recorder) -> None:
    recorder.record_ns(10, bytes=100)
    recorder.record_ns(10, outcome="timeout")
    recorder.record_ns(10, outcome="overloaded", operations=7)
    recorder.record_ns(10, outcome=ConnectionResetError())
    recorder.record_ns(10, outcome=spargio.Overloaded("full"))
    recorder.record_ns(10, outcome="checksum")
    read = recorder.read()
    assert (read.ok, read.timeout, read.overloaded) == (1, 1, 2)
    assert read.errors == {"ConnectionResetError": 1, "checksum": 1}
    assert (read.failed, read.bytes, read.operations, read.count) == (5, 100, 12, 6)
    with pytest.raises(TypeError, match="outcome, bytes or operations"):
        recorder.record_ns(1, size=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="bytes must be .*, got -1"):
        recorder.record_ns(1, bytes=-1)


def test_kinds_beyond_the_limit_are_others(recorder: Recorder) -> None:
    for n in range(40):
        recorder.record_ns(1, outcome=f"kind {n}")
    errors = recorder.read().errors
    assert errors["other"] == 8
    assert len(errors) == 33


def test_time_records_what_the_block_does(recorder: Recorder) -> None:
    with recorder.time() as timing:
        timing.count(10)
        timing.count(5, 2)
    with pytest.raises(KeyError), recorder.time():
        {}["x"]
    with recorder.time() as timing:
        timing.fail("refused")
    timing.__exit__(None, None, None)  # It has recorded already.
    with contextlib.ExitStack() as stack:  # It calls what the class has.
        entered = stack.enter_context(recorder.time())
        assert entered.__enter__() is entered
    for wrong in (type(timing).__enter__, timing.__exit__):
        with pytest.raises(TypeError):
            wrong(None)
    read = recorder.read()
    assert (read.count, read.ok, read.bytes, read.operations) == (4, 2, 15, 6)
    assert read.errors == {"KeyError": 1, "refused": 1}


def test_time_limits_and_refusals_are_outcomes_of_their_own(recorder: Recorder) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError), recorder.time(), spargio.timeout(0.001):
            await spargio.sleep(10)
        with pytest.raises(spargio.Overloaded), recorder.time():
            raise spargio.Overloaded("full")

    spargio.run(main)
    read = recorder.read()
    assert (read.timeout, read.overloaded, read.errors) == (1, 1, {})


def test_from_an_intended_start(recorder: Recorder) -> None:
    recorder.record_from(time.monotonic() - 1)
    recorder.record_from(time.monotonic_ns() - 1_000_000_000)
    with recorder.time(time.monotonic() - 1):
        pass
    read = recorder.read()
    assert 1_000_000_000 <= read.min_ns <= read.max_ns < 10_000_000_000
    recorder.record_from(time.monotonic() + 100)
    assert recorder.read().min_ns == 0
    with pytest.raises(ValueError, match="intended_start must be .*, got nan"):
        recorder.record_from(float("nan"))


def test_corrected_for_what_could_not_begin(recorder: Recorder) -> None:
    recorder.record_corrected(1_000_000, 100_000)
    read = recorder.read()
    assert read.buckets == Latencies.of(range(100_000, 1_000_001, 100_000)).buckets
    assert (read.ok, read.operations) == (1, 1)


def test_timed_functions(recorder: Recorder) -> None:
    @recorder.timed
    def plain(n: int, *, more: int = 0) -> int:
        """Its doc."""
        return n + more

    @recorder.timed
    async def coroutine(seconds: float) -> float:
        await spargio.sleep(seconds)
        return seconds

    assert plain(2, more=3) == 5
    assert (plain.__name__, plain.__doc__) == ("plain", "Its doc.")
    assert spargio.run(coroutine, 0.01) == 0.01
    read = recorder.read()
    assert read.count == 2
    assert read.max_ns >= 10_000_000


def test_all_shards_and_threads_add_up(recorder: Recorder) -> None:
    async def work(count: int) -> None:
        for n in range(count):
            recorder.record_ns(n)
            if n % 100 == 0:
                await spargio.yield_now()

    threads = [
        threading.Thread(target=lambda: [recorder.record_ns(n) for n in range(1000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    with spargio.Runtime.builder().shards(3).build() as handle:
        jobs = [handle.spawn_pinned(n % 3, work(1000)) for n in range(6)]
        for job in jobs:
            job.result(support.LIMIT_S)
        during = handle.stats_snapshot().recorders[recorder.name].count
    for thread in threads:
        thread.join()
    assert during >= 6000
    # What ended shards counted is kept.
    assert recorder.read().buckets == dict.fromkeys(range(1000), 10)


def test_readers_never_disturb_writers(recorder: Recorder) -> None:
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(recorder.read().count)

    async def write() -> None:
        for n in range(50_000):
            recorder.record_ns(n)

    reader = threading.Thread(target=read)
    reader.start()
    spargio.run(write)
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert recorder.read().count == 50_000


def test_an_interval_of_snapshots(recorder: Recorder) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        recorder.record_ns(1_000_000)
        before = handle.stats_snapshot()
        for ns in (5_000, 6_000, 7_000):
            recorder.record_ns(ns, bytes=2)
        interval = handle.stats_snapshot() - before
        part = interval.recorders[recorder.name]
        assert (part.count, part.bytes, part.sum_ns) == (3, 6, 18_000)
        assert part.max_ns < 7_010
        assert part.buckets == Latencies.of([5_000, 6_000, 7_000]).buckets
        assert interval.time_ns > 0
        with pytest.raises(ValueError, match="before must be the earlier"):
            _ = before - handle.stats_snapshot()

    spargio.run(main)


def test_arithmetic() -> None:
    one, other = Latencies.of([1, 5, 3000]), Latencies.of([5, 90_000])
    both = one + other
    assert both.buckets == Latencies.of([1, 5, 5, 3000, 90_000]).buckets
    assert (both.min_ns, both.max_ns, both.count) == (1, 90_000, 5)
    assert (both - other).buckets == one.buckets
    with pytest.raises(ValueError, match="earlier state"):
        _ = one - other
    assert both.above(5) == 2
    assert [round(percent) for percent, _ in both.distribution()] == [20, 60, 80, 100]
    assert Latencies.from_dict(json.loads(json.dumps(both.as_dict()))).as_dict() == both.as_dict()
    with pytest.raises(ValueError, match="percent must be between 0 and 100, got 101"):
        both.percentile_ns(101)
    empty = Latencies.of([])
    assert (empty.percentile_ns(99), empty.mean_ns, empty.count) == (0, 0.0, 0)
    assert (empty + one).min_ns == 1


def test_hdr_log_is_read_by_its_own_tools(recorder: Recorder, tmp_path: Path) -> None:
    hdrh = pytest.importorskip("hdrh.histogram", reason="no hdrhistogram: pip install '.[test]'")
    log = pytest.importorskip("hdrh.log")
    values = [int(1.5**n) for n in range(71)] * 3
    for ns in values:
        recorder.record_ns(ns)
    path = tmp_path / "latencies.hlog"
    write_hdr_log(path, [(0.0, 1.0, recorder.read()), (1.0, 1.0, Latencies.of([7, 7]))])
    reader = log.HistogramLogReader(str(path), hdrh.HdrHistogram(1, 3_600_000_000_000, 3))
    first = reader.get_next_interval_histogram()
    own = hdrh.HdrHistogram(1, 3_600_000_000_000, 3)
    for ns in values:
        own.record_value(ns)
    assert first.get_total_count() == len(values)
    for percent in (1, 50, 90, 99, 99.9, 100):
        theirs = own.get_value_at_percentile(percent)
        assert first.get_value_at_percentile(percent) == theirs
        ours = recorder.read().percentile_ns(percent)
        assert ours == min(theirs, max(values))
    second = reader.get_next_interval_histogram()
    assert second.get_value_at_percentile(50) == 7
    reader.close()
    begin, seconds, back = next(iter(read_hdr_log(path)))
    assert (begin, seconds, back.name) == (0.0, 1.0, recorder.name)
    assert back.buckets == recorder.read().buckets
    theirs = tmp_path / "theirs.hlog"
    writer = log.HistogramLogWriter(open(theirs, "w"))  # noqa: SIM115
    writer.output_interval_histogram(own, max_value_unit_ratio=1e6)
    writer.close()
    assert next(iter(read_hdr_log(theirs)))[2].buckets == recorder.read().buckets
