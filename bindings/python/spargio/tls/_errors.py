"""What can go wrong with a connection beyond what :mod:`ssl` and the kernel say."""

from __future__ import annotations

import ssl

from ..errors import SpargioError


class TruncatedError(SpargioError, ssl.SSLEOFError):
    """The connection ended without the peer's close_notify: by a peer that does not send any, or by
    somebody between who cut it short. What was read before is whole, but may not be all. If a
    protocol says by itself where its messages end, ``standard_compatible=False`` makes an ordinary
    end of it."""
