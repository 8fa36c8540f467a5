"""What looking costs: the echo server of the row `echo_64x1024` with nothing on, and with each of
the things that look at it (a monitor that nobody asks, the scheduler's latencies, a recorder around
each request, the trace, a flight recorder); and what one record of a recorder takes."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, perf_counter
from typing import Final

import echo
import native_tools
import processes
import worker
from harness import SPARGIO, Group, Measure, Metric, Peer, Sample, Settings, Target

SERVER: Final = Path(__file__).resolve().parent / "servers/spargio_observed.py"
WAYS: Final = ("monitor", "scheduler-latency", "recorder", "trace", "flight-recorder")


@contextlib.contextmanager
def prepare(settings: Settings) -> Iterator[Measure]:
    seconds = 4 * settings.seconds
    with tempfile.TemporaryDirectory(prefix="spargio-bench-") as folder:
        load = native_tools.build("echo_load", Path(folder))

        def measure(peer: str) -> Sample:
            command = processes.python(SERVER, peer, folder)
            return echo.measure_server(
                command, load, echo.CENTRAL, seconds, min(0.25, 2 * settings.seconds)
            )

        yield measure


ECHO = Group(
    name="observing_echo",
    family="observing",
    title="TCP echo, 64 connections of 1 KiB, while something looks, per request",
    peers=(Peer(SPARGIO, "spargio"), *(Peer(way, "spargio") for way in WAYS)),
    metrics=(
        Metric("cpu_us", "CPU us", 2, unit="us of CPU", headline=True),
        Metric("p99_us", "p99\nus", 1, unit="us", ratio=False),
        Metric("requests_per_second", "requests/s", unit="1/s", better="higher"),
    ),
    targets=(
        Target("a monitor that nobody asks", "cpu_us", "monitor", "peer/spargio", "<=", 1.01),
        Target("the trace", "cpu_us", "trace", "peer/spargio", "<=", 1.03),
    ),
    prepare=prepare,
)


def per_call(call: Callable[[], object], seconds: float) -> float:
    """ns of one call, less those of the loop, in the best of some runs."""
    count, best = 20_000, float("inf")
    loop = range(count)
    ends = perf_counter() + seconds
    while perf_counter() < ends:
        start = perf_counter()
        for _ in loop:
            pass
        middle = perf_counter()
        for _ in loop:
            call()
        best = min(best, (perf_counter() - middle) - (middle - start))
    return best / count * 1e9


def calls(seconds: float) -> Sample:
    from spargio.latency import Recorder

    recorder = Recorder("bench")

    def timed() -> None:
        with recorder.time():
            pass

    def untimed() -> None:
        pass

    began = monotonic()
    part = seconds / 4
    return {
        "record_ns": per_call(functools.partial(recorder.record_ns, 12_345), part),
        "record_from": per_call(functools.partial(recorder.record_from, began), part),
        "time": per_call(timed, part) - per_call(untimed, part),
    }


def on_a_shard(seconds: float) -> Sample:
    import spargio

    async def main() -> Sample:
        return calls(seconds)

    return spargio.run(main, shards=1)


def outside(seconds: float) -> Sample:
    found: list[Sample] = []
    thread = threading.Thread(target=lambda: found.append(calls(seconds)))
    thread.start()
    thread.join()
    return found[0]


RUNNERS: Final[dict[str, worker.Runner]] = {SPARGIO: on_a_shard, "outside": outside}

RECORD = Group(
    name="observing_record",
    family="observing",
    title="One record of a recorder, by Python, on a shard and outside the runtime, ns",
    peers=(Peer(SPARGIO, "spargio"), Peer("outside", "spargio")),
    metrics=(
        Metric("record_ns", "record_ns()", 0, unit="ns", headline=True),
        Metric("record_from", "record_from()", 0, unit="ns"),
        Metric("time", "with time()", 0, unit="ns"),
    ),
    targets=(Target("a timed block", "time", SPARGIO, "value", "<=", 150),),
    prepare=functools.partial(worker.single_threaded, Path(__file__)),
)

GROUPS: Final = (ECHO, RECORD)

if __name__ == "__main__":
    worker.main(RUNNERS)
