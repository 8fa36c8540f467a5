"""TLS 1.3: echo over 64 connections, handshakes, and what an idle connection holds. One server
process on one CPU, the load on another (but for the row of two shards); what counts is the server's
CPU time per request, from the kernel's accounting. malloc's threshold is pinned for all: without
that uvloop's row has two modes, and the one that a run falls into by chance maps memory anew for
each read."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import processes
import worker
from harness import SPARGIO, SPARGIO_2, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import LineProcess, MeasurementFailed

HERE: Final = Path(__file__).resolve().parent
THRESHOLD: Final = str(1 << 20)
"""Bytes, above all that a server here asks for at once (MALLOC_MMAP_THRESHOLD_)."""
IDLE: Final = 500

MEMORY: Final = "spargio-memory-bio"
FAST: Final = "aiofastnet-uvloop"
PROTOCOL: Final = "uvloop-protocol"
STREAMS: Final = "uvloop-streams"
LOOP: Final = "spargio-loop-protocol"

SERVERS: Final = {
    SPARGIO: ("spargio", "1"),
    SPARGIO_2: ("spargio", "2"),
    MEMORY: ("spargio-memory", "1"),
    LOOP: ("protocol", "spargio"),
    FAST: ("aiofastnet", "uvloop"),
    PROTOCOL: ("protocol", "uvloop"),
    STREAMS: ("streams", "uvloop"),
    "asyncio-protocol": ("protocol", "asyncio"),
}


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    kind: Literal["echo", "handshakes", "idle"]
    connections: int
    payload: int


ROWS: Final = (
    Row("tls_echo_64x1024", "TLS echo, 64 connections of 1 KiB, per request", "echo", 64, 1024),
    Row("tls_echo_64x65536", "TLS echo, 64 connections of 64 KiB, per request", "echo", 64, 65536),
    Row("tls_handshakes", "TLS handshakes (P-256), 16 bytes echoed, close", "handshakes", 8, 16),
    Row("tls_idle", f"an idle TLS connection, of {IDLE}", "idle", IDLE, 1024),
)
TWO_SHARDS: Final = (
    Row("tls_shards_64x65536", "TLS echo on 2 shards, 64 KiB", "echo", 64, 65536),
    Row("tls_shards_handshakes", "TLS handshakes on 2 shards", "handshakes", 8, 16),
)


def certificates(folder: Path) -> None:
    import trustme

    authority = trustme.CA()
    one = authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
    (folder / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in one.cert_chain_pems))
    one.private_key_pem.write_to_path(str(folder / "key.pem"))
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))


def measure_server(peer: str, row: Row, folder: Path, seconds: float, *, both: bool) -> Sample:
    server_cpu, load_cpu = processes.two_cpus()
    command = processes.python(HERE / "servers" / "tls_server.py", *SERVERS[peer], str(folder))
    cpus = {server_cpu, load_cpu} if both else {server_cpu}
    given = (row.kind, str(folder))
    with LineProcess("server", command, cpus) as server:
        port = server.read_line().strip()
        server.write_line("usage")
        bare = worker.parse(server.read_line())
        sizes = (str(row.connections), str(row.payload), str(seconds))
        load = processes.python(HERE / "tls_load.py", *given, port, *sizes)
        with LineProcess("load", load, {load_cpu}) as client:
            if client.read_line(60).strip() != "ready":
                raise MeasurementFailed("the load generator is not ready")
            server.write_line("usage")
            before = worker.parse(server.read_line())
            client.write_line("go")
            found = worker.parse(client.read_line(seconds + processes.ANSWER_SECONDS))
            server.write_line("usage")
            after = worker.parse(server.read_line())
    if row.kind == "idle":
        return {"kib": (before["private_kib"] - bare["private_kib"]) / row.connections}
    if not found["requests"]:
        raise MeasurementFailed("no request was answered")
    user_us, system_us = (
        (after[key] - before[key]) / found["requests"] for key in ("user_us", "system_us")
    )
    return {
        "cpu_us": user_us + system_us,
        "user_us": user_us,
        "system_us": system_us,
        "requests_per_second": found["requests"] / found["seconds"],
    }


@contextlib.contextmanager
def prepare(settings: Settings, row: Row, *, both: bool) -> Iterator[Measure]:
    seconds = settings.seconds * (1 if settings.quick else 2)
    before = os.environ.get("MALLOC_MMAP_THRESHOLD_")
    os.environ["MALLOC_MMAP_THRESHOLD_"] = THRESHOLD
    try:
        with tempfile.TemporaryDirectory(prefix="spargio-bench-") as name:
            folder = Path(name)
            certificates(folder)
            yield lambda peer: measure_server(peer, row, folder, seconds, both=both)
    finally:
        if before is None:
            del os.environ["MALLOC_MMAP_THRESHOLD_"]
        else:
            os.environ["MALLOC_MMAP_THRESHOLD_"] = before


def prepared(row: Row, both: bool, settings: Settings) -> AbstractContextManager[Measure]:
    return prepare(settings, row, both=both)


def _target(text: str, key: str, peer: str, limit: float, subject: str = "") -> Target:
    return Target(text, key, peer, "spargio/peer", "<=", limit, subject=subject)


TARGETS: Final[dict[str, tuple[Target, ...]]] = {
    "tls_echo_64x1024": (
        _target("CPU, against aiofastnet's Protocol on uvloop", "cpu_us", FAST, 0.95),
        _target("CPU, against uvloop's Protocol", "cpu_us", PROTOCOL, 0.8),
        _target("CPU, against uvloop's streams", "cpu_us", STREAMS, 0.4),
        _target("the loop's Protocol, against aiofastnet", "cpu_us", FAST, 0.95, LOOP),
    ),
    "tls_echo_64x65536": (
        _target("CPU, against aiofastnet's Protocol on uvloop", "cpu_us", FAST, 1.0),
        _target("CPU, against uvloop's Protocol", "cpu_us", PROTOCOL, 0.8),
        _target("CPU, against uvloop's streams", "cpu_us", STREAMS, 0.6),
        _target("the loop's Protocol, against aiofastnet", "cpu_us", FAST, 0.95, LOOP),
    ),
    "tls_idle": (Target("KiB of a connection", "kib", SPARGIO, "value", "<=", 20.0),),
}

PEERS: Final = (
    Peer(SPARGIO, "spargio", "trustme"),
    Peer(MEMORY, "spargio", "trustme"),
    Peer(LOOP, "spargio", "trustme"),
    Peer(FAST, "aiofastnet", "uvloop"),
    Peer(PROTOCOL, "uvloop", "trustme"),
    Peer(STREAMS, "uvloop", "trustme"),
    Peer("asyncio-protocol", None, "trustme"),
)

CPU: Final = (
    Metric("cpu_us", "CPU us", 2, unit="us of CPU", headline=True),
    Metric("user_us", "user us", 2, unit="us"),
    Metric("system_us", "system us", 2, unit="us"),
    Metric("requests_per_second", "requests/s", unit="1/s", better="higher"),
)
KIB: Final = (Metric("kib", "KiB", 1, unit="KiB", headline=True),)
RATE: Final = (
    Metric("requests_per_second", "requests/s", unit="1/s", better="higher", headline=True),
    Metric("cpu_us", "CPU us", 2, unit="us of CPU"),
)


def group_of(row: Row) -> Group:
    return Group(
        name=row.name,
        family="tls",
        title=row.title,
        peers=PEERS,
        metrics=KIB if row.kind == "idle" else CPU,
        targets=TARGETS.get(row.name, ()),
        prepare=functools.partial(prepared, row, False),
        quick=row.kind == "echo",
    )


def two_shards(row: Row) -> Group:
    limit = 1.3 if row.kind == "echo" else 1.5
    text = "requests/s of two shards, against one"
    return Group(
        name=row.name,
        family="tls_shards",
        title=row.title,
        peers=(Peer(SPARGIO, "spargio", "trustme"), Peer(SPARGIO_2, "spargio", "trustme")),
        metrics=RATE,
        targets=(Target(text, "requests_per_second", SPARGIO_2, "peer/spargio", ">=", limit),),
        prepare=functools.partial(prepared, row, True),
        quick=False,
    )


GROUPS: Final = (*map(group_of, ROWS), *map(two_shards, TWO_SHARDS))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--peer", required=True, choices=list(SERVERS))
    rows = {row.name: row for row in (*ROWS, *TWO_SHARDS)}
    parser.add_argument("--row", choices=list(rows), default=ROWS[0].name)
    parser.add_argument("--seconds", type=float, default=0.5, help="half of how long it lasts")
    arguments = parser.parse_args()
    row = rows[arguments.row]
    settings = Settings(rounds=1, seconds=arguments.seconds)
    with prepare(settings, row, both=row in TWO_SHARDS) as measure:
        print(json.dumps(measure(arguments.peer)))


if __name__ == "__main__":
    main()
