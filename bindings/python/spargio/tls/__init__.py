"""TLS over any spargio stream, with the :class:`ssl.SSLContext` that programs have already."""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._choice import EngineInfo, engine
    from ._connect import connect, wrap
    from ._errors import TruncatedError
    from ._listener import TlsListener, serve
    from ._stream import TlsStream
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "._close": (),
            "._connect": ("connect", "wrap"),
            "._errors": ("TruncatedError",),
            "._listener": ("TlsListener", "serve"),
            "._stream": ("TlsStream",),
            "._engine": (),
            "._choice": ("EngineInfo", "engine"),
            "._records": (),
            "._native": (),
        },
    )

__all__ = (
    "EngineInfo",
    "TlsListener",
    "TlsStream",
    "TruncatedError",
    "connect",
    "engine",
    "serve",
    "wrap",
)
