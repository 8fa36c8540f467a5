"""A file with a position, for those who read and write one thing after the other."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._file import File

_READ_AHEAD = 64 * 1024


class Cursor:
    """A position in a :class:`File`, read ahead by 64 KiB for lines. One task at a time. Several
    cursors of one file are independent; the file stays open when they go."""

    def __init__(self, file: File, position: int = 0) -> None:
        self._file = file
        self._position = position
        self._ahead = b""

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As ``io.IOBase.seek``; ``ValueError`` for a place before the start."""
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += (await self._file.metadata()).size
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence is {whence}: allowed is 0, 1 or 2")
        if offset < 0:
            raise ValueError(f"seek to {offset}: allowed is 0 or more")
        self._position = offset
        self._ahead = b""
        return offset

    async def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, all that is left where it is negative; ``b""`` at the end."""
        if size < 0:
            data = await self._file.read_to_end_at(self._position)
            self._ahead = b""
        elif self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = await self._file.read_at(self._position, size)
        self._position += len(data)
        return data

    async def readline(self) -> bytes:
        """Up to and with the next newline; without one at the end of the file."""
        parts = self._ahead
        searched = 0
        while (at := parts.find(b"\n", searched)) < 0:
            searched = len(parts)
            more = await self._file.read_at(self._position + searched, _READ_AHEAD)
            if not more:
                at = searched - 1
                break
            parts += more
            self._ahead = parts
        line, self._ahead = parts[: at + 1], parts[at + 1 :]
        self._position += len(line)
        return line

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """All of `data`; gives its number of bytes."""
        self._ahead = b""
        await self._file.write_all_at(self._position, data)
        count = memoryview(data).nbytes
        self._position += count
        return count

    def __aiter__(self) -> Cursor:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line


class TextCursor:
    """The same for text: lines end with "\\n" (of "\\r\\n" and "\\r" too) and there is no seek,
    because characters have no fixed size."""

    def __init__(self, file: File, encoding: str = "utf-8", errors: str = "strict") -> None:
        self._cursor = Cursor(file)
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._encoding = encoding
        self._errors = errors
        self._ahead = ""
        self._ended = False

    async def _more(self) -> None:
        data = await self._cursor.read(_READ_AHEAD)
        self._ended = not data
        self._ahead += self._decoder.decode(data, final=not data)

    async def read(self) -> str:
        """All that is left."""
        while not self._ended:
            await self._more()
        text, self._ahead = self._ahead, ""
        return text.replace("\r\n", "\n").replace("\r", "\n")

    async def readline(self) -> str:
        """Up to and with the next newline; ``""`` at the end of the file."""
        while True:
            found = [at for at in (self._ahead.find("\n"), self._ahead.find("\r")) if at >= 0]
            # A "\r" at the very end may be half of "\r\n".
            if found and (min(found) + 1 < len(self._ahead) or self._ended):
                break
            if found and self._ahead[min(found)] == "\n":
                break
            if self._ended:
                line, self._ahead = self._ahead, ""
                return line
            await self._more()
        at = min(found)
        pair = self._ahead.startswith("\r\n", at)
        line, self._ahead = self._ahead[:at] + "\n", self._ahead[at + (2 if pair else 1) :]
        return line

    async def write(self, text: str) -> None:
        """All of `text`, encoded, as it is."""
        await self._cursor.write(text.encode(self._encoding, self._errors))

    def __aiter__(self) -> TextCursor:
        return self

    async def __anext__(self) -> str:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line
