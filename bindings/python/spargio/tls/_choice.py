"""Which engine a connection gets."""

from __future__ import annotations

import ssl

from ._engine import MemoryEngine

Engine = MemoryEngine


def make(
    context: ssl.SSLContext,
    server_side: bool,
    server_hostname: str | None,
    session: ssl.SSLSession | None,
) -> Engine:
    """An engine for a new connection."""
    return MemoryEngine(context, server_side, server_hostname, session)
