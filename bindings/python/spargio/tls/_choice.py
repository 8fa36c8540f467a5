"""Which engine a connection gets."""

from __future__ import annotations

import os
import ssl
import threading
from typing import TYPE_CHECKING, NamedTuple

from .._validate import wrong
from ._engine import MemoryEngine
from ._native import NativeEngine, NotCaught, open_library

if TYPE_CHECKING:
    from .._ffi.core import Exchange

Engine = MemoryEngine | NativeEngine

VARIABLE = "SPARGIO_TLS_ENGINE"
_NAMES = ("native", "memory")


class EngineInfo(NamedTuple):
    """Which engine new connections get."""

    name: str
    """``"native"``, or ``"memory"``: right as well, and slower."""
    reason: str | None
    """Why it is not the native one; None if it is."""


_lock = threading.Lock()
_chosen: EngineInfo | None = None


def engine() -> EngineInfo:
    """Which engine new connections get. ``SPARGIO_TLS_ENGINE=memory`` in the environment asks for
    the one that works everywhere; ``ValueError`` for another value than ``native`` and ``memory``,
    ``RuntimeError`` if ``native`` is asked for and is not available."""
    global _chosen
    if _chosen is None:
        with _lock:
            if _chosen is None:
                _chosen = _choose()
    return _chosen


def _choose() -> EngineInfo:
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in _NAMES:
        raise ValueError(wrong(VARIABLE, "native or memory", asked))
    if asked == "memory":
        return EngineInfo("memory", f"{VARIABLE} asks for it")
    reason = open_library()
    if reason is None:
        return EngineInfo("native", None)
    if asked == "native":
        raise RuntimeError(
            f"{VARIABLE} asks for the native engine, which is not available: {reason}"
        )
    return EngineInfo("memory", reason)


def make(
    context: ssl.SSLContext,
    server_side: bool,
    server_hostname: str | None,
    session: ssl.SSLSession | None,
    lenient: bool,
    turns: tuple[Exchange, Exchange, Exchange],
) -> Engine:
    """An engine for a new connection."""
    if engine().name == "native":
        try:
            return NativeEngine(context, server_side, server_hostname, session, lenient, turns)
        except NotCaught:
            pass  # A finalizer made another one in between, or the context is of another library.
    return MemoryEngine(context, server_side, server_hostname, session, lenient)
