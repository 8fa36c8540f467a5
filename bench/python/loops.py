"""The event loops that run the same asyncio program, and how each is run. All of them in the same
way, so that none is helped by a runner of its own."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from harness import Peer

T = TypeVar("T")

LOOPS: Final = ("asyncio", "uvloop", "rloop", "blazio")


def peers(suffix: str = "") -> tuple[Peer, ...]:
    """asyncio first; the others with the module that they come from."""
    modules = [None if name == "asyncio" else name for name in LOOPS]
    return tuple(Peer(name + suffix, module) for name, module in zip(LOOPS, modules, strict=True))


def names(suffix: str = "") -> tuple[str, ...]:
    return tuple(name + suffix for name in LOOPS)


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = importlib.import_module(name).new_event_loop()
    return loop


def run(name: str, main: Coroutine[Any, Any, T]) -> T:
    loop = new_event_loop(name)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
