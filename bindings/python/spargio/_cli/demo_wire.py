"""The demo's wire format, for both ends. One file per connection:

request   8 bytes length of the content, 2 bytes length of the name (both big-endian), name, content
answer    32 bytes: SHA-256 of what was stored
"""

from __future__ import annotations

import struct

HEADER = struct.Struct(">QH")
DIGEST_BYTES = 32
NAME_BYTES_MAX = 255
CHUNK_BYTES = 256 * 1024


class WireError(Exception):
    """A request that does not keep to the format."""


def check_name(name: bytes) -> None:
    """Refuses what could mean another folder. The service does not even use the name as a path."""
    if not 1 <= len(name) <= NAME_BYTES_MAX:
        raise WireError(f"the name must have between 1 and {NAME_BYTES_MAX} bytes, got {len(name)}")
    if b"/" in name or b"\0" in name or name in (b".", b".."):
        raise WireError(f"the name {name!r} is not a plain file name")
