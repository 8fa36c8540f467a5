"""What a connection has to do before it is closed."""

from __future__ import annotations

import array
import fcntl
import termios

from ..net import Stream

_MOST = 64
_PIECE = 64 * 1024


async def drain(transport: object) -> None:
    """Read what has come: a TCP connection that is closed with data unread is reset, and what was
    written last, close_notify and what the peer has not read before it, may be lost with it. A
    client that never reads has the server's session tickets there."""
    if not isinstance(transport, Stream):
        return
    waiting = array.array("i", (0,))
    for _ in range(_MOST):
        fcntl.ioctl(transport.fileno(), termios.FIONREAD, waiting)
        if not waiting[0]:
            return
        await transport.recv(_PIECE)
