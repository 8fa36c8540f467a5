"""A minimal HTTP/1.1 responder: 64 connections that are kept alive, one request in flight on each,
from wrk on another CPU. Every server has the same parser, httptools, so what differs is the way of
the bytes. What counts is the server's CPU time per request."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import loops
import processes
import worker
from harness import SPARGIO, SPARGIO_2, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import LineProcess, MeasurementFailed, Missing

CONNECTIONS: Final = 64
SERVERS: Final = Path(__file__).resolve().parent / "servers"
CHECKS: Final = 3

sys.path.insert(1, str(SERVERS))


def server_command(peer: str) -> list[str | Path]:
    if peer in (SPARGIO, SPARGIO_2):
        return processes.python(SERVERS / "spargio_http.py", "2" if peer == SPARGIO_2 else "1")
    if peer == "trio":
        return processes.python(SERVERS / "trio_http.py")
    loop, _, kind = peer.rpartition("-")
    return processes.python(SERVERS / f"http_{kind}.py", loop)


def check(port: int, body: bytes | None = None) -> None:
    """Whole answers, byte by byte: wrk looks at the status alone."""
    if body is None:
        from http_exchange import BODY

        body = BODY
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=processes.ANSWER_SECONDS)
    with contextlib.closing(connection):
        for _ in range(CHECKS):
            connection.request("GET", "/")
            answer = connection.getresponse()
            found = (answer.status, answer.read())
            if found != (200, body):
                raise MeasurementFailed(f"the server answered {found}")


def parsed(text: str) -> tuple[int, float]:
    """Requests and seconds of wrk's report, which must not speak of errors."""
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    if not found or "Non-2xx" in text or "Socket errors" in text:
        raise MeasurementFailed(f"wrk said: {text.strip()}")
    return int(found[1]), float(found[2]) * {"ms": 1e-3, "s": 1, "m": 60}[found[3]]


def percentile_us(text: str, percent: int) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)
    if not found:
        raise MeasurementFailed(f"no latency of {percent} % in what wrk said: {text.strip()}")
    return float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]]


def measure_server(
    command: list[str | Path],
    wrk: str,
    seconds: float,
    cpus: Iterable[int] | None = None,
    body: bytes | None = None,
) -> Sample:
    """wrk counts whole seconds. To accept its 64 connections is counted with the requests."""
    server_cpu, load_cpu = processes.two_cpus()
    whole = max(1, math.ceil(seconds))
    with LineProcess("server", command, cpus or {server_cpu}) as server:
        port = int(server.read_line())
        check(port, body)
        load = [wrk, "--latency", "-t1", f"-c{CONNECTIONS}", f"-d{whole}s"]
        server.write_line("usage")
        before = worker.parse(server.read_line())
        said = processes.run(
            [*load, f"http://127.0.0.1:{port}/"], cpus={load_cpu}, seconds=whole + 20
        )
        server.write_line("usage")
        after = worker.parse(server.read_line())
    requests, took = parsed(said)
    user_us, system_us = ((after[key] - before[key]) / requests for key in ("user_us", "system_us"))
    return {
        "cpu_us": user_us + system_us,
        "user_us": user_us,
        "system_us": system_us,
        "requests_per_second": requests / took,
        "p50_us": percentile_us(said, 50),
        "p99_us": percentile_us(said, 99),
        "server_busy": (user_us + system_us) * requests / took / 1e4,
    }


def wrk_program() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise Missing("no wrk (Debian: apt-get install wrk)")
    return found


@contextlib.contextmanager
def prepare(settings: Settings) -> Iterator[Measure]:
    wrk = wrk_program()

    def measure(peer: str) -> Sample:
        return measure_server(server_command(peer), wrk, settings.seconds)

    yield measure


STREAMS: Final = loops.names("-streams")
PROTOCOLS: Final = loops.names("-protocol")

METRICS: Final = (
    Metric("cpu_us", "CPU us", 2, unit="us of CPU", headline=True),
    Metric("user_us", "user us", 2, unit="us"),
    Metric("system_us", "system us", 2, unit="us"),
    Metric("requests_per_second", "requests/s", unit="1/s", better="higher"),
    Metric("p50_us", "p50\nus", unit="us", ratio=False),
    Metric("p99_us", "p99\nus", unit="us", ratio=False),
    Metric("server_busy", "server\nbusy %", unit="%", ratio=False),
)

GROUP = Group(
    name="http",
    title=f"HTTP/1.1 responder, {CONNECTIONS} connections, per request",
    peers=(
        *(Peer(peer.name, peer.module, "httptools") for peer in loops.peers("-streams")),
        *(Peer(peer.name, peer.module, "httptools") for peer in loops.peers("-protocol")),
        Peer("trio", "trio", "httptools"),
        Peer(SPARGIO, "spargio", "httptools"),
    ),
    metrics=METRICS,
    targets=(
        Target(
            "CPU, against the best peer with the same parser",
            "cpu_us",
            (*STREAMS, *PROTOCOLS, "trio"),
            "spargio/peer",
            "<=",
            0.8,
        ),
    ),
    prepare=prepare,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    names = [*(peer.name for peer in GROUP.peers), SPARGIO_2]
    parser.add_argument("--peer", required=True, choices=names)
    parser.add_argument("--seconds", type=float, default=1, help="wrk takes whole seconds")
    arguments = parser.parse_args()
    with prepare(Settings(rounds=1, seconds=arguments.seconds)) as measure:
        print(json.dumps(measure(arguments.peer)))


if __name__ == "__main__":
    main()
