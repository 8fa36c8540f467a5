"""A loop for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spargio.asyncio import EventLoop, new_event_loop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = new_event_loop()
    yield made
    made.close()
