"""Built on the public interface of :mod:`spargio.uring` alone: models of how to add operations."""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import fs
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            ".fs": (),
        },
    )

__all__ = ("fs",)
