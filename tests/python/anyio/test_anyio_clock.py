"""The clock that a test moves is anyio's too."""

from __future__ import annotations

import time
from typing import Any

import pytest

anyio = pytest.importorskip("anyio", reason="anyio is not installed")
pytest.importorskip("sniffio", reason="sniffio is not installed")

import spargio.anyio  # noqa: E402, F401
from spargio.testing import MockClock  # noqa: E402


def run(main: Any, clock: MockClock) -> None:
    began = time.monotonic()
    with clock:
        anyio.run(main, backend="spargio")
    assert time.monotonic() - began < 30  # Of hours by the clock.


def test_sleeps_and_limits() -> None:
    async def main() -> None:
        assert anyio.current_time() == 0
        await anyio.sleep(3600)
        assert anyio.current_time() == pytest.approx(3600)
        with anyio.move_on_after(60) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert anyio.current_time() == pytest.approx(3660)
        with pytest.raises(TimeoutError):
            with anyio.fail_after(10):
                await anyio.Event().wait()
        with anyio.move_on_after(100) as outer:
            with anyio.move_on_after(200) as inner:
                await anyio.sleep(300)
        assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)
        assert anyio.current_time() == pytest.approx(3770)
        with anyio.move_on_after(5) as left:
            await anyio.sleep(1)
            left.deadline += 10
            await anyio.sleep(12)
        assert not left.cancelled_caught
        await anyio.sleep(100)  # A scope that was left does not hold the time.
        assert anyio.current_time() == pytest.approx(3883)

    run(main, MockClock())


def test_it_moves_by_a_jump_and_tasks_go_on_in_order() -> None:
    clock = MockClock(autojump_threshold=None)
    order = []

    async def main() -> None:
        async def sleeper(seconds: float) -> None:
            await anyio.sleep(seconds)
            order.append(seconds)

        async with anyio.create_task_group() as group:
            for seconds in (3, 1, 2):
                group.start_soon(sleeper, seconds)
            with anyio.move_on_after(2.5) as scope:
                await anyio.wait_all_tasks_blocked()
                clock.jump(2.2)
                await anyio.wait_all_tasks_blocked()
                assert order == [1, 2]
                assert not scope.cancel_called
                clock.jump(1)
                await anyio.sleep_forever()
            assert scope.cancelled_caught
        assert order == [1, 2, 3]

    run(main, clock)
