"""Time limits that are moved, and those whose block just ends."""

from __future__ import annotations

import time
from typing import Any

import pytest
import support

import spargio

FOREVER_S = support.LIMIT_S * 10


def test_a_limit_is_moved(options: dict[str, Any]) -> None:
    async def main() -> None:
        with spargio.timeout(0.001) as limit:
            limit.reschedule(None)
            await spargio.sleep(0.01)
            limit.reschedule(FOREVER_S)
            await spargio.sleep(0.01)
            assert not limit.expired()
        with pytest.raises(TimeoutError, match=r"the time limit of 0.001 s passed"):
            async with spargio.timeout(FOREVER_S) as limit:
                limit.reschedule(0.001)
                await spargio.sleep(FOREVER_S)
        assert limit.expired()
        with pytest.raises(TimeoutError):
            with spargio.timeout_at(time.monotonic() + FOREVER_S) as at:
                at.reschedule(time.monotonic() - 1)
                await spargio.sleep(FOREVER_S)
        with spargio.timeout_at(time.monotonic()) as at:
            at.reschedule(None)
            await spargio.sleep(0.005)

    spargio.run(main, **options)


def test_where_a_limit_cannot_be_moved() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        limit = spargio.timeout(0.001)
        with pytest.raises(RuntimeError, match="that is not in use"):
            limit.reschedule(1)
        with pytest.raises(TimeoutError), limit:
            with pytest.raises(ValueError, match="seconds is -1"):
                limit.reschedule(-1)

            async def other() -> None:
                limit.reschedule(1)

            with pytest.raises(RuntimeError, match="by another task"):
                await handle.spawn_pinned(0, other())
            try:
                await spargio.sleep(FOREVER_S)
            finally:
                with pytest.raises(RuntimeError, match="that has passed"):
                    limit.reschedule(1)
        with pytest.raises(RuntimeError, match="that is not in use"):
            limit.reschedule(1)

    spargio.run(main, shards=1)


def test_move_on_after(options: dict[str, Any]) -> None:
    async def main() -> None:
        with spargio.move_on_after(0.001) as limit:
            await spargio.sleep(FOREVER_S)
        assert limit.cancelled_caught
        async with spargio.move_on_after(FOREVER_S) as limit:
            await spargio.sleep(0)
        assert not limit.cancelled_caught
        with spargio.move_on_after(None) as limit:
            limit.reschedule(0.001)
            await spargio.sleep(FOREVER_S)
        assert limit.cancelled_caught
        with pytest.raises(KeyError), spargio.move_on_after(0.001) as limit:
            try:
                await spargio.sleep(FOREVER_S)
            finally:
                raise KeyError
        assert not limit.cancelled_caught

    spargio.run(main, **options)


def test_move_on_after_lets_a_cancellation_from_outside_pass(options: dict[str, Any]) -> None:
    async def work() -> None:
        with spargio.move_on_after(FOREVER_S):
            await spargio.sleep(FOREVER_S)
        pytest.fail("it went on")

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(work())
        await support.started(job)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job

    spargio.run(main, **options)
