"""Echo by asyncio's interfaces, on every asyncio loop: the server's CPU time per request, as in the
rows of echo.py, and the tail of the latency in windows."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncio_loops
import echo
import native_tools
import processes
from harness import SPARGIO, Group, Measure, Peer, Sample, Settings, Target

SERVER: Final = Path(__file__).resolve().parent / "servers/asyncio_echo.py"
AIOFASTNET: Final = "uvloop+aiofastnet"


@dataclass(frozen=True)
class Row:
    kind: str
    """A function of servers/asyncio_echo.py."""
    shape: echo.Shape
    limit: float
    """spargio's CPU time, as a part of uvloop's."""
    blazio: float | None = None
    """The same of blazio's."""

    @property
    def name(self) -> str:
        return f"asyncio_{self.kind}_{self.shape.connections}x{self.shape.payload_bytes}"


ROWS: Final = (
    Row("protocol", echo.CENTRAL, 0.85, blazio=0.97),
    Row("protocol", echo.Shape(64, 100 * 1024), 1.0),
    Row("protocol", echo.Shape(64, 1024 * 1024), 1.0),
    Row("streams", echo.CENTRAL, 0.75),
    Row("unix", echo.CENTRAL, 1 / 1.2),
    Row("sock", echo.CENTRAL, 1 / 1.5),
)


def server_command(row: Row, peer: str) -> list[str | Path]:
    if peer == AIOFASTNET:
        return processes.python(SERVER, "aiofastnet", "uvloop")
    return processes.python(SERVER, row.kind, peer)


@contextlib.contextmanager
def prepare(row: Row, settings: Settings) -> Iterator[Measure]:
    seconds = settings.seconds * 4  # Windows of 3 s.
    with tempfile.TemporaryDirectory(prefix="spargio-bench-") as folder:
        load = native_tools.build("echo_load", Path(folder))

        def measure(peer: str) -> Sample:
            command = server_command(row, peer)
            warmup = min(0.25, 2 * settings.seconds)
            return echo.measure_server(command, load, row.shape, seconds, warmup)

        yield measure


def group_of(row: Row) -> Group:
    peers = asyncio_loops.peers()
    if row.kind == "protocol":
        peers += (Peer(AIOFASTNET, "uvloop", "aiofastnet"),)
    against = [("uvloop", row.limit)]
    if row.blazio is not None:
        against.append(("blazio", row.blazio))
    targets = [
        Target(f"CPU, against {peer}", "cpu_us", peer, "spargio/peer", "<=", round(limit, 2))
        for peer, limit in against
    ]
    targets.append(Target("p99, against uvloop", "p99_us", "uvloop", "spargio/peer", "<=", 1))
    return Group(
        name=row.name,
        family="asyncio_echo",
        title=f"asyncio {row.kind}: {row.shape.title}",
        peers=peers,
        metrics=echo.metrics_of(row.shape),
        targets=targets,
        prepare=functools.partial(prepare, row),
        quick=row.shape == echo.CENTRAL,
        subject=SPARGIO,
    )


GROUPS: Final = tuple(group_of(row) for row in ROWS)


def main() -> None:
    rows = {row.name: row for row in ROWS}
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--row", required=True, choices=rows)
    parser.add_argument("--peer", required=True, choices=(*asyncio_loops.NAMES, AIOFASTNET))
    parser.add_argument("--seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    row = rows[arguments.row]
    with prepare(row, Settings(rounds=1, seconds=arguments.seconds / 4)) as measure:
        print(json.dumps(measure(arguments.peer)))


if __name__ == "__main__":
    main()
