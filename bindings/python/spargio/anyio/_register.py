"""Makes the backend known to anyio. (sniffio knows spargio's tasks: see _asyncgens.)"""

from __future__ import annotations

import sys

from anyio._core import _eventloop

from . import _backend

NAME = "spargio"


def register() -> None:
    """Idempotent. Libraries that extend anyio's classes (asyncer) look for those of a backend in a
    module of anyio's with its name."""
    _eventloop.loaded_backends[NAME] = _backend.SpargioBackend
    sys.modules[f"anyio._backends._{NAME}"] = _backend
