"""TCP echo: 1, 64 and 1,024 connections of 256 bytes, 1 KiB and 64 KiB; one server process on one
CPU, the load on another. What counts is the server's CPU time per request, from the kernel's
accounting of its process between the end of the warm-up and the last echo: the load runs dry at
both ends, so no request straddles them. With one connection it is the latency. Throughput only
tells the servers apart while the load is faster than they are; the columns "server busy" and "load
busy" say which of them was the limit."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import loops
import native_tools
import processes
import worker
from harness import SPARGIO, SPARGIO_2, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import LineProcess, MeasurementFailed


@dataclass(frozen=True)
class Shape:
    connections: int
    payload_bytes: int

    @property
    def name(self) -> str:
        return f"echo_{self.connections}x{self.payload_bytes}"

    @property
    def title(self) -> str:
        plural = "s" if self.connections > 1 else ""
        size = self.payload_bytes
        text = f"{size // 1024} KiB" if size >= 1024 else f"{size} bytes"
        return f"TCP echo, {self.connections:,} connection{plural} of {text}, per request"


SHAPES: Final = tuple(
    Shape(connections, size) for connections in (1, 64, 1024) for size in (256, 1024, 65_536)
)
CENTRAL: Final = Shape(64, 1024)
"""The one with the targets of CPU time: measured four times as long."""
LATENCY: Final = Shape(1, 256)
CROWD: Final = Shape(1024, 256)

SERVERS: Final = Path(__file__).resolve().parent / "servers"
C_RING: Final = "c-ring"
C_SPARGIO: Final = "c-spargio"
CPP_SPARGIO: Final = "cpp-spargio"
STREAMS: Final = loops.names("-streams")
PROTOCOLS: Final = loops.names("-protocol")


def server_command(peer: str, programs: Path) -> list[str | Path]:
    if peer == C_RING:
        return [native_tools.build("echo_ring", programs)]
    if peer == C_SPARGIO:
        return [native_tools.build_limit("echo_spargio", programs)]
    if peer == CPP_SPARGIO:
        options = ("-std=c++20", *native_tools.library_options())
        return [native_tools.build_linked("limit/echo_coroutines.cpp", programs, *options)]
    if peer in (SPARGIO, SPARGIO_2):
        return processes.python(SERVERS / "spargio_echo.py", "2" if peer == SPARGIO_2 else "1")
    if peer == "trio":
        return processes.python(SERVERS / "trio_echo.py")
    loop, _, kind = peer.rpartition("-")
    return processes.python(SERVERS / f"loops_{kind}.py", loop)


def measure_server(
    server_command: list[str | Path],
    load: Path,
    shape: Shape,
    seconds: float,
    warmup_seconds: float,
    cpus: Iterable[int] | None = None,
) -> Sample:
    """`cpus`: the server's, where it is to have others than the one beside the load's."""
    server_cpu, load_cpu = processes.two_cpus()
    with LineProcess("server", server_command, cpus or {server_cpu}) as server:
        port = server.read_line().strip()
        sizes = map(str, (shape.connections, shape.payload_bytes, seconds, warmup_seconds))
        host, port = (port, "0") if port.startswith("/") else ("127.0.0.1", port)
        load_command: list[str | Path] = [load, "--sync", host, port, *sizes]
        with LineProcess("load", load_command, {load_cpu}) as client:
            if client.read_line().strip() != "ready":
                raise MeasurementFailed("the load generator is not ready")
            server.write_line("usage")
            before = worker.parse(server.read_line())
            client.write_line("go")
            found = worker.parse(client.read_line(seconds + processes.ANSWER_SECONDS))
            server.write_line("usage")
            after = worker.parse(server.read_line())
    if found["errors"] or not found["requests"]:
        raise MeasurementFailed(f"{found['errors']:.0f} errors, {found['requests']:.0f} requests")
    return summary(found, before, after)


def summary(found: Sample, before: Sample, after: Sample) -> Sample:
    user_us, system_us, waits = (
        (after[key] - before[key]) / found["requests"] for key in ("user_us", "system_us", "waits")
    )
    load_us = found["load_user_us"] + found["load_system_us"]
    whole_us = found["seconds"] * 1e6
    return {
        **found,
        "cpu_us": user_us + system_us,
        "user_us": user_us,
        "system_us": system_us,
        "waits_per_request": waits,
        "server_busy": (user_us + system_us) * found["requests"] / whole_us * 100,
        "load_busy": load_us / whole_us * 100,
        "max_rss_kib": after["max_rss_kib"],
    }


@contextlib.contextmanager
def prepare(settings: Settings, shape: Shape) -> Iterator[Measure]:
    """The central row lasts longer than others: the kernel takes the sum of user and system time
    from its scheduler's clock, but divides it by what its timer ticks (100 to 1000 per second)
    happened to find, and a small user part needs many of them."""
    seconds = settings.seconds * (4 if shape == CENTRAL else 1)
    warmup_seconds = min(0.25, 2 * settings.seconds)
    with tempfile.TemporaryDirectory(prefix="spargio-bench-") as folder:
        programs = Path(folder)
        load = native_tools.build("echo_load", programs)

        def measure(peer: str) -> Sample:
            command = server_command(peer, programs)
            return measure_server(command, load, shape, seconds, warmup_seconds)

        yield measure


def targets_of(shape: Shape) -> tuple[Target, ...]:
    def cpu(text: str, key: str, peers: tuple[str, ...], limit: float) -> Target:
        return Target(text, key, peers, "spargio/peer", "<=", limit)

    if shape == CENTRAL:
        return (
            cpu("CPU, against the best Protocol", "cpu_us", PROTOCOLS, 0.9),
            cpu("CPU, against the best streams", "cpu_us", (*STREAMS, "trio"), 0.5),
            cpu("user CPU, against the best streams", "user_us", (*STREAMS, "trio"), 0.15),
            cpu("CPU, against C on spargio", "cpu_us", (C_SPARGIO,), 1.1),
            Target(
                "CPU of C++ coroutines, against C",
                "cpu_us",
                C_SPARGIO,
                "spargio/peer",
                "<=",
                1.05,
                subject=CPP_SPARGIO,
            ),
        )
    if shape == LATENCY:
        peers = (*STREAMS, *PROTOCOLS, "trio")
        return (cpu("p50, against the fastest peer", "p50_us", peers, 0.7),)
    return ()


def metrics_of(shape: Shape) -> tuple[Metric, ...]:
    alone = shape.connections == 1
    cpu = Metric("cpu_us", "CPU us", 2, unit="us of CPU", headline=True)
    p50 = Metric("p50_us", "p50\nus", 1, unit="us", ratio=alone, headline=alone)
    rest = (
        Metric("user_us", "user us", 2, unit="us"),
        Metric("system_us", "system us", 2, unit="us"),
        Metric("requests_per_second", "requests/s", unit="1/s", better="higher"),
        Metric("p99_us", "p99\nus", 1, unit="us", ratio=False),
        Metric("server_busy", "server\nbusy %", unit="%", ratio=False),
        Metric("load_busy", "load\nbusy %", unit="%", ratio=False),
    )
    return (cpu, p50, *rest)


def prepared(shape: Shape, settings: Settings) -> AbstractContextManager[Measure]:
    return prepare(settings, shape)


def group_of(shape: Shape) -> Group:
    return Group(
        name=shape.name,
        family="echo",
        title=shape.title,
        peers=(
            *loops.peers("-streams"),
            *loops.peers("-protocol"),
            Peer("trio", "trio"),
            Peer(SPARGIO, "spargio"),
            Peer(C_SPARGIO, "spargio"),
            Peer(CPP_SPARGIO, "spargio"),
            Peer(C_RING),
        ),
        metrics=metrics_of(shape),
        targets=targets_of(shape),
        prepare=functools.partial(prepared, shape),
        quick=shape in (CENTRAL, LATENCY, CROWD),
    )


GROUPS: Final = tuple(group_of(shape) for shape in SHAPES)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument(
        "--peer", required=True, choices=[peer.name for peer in GROUPS[0].peers] + [SPARGIO_2]
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="how long it lasts")
    parser.add_argument("--connections", type=int, default=CENTRAL.connections)
    parser.add_argument("--bytes", type=int, default=CENTRAL.payload_bytes)
    arguments = parser.parse_args()
    shape = Shape(arguments.connections, arguments.bytes)
    with prepare(Settings(rounds=1, seconds=arguments.seconds), shape) as measure:
        print(json.dumps(measure(arguments.peer)))


if __name__ == "__main__":
    main()
