"""httpx and httpcore, and their successors httpx2 and httpcore2, ask sniffio which library runs.
They know two names. On spargio what they have for anyio is right; they call that "asyncio"."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def enable_httpx() -> None:
    """Let httpcore and httpcore2 run in spargio's tasks too, and httpx and httpx2: when they look
    which library runs, anyio is their answer. What is not installed is left out. Nothing changes
    for asyncio and trio. Idempotent; call it before the first client is made. ``ImportError`` if
    neither httpcore nor httpcore2 is installed."""
    missing = [_enable(core, client) for core, client in _PAIRS]
    if None not in missing:
        raise ImportError(
            f"enable_httpx() needs httpcore or httpcore2, and {' and '.join(map(str, missing))} "
            "are not installed: pip install httpx, or httpx2",
            name=missing[0],
        )


_PAIRS = (("httpcore", "httpx"), ("httpcore2", "httpx2"))


def _enable(core: str, client: str) -> str | None:
    """The name of what is not installed, or None."""
    try:
        auto: Any = import_module(f"{core}._backends.auto")
        synchronization: Any = import_module(f"{core}._synchronization")
    except ImportError as error:
        return error.name or core
    known: Callable[[], str] = synchronization.current_async_library
    if getattr(known, "_spargio", False):
        return None

    def current_async_library() -> str:
        return "asyncio" if _is_spargio() else known()

    current_async_library._spargio = True  # type: ignore[attr-defined]
    synchronization.current_async_library = current_async_library
    auto.current_async_library = current_async_library
    _enable_asgi_transport(client)
    return None


def _enable_asgi_transport(client: str) -> None:
    try:
        asgi: Any = import_module(f"{client}._transports.asgi")
    except ImportError:
        return
    known = asgi.create_event

    def create_event() -> Any:
        if not _is_spargio():
            return known()
        import anyio

        return anyio.Event()

    asgi.create_event = create_event


def _is_spargio() -> bool:
    import sniffio

    try:
        return sniffio.current_async_library() == "spargio"
    except sniffio.AsyncLibraryNotFoundError:
        return False
