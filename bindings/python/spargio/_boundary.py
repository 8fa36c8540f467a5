"""Calls across the boundary of a runtime: clients on ordinary threads, in a running asyncio loop,
or in tasks; a server in tasks. Bounded: what the server cannot take is refused at once."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import errors
from ._ffi.core import Future, native
from ._records import dataclass
from ._shared import Shared
from .sync._channels import ChannelClosed, ChannelFull, Receiver, Sender
from .sync._channels import channel as _channel
from .time import nanoseconds, timeout

if TYPE_CHECKING:
    import asyncio

__all__ = (
    "BoundaryStats",
    "Canceled",
    "Cancelled",
    "Client",
    "Closed",
    "Overloaded",
    "Request",
    "Server",
    "Ticket",
    "Timeout",
    "channel",
    "stats_snapshot",
)


class Timeout(errors.SpargioError, TimeoutError):
    """The call was not answered in time; the server may have done the work or not."""


class Closed(errors.SpargioError):
    """The other side is gone."""


class Canceled(errors.SpargioError):
    """The server dropped the request without an answer, or the client gave up."""


Cancelled = Canceled
"""The other spelling, as in the rest of the package."""


class Overloaded(errors.Overloaded):
    """The channel holds as many requests as it may: nothing was accepted."""


@dataclass(frozen=True)
class BoundaryStats:
    """Calls of this process since its start, and how they ended; the rest are under way."""

    calls: int = 0
    completed: int = 0
    timed_out: int = 0
    canceled: int = 0
    closed: int = 0
    overloaded: int = 0

    @property
    def cancelled(self) -> int:
        """`canceled`, in the other spelling."""
        return self.canceled


# A request that is dropped ends its call from its finalizer, which may run between any two steps of
# any thread. On that way nothing holds a lock: into the middle of a step (of a deque, a dict, a
# future, a channel) nothing can come.
_counts = dict.fromkeys(BoundaryStats.__match_args__, 0)
_uncounted: deque[str] = deque()
_counts_lock = threading.RLock()


def _count(name: str) -> None:
    _uncounted.append(name)
    if len(_uncounted) > 1000 and _counts_lock.acquire(blocking=False):
        try:  # If another thread counts already, that one does it.
            _add_up()
        finally:
            _counts_lock.release()


def _add_up() -> None:
    while _uncounted:
        _counts[_uncounted.popleft()] += 1


def stats_snapshot() -> BoundaryStats:
    """All counters now. Any thread."""
    with _counts_lock:
        _add_up()
        return BoundaryStats(**_counts)


class _LoopBridge:
    """Brings answers into an asyncio loop: one eventfd, and one wake-up for all that have come."""

    _close = staticmethod(
        os.close
    )  # For `__del__`: `os` may be gone by then, at the interpreter's end.

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._arrived: deque[asyncio.Future[None]] = deque()
        self._rung = False
        loop.add_reader(self._eventfd, self._drain)

    def __del__(self) -> None:
        # The loop and the tickets hold it: nobody writes there any more.
        self._close(self._eventfd)

    def wake(self, waiter: asyncio.Future[None]) -> None:
        """Any thread."""
        if waiter.get_loop().is_closed():
            return
        # Here first in, then the flag; in `_drain` the other way round: one sees the other.
        self._arrived.append(waiter)
        if not self._rung:
            self._rung = True
            os.eventfd_write(self._eventfd, 1)

    def _drain(self) -> None:
        os.eventfd_read(self._eventfd)
        self._rung = False
        while self._arrived:
            waiter = self._arrived.popleft()
            if not waiter.done():
                waiter.set_result(None)


# Weak on both sides: a bridge reaches its loop, through the waiters that have arrived. The loop
# holds it, as its reader, until it is closed.
_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_LoopBridge]] = (
    weakref.WeakKeyDictionary()
)


def _bridge(loop: asyncio.AbstractEventLoop) -> _LoopBridge:
    """On the loop's thread."""
    reference = _bridges.get(loop)
    found = None if reference is None else reference()
    if found is None:
        found = _LoopBridge(loop)
        _bridges[loop] = weakref.ref(found)
    return found


