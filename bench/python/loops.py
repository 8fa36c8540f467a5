"""The event loops that run the same asyncio program, and how each is run. All of them in the same
way, so that none is helped by a runner of its own."""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from harness import SPARGIO, SPARGIO_2, Peer, Sample
from worker import Runner

if TYPE_CHECKING:
    import spargio

T = TypeVar("T")

OnLoop = Callable[[float], Coroutine[Any, Any, Sample]]
OnSpargio = Callable[[float, "spargio.RuntimeHandle"], Coroutine[Any, Any, Sample]]

LOOPS: Final = ("asyncio", "uvloop", "rloop", "blazio")


def peers(suffix: str = "") -> tuple[Peer, ...]:
    """asyncio first; the others with the module that they come from."""
    modules = [None if name == "asyncio" else name for name in LOOPS]
    return tuple(Peer(name + suffix, module) for name, module in zip(LOOPS, modules, strict=True))


def names(suffix: str = "") -> tuple[str, ...]:
    return tuple(name + suffix for name in LOOPS)


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    module = "spargio.asyncio" if name == "spargio" else name
    loop: asyncio.AbstractEventLoop = importlib.import_module(module).new_event_loop()
    return loop


def run(name: str, main: Coroutine[Any, Any, T]) -> T:
    loop = new_event_loop(name)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def run_trio(program: Callable[[float], Awaitable[Sample]], seconds: float) -> Sample:
    import trio

    found: Sample = trio.run(program, seconds)
    return found


def run_spargio(program: OnSpargio, shards: int, seconds: float) -> Sample:
    import spargio

    return spargio.run(functools.partial(program, seconds), shards=shards)


def runners(on_asyncio: OnLoop, on_trio: OnLoop, on_spargio: OnSpargio) -> dict[str, Runner]:
    """How :func:`worker.main` runs one program in its three dialects."""

    def on(name: str) -> Runner:
        return lambda seconds: run(name, on_asyncio(seconds))

    return {
        **{name: on(name) for name in LOOPS},
        "trio": functools.partial(run_trio, on_trio),
        SPARGIO: functools.partial(run_spargio, on_spargio, 1),
        SPARGIO_2: functools.partial(run_spargio, on_spargio, 2),
    }


def all_peers(suffix: str = "") -> tuple[Peer, ...]:
    """The peers of a row that `runners` runs; two shards are compared with one in a row of their
    own (shards.py)."""
    return (*peers(suffix), Peer("trio", "trio"), Peer(SPARGIO, "spargio"))
