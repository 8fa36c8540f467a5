"""spargio.timeout: only its own block, only its own time."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import support

import spargio
from spargio import net


def test_expires(options: dict[str, Any]) -> None:
    async def main() -> None:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"0\.01"), spargio.timeout(0.01):
            await spargio.sleep(1000)
        assert 0.01 <= time.monotonic() - began < support.LIMIT_S
        await spargio.sleep(0)

    spargio.run(main, **options)


def test_on_every_shard(options: dict[str, Any]) -> None:
    async def limited() -> str:
        async with spargio.timeout(0.005):
            try:
                await spargio.sleep(1000)
            except spargio.CancelledError:
                await spargio.sleep(0)  # Clean-up is not cut short by the same limit.
                raise
        return "not here"

    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_pinned(shard, limited()) for shard in range(handle.shard_count())]
        for job in jobs:
            with pytest.raises(TimeoutError):
                await job
            assert not job.cancelled()

    spargio.run(main, **options)


def test_does_not_expire() -> None:
    async def inside() -> None:
        with spargio.timeout(1000) as limit:
            assert isinstance(limit, spargio.timeout)
            await spargio.sleep(0.001)
        async with spargio.timeout(1000):
            await spargio.yield_now()
        await spargio.sleep(0)

    with spargio.Runtime.builder().shards(1).build() as handle:
        handle.spawn_stealable(inside()).result(support.LIMIT_S)
        support.eventually(lambda: handle.stats_snapshot().timers_set == 0)


def test_none_is_no_limit() -> None:
    async def main() -> str:
        with spargio.timeout(None):
            await spargio.sleep(0.001)
        with spargio.timeout(float("inf")):
            await spargio.sleep(0.001)
        return "no limit"

    assert spargio.run(main, shards=1) == "no limit"


def test_zero_ends_the_first_await() -> None:
    async def main() -> None:
        log = []
        with pytest.raises(TimeoutError), spargio.timeout(0):
            log.append("in the block")
            await spargio.sleep(0.001)
            await spargio.sleep(1000)
        assert log == ["in the block"]
        with spargio.timeout(0):
            pass  # Nothing is awaited, so nothing is cut short.
        await spargio.sleep(0.001)

    spargio.run(main, shards=1)


def test_what_the_block_raises_is_raised() -> None:
    async def main() -> None:
        with pytest.raises(LookupError), spargio.timeout(0):
            raise LookupError
        await spargio.sleep(0.001)

    spargio.run(main, shards=1)


def test_a_block_that_catches_the_cancellation_goes_on() -> None:
    async def main() -> str:
        with spargio.timeout(0.001):
            with contextlib.suppress(spargio.CancelledError):
                await spargio.sleep(1000)
            await spargio.sleep(0.002)  # It strikes once.
        return "went on"

    assert spargio.run(main, shards=1) == "went on"


def test_nested_the_inner_first() -> None:
    async def main() -> str:
        with spargio.timeout(1000):
            with pytest.raises(TimeoutError, match=r"0\.001 s"), spargio.timeout(0.001):
                await spargio.sleep(1000)
            await spargio.sleep(0.001)
        return "outer goes on"

    assert spargio.run(main, shards=1) == "outer goes on"


def test_nested_the_outer_first() -> None:
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"0\.001 s"), spargio.timeout(0.001):
            try:
                with spargio.timeout(1000):
                    await spargio.sleep(1000)
            except TimeoutError:
                log.append("the inner must not turn it into its own")
            log.append("not here")

    spargio.run(main, shards=1)
    assert log == []


def test_nested_both_at_once() -> None:
    async def main() -> None:
        outcome = []
        try:
            with spargio.timeout(0):
                try:
                    with spargio.timeout(0):
                        await spargio.sleep(1000)
                except TimeoutError:
                    outcome.append("inner")
                await spargio.sleep(1000)
        except TimeoutError:
            outcome.append("outer")
        assert outcome == ["inner", "outer"]
        await spargio.sleep(0)

    spargio.run(main, shards=1)


def test_a_cancellation_from_outside_is_not_turned_into_a_timeout(options: dict[str, Any]) -> None:
    found: list[type[BaseException]] = []

    async def task() -> None:
        try:
            with spargio.timeout(1000):
                await spargio.sleep(1000)
        except BaseException as error:
            found.append(type(error))
            raise

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(task())
        await support.until(lambda: handle.stats_snapshot().timers_set >= 2)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        assert job.cancelled()

    spargio.run(main, **options)
    assert found == [spargio.CancelledError]


def test_cancelled_and_expired_at_once_the_cancellation_wins() -> None:
    found: list[type[BaseException]] = []

    async def task(box: list[Any]) -> None:
        try:
            with spargio.timeout(0):
                time.sleep(0.001)
                box[0].cancel()
                await spargio.sleep(1000)
        except BaseException as error:
            found.append(type(error))
            raise

    async def main(handle: spargio.RuntimeHandle) -> None:
        box: list[Any] = []
        box.append(handle.spawn_pinned(0, task(box)))
        with pytest.raises(spargio.TaskCancelled):
            await box[0]
        box.clear()

    spargio.run(main, shards=1)
    assert found == [spargio.CancelledError]


def test_a_cancellation_while_a_timeout_unwinds_is_not_lost() -> None:
    async def task(box: list[Any]) -> None:
        with pytest.raises(TimeoutError), spargio.timeout(0.001):
            try:
                await spargio.sleep(1000)
            finally:
                box[0].cancel()
        await spargio.sleep(1000)

    async def main(handle: spargio.RuntimeHandle) -> None:
        box: list[Any] = []
        box.append(handle.spawn_pinned(0, task(box)))
        with pytest.raises(spargio.TaskCancelled):
            await box[0]
        box.clear()

    spargio.run(main, shards=1)


def test_a_result_that_came_first_is_kept() -> None:
    """The time is over, but the receive had ended: its bytes are given."""

    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                remote.sendall(b"early")
                data = b""
                try:
                    with spargio.timeout(0.002):
                        await spargio.yield_now()
                        data = await stream.recv(10)
                        time.sleep(0.004)
                        await spargio.sleep(1000)
                except TimeoutError:
                    assert data == b"early"

    spargio.run(main, shards=1)


def test_around_a_join() -> None:
    async def forever() -> None:
        await spargio.sleep(1000)

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(forever())
        with pytest.raises(TimeoutError), spargio.timeout(0.005):
            await job
        assert not job.done()
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job

    spargio.run(main, shards=2)


def test_around_an_accept_that_later_succeeds() -> None:
    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            for _ in range(5):
                with pytest.raises(TimeoutError), spargio.timeout(0.002):
                    await listener.accept()
            with support.dial(listener.local_addr[1]):
                with spargio.timeout(support.LIMIT_S):
                    stream, _ = await listener.accept()
                await stream.close()

    spargio.run(main, shards=1)


def test_one_that_is_in_use_cannot_be_entered_again() -> None:
    async def main() -> None:
        limit = spargio.timeout(1000)
        with limit:
            with pytest.raises(RuntimeError, match="in use"):
                limit.__enter__()
            await spargio.sleep(0)
        await spargio.sleep(0)

    spargio.run(main, shards=1)


def test_one_that_another_task_uses_cannot_be_entered() -> None:
    async def enter(limit: spargio.timeout) -> None:
        with limit:
            raise AssertionError("it must be refused")

    async def main(handle: spargio.RuntimeHandle) -> None:
        limit = spargio.timeout(1000)
        with limit, pytest.raises(RuntimeError, match="in use"):
            await handle.spawn_stealable(enter(limit))

    spargio.run(main, shards=2)


def test_outside_a_task_it_is_a_runtime_error() -> None:
    with pytest.raises(RuntimeError, match="outside a spargio task"), spargio.timeout(1):
        pass


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan")])
def test_a_negative_time_is_a_value_error(seconds: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="seconds"), spargio.timeout(seconds):
            pass
        with pytest.raises(ValueError, match="seconds"):
            spargio.sleep(seconds)
        await spargio.sleep(0)

    spargio.run(main, shards=1)


def test_the_end_of_the_task_takes_its_limits_along() -> None:
    async def hold() -> None:
        spargio.timeout(0.001).__enter__()

    with spargio.Runtime.builder().shards(2).build() as handle:
        for _ in range(20):
            handle.spawn_stealable(hold()).result(support.LIMIT_S)
        support.eventually(lambda: handle.stats_snapshot().timers_set == 0)


def test_sleep_takes_at_least_its_time_and_keeps_order() -> None:
    async def sleeper(seconds: float, woke: list[float]) -> None:
        began = time.monotonic()
        await spargio.sleep(seconds)
        assert time.monotonic() - began >= seconds
        woke.append(seconds)

    async def main(handle: spargio.RuntimeHandle) -> list[float]:
        woke: list[float] = []
        times = [0.03, 0.0, 0.02, 0.01]
        jobs = [handle.spawn_pinned(0, sleeper(seconds, woke)) for seconds in times]
        for job in jobs:
            await job
        return woke

    assert spargio.run(main, shards=1) == [0.0, 0.01, 0.02, 0.03]


def test_many_timers_on_one_shard() -> None:
    async def sleeper(n: int) -> None:
        with spargio.timeout(1000 + n):
            await spargio.sleep((n * 7919 % 1000) / 100_000)

    with spargio.Runtime.builder().shards(1).build() as handle:
        jobs = [handle.spawn_pinned(0, sleeper(n)) for n in range(5_000)]
        for job in jobs:
            job.result(support.LIMIT_S)
        support.eventually(lambda: handle.stats_snapshot().timers_set == 0)
