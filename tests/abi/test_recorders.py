"""Latencies that a C program records, decoded in Python; what a record costs."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import cbor2
import pytest
from abi_support import PROGRAMS, ROOT, STRICT, Run, compiler
from cddl_verifier import Validator

from spargio import RuntimeStats
from spargio.latency import Latencies

RECORD_INSTRUCTIONS = 110
"""Of one record on a thread outside the runtime, by callgrind: some 20 ns."""


def test_a_c_program_records_and_python_decodes(run_program: Run) -> None:
    stream = io.BytesIO(run_program(PROGRAMS / "recorders.c").stdout)
    snapshot = cbor2.load(stream)
    alone = cbor2.load(stream)
    assert (
        Validator(ROOT / "docs/stats.cddl")
        .validate(cbor2.dumps(snapshot), root_type="snapshot")
        .valid
    )
    found = RuntimeStats(snapshot).recorders
    feed = found["feed"]
    expected = [n * 1000 for n in range(1, 1001)] * 2 + [5_000_000] * 2 + [7_000_000]
    assert feed.buckets == Latencies.of(expected).buckets
    assert feed.sum_ns == sum(expected)
    assert (feed.min_ns, feed.max_ns) == (1000, 7_000_000)
    assert (feed.ok, feed.timeout, feed.overloaded) == (2000, 1, 0)
    assert feed.errors == {"refused": 2}
    assert (feed.bytes, feed.operations) == (128, 2005)
    for name, percent in (("p50_ns", 50), ("p90_ns", 90), ("p99_ns", 99), ("p999_ns", 99.9)):
        raw = next(one for one in snapshot["recorders"] if one["name"] == "feed")
        assert (
            raw[name]
            == feed.percentile_ns(percent)
            == Latencies.of(expected).percentile_ns(percent)
        )
    other = found["other"]
    assert other.count == 2 + 10
    assert 2_000_000_000 <= other.max_ns < 60_000_000_000
    assert other.min_ns == 0
    assert {one["name"]: one for one in alone}["feed"] == feed.as_dict()


def test_the_macros_are_the_keys(tmp_path: Path) -> None:
    """Compiled strictly, and printed as text."""
    header = (ROOT / "include/spargio_counters.h").read_text()
    names = re.findall(r"#define (SPARGIO_COUNTER_\w+) ", header)
    source = tmp_path / "keys.c"
    lines = "".join(f"  puts({name});\n" for name in names)
    source.write_text(
        f'#include <stdio.h>\n#include "spargio_counters.h"\nint main(void) {{\n{lines} return 0; }}\n'
    )
    build = [compiler("c"), *STRICT, f"-I{ROOT}/include", str(source), "-o", str(tmp_path / "keys")]
    subprocess.run(build, check=True)
    said = subprocess.run([tmp_path / "keys"], capture_output=True, text=True, check=True).stdout
    schema = (ROOT / "docs/stats.cddl").read_text()
    assert len(names) > 50
    for key in said.split():
        assert re.search(rf"^  {key}: uint,", schema, re.MULTILINE), key


def test_what_a_record_costs(release_build: Path, tmp_path: Path) -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("no valgrind on this machine")
    program = tmp_path / "recorders"
    library = release_build / "lib"
    build = [compiler("c"), "-std=c11", "-D_GNU_SOURCE", "-O2", "-pthread", f"-I{ROOT}/include"]
    build += [str(PROGRAMS / "recorders.c"), "-o", str(program), f"-L{library}", "-lspargio"]
    subprocess.run(build, check=True)
    counts = []
    for n in (1000, 11_000):
        said = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                "--callgrind-out-file=/dev/null",
                program,
                "cost",
                str(n),
            ],
            env={"LD_LIBRARY_PATH": str(library), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        counts.append(int(re.search(r"Collected : (\d+)", said)[1]))
    assert (counts[1] - counts[0]) / 10_000 <= RECORD_INSTRUCTIONS
