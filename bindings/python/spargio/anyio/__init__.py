"""The backend ``spargio`` of anyio: ``import spargio.anyio`` registers it. From then on
``anyio.run(main, backend="spargio")`` runs on spargio, and what uses anyio works in the tasks of
``spargio.run()``.

To anyio a shard is an event loop: the tasks of a task group stay on the shard of the task that
spawns them, and streams, events and locks are used by tasks of one shard.
:func:`on_each_shard` runs a function on all of them."""

from __future__ import annotations

try:
    import anyio as _anyio
    import sniffio as _sniffio
except ImportError as error:
    raise ImportError(
        f"spargio.anyio needs anyio and sniffio, and {error.name} is not installed: "
        "pip install 'spargio[anyio]'",
        name=error.name,
    ) from None

from ._httpx import enable_httpx
from ._register import register
from ._shards import on_each_shard

__all__ = ("enable_httpx", "on_each_shard")

register()
del _anyio, _sniffio, register
