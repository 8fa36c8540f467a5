"""The asyncio loops, spargio's among them: the rows in which all run one asyncio program."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from harness import SPARGIO, Peer

T = TypeVar("T")

MODULES: Final = {
    "asyncio": "asyncio",
    "uvloop": "uvloop",
    "rloop": "rloop",
    "blazio": "blazio",
    "rsloop": "rsloop",
    SPARGIO: "spargio.asyncio",
}
NAMES: Final = tuple(MODULES)


def peers(suffix: str = "") -> tuple[Peer, ...]:
    return tuple(Peer(name + suffix, module) for name, module in MODULES.items())


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = importlib.import_module(MODULES[name]).new_event_loop()
    return loop


def run(name: str, main: Coroutine[Any, Any, T]) -> T:
    """In the same way for each, so that none is helped by a runner of its own."""
    loop = new_event_loop(name)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
