"""A store of zarr 3 for local files, and a codec pipeline that asks it for all chunks of a read at
once. The extra ``spargio[zarr]`` installs zarr::

    array = zarr.open_array(spargio.zarr.SpargioStore("data.zarr"))
    spargio.zarr.use_pipeline()  # In this process, from now on.
"""

from __future__ import annotations

from ._pipeline import SpargioCodecPipeline, use_pipeline
from ._store import SpargioStore

__all__ = ("SpargioCodecPipeline", "SpargioStore", "use_pipeline")