class _Failure:
    """How a call failed for want of an answer; each caller is raised an exception of its own. One
    for all would hold the frames of those who asked, and these the queue that the ticket is in."""

    __slots__ = ("kind", "text")

    def __init__(self, kind: type[errors.SpargioError], text: str) -> None:
        self.kind = kind
        self.text = text


def _given(answer: Any) -> Any:
    if type(answer) is _Failure:
        raise answer.kind(answer.text)
    return answer


class Ticket(Shared):
    """A call under way. Await it in a task or in an asyncio loop, or :meth:`wait_timeout` on an
    ordinary thread; it may be asked several times."""

    def __init__(self, deadline: float | None) -> None:
        self._answer: Future[Any] = native.future()
        self._deadline = deadline
        self._wakers: dict[asyncio.Future[None], _LoopBridge] = {}

    def _state(self) -> str:
        return "answered" if self.done() else "under way"

    def done(self) -> bool:
        """Whether it was answered, or has failed."""
        return self._answer.done()

    def _settle(self, answer: Any, outcome: str) -> bool:
        """Of several outcomes the first counts. An exception is raised to those who ask."""
        if isinstance(answer, BaseException):
            won = self._answer.set_exception(answer)
        else:
            won = self._answer.set_result(answer)
        if won:
            _count(outcome)
            while self._wakers:
                with contextlib.suppress(KeyError):  # One that gave up just now.
                    waiter, bridge = self._wakers.popitem()
                    bridge.wake(waiter)
        return won

    def _expire(self) -> None:
        failure = _Failure(Timeout, "the call was not answered in time")
        self._settle(failure, "timed_out")

    def _left(self, seconds: float | None = None) -> float | None:
        """Seconds until the nearer of the call's own limit and this one."""
        limits = [] if seconds is None else [seconds]
        if self._deadline is not None:
            limits.append(max(0.0, self._deadline - monotonic()))
        return min(limits) if limits else None

    def wait_timeout(self, seconds: float | None = None) -> Any:
        """On an ordinary thread: the answer; :class:`Timeout` after `seconds`, or after the limit
        of the call, which is then over."""
        try:
            try:
                answer = self._answer.result(self._left(seconds))
            except TimeoutError:
                self._expire()  # If it was answered meanwhile the answer counts.
                answer = self._answer.result()
            return _given(answer)
        finally:
            del self  # It holds the error, whose traceback holds this frame.

    def __await__(self) -> Generator[Any, None, Any]:
        if native.current_task() is not None:
            return self._in_task().__await__()
        return self._in_loop().__await__()

    async def _in_task(self) -> Any:
        try:
            try:
                with timeout(self._left()):
                    answer = await self._answer
            except TimeoutError:
                self._expire()
                answer = self._answer.result()
            return _given(answer)
        finally:
            del self

    async def _in_loop(self) -> Any:
        import asyncio  # A program with a loop has imported it; nobody else pays for it.

        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wakers[waiter] = _bridge(waiter.get_loop())
        try:
            # Checked last: the answering side wakes the waiters that it finds there.
            if not self._answer.done():
                await asyncio.wait_for(waiter, self._left())
        except asyncio.TimeoutError:
            self._expire()
        finally:
            self._wakers.pop(waiter, None)
        try:
            return _given(self._answer.result())
        finally:
            del self


_Queued = tuple[Any, Ticket]


def _close(receiver: Receiver[_Queued]) -> None:
    """Ends the calls that nobody will answer."""
    for _, ticket in receiver._values.break_off():
        ticket._settle(_Failure(Closed, "the server is gone"), "closed")


