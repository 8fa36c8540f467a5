"""Where the records of a connection end, as their headers say (RFC 8446, 5.1)."""

from __future__ import annotations

import ssl

_HEADER = 5
_PAYLOAD_MAX = 16384 + 2048
"""Of an encrypted record: RFC 5246, 6.2.3. OpenSSL itself looks closer."""

_DATA = 23
_TYPES = frozenset(range(20, 25))


class Records:
    """Ciphertext that came. OpenSSL is given one whole record at a time: a read that ends within
    one raises, which costs more than the decryption of a small record, and what OpenSSL has not got
    is still ours, to be given back after the end of TLS."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """What came next."""
        self._data += data

    def move(self, bio: ssl.MemoryBIO) -> bool:
        """The next record goes to `bio`; False if it is not there as a whole. All goes at once
        if it is no TLS: OpenSSL is to say what it is."""
        data = self._data
        if len(data) < _HEADER:
            return False
        size = data[3] << 8 | data[4]
        end = _HEADER + size
        if data[0] not in _TYPES or data[1] != 3 or size > _PAYLOAD_MAX:
            end = len(data)
        if end > len(data):
            return False
        if end == len(data):
            bio.write(data)
            self._data = bytearray()
            return True
        with memoryview(data) as view, view[:end] as record:
            bio.write(record)
        del data[:end]
        return True

    def holds_data(self) -> bool:
        """Whether the next record is here and of the type of data, under which TLS 1.3 hides
        others."""
        data = self._data
        return (
            len(data) >= _HEADER and data[0] == _DATA and len(data) >= 5 + (data[3] << 8 | data[4])
        )

    def take(self) -> bytes:
        """All that is left."""
        data, self._data = self._data, bytearray()
        return bytes(data)
