"""Makes the backend known to anyio. (sniffio knows spargio's tasks: see _asyncgens.)"""

from __future__ import annotations

from anyio._core import _eventloop

from ._backend import SpargioBackend

NAME = "spargio"


def register() -> None:
    """Idempotent."""
    _eventloop.loaded_backends[NAME] = SpargioBackend
