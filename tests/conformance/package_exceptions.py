"""Tests of packages that do not fit our loop, each with its reason. The keys are what pytest calls the
tests; one without parameters stands for all of them."""

from __future__ import annotations

EXCEPTIONS: dict[str, dict[str, str]] = {
    "uvicorn": {
        "tests/test_auto_detection.py::test_loop_auto": "asks for the module of asyncio's own class",
    },
    "aiohttp": {
        "tests/test_helpers.py::test_when_timeout_smaller_second_with_low_threshold": (
            "white box: wants the whole number that it gave in TimerHandle._when; ours is a float"
        ),
    },
    "anyio": {},
    "aioquic": {},
}
