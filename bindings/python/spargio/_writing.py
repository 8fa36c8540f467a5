"""A write of several operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ._ffi.core import Descriptor


class Progress:
    """How many bytes the stream took."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def writing(stream: Descriptor) -> Iterator[Progress]:
    """The stream is this task's to write to: what another one writes meanwhile is refused, and does
    not come in between. What ends the block early has ``bytes_written``."""
    progress = Progress()
    stream.begin_write()
    try:
        yield progress
    except BaseException as error:
        error.bytes_written = progress.count  # type: ignore[attr-defined]
        raise
    finally:
        stream.end_write()
