"""Makes the backend known to anyio, and spargio's tasks known to sniffio."""

from __future__ import annotations

import sys

from anyio._core import _eventloop

from .. import _asyncgens
from ._backend import SpargioBackend

NAME = "spargio"


def register() -> None:
    """Idempotent."""
    _eventloop.loaded_backends[NAME] = SpargioBackend
    if _asyncgens._sniffio is not None:
        return
    # sniffio was installed after spargio was imported: shards that start from now on say their name.
    from sniffio import thread_local

    _asyncgens._sniffio = thread_local
    if getattr(_asyncgens.local, "runtime", None) is not None:
        _asyncgens.local.saved_sniffio = thread_local.name
        thread_local.name = NAME


assert sys.implementation.name == "cpython"
