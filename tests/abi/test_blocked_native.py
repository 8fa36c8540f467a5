"""Blocked and greedy tasks of C: a stuck shard's queue runs elsewhere, and nobody starves."""

from __future__ import annotations

import cbor2
import pytest
from abi_support import PROGRAMS, Run

pytestmark = pytest.mark.alone

NO_MSG_RING = 1
RUNTIMES = [(2, 0, 0), (3, 1, 0), (4, 0, NO_MSG_RING)]  # shards, queue backend, flags


@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_the_queue_of_a_stuck_shard_runs_elsewhere_in_time(
    run_program: Run, runtime: tuple[int, int, int]
) -> None:
    """With the others idle, and with the others never out of work."""
    stats = cbor2.loads(run_program(PROGRAMS / "blocked.c", *runtime).stdout)
    assert stats["shards"][0]["blocked_passes"] == 1
    assert [shard["blocked_passes"] for shard in stats["shards"][1:]] == [0] * (runtime[0] - 1)
    assert stats["total"]["stealable_stolen"] == 50


@pytest.mark.parametrize("queue_of", [0, 1])
@pytest.mark.parametrize("flags", [0, NO_MSG_RING])
def test_a_shard_that_was_woken_for_something_else_leaves_the_search_to_another(
    run_program: Run, flags: int, queue_of: int
) -> None:
    run_program(PROGRAMS / "searching.c", 3, 0, flags, queue_of)


@pytest.mark.parametrize("flags", [0, NO_MSG_RING])
def test_who_spawns_and_then_computes_keeps_nobody_asleep(run_program: Run, flags: int) -> None:
    run_program(PROGRAMS / "bells.c", 2, 0, flags)


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
@pytest.mark.parametrize("runtime", [(1, 0, 0), (2, 1, 0)], ids=str)
def test_nobody_starves(
    run_program: Run,
    runtime: tuple[int, int, int],
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Timers, I/O, the inbox and messages beside tasks that are always ready."""
    monkeypatch.setenv("SPARGIO_BACKEND", backend)
    print(run_program(PROGRAMS / "blocked.c", *runtime, "greedy").stderr.decode())
