"""Calls across the boundary of a runtime: clients on ordinary threads, in a running asyncio loop,
or in tasks; a server in tasks. Bounded: what the server cannot take is refused at once."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import errors
from ._ffi.core import Future, native
from .sync import ChannelClosed, ChannelFull, Receiver, Sender
from .sync import channel as _channel
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
# the same thread, also where that holds a lock: the locks on that way can be taken again.
_counts = dict.fromkeys(BoundaryStats.__dataclass_fields__, 0)
_uncounted: deque[str] = deque()
_counts_lock = threading.RLock()


def _count(name: str) -> None:
    _uncounted.append(name)  # One step: nothing can come between.
    if len(_uncounted) > 1000:
        stats_snapshot()


def stats_snapshot() -> BoundaryStats:
    """All counters now. Any thread."""
    with _counts_lock:
        while _uncounted:
            _counts[_uncounted.popleft()] += 1
        return BoundaryStats(**_counts)


class _LoopBridge:
    """Brings answers into an asyncio loop: one eventfd, and one wake-up for all that have come."""

    _close = staticmethod(
        os.close
    )  # For `__del__`: `os` may be gone by then, at the interpreter's end.

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.RLock()
        self._arrived: deque[asyncio.Future[None]] = deque()
        loop.add_reader(self._eventfd, self._drain)

    def __del__(self) -> None:
        # The loop and the tickets hold it: nobody writes there any more.
        self._close(self._eventfd)

    def wake(self, waiter: asyncio.Future[None]) -> None:
        """Any thread."""
        if waiter.get_loop().is_closed():
            return
        with self._lock:
            first = not self._arrived
            self._arrived.append(waiter)
        if first:
            os.eventfd_write(self._eventfd, 1)

    def _drain(self) -> None:
        os.eventfd_read(self._eventfd)
        with self._lock:
            arrived, self._arrived = self._arrived, deque()
        for waiter in arrived:
            if not waiter.done():
                waiter.set_result(None)


_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopBridge] = (
    weakref.WeakKeyDictionary()
)
_bridges_lock = threading.Lock()


def _bridge(loop: asyncio.AbstractEventLoop) -> _LoopBridge:
    with _bridges_lock:
        found = _bridges.get(loop)
        if found is None:
            found = _bridges[loop] = _LoopBridge(loop)
        return found


class Ticket:
    """A call under way. Await it in a task or in an asyncio loop, or :meth:`wait_timeout` on an
    ordinary thread; it may be asked several times."""

    def __init__(self, deadline: float | None) -> None:
        self._answer: Future[Any] = native.future()
        self._deadline = deadline
        self._lock = threading.RLock()
        self._wakers: list[tuple[_LoopBridge, asyncio.Future[None]]] = []

    def done(self) -> bool:
        """Whether it was answered, or has failed."""
        return self._answer.done()

    def _settle(self, value: Any, failure: BaseException | None, outcome: str) -> bool:
        """Of several outcomes the first counts."""
        won = (
            self._answer.set_result(value)
            if failure is None
            else self._answer.set_exception(failure)
        )
        if won:
            _count(outcome)
            with self._lock:
                wakers, self._wakers = self._wakers, []
            for bridge, waiter in wakers:
                bridge.wake(waiter)
        return won

    def _expire(self) -> None:
        failure = Timeout("the call was not answered in time")
        self._settle(None, failure, "timed_out")

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
            return self._answer.result(self._left(seconds))
        except TimeoutError:
            self._expire()  # Where it was answered meanwhile the answer counts.
            return self._answer.result()

    def __await__(self) -> Generator[Any, None, Any]:
        if native.current_task() is not None:
            return self._in_task().__await__()
        return self._in_loop().__await__()

    async def _in_task(self) -> Any:
        try:
            with timeout(self._left()):
                return await self._answer
        except TimeoutError:
            self._expire()
            return self._answer.result()

    async def _in_loop(self) -> Any:
        import asyncio  # Whoever has a loop has it; nobody else pays for it.

        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        entry = (_bridge(loop), waiter)
        with self._lock:
            if not self._answer.done():
                self._wakers.append(entry)
            else:
                waiter.set_result(None)
        try:
            await asyncio.wait_for(waiter, self._left())
        except asyncio.TimeoutError:
            self._expire()
        finally:
            with self._lock:
                if entry in self._wakers:
                    self._wakers.remove(entry)
        return self._answer.result()


_Queued = tuple[Any, Ticket]


def _refuse(queued: deque[_Queued]) -> None:
    """End the calls in it. Several may do so at once."""
    while True:
        try:
            _, ticket = queued.popleft()
        except IndexError:
            return
        ticket._settle(None, Closed("the server is gone"), "closed")


def _state(channel: Any) -> str:
    if channel.closed_for_send or channel.closed_for_recv:
        return "closed"
    return f"{len(channel.items)} of {channel.capacity} requests wait"


class Client:
    """Makes calls; any number of threads, loops and tasks may share one."""

    def __init__(self, sender: Sender[_Queued]) -> None:
        self._sender = sender

    def try_call(self, request: Any, *, seconds: float | None = None) -> Ticket:
        """Hand `request` over; never waits. The answer must come within `seconds`.
        :class:`Overloaded` where the channel is full, :class:`Closed`. Any thread."""
        if seconds is not None:
            nanoseconds(seconds, "seconds")  # Says what is wrong with it.
        deadline = None if seconds is None else monotonic() + seconds
        ticket = Ticket(deadline)
        _count("calls")
        try:
            self._sender.try_send((request, ticket))
        except ChannelFull as error:
            ticket._settle(None, Overloaded(f"{error}: nothing was accepted"), "overloaded")
        except ChannelClosed:
            ticket._settle(None, Closed("the server is gone"), "closed")
        else:
            # Looked at last: a server that went away meanwhile has not seen it (`__del__`).
            channel = self._sender._channel
            if channel.closed_for_recv:
                _refuse(channel.close(receiver=True))
            return ticket
        return ticket._answer.result()  # type: ignore[no-any-return]

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
            ticket._settle(None, Canceled("the client gave up"), "canceled")
            raise

    def __repr__(self) -> str:
        return f"<boundary.Client, {_state(self._sender._channel)}>"

    def close(self) -> None:
        """The server gets what is queued, then :class:`Closed`. Any thread; idempotent."""
        self._sender.close()


class Request:
    """What a client asked. Answer it once, or let it go: the client then gets :class:`Canceled`
    (on a free-threaded Python at once only where it goes away on the shard that received it)."""

    def __init__(self, request: Any, ticket: Ticket) -> None:
        self.request = request
        """What :meth:`Client.call` was given."""
        self._ticket: Ticket | None = ticket

    def __repr__(self) -> str:
        state = "answered" if self._ticket is None else "not answered"
        return f"<boundary.Request {self.request!r}, {state}>"

    @property
    def deadline(self) -> float | None:
        """When the client stops waiting, of ``time.monotonic()``; None for never."""
        return None if self._ticket is None else self._ticket._deadline

    def into_request(self) -> tuple[Any, Ticket]:
        """(what was asked, who waits for it), for those who answer elsewhere."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            raise RuntimeError("the request was answered already")
        return self.request, ticket

    def respond(self, answer: Any) -> bool:
        """Answer; an exception instance is raised at the client. False where it waits no more."""
        ticket = self.into_request()[1]
        failure = answer if isinstance(answer, BaseException) else None
        return ticket._settle(answer, failure, "completed")

    def __del__(self, _interpreter_ends: Callable[[], bool] = sys.is_finalizing) -> None:
        # Then nobody waits any more, and the names that are used here may be gone.
        if self._ticket is not None and not _interpreter_ends():
            failure = Canceled("the server dropped the request without an answer")
            self._ticket._settle(None, failure, "canceled")


class Server:
    """Takes requests; any number of tasks may share one. Requests whose client gave up are left
    out. One that nobody holds any more is closed (on a free-threaded Python at once only where it
    goes away on the thread that made it)."""

    def __init__(self, receiver: Receiver[_Queued]) -> None:
        self._receiver = receiver

    async def recv(self) -> Request:
        """The next request; :class:`Closed` where none will come."""
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
        """The same; :class:`Timeout` where none comes within `seconds`."""
        try:
            with timeout(seconds):
                return await self.recv()
        except TimeoutError:
            raise Timeout(f"no request came within {seconds} s") from None

    def __repr__(self) -> str:
        return f"<boundary.Server, {_state(self._receiver._channel)}>"

    def close(self) -> None:
        """Those who wait get :class:`Closed`. Any thread; idempotent."""
        _refuse(self._receiver._channel.close(receiver=True))

    def __del__(self, _interpreter_ends: Callable[[], bool] = sys.is_finalizing) -> None:
        # Not by `close`: this thread may hold the channel's lock already. Who puts a request in
        # meanwhile looks at the flag afterwards; who waits for one holds the server.
        if not _interpreter_ends():
            channel = self._receiver._channel
            channel.closed_for_recv = True
            _refuse(channel.items)

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
