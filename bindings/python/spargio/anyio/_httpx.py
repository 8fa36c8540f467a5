"""httpx and httpcore ask sniffio which library runs, and know two names. On spargio what they have
for anyio is right; httpcore calls that one "asyncio"."""

from __future__ import annotations

from typing import Any


def enable_httpx() -> None:
    """Let httpcore, and httpx if it is installed, run in spargio's tasks too: when they look which
    library runs, anyio is their answer. Nothing changes for asyncio and trio. Idempotent; call it
    before the first client is made. ``ImportError`` if httpcore is not installed."""
    try:
        import httpcore._backends.auto as auto
        import httpcore._synchronization as synchronization
    except ImportError as error:
        raise ImportError(
            f"enable_httpx() needs httpcore, and {error.name} is not installed: pip install httpx",
            name=error.name,
        ) from None
    known = synchronization.current_async_library
    if getattr(known, "_spargio", False):
        return

    def current_async_library() -> str:
        return "asyncio" if _is_spargio() else known()

    current_async_library._spargio = True  # type: ignore[attr-defined]
    synchronization.current_async_library = current_async_library
    auto.current_async_library = current_async_library  # type: ignore[attr-defined]
    _enable_asgi_transport()


def _enable_asgi_transport() -> None:
    try:
        import httpx._transports.asgi as asgi
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
