"""spargio as a file system of fsspec, which pandas, dask, xarray, kerchunk and pyarrow read
through: ``fsspec.open("spargio:///path")``. The extra ``spargio[fsspec]`` installs fsspec, and an
entry point makes it known there; :func:`replace_local` puts it in the place of fsspec's own
``file``."""

from __future__ import annotations

from ._filesystem import LocalFileSystem, SpargioFileSystem, replace_local

__all__ = ("LocalFileSystem", "SpargioFileSystem", "replace_local")
