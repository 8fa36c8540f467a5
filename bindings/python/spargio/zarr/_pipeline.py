"""The pipeline: it knows all chunks of a read before the first is decoded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import zarr
from zarr.core.codec_pipeline import FusedCodecPipeline
from zarr.registry import register_pipeline
from zarr.storage._common import StorePath

from ..fs import sync
from ._store import _MISSING, SpargioStore

_SLICE = 256
"""Chunks that are decoded together, while the next ones are read."""


class _There:
    """A chunk that was read already, in the place of the store's path."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def get_sync(self, prototype: Any, byte_range: Any = None) -> Any:
        if isinstance(self._data, _MISSING):
            return None
        if isinstance(self._data, OSError):
            raise self._data
        return prototype.buffer.from_bytes(self._data)


class SpargioCodecPipeline(FusedCodecPipeline):  # type: ignore[misc]
    """zarr's fused pipeline, but the chunks of a read from a :class:`SpargioStore` are read
    together, as far ahead of what decodes them as memory allows. Sharded arrays, and other stores,
    are read as zarr does."""

    def read_sync(
        self, batch_info: Iterable[Any], out: Any, drop_axes: Any = (), max_workers: int = 1
    ) -> tuple[Any, ...]:
        """On a thread of zarr's."""
        batch = list(batch_info)
        if len(batch) < 2 or self.supports_partial_decode or not all(map(_is_ours, batch)):
            done: tuple[Any, ...] = super().read_sync(batch, out, drop_axes, max_workers)
            return done
        paths = [f"{item[0].store.root}/{item[0].path}" for item in batch]
        results: list[Any] = []
        found = sync.read_many(paths, concurrency=2 * _SLICE)
        at = 0
        while pieces := list(itertools.islice(found, _SLICE)):
            items = [
                (_There(data), *item[1:])
                for item, (_, data) in zip(batch[at : at + len(pieces)], pieces, strict=True)
            ]
            at += len(pieces)
            results += super().read_sync(items, out, drop_axes, max_workers)
        return tuple(results)


def _is_ours(item: Any) -> bool:
    return isinstance(item[0], StorePath) and isinstance(item[0].store, SpargioStore)


register_pipeline(SpargioCodecPipeline)


def use_pipeline() -> None:
    """Have zarr use it for all arrays that are opened from now on, in this process."""
    name = f"{SpargioCodecPipeline.__module__}.{SpargioCodecPipeline.__qualname__}"
    zarr.config.set({"codec_pipeline.path": name})
