"""TLS over any stream of ours, with the :class:`ssl.SSLContext` that programs have already."""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._connect import connect, wrap
    from ._errors import TruncatedError
    from ._listener import TlsListener, serve
    from ._stream import TlsStream
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "._connect": ("connect", "wrap"),
            "._errors": ("TruncatedError",),
            "._listener": ("TlsListener", "serve"),
            "._stream": ("TlsStream",),
            "._engine": (),
            "._choice": (),
            "._records": (),
        },
    )

__all__ = (
    "TlsListener",
    "TlsStream",
    "TruncatedError",
    "connect",
    "serve",
    "wrap",
)
