"""Traces of a C program: written by its own calls, and by a flight recorder."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from abi_support import PROGRAMS, Run


def test_a_c_program_is_traced(run_program: Run, tmp_path: Path) -> None:
    path, folder = tmp_path / "trace.json", tmp_path / "flights"
    folder.mkdir()
    run_program(PROGRAMS / "trace.c", path, folder)
    found = json.loads(path.read_text())
    spawns = [one for one in found["traceEvents"] if one["ph"] == "X" and one["name"] == "spawn"]
    assert Counter((one["tid"], one["args"]["shard"]) for one in spawns) == {(2, 0): 50, (2, 1): 50}
    ends = {one["id"]: one["tid"] for one in found["traceEvents"] if one["ph"] == "f"}
    begins = [
        one["id"] for one in found["traceEvents"] if one["ph"] == "s" and one["name"] == "spawn"
    ]
    assert Counter(ends[number] for number in begins) == {0: 50, 1: 50}
    assert found["otherData"]["overwritten"] == [0, 0, 0]
    (flight,) = folder.iterdir()
    assert flight.name.endswith("-0-blocked.json")
    polls = [
        one
        for one in json.loads(flight.read_text())["traceEvents"]
        if one["ph"] == "X" and one["args"].get("ends") == "running"
    ]
    assert len(polls) == 1 and polls[0]["dur"] >= 19_000
