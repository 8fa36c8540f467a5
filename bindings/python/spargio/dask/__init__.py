"""spargio past one machine: coroutines on the runtimes of a cluster's workers. Each worker process
has a runtime of its own in the background, which its first call starts. The extra ``spargio[dask]``
installs dask; files of a cluster are read by ``spargio://`` paths (see :mod:`spargio.fsspec`).

:func:`on_shards` knows nothing of dask: what it makes is an ordinary function, for Ray
(``ray.remote(on_shards(function))``), joblib or ``concurrent.futures`` as well."""

from __future__ import annotations

from ._workers import OnShards, map, on_shards, submit

__all__ = ("OnShards", "map", "on_shards", "submit")
