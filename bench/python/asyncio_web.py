"""Servers of asyncio's ecosystem on every asyncio loop, under wrk: CPU time per request."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncio_loops
import http_row
import processes
from harness import Group, Measure, Peer, Sample, Settings, Target

SERVER: Final = Path(__file__).resolve().parent / "servers/asyncio_web.py"
LARGE: Final = b"x" * 10_240
ROWS: Final[dict[str, tuple[str, bytes | None, float]]] = {
    # What must be installed, the body if not the usual one, CPU time as a part of uvloop's.
    "uvicorn": ("uvicorn", None, 0.9),
    "uvicorn_10k": ("uvicorn", LARGE, 0.95),
    "aiohttp": ("aiohttp", None, 0.95),
}


@contextlib.contextmanager
def prepare(kind: str, settings: Settings) -> Iterator[Measure]:
    wrk = http_row.wrk_program()

    def measure(peer: str) -> Sample:
        command = processes.python(SERVER, kind, peer)
        return http_row.measure_server(command, wrk, settings.seconds, body=ROWS[kind][1])

    yield measure


def group_of(kind: str) -> Group:
    package, body, limit = ROWS[kind]
    size = "10 KiB" if body else "13 bytes"
    return Group(
        name=f"asyncio_{kind}",
        family="asyncio_web",
        title=f"{package} on asyncio's loops, {size}, {http_row.CONNECTIONS} connections",
        peers=tuple(Peer(peer.name, peer.module, package) for peer in asyncio_loops.peers()),
        metrics=http_row.GROUP.metrics,
        targets=(
            Target("CPU, against uvloop", "cpu_us", "uvloop", "spargio/peer", "<=", limit),
            Target("p99, against uvloop", "p99_us", "uvloop", "spargio/peer", "<=", 1),
        ),
        prepare=functools.partial(prepare, kind),
    )


GROUPS: Final = tuple(group_of(kind) for kind in ROWS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--kind", required=True, choices=ROWS)
    parser.add_argument("--peer", required=True, choices=asyncio_loops.NAMES)
    parser.add_argument("--seconds", type=float, default=1, help="wrk takes whole seconds")
    arguments = parser.parse_args()
    with prepare(arguments.kind, Settings(rounds=1, seconds=arguments.seconds)) as measure:
        print(json.dumps(measure(arguments.peer)))


if __name__ == "__main__":
    main()
