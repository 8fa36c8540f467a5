"""The native workloads of peers/PROTOCOL.md: spargio by its C interface beside runtimes in Rust.
Each workload is a row of its own. The library and the C program are built anew for each run, the
Rust peers by cargo into a folder that stays."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import native_tools
from harness import SPARGIO, Group, Measure, Metric, Peer, Sample, Settings
from processes import MeasurementFailed, Missing

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PEERS: Final = ROOT / "bench/peers"
RUST: Final = {"spargio-rust": "spargio"} | {
    name: name for name in ("tokio", "compio", "monoio", "glommio")
}
BUILD_LIMIT_S: Final = 900
RUN_LIMIT_S: Final = 120
REPEAT: Final = 5


def checksums() -> dict[str, str]:
    """What the protocol says each workload must give."""
    table = (PEERS / "PROTOCOL.md").read_text().partition("## Checksums")[2]
    return dict(re.findall(r"^\| `(\w+)` \| (\d+) \|$", table, re.MULTILINE))


@functools.cache
def folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="spargio-bench-")


def built(command: list[str | Path], what: str, environment: dict[str, str] | None = None) -> None:
    outcome = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | (environment or {}),
        timeout=BUILD_LIMIT_S,
    )
    if outcome.returncode != 0:
        raise Missing(f"{what} does not build: {outcome.stderr.strip()[-400:]}")


@functools.cache
def spargio_program() -> Path:
    prefix = Path(folder().name)
    zig = [sys.executable, "-m", "ziglang", "build", "install", "--prefix", prefix]
    built(zig, "libspargio")
    program = prefix / "bench-spargio"
    sources = sorted((native_tools.SOURCES / "spargio").glob("*.c"))
    command: list[str | Path] = [*native_tools.compiler(), "-O2", "-std=gnu11", "-I"]
    command += [
        prefix / "include",
        *sources,
        prefix / "lib/libspargio.a",
        "-pthread",
        "-o",
        program,
    ]
    built(command, "bench-spargio")
    return program


@functools.cache
def rust_program(crate: str) -> Path:
    if shutil.which("cargo") is None:
        raise Missing("no cargo")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    target = Path(cache) / "spargio/bench-rust"
    workspace = PEERS / "rust/Cargo.toml"
    command: list[str | Path] = ["cargo", "build", "--quiet", "--release", "--manifest-path"]
    built([*command, workspace, "-p", f"peer-{crate}"], crate, {"CARGO_TARGET_DIR": str(target)})
    return target / "release" / f"peer-{crate}"


def program(peer: str) -> Path:
    return spargio_program() if peer == SPARGIO else rust_program(RUST[peer])


def measure(workload: str, expected: str, repeat: int, peer: str) -> Sample:
    command = [program(peer), workload, "--repeat", str(repeat)]
    try:
        outcome = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=RUN_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise MeasurementFailed(f"no end after {RUN_LIMIT_S} s") from None
    said = outcome.stderr.strip()
    if outcome.returncode == 3:
        raise Missing(said)
    if outcome.returncode != 0:
        raise MeasurementFailed(f"exit status {outcome.returncode}: {said}")
    told = json.loads(outcome.stdout)
    if told["checksum"] != expected:
        raise MeasurementFailed(f"checksum {told['checksum']}, not {expected}")
    return {
        "wall_ms": statistics.median(told["seconds"]) * 1e3,
        "user_ms": told["user_s"] / repeat * 1e3,
        "system_ms": told["system_s"] / repeat * 1e3,
    }


@contextlib.contextmanager
def prepare(workload: str, expected: str, settings: Settings) -> Iterator[Measure]:
    repeat = REPEAT if settings.rounds > 1 else 1
    yield functools.partial(measure, workload, expected, repeat)


GROUPS: Final = [
    Group(
        name=f"native.{workload}",
        title=f"{workload}: bench/peers/PROTOCOL.md",
        peers=[Peer(SPARGIO), *map(Peer, RUST)],
        metrics=[
            Metric("wall_ms", "ms", digits=3, unit="ms", headline=True),
            Metric("user_ms", "user ms", digits=3, ratio=False),
            Metric("system_ms", "system ms", digits=3, ratio=False),
        ],
        targets=[],
        prepare=functools.partial(prepare, workload, expected),
        family="native",
    )
    for workload, expected in checksums().items()
]
