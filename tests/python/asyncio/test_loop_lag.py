"""How long a loop does not ask for what is new: the recorder ``spargio loop``."""

from __future__ import annotations

import asyncio
import time

from spargio.asyncio import EventLoop, new_event_loop
from spargio.latency import Recorder

BUSY_S = 0.02


async def busy() -> None:
    end = time.monotonic() + BUSY_S
    while time.monotonic() < end:
        pass


def test_a_callback_that_takes_long_is_the_lag_of_its_loop() -> None:
    loop: EventLoop = new_event_loop()
    before = loop.stats_snapshot().lag
    for _ in range(3):
        loop.run_until_complete(busy())
    loop.run_until_complete(asyncio.sleep(0.001))
    lag = loop.stats_snapshot().lag - before
    assert lag.count >= 4
    assert lag.max_ns >= BUSY_S * 1e9 * 0.99  # Three digits.
    assert lag.sum_ns >= 3 * BUSY_S * 1e9 * 0.99
    loop.close()
    assert Recorder("spargio loop").read().count >= lag.count  # It outlives the loop.
