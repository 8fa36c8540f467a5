"""docs/stats.cddl describes what the library writes: real snapshots are validated against it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import cbor2
import pytest
from cddl_verifier import Validator

import spargio
from spargio.latency import Recorder

ROOT = Path(__file__).resolve().parents[2]
CDDL = ROOT / "docs" / "stats.cddl"


async def _work(n: int) -> int:
    await spargio.yield_now()
    return n


async def _busy(handle: spargio.RuntimeHandle) -> bytes:
    jobs = [handle.spawn_stealable(_work(n)) for n in range(100)]
    jobs += [handle.spawn_pinned(0, _work(n)) for n in range(10)]
    for job in jobs:
        await job
    return handle._runtime.stats()


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_real_snapshots_are_valid(shards: int) -> None:
    data = spargio.run(_busy, shards=shards)
    result = Validator(CDDL).validate(data, root_type="snapshot")
    assert result.valid, result.errors
    decoded = cbor2.loads(data)
    assert len(decoded["shards"]) == shards
    assert [shard["shard"] for shard in decoded["shards"]] == list(range(shards))
    assert decoded["total"]["stealable_executed"] == 100
    assert decoded["options"]["shards"] == shards


def test_a_damaged_snapshot_is_not_valid() -> None:
    decoded = cbor2.loads(spargio.run(_busy, shards=1))
    del decoded["total"]["parks"]
    assert not Validator(CDDL).validate(cbor2.dumps(decoded), root_type="snapshot").valid


def test_totals_are_the_sums_of_their_parts() -> None:
    decoded = cbor2.loads(spargio.run(_busy, shards=2))
    for name in ("spawn_accepted", "spawn_stealable_submitted", "doorbells_coalesced"):
        parts = [decoded["outside"][name], *(shard[name] for shard in decoded["shards"])]
        assert decoded["total"][name] == sum(parts), name


def test_recorders_and_the_time_are_part_of_it() -> None:
    Recorder("of a snapshot").record_ns(5, outcome="a kind")
    before = time.monotonic_ns()
    data = spargio.run(_busy, shards=2)
    result = Validator(CDDL).validate(data, root_type="snapshot")
    assert result.valid, result.errors
    decoded = cbor2.loads(data)
    assert before < decoded["time_ns"] < time.monotonic_ns()
    found = {one["name"]: one for one in decoded["recorders"]}["of a snapshot"]
    assert found["buckets"] == {5: found["count"]}


def test_generated_files_are_up_to_date() -> None:
    """The document, the structs, the attributes and the macros are of one table."""
    command = [sys.executable, str(ROOT / "tools/generate_counters.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
