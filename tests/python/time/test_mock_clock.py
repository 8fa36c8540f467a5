"""The clock that a test moves: hours in milliseconds, in their order, and real work is waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import support

import spargio
from spargio import boundary, fs
from spargio.testing import MockClock

HOUR = 3600.0


@pytest.fixture
def clock() -> Iterator[MockClock]:
    began = time.monotonic()
    with MockClock() as made:
        yield made
    assert time.monotonic() - began < support.LIMIT_S


@pytest.fixture
def still() -> Iterator[MockClock]:
    with MockClock(autojump_threshold=None) as made:
        yield made


@pytest.mark.parametrize("shards", [1, 2])
def test_sleeps_end_in_their_order(clock: MockClock, shards: int) -> None:
    told = []

    async def sleeper(hours: int) -> None:
        await spargio.sleep(hours * HOUR)
        told.append((hours, clock.time()))

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with spargio.TaskGroup() as group:
            for n, hours in enumerate((3, 1, 2)):
                group.spawn_with_placement(spargio.TaskPlacement.Pinned(n % shards), sleeper(hours))

    spargio.run(main, shards=shards)
    assert told == [(1, HOUR), (2, 2 * HOUR), (3, 3 * HOUR)]


def test_a_limit_passes_and_one_that_is_left_does_not_hold_the_time(clock: MockClock) -> None:
    async def main() -> None:
        with spargio.timeout(100 * HOUR):
            await spargio.sleep(HOUR)
        with pytest.raises(TimeoutError, match="2.0 s passed"):
            with spargio.timeout(2.0):
                await spargio.sleep(HOUR)
        with pytest.raises(TimeoutError):
            with spargio.timeout_at(clock.time() + 5):
                await spargio.sleep(HOUR)
        with pytest.raises(TimeoutError):
            with spargio.timeout(0):
                await spargio.sleep(HOUR)
        with spargio.timeout(None):
            await spargio.sleep(1)

    spargio.run(main, shards=1)
    assert clock.time() == pytest.approx(HOUR + 8)
    assert clock._waits == {}


def test_intervals_and_sleeps_that_move(clock: MockClock) -> None:
    async def main(handle: spargio.RuntimeHandle) -> list[float]:
        ticks = spargio.interval(60.0)
        seen = [await ticks.tick() for _ in range(4)]
        sleep = spargio.Sleep(10.0)
        waits = handle.spawn_pinned(0, awaits(sleep))
        await spargio.sleep(1)
        sleep.reset(clock.time() + 100)
        await waits
        return [*seen, clock.time()]

    async def awaits(sleep: spargio.Sleep) -> None:
        await sleep

    assert spargio.run(main, shards=2) == pytest.approx([0, 60, 120, 180, 281])


def test_a_call_from_outside_has_its_limit_by_the_clock(clock: MockClock) -> None:
    async def main() -> None:
        client, _server = boundary.channel(1)
        with pytest.raises(boundary.Timeout):
            await client.call_with_timeout("?", 2 * HOUR)

    spargio.run(main, shards=1)
    assert clock.time() >= 2 * HOUR


def test_it_moves_only_by_a_jump(still: MockClock) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(1, spargio_sleep(10))
        await support_until(lambda: len(still._waits) == 1)
        still.jump(9.5)
        for _ in range(100):
            await spargio.yield_now()
        assert not job.done()
        still.jump(0.5)
        await job
        assert still.time() == 10

    spargio.run(main, shards=2)


async def spargio_sleep(seconds: float) -> None:
    await spargio.sleep(seconds)


async def support_until(condition: object) -> None:
    """Its sleeps would be the clock's."""
    while not condition():  # type: ignore[operator]
        await spargio.yield_now()


def test_real_work_is_done_before_a_jump(tmp_path: Path) -> None:
    """A file and a thread, under a limit of a second by a clock that jumps."""

    async def main() -> None:
        with spargio.timeout(1):
            await fs.write(tmp_path / "file", b"x" * 1_000_000)
            assert len(await fs.read(tmp_path / "file")) == 1_000_000
            await spargio.spawn_blocking(time.sleep, 0.05)

    with MockClock(autojump_threshold=1) as clock:
        spargio.run(main, shards=2)
    assert clock.time() == 0


@pytest.mark.parametrize("threshold", [0, 0.3])
def test_it_jumps_by_any_threshold(threshold: float) -> None:
    """Also by one that is longer than the runtime's own wake-ups lie apart."""

    async def main() -> None:
        await spargio.sleep(HOUR)

    began = time.monotonic()
    with MockClock(autojump_threshold=threshold) as clock:
        spargio.run(main, shards=2)
    assert clock.time() == HOUR
    assert threshold <= time.monotonic() - began < support.LIMIT_S


def test_a_task_that_computes_holds_the_time(clock: MockClock) -> None:
    async def computes() -> None:
        time.sleep(0.2)

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(1, computes())
        with spargio.timeout(HOUR):
            await job

    spargio.run(main, shards=2)
    assert clock.time() == 0


def test_a_sleep_that_is_cancelled_is_forgotten(clock: MockClock) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, spargio_sleep(1000 * HOUR))
        await spargio.sleep(1)
        job.cancel()
        await spargio.sleep(1)

    spargio.run(main, shards=1)
    assert (clock._waits, clock.time()) == ({}, 2)


def test_afterwards_time_is_real() -> None:
    before = (spargio.time._sleep, spargio.time._arm, spargio.time.monotonic)
    with MockClock() as clock:
        with pytest.raises(RuntimeError, match="in use already"):
            MockClock().__enter__()
        assert spargio.time.monotonic() == clock.time()
    assert (spargio.time._sleep, spargio.time._arm, spargio.time.monotonic) == before


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="autojump_threshold is -1: allowed is 0 or more"):
        MockClock(autojump_threshold=-1)
    with pytest.raises(ValueError, match="seconds is -1"):
        MockClock().jump(-1)
