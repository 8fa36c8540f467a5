"""The watchdog without debug mode: which shards it names, and how often."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
import support

import spargio
import spargio.asyncio
from spargio._blocked_log import PER_MINUTE


def burn(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def until(caplog: pytest.LogCaptureFixture, words: str) -> None:
    while not any(words in record.getMessage() for record in caplog.records):
        await spargio.sleep(0.005)


def test_a_blocked_shard_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def blocks() -> None:
        while not caplog.records:
            burn(0.01)

    async def main(handle: spargio.RuntimeHandle) -> None:
        await handle.spawn_pinned(1, blocks())

    with caplog.at_level(logging.WARNING, "spargio"):
        spargio.run(main, shards=2, watchdog=True, blocked_threshold_ms=40)
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "shard 1 for 0." in said or "shard 0 for 0." in said
    assert "in burn" in said or "blocks" in said
    assert "its I/O, timers and other tasks wait" in said


def test_a_pass_of_many_tasks_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """No task is long, but the shard does not come round: its operations are starved."""

    async def short() -> None:
        burn(0.005)

    async def main(handle: spargio.RuntimeHandle) -> None:
        while not caplog.records:
            jobs = [handle.spawn_pinned(0, short()) for _ in range(60)]
            for job in jobs:
                await job

    with caplog.at_level(logging.WARNING, "spargio"):
        spargio.run(main, shards=1, watchdog=True, blocked_threshold_ms=80)
    assert "shard 0 for" in caplog.records[0].getMessage()


def test_a_quiet_runtime_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await spargio.sleep(0.2)

    with caplog.at_level(logging.WARNING, "spargio"):
        spargio.run(main, shards=2, watchdog=True, blocked_threshold_ms=20_000)
    assert caplog.records == []


def test_warnings_are_limited(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        for _ in range(4 * PER_MINUTE):
            burn(0.03)
            await spargio.sleep(0.003)

    with caplog.at_level(logging.WARNING, "spargio"):
        spargio.run(main, shards=1, watchdog=True, blocked_threshold_ms=8)
    assert 1 <= len(caplog.records) <= PER_MINUTE
    assert support.LIMIT_S


@pytest.mark.parametrize("as_task", (True, False), ids=("task", "callback"))
def test_what_blocks_an_asyncio_loop_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, as_task: bool
) -> None:
    def block_loop() -> None:
        while not caplog.records:
            burn(0.01)

    async def main() -> None:
        if as_task:
            block_loop()
        asyncio.get_running_loop().call_soon(block_loop)
        await asyncio.sleep(0)

    monkeypatch.setenv("SPARGIO_WATCHDOG", "1")
    with caplog.at_level(logging.WARNING, "spargio"):
        spargio.asyncio.run(main())
    said = caplog.records[0].getMessage()
    assert ("main' blocks shard 0" in said) == as_task, said
    assert said.startswith("a callback blocks shard 0") != as_task, said
    assert "in block_loop" in said
