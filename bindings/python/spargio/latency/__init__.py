"""What users feel: latencies under a name, with outcomes, bytes and operations.

A :class:`Recorder` keeps a histogram for each shard, so a record takes no lock; a reader adds them
up. A statistics snapshot has all recorders of the process (``snapshot.recorders``)."""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._hdr import read_hdr_log, write_hdr_log
    from ._latencies import Latencies
    from ._recorder import Recorder
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "._latencies": ("Latencies",),
            "._hdr": ("read_hdr_log", "write_hdr_log"),
            "._recorder": ("Recorder",),
        },
    )

__all__ = ("Latencies", "Recorder", "read_hdr_log", "write_hdr_log")
