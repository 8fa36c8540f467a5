"""TCP echo, 64 connections of 1 KiB: one server process on one CPU, the load on another. What
counts is the server's CPU time per request, from the kernel's accounting of its process between the
end of the warm-up and the last echo: the load runs dry at both ends, so no request straddles them.
Throughput only tells the servers apart while the load is faster than they are; the columns "server
busy" and "load busy" say which of them was the limit."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import native_tools
import processes
import worker
from harness import SPARGIO, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import LineProcess, MeasurementFailed

CONNECTIONS: Final = 64
PAYLOAD_BYTES: Final = 1024
WARMUP_SECONDS: Final = 0.5

SERVERS: Final = Path(__file__).resolve().parent / "servers"
C_RING: Final = "c-ring"
SCRIPTS: Final = {
    "asyncio-streams": "asyncio_streams.py",
    "asyncio-protocol": "asyncio_protocol.py",
    "uvloop-streams": "uvloop_streams.py",
    "uvloop-protocol": "uvloop_protocol.py",
    SPARGIO: "spargio_echo.py",
}


def server_command(peer: str, programs: Path) -> list[str | Path]:
    if peer == C_RING:
        return [native_tools.build("echo_ring", programs)]
    return processes.python(SERVERS / SCRIPTS[peer])


def measure_server(server_command: list[str | Path], load: Path, seconds: float) -> Sample:
    server_cpu, load_cpu = processes.two_cpus()
    with LineProcess("server", server_command, server_cpu) as server:
        port = server.read_line().strip()
        arguments = ("127.0.0.1", port, CONNECTIONS, PAYLOAD_BYTES, seconds, WARMUP_SECONDS)
        load_command: list[str | Path] = [load, "--sync", *map(str, arguments)]
        with LineProcess("load", load_command, load_cpu) as client:
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
def prepare(settings: Settings) -> Iterator[Measure]:
    """One measurement lasts longer than in other rows: the kernel takes the sum of user and system
    time from its scheduler's clock, but divides it by what its timer ticks (100 to 1000 per second)
    happened to find, and a small user part needs many of them."""
    seconds = 4 * settings.seconds
    with tempfile.TemporaryDirectory(prefix="spargio-bench-") as folder:
        programs = Path(folder)
        load = native_tools.build("echo_load", programs)

        def measure(peer: str) -> Sample:
            return measure_server(server_command(peer, programs), load, seconds)

        yield measure


GROUP = Group(
    name="echo",
    title=f"TCP echo, {CONNECTIONS} connections of {PAYLOAD_BYTES} bytes, per request",
    peers=(
        Peer("asyncio-streams"),
        Peer("asyncio-protocol"),
        Peer("uvloop-streams", "uvloop"),
        Peer("uvloop-protocol", "uvloop"),
        Peer(SPARGIO, "spargio"),
        Peer(C_RING),
    ),
    metrics=(
        Metric("cpu_us", "CPU us", 2),
        Metric("user_us", "user us", 2),
        Metric("system_us", "system us", 2),
        Metric("requests_per_second", "requests/s"),
        Metric("p50_us", "p50\nus", ratio=False),
        Metric("p99_us", "p99\nus", ratio=False),
        Metric("server_busy", "server\nbusy %", ratio=False),
        Metric("load_busy", "load\nbusy %", ratio=False),
    ),
    targets=(
        Target(
            "CPU, against a uvloop Protocol",
            "cpu_us",
            "uvloop-protocol",
            "spargio/peer",
            "<=",
            0.85,
        ),
        Target(
            "CPU, against asyncio streams", "cpu_us", "asyncio-streams", "spargio/peer", "<=", 0.3
        ),
        Target(
            "user CPU, against uvloop streams",
            "user_us",
            "uvloop-streams",
            "spargio/peer",
            "<=",
            0.25,
        ),
        Target(
            "requests/s, against a uvloop Protocol",
            "requests_per_second",
            "uvloop-protocol",
            "spargio/peer",
            ">=",
            1.15,
        ),
    ),
    prepare=prepare,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--peer", required=True, choices=[peer.name for peer in GROUP.peers])
    parser.add_argument("--seconds", type=float, default=0.5, help="a quarter of what it lasts")
    arguments = parser.parse_args()
    with prepare(Settings(rounds=1, seconds=arguments.seconds)) as measure:
        print(json.dumps(measure(arguments.peer)))


if __name__ == "__main__":
    main()
