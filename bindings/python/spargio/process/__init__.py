"""Child processes. Python's own subprocess module starts them, on a thread of the pool: a shard
must not wait for it, and it is safe in a program with threads. Their ends and their pipes are
operations of the ring."""

from __future__ import annotations

from .._lazy import lazy

__all__ = ("DEVNULL", "INHERIT", "PIPE", "STDOUT", "Child", "Command", "Output")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._process import (
        DEVNULL,
        INHERIT,
        PIPE,
        STDOUT,
        Child,
        Command,
        Output,
    )
else:
    __getattr__, __dir__ = lazy(__name__, {".._process": __all__})
