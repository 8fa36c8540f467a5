"""Two shards beside one, on both CPUs. With a GIL a second shard cannot run Python at the same
time, and must cost next to nothing in the other rows. Without one, it has to double what the CPUs
do: these two rows run in a free-threaded interpreter that --free-threaded names."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import echo
import http_row
import native_tools
import processes
import read_4k
import small_files
import worker
from harness import SPARGIO, SPARGIO_2, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import Missing

FOLDER: Final = Path(__file__).resolve().parent
ONE: Final = "1-shard"
TWO: Final = "2-shards"
GIL_LIMIT: Final = 0.95
VARIABLE: Final = "SPARGIO_BENCH_FREE_THREADED"

Prepare = Callable[[Settings], AbstractContextManager[Measure]]


def with_gil() -> bool:
    return getattr(sys, "_is_gil_enabled", lambda: True)()


@contextlib.contextmanager
def script(
    name: str, peers: dict[str, str], more: Sequence[str], settings: Settings
) -> Iterator[Measure]:
    """The script of another row, with that row's name of each number of shards."""
    cpus = processes.two_cpus()

    def measure(peer: str) -> Sample:
        options = ("--peer", peers[peer], "--seconds", str(settings.seconds), *more)
        command = processes.python(FOLDER / f"{name}.py", *options)
        return worker.parse(processes.run(command, cpus=cpus, seconds=120))

    yield measure


@contextlib.contextmanager
def reads(settings: Settings) -> Iterator[Measure]:
    with read_4k.test_file() as (path, _, _):
        options = (str(read_4k.CENTRAL.depth), str(settings.seconds), "0")

        def measure(peer: str) -> Sample:
            name = PLAIN[peer]
            command = processes.python(FOLDER / "read_4k.py", "--of", name, str(path), *options)
            return worker.parse(processes.run(command, cpus=processes.two_cpus(), seconds=120))

        yield measure


@contextlib.contextmanager
def files(settings: Settings) -> Iterator[Measure]:
    with small_files.hot_files(small_files.wanted_files(settings)) as top:
        names = {ONE: small_files.ONE_SHARD, TWO: SPARGIO}
        with script("small_files", names, ("--folder", str(top)), settings) as measure:
            yield measure


@contextlib.contextmanager
def echoes(settings: Settings) -> Iterator[Measure]:
    with tempfile.TemporaryDirectory(prefix="spargio-bench-") as folder:
        load = native_tools.build("echo_load", Path(folder))

        def measure(peer: str) -> Sample:
            return echo.measure_server(
                echo.server_command(PLAIN[peer], Path(folder)),
                load,
                echo.CENTRAL,
                2 * settings.seconds,
                min(0.25, settings.seconds),
                server_cpus(),
            )

        yield measure


@contextlib.contextmanager
def http(settings: Settings) -> Iterator[Measure]:
    wrk = http_row.wrk_program()
    yield lambda peer: http_row.measure_server(
        http_row.server_command(PLAIN[peer]), wrk, settings.seconds, server_cpus()
    )


def server_cpus() -> set[int]:
    """Both numbers of shards get all CPUs but the load's, where that leaves two."""
    _, load = processes.two_cpus()
    usable = os.sched_getaffinity(0)
    return usable - {load} if len(usable) > 2 else usable


PLAIN: Final = {ONE: SPARGIO, TWO: SPARGIO_2}


def row(name: str, title: str, metrics: Sequence[Metric], prepare: Prepare) -> Group:
    """Each headline has the target: 0.95 of what one shard does."""

    def target(metric: Metric) -> Target:
        return Target(
            f"2 shards against 1: {metric.title}",
            metric.key,
            ONE,
            "peer/spargio" if metric.better == "lower" else "spargio/peer",
            ">=",
            GIL_LIMIT,
            needs="" if with_gil() else "a build of Python with a GIL",
        )

    return Group(
        name=f"shards_{name}",
        family="shards",
        title=f"2 shards against 1: {title}",
        peers=(Peer(ONE, "spargio"), Peer(TWO, "spargio")),
        metrics=metrics,
        targets=[target(metric) for metric in metrics if metric.headline],
        prepare=prepare,
        subject=TWO,
        quick=name == "channel",
    )


