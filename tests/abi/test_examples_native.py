"""The C and C++ examples compile without a warning, run, and say what they should."""

from __future__ import annotations

from pathlib import Path

import pytest
from abi_support import ROOT, Run

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize(
    ("source", "language", "says"),
    [
        ("c/hello.c", "c", b"the task says 42"),
        ("c/echo.c", "c", b"echoed 13 bytes"),
        ("c/statx.c", "c", b"/statx has "),
        ("cpp/fanout.cpp", "c++", b"sum of squares 0..99: 328350"),
    ],
)
def test_example(run_program: Run, source: str, language: str, says: bytes) -> None:
    assert says in run_program(EXAMPLES / source, language=language).stdout


def test_stats_by_libcbor(run_program: Run) -> None:
    if not Path("/usr/include/cbor.h").is_file():
        pytest.skip("no libcbor (Debian: libcbor-dev)")
    output = run_program(
        EXAMPLES / "cpp" / "stats_libcbor.cpp", language="c++", libraries=("-lcbor",)
    )
    assert b"stealable_executed 1000" in output.stdout
    assert b"local_hit_ratio" in output.stdout