class Client(Shared):
    """Makes calls; any number of threads, loops and tasks may share one."""

    def __init__(self, sender: Sender[_Queued]) -> None:
        self._sender = sender

    def _state(self) -> str:
        return f"of {self._sender!r}"

    def try_call(self, request: Any, *, seconds: float | None = None) -> Ticket:
        """Hand `request` over; never waits. The answer must come within `seconds`.
        :class:`Overloaded` if the channel is full, :class:`Closed`. Any thread."""
        if seconds is not None:
            nanoseconds(seconds, "seconds")  # Says what is wrong with it.
        ticket = Ticket(None if seconds is None else monotonic() + seconds)
        _count("calls")
        try:
            self._sender.try_send((request, ticket))
        except ChannelFull as error:
            _count("overloaded")
            raise Overloaded(f"{error}: nothing was accepted") from None
        except ChannelClosed:
            _count("closed")
            raise Closed("the server is gone") from None
        return ticket

    async def call(self, request: Any) -> Any:
        """The answer to `request`: in a task, or in an asyncio loop. :class:`Overloaded`,
        :class:`Closed`, :class:`Canceled`, or the exception that the server answers with. One that
        is cancelled has given up: a server that has not taken the request leaves it out."""
        return await self._awaited(self.try_call(request))

    async def call_with_timeout(self, request: Any, seconds: float) -> Any:
        """The same; :class:`Timeout` after `seconds`."""
        return await self._awaited(self.try_call(request, seconds=seconds))

    async def _awaited(self, ticket: Ticket) -> Any:
        try:
            return await ticket
        except BaseException:
            # Nobody else has the ticket. One that has failed by itself is settled already.
            ticket._settle(_Failure(Canceled, "the client gave up"), "canceled")
            raise
        finally:
            del ticket

    def close(self) -> None:
        """The server gets what is queued, then :class:`Closed`. Any thread; idempotent."""
        self._sender.close()


class Request(Shared):
    """What a client asked. Answer it once, or let it go: the client then gets :class:`Canceled`
    (on a free-threaded Python at once only if it goes away on the shard that received it)."""

    def __init__(self, request: Any, ticket: Ticket) -> None:
        self.request = request
        """What :meth:`Client.call` was given."""
        self._ticket: Ticket | None = ticket

    def _state(self) -> str:
        return f"{self.request!r}, {'answered' if self._ticket is None else 'not answered'}"

    @property
    def deadline(self) -> float | None:
        """When the client stops waiting, of ``time.monotonic()``; None for never."""
        return None if self._ticket is None else self._ticket._deadline

    def into_request(self) -> tuple[Any, Ticket]:
        """(the request, its ticket), for a server that answers elsewhere."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            raise RuntimeError("the request was answered already")
        return self.request, ticket

    def respond(self, answer: Any) -> bool:
        """Answer; an exception instance is raised at the client. False if it waits no more."""
        return self.into_request()[1]._settle(answer, "completed")

    def __del__(self, _interpreter_ends: Callable[[], bool] = sys.is_finalizing) -> None:
        # Then nobody waits any more, and the names that are used here may be gone.
        if self._ticket is not None and not _interpreter_ends():
            failure = _Failure(Canceled, "the server dropped the request without an answer")
            self._ticket._settle(failure, "canceled")


class Server(Shared):
    """Takes requests; any number of tasks may share one. Requests whose client gave up are left
    out. One that nobody holds any more is closed (on a free-threaded Python at once only if it
    goes away on the thread that made it)."""

    def __init__(self, receiver: Receiver[_Queued]) -> None:
        self._receiver = receiver

    def _state(self) -> str:
        return f"of {self._receiver!r}"

    async def recv(self) -> Request:
        """The next request; :class:`Closed` if none will come."""
        while True:
            try:
                request, ticket = await self._receiver.recv()
            except ChannelClosed:
                raise Closed("the clients are gone") from None
            if ticket._deadline is not None and monotonic() >= ticket._deadline:
                ticket._expire()
            if not ticket.done():
                # Made here, not by the client: without a GIL an object goes away at once only on
                # the thread that made it, and its end may be what the client sleeps for.
                return Request(request, ticket)

    async def recv_timeout(self, seconds: float) -> Request:
        """The same; :class:`Timeout` if none comes within `seconds`."""
        try:
            with timeout(seconds):
                return await self.recv()
        except TimeoutError:
            raise Timeout(f"no request came within {seconds} s") from None

    def close(self) -> None:
        """Those who wait get :class:`Closed`. Any thread; idempotent."""
        _close(self._receiver)

    def __del__(self, _interpreter_ends: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _interpreter_ends():
            self.close()

    def __aiter__(self) -> Server:
        return self

    async def __anext__(self) -> Request:
        try:
            return await self.recv()
        except Closed:
            raise StopAsyncIteration from None


def channel(capacity: int) -> tuple[Client, Server]:
    """A client and a server; at most `capacity` requests wait between them."""
    sender, receiver = _channel(capacity)
    return Client(sender), Server(receiver)