def ns(key: str, title: str) -> Metric:
    return Metric(key, title, unit="ns", headline=True)


def per_second(key: str, title: str) -> Metric:
    return Metric(key, title, unit="1/s", better="higher", headline=True)


CPU: Final = Metric("cpu_us", "CPU us", 2, unit="us of CPU", headline=True)
THROUGHPUT: Final = Metric("requests_per_second", "requests/s", unit="1/s", better="higher")


def scripted(name: str) -> Prepare:
    return functools.partial(script, name, PLAIN, ())


def free_threaded(settings: Settings) -> str:
    """The interpreter, or why there is none."""
    if not with_gil():
        return sys.executable
    found = settings.free_threaded or os.environ.get(VARIABLE)
    if not found:
        raise Missing(f"no free-threaded Python: name one with --free-threaded or {VARIABLE}")
    question = "import sys, spargio; sys.exit(sys._is_gil_enabled())"
    try:
        processes.run([found, "-c", question], seconds=20)
    except (OSError, processes.MeasurementFailed) as error:
        raise Missing(f"{found} is no free-threaded Python with spargio: {error}") from None
    return found


@contextlib.contextmanager
def parallel(program: str, settings: Settings) -> Iterator[Measure]:
    interpreter = free_threaded(settings)
    cpus = processes.two_cpus()
    numbers = {ONE: "1", TWO: "2"}

    def measure(peer: str) -> Sample:
        script, seconds = FOLDER / "parallel.py", str(settings.seconds)
        command = [interpreter, script, program, "--shards", numbers[peer], "--seconds", seconds]
        return worker.parse(processes.run(command, cpus=cpus, seconds=60))

    yield measure


def parallel_row(program: str, title: str, unit: str, limit: float) -> Group:
    needs = "" if len(os.sched_getaffinity(0)) > 1 else "2 CPUs"
    return Group(
        name=f"free_threaded_{program}",
        family="shards",
        title=f"2 shards against 1, without a GIL: {title}",
        peers=(Peer(ONE), Peer(TWO)),
        metrics=(per_second("per_second", f"{unit}/s"),),
        targets=(
            Target(
                f"2 shards against 1 without a GIL: {title}",
                "per_second",
                ONE,
                "spargio/peer",
                ">=",
                limit,
                needs,
            ),
        ),
        prepare=functools.partial(parallel, program),
        subject=TWO,
    )


GROUPS: Final = (
    row(
        "yield", "yield", (ns("ns", "1 task"), ns("ns_in_turns", "64 tasks")), scripted("yield_now")
    ),
    row(
        "spawn",
        "spawn and join",
        (ns("ns", "one by one"), ns("ns_in_batches", "batches of 64")),
        scripted("spawn_join"),
    ),
    row(
        "channel",
        "channel ping-pong",
        (ns("ns", "1 pair"), ns("ns_of_pairs", "64 pairs")),
        scripted("channel"),
    ),
    row("timers", "sleeping tasks", (CPU,), scripted("timers")),
    row("echo", "echo, 64 connections of 1 KiB", (CPU, THROUGHPUT), echoes),
    row("http", "HTTP responder", (CPU, THROUGHPUT), http),
    row(
        "read_4k", "4 KiB reads, hot, depth 32", (per_second("reads_per_second", "reads/s"),), reads
    ),
    row("small_files", "small files", (per_second("files_per_second", "files/s"),), files),
    parallel_row("cpu", "stealable coroutines that compute", "tasks", 1.85),
    parallel_row("echo", "echo, both ends on the shard", "requests", 1.6),
    parallel_row("asgi", "an ASGI application under anycorn", "requests", 1.9),
)
