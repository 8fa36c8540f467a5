"""What every HTTP server here does with the bytes of a connection: httptools parses them, each
complete request is answered. The parser, the answer and this class are the same for all; the
servers differ in how bytes come and go."""

from __future__ import annotations

from typing import Final

import httptools

BODY: Final = b"Hello, world!"
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
)


class Exchange:
    """One connection. wrk keeps it alive; a request that says otherwise is its last."""

    def __init__(self) -> None:
        self.ended = False
        self._parser = httptools.HttpRequestParser(self)
        self._answers = 0

    def on_message_complete(self) -> None:
        self._answers += 1
        self.ended = not self._parser.should_keep_alive()

    def feed(self, data: bytes) -> bytes:
        """The answers to the requests that `data` completes."""
        self._answers = 0
        self._parser.feed_data(data)
        return ANSWER * self._answers
