"""The engine that is right everywhere: an :class:`ssl.SSLObject` over two memory BIOs, with a lock
around each use, because OpenSSL's objects have none and CPython gives up its own lock inside."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ._errors import TruncatedError
from ._records import Records

T = TypeVar("T")

RECORD = 16384
"""Plaintext bytes in one record at most (RFC 8446, 5.1)."""


class MemoryEngine:
    """One connection. Any thread; each method is one step. It knows nothing of tasks or sockets:
    ciphertext is fed, and taken."""

    name = "memory"

    __slots__ = (
        "_ahead",
        "_at_eof",
        "_ended",
        "_failure",
        "_fed",
        "_in",
        "_lenient",
        "_lock",
        "_out",
        "_records",
        "_rest",
        "ssl_object",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None,
        session: ssl.SSLSession | None,
        lenient: bool,
    ) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(
            self._in,
            self._out,
            server_side=server_side,
            server_hostname=server_hostname,
            session=session,
        )
        # A callback of the context, or a signal handler, may ask for the cipher in the middle.
        self._lock = threading.RLock()
        self._records = Records()
        self._fed = 0
        self._at_eof = False
        self._ahead = b""  # Plaintext that was given back, or had to be taken out.
        self._rest = b""  # Ciphertext that was taken, and not sent.
        self._ended = False
        self._lenient = lenient
        self._failure: Exception | None = None

    # ---- ciphertext ----

    def feed(self, data: bytes) -> None:
        """What came from the peer; ``b""`` for the end."""
        with self._lock:
            self._fed += 1
            if data:
                self._records.feed(data)
            else:
                self._at_eof = True

    def fed(self) -> int:
        """How often something came."""
        return self._fed

    def take(self) -> bytes:
        """What is to be sent next; the caller sends it, or puts it back."""
        with self._lock:
            data, self._rest = self._rest, b""
            return data + self._out.read() if data else self._out.read()

    def put_back(self, data: bytes) -> None:
        """It was not sent: the next one that takes sends it first."""
        with self._lock:
            self._rest = data + self._rest

    def has_output(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._rest or self._out.pending)

    def unused(self) -> bytes:
        """Ciphertext that was fed and not read: after the peer's close_notify it is no TLS any
        more."""
        with self._lock:
            return self._in.read() + self._records.take()

    def _move(self) -> bool:
        """OpenSSL gets the next record, or the end."""
        if self._records.move(self._in):
            return True
        if not self._at_eof:
            return False
        if not self._in.eof:
            self._in.write(self._records.take())
            self._in.write_eof()
        return True

    # ---- plaintext ----

    def handshake(self) -> bool:
        """As far as it goes; whether it is done. False: feed more."""
        with self._lock:
            self._check()
            while True:
                try:
                    self.ssl_object.do_handshake()
                    return True
                except ssl.SSLWantReadError:
                    if not self._move():
                        return False
                except ssl.SSLEOFError as error:
                    words = "the connection ended within the handshake"
                    raise self._fail(ssl.SSLEOFError(error.errno, words)) from None
                except Exception as error:
                    self._fail(error)
                    raise

    def read(self, size: int) -> bytes | None:
        """At most `size` bytes; None if more has to be fed, ``b""`` after close_notify."""
        with self._lock:
            if self._ahead:
                data, self._ahead = self._ahead[:size], self._ahead[size:]
                return data
            found: bytes | None = self._read(min(size, RECORD))
            if not found or len(found) == size:
                return found
            pieces = [found]
            left = size - len(found)
            while left > 0 and self._has_data():
                try:
                    more = self._read(min(left, RECORD))
                except Exception:
                    break  # The next read raises it: what was read before counts.
                if not more:
                    break
                pieces.append(more)
                left -= len(more)
            return found if len(pieces) == 1 else b"".join(pieces)

    def read_into(self, view: memoryview) -> int | None:
        """The same into memory of the caller's; the number of bytes, 0 after close_notify."""
        with self._lock:
            if self._ahead:
                count = min(len(view), len(self._ahead))
                view[:count] = self._ahead[:count]
                self._ahead = self._ahead[count:]
                return count
            found = self._read(len(view), view)
            return None if found is None else int(found or 0)

    def _has_data(self) -> bool:
        """Whether the next record is here, and of the kind that has data (or hides what it has). An
        end is left for the next read."""
        return self._records.holds_data() or self.ssl_object.pending() > 0

    def _read(self, *room: Any) -> Any:
        """What is here may hold no data, but a ticket or a key update: then the next record."""
        while True:
            if self._ended:
                return b""
            self._check()
            if self.ssl_object.pending() == 0 and not self._move():
                return None
            try:
                found = self.ssl_object.read(*room)
                self._ended = not found
                return found
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLZeroReturnError:
                self._ended = True
            except ssl.SSLEOFError:
                if self._lenient:
                    self._ended = True
                    continue
                words = "the connection ended without the peer's close_notify"
                raise self._fail(TruncatedError(ssl.SSL_ERROR_EOF, words)) from None
            except Exception as error:
                self._fail(error)
                raise

    def write(self, view: memoryview) -> int:
        """Seal it; the number of bytes, fewer if something has to be fed first: the peer began a
        handshake anew (TLS 1.2)."""
        done = 0
        with self._lock:
            self._check()
            while done < len(view):
                try:
                    done += self.ssl_object.write(view[done : done + RECORD])
                except ssl.SSLWantReadError:
                    # Data may come before the handshake's records: only a read can take it.
                    ahead = self._read(RECORD)
                    if not ahead:
                        break
                    self._ahead += ahead
                except Exception as error:
                    self._fail(error)
                    raise
        return done

    def close_notify(self) -> None:
        """Nothing is written any more. Nothing if the connection has failed."""
        with self._lock:
            if self._failure is not None:
                return
            # CPython looks for the peer's one as well: data that it would find there is an error.
            while (pending := self.ssl_object.pending()) > 0:
                self._ahead += self.ssl_object.read(pending)
            with suppress(ssl.SSLError):
                self.ssl_object.unwrap()

    def unread(self, data: bytes) -> None:
        """The next read gets it first."""
        with self._lock:
            self._ahead = data + self._ahead

    def take_unread(self) -> bytes:
        """What the next read would get of it."""
        with self._lock:
            data, self._ahead = self._ahead, b""
            return data

    # ---- the rest ----

    def failed(self) -> bool:
        """Whether it can not go on."""
        return self._failure is not None

    def close(self) -> None:
        """Nothing is read or written any more: its stream looks after that."""

    def locked(self, function: Callable[[], T]) -> T:
        """Call it while nobody else uses the SSL object."""
        with self._lock:
            return function()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: Exception) -> Exception:
        """It is what all later calls raise."""
        if not isinstance(error, ssl.SSLWantReadError):
            self._failure = error.with_traceback(None)
        return error
