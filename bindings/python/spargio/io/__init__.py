"""Streams: what they are, buffers around them, frames over them, and one in memory for tests."""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import framed
    from ._buffered import BufReader, BufWriter, LimitExceeded
    from ._duplex import DuplexStream, duplex
    from ._streams import (
        AsyncRead,
        AsyncStream,
        AsyncWrite,
        ReadHalf,
        WriteHalf,
        copy,
        copy_to_vec,
        split,
    )
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            ".framed": (),
            "._buffered": ("BufReader", "BufWriter", "LimitExceeded"),
            "._duplex": ("DuplexStream", "duplex"),
            "._streams": (
                "AsyncRead",
                "AsyncStream",
                "AsyncWrite",
                "ReadHalf",
                "WriteHalf",
                "copy",
                "copy_to_vec",
                "split",
            ),
        },
    )

__all__ = (
    "AsyncRead",
    "AsyncStream",
    "AsyncWrite",
    "BufReader",
    "BufWriter",
    "DuplexStream",
    "LimitExceeded",
    "ReadHalf",
    "WriteHalf",
    "copy",
    "copy_to_vec",
    "duplex",
    "framed",
    "split",
)
