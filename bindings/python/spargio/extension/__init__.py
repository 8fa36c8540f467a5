"""Built on the public interface of :mod:`spargio.uring` alone: models of how to add operations."""

from __future__ import annotations

from . import fs

__all__ = ("fs",)
