"""Signals as something to await. While a stream is open the process's handler for its signals is
spargio's; the one that was there comes back when the last stream ends. It does not matter on which
thread a signal arrives, or which one runs the runtime."""

from __future__ import annotations

from .._lazy import lazy

__all__ = ("SignalStream", "ctrl_c", "stream")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._signal import (
        SignalStream,
        ctrl_c,
        stream,
    )
else:
    __getattr__, __dir__ = lazy(__name__, {".._signal": __all__})
