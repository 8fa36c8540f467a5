"""The native workloads of peers/PROTOCOL.md: spargio by its C interface beside other runtimes, and
the same I/O by hand on a bare ring. Each workload is a row of its own. The library and the C
programs are built anew for each run, the Rust peers by cargo into a folder that stays."""

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
import zig_peer
from harness import SPARGIO, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import MeasurementFailed, Missing

C_RING: Final = "c-ring"
ROOT: Final = Path(__file__).resolve().parent.parent.parent
PEERS: Final = ROOT / "bench/peers"
RUST: Final = {"spargio-rust": "spargio"} | {
    name: name for name in ("tokio", "compio", "monoio", "glommio")
}
RINGS: Final = {C_RING: (), "c-ring-1": ("--threads", "1")}
"""By hand: two threads as the protocol says, and one thread that does both ends."""
THIRTEEN: Final = ("steady_", "cold_start_", "fanout_", "fs_", "net_")
"""The workloads of the reference runtime's own benchmarks begin so; the others have no targets."""
ZIG: Final = "zig-std-io"
RUNTIMES: Final = (*RUST, ZIG)
BUILD_LIMIT_S: Final = 900
RUN_LIMIT_S: Final = 120
ZIG_LIMIT_S: Final = 10
ZIG_TRIES: Final = 3
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


def c_program(name: str, *more: str | Path) -> Path:
    """bench/native/NAME/*.c with what the C peers have in common."""
    program = Path(folder().name) / f"peer-{name}"
    sources = [*sorted((native_tools.SOURCES / name).glob("*.c"))]
    sources += sorted((native_tools.SOURCES / "common").glob("*.c"))
    compiler = [*native_tools.compiler(), "-O2", "-std=gnu11", "-pthread"]
    built([*compiler, *sources, *more, "-o", program], f"peer-{name}")
    return program


@functools.cache
def spargio_program() -> Path:
    prefix = Path(folder().name)
    zig = [sys.executable, "-m", "ziglang", "build", "install", "--prefix", prefix]
    built(zig, "libspargio")
    return c_program("spargio", "-I", prefix / "include", prefix / "lib/libspargio.a")


@functools.cache
def ring_program() -> Path:
    return c_program("ring")


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


@functools.cache
def zig_program() -> Path:
    program = Path(folder().name) / "peer-zig"
    for command in zig_peer.commands(program.parent, PEERS / "zig", program):
        built(command, ZIG)
    return program


def command(peer: str) -> list[str | Path]:
    if peer == SPARGIO:
        return [spargio_program()]
    if peer in RINGS:
        return [ring_program()]
    return [zig_program() if peer == ZIG else rust_program(RUST[peer])]


def run(peer: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    words = [*command(peer), *arguments, *RINGS.get(peer, ())]
    limit_s = ZIG_LIMIT_S if peer == ZIG else RUN_LIMIT_S
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"no end after {limit_s} s")


def ended(peer: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """std.Io.Uring sometimes crashes or waits forever: tried again, missing where that stays."""
    for _ in range(ZIG_TRIES if peer == ZIG else 1):
        outcome = run(peer, arguments)
        if outcome.returncode == 0 or peer != ZIG:
            return outcome
    ends = outcome.stderr.strip() or f"exit status {outcome.returncode}"
    raise Missing(f"it failed {ZIG_TRIES} times: {ends}")


def measure(workload: str, expected: str, repeat: int, peer: str) -> Sample:
    outcome = ended(peer, [workload, "--repeat", str(repeat)])
    said = outcome.stderr.strip()
    if outcome.returncode in (2, 3):  # it has no such workload; it cannot start here
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


def is_io(workload: str) -> bool:
    return workload.startswith(("fs_", "net_"))


def targets(workload: str) -> list[Target]:
    found = []
    if workload.startswith(THIRTEEN):
        text = "the best runtime"
        found.append(Target(text, "wall_ms", RUNTIMES, "peer/spargio", ">=", 1.0))
    if is_io(workload):
        text = "the same by hand, two threads"
        found.append(Target(text, "wall_ms", C_RING, "peer/spargio", ">=", 0.8))
    return found


GROUPS: Final = [
    Group(
        name=f"native.{workload}",
        title=f"{workload}: bench/peers/PROTOCOL.md",
        peers=[Peer(SPARGIO), *map(Peer, RUNTIMES), *map(Peer, RINGS if is_io(workload) else ())],
        metrics=[
            Metric("wall_ms", "ms", digits=3, unit="ms", headline=True),
            Metric("user_ms", "user ms", digits=3, ratio=False),
            Metric("system_ms", "system ms", digits=3, ratio=False),
        ],
        targets=targets(workload),
        prepare=functools.partial(prepare, workload, expected),
        family="native",
    )
    for workload, expected in checksums().items()
]
