"""Values that go from task to task: all of them over any shard, and from ordinary threads."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Generic, TypeVar

from .._counts import at_least
from .._ffi.core import Future, native
from ..errors import SpargioError
from ._wait import hand_over, wait, wait_thread

T = TypeVar("T")

_CLOSED: Any = object()


class ChannelClosed(SpargioError):
    """The other side is gone: nothing will come, or nobody will take it."""


class ChannelFull(SpargioError):
    """There is no room now."""


class ChannelEmpty(SpargioError):
    """There is nothing now."""


class _Channel(Generic[T]):
    def __init__(self, capacity: int) -> None:
        self.capacity = at_least("capacity", capacity, 1)
        self.lock = threading.Lock()
        self.items: deque[T] = deque()
        self.senders: deque[tuple[Future[Any], T]] = deque()
        self.receivers: deque[Future[Any]] = deque()
        self.closed_for_send = False
        self.closed_for_recv = False

    def put(self, item: T) -> bool:
        """Under the lock: False where there is no room."""
        if self.closed_for_send or self.closed_for_recv:
            raise ChannelClosed("send on a closed channel")
        if hand_over(self.receivers, item):
            return True
        if len(self.items) >= self.capacity:
            return False
        self.items.append(item)
        return True

    def take(self) -> Any:
        """Under the lock: an item, or _CLOSED where there is none."""
        if not self.items:
            if self.closed_for_send or self.closed_for_recv:
                raise ChannelClosed("the channel is closed and empty")
            return _CLOSED
        item = self.items.popleft()
        if self.senders:
            future, waiting = self.senders.popleft()
            self.items.append(waiting)
            future.set_result(None)
        return item

    def give_back(self, item: Any) -> None:
        """To the next receiver: who it was handed to cannot take it."""
        with self.lock:
            if item is not _CLOSED and not hand_over(self.receivers, item):
                self.items.appendleft(item)

    def close(self, receiver: bool) -> deque[T]:
        """Gives what will not be received; nothing joins that any more."""
        dropped: deque[T] = deque()  # Let go of after the lock: an item's end may use the channel.
        with self.lock:
            if receiver:
                self.closed_for_recv = True
                dropped, self.items = self.items, dropped
                while self.senders:
                    self.senders.popleft()[0].set_result(_CLOSED)
            else:
                self.closed_for_send = True
            while hand_over(self.receivers, _CLOSED):
                pass
        return dropped


class Sender(Generic[T]):
    """The sending side; any number of tasks and threads may use it."""

    def __init__(self, channel: _Channel[T]) -> None:
        self._channel = channel

    def _begin(self, item: T) -> tuple[Future[Any], T] | None:
        channel = self._channel
        with channel.lock:
            if channel.put(item):
                return None
            entry = (native.future(), item)
            channel.senders.append(entry)
            return entry

    async def send(self, item: T) -> None:
        """Wait for room, then send; in the order of the calls. One that is cancelled has sent
        nothing. :class:`ChannelClosed` where nobody will receive it."""
        entry = self._begin(item)
        if entry is not None:
            channel = self._channel
            _check(await wait(entry[0], channel.senders, entry, channel.lock))

    def send_blocking(self, item: T, timeout: float | None = None) -> None:
        """The same on an ordinary thread; ``TimeoutError`` after `timeout` seconds: not sent."""
        entry = self._begin(item)
        if entry is not None:
            channel = self._channel
            _check(wait_thread(entry[0], channel.senders, entry, channel.lock, timeout))

    def try_send(self, item: T) -> None:
        """Send now; :class:`ChannelFull` where there is no room. Any thread."""
        with self._channel.lock:
            if not self._channel.put(item):
                raise ChannelFull(f"the channel holds {self._channel.capacity} values")

    def close(self) -> None:
        """No more will be sent: receivers get what is left, then :class:`ChannelClosed`. Those
        who wait for room still send. Any thread; idempotent."""
        self._channel.close(receiver=False)


class Receiver(Generic[T]):
    """The receiving side; any number of tasks and threads may use it, each value goes to one."""

    def __init__(self, channel: _Channel[T]) -> None:
        self._channel = channel

    def _begin(self) -> tuple[Any, Future[Any] | None]:
        channel = self._channel
        with channel.lock:
            item = channel.take()
            if item is not _CLOSED:
                return item, None
            future = native.future()
            channel.receivers.append(future)
            return None, future

    async def recv(self) -> T:
        """The next value; waits for one. One that is cancelled has taken nothing.
        :class:`ChannelClosed` where none will come."""
        item, future = self._begin()
        if future is not None:
            channel = self._channel
            item = _check(
                await wait(future, channel.receivers, future, channel.lock, channel.give_back)
            )
        return item  # type: ignore[no-any-return]

    def recv_blocking(self, timeout: float | None = None) -> T:
        """The same on an ordinary thread; ``TimeoutError`` after `timeout` seconds."""
        item, future = self._begin()
        if future is not None:
            channel = self._channel
            item = _check(
                wait_thread(
                    future, channel.receivers, future, channel.lock, timeout, channel.give_back
                )
            )
        return item  # type: ignore[no-any-return]

    def try_recv(self) -> T:
        """The next value now; :class:`ChannelEmpty` where there is none. Any thread."""
        with self._channel.lock:
            item = self._channel.take()
        if item is _CLOSED:
            raise ChannelEmpty("the channel is empty")
        return item  # type: ignore[no-any-return]

    def close(self) -> None:
        """No more will be received; what is left is dropped. Any thread; idempotent."""
        self._channel.close(receiver=True)

    def __aiter__(self) -> Receiver[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.recv()
        except ChannelClosed:
            raise StopAsyncIteration from None


def _check(value: Any) -> Any:
    if value is _CLOSED:
        native.raise_if_cancelled()  # Who was cancelled before the close is told of that.
        raise ChannelClosed("the channel was closed")
    return value


def channel(capacity: int) -> tuple[Sender[Any], Receiver[Any]]:
    """A queue of at most `capacity` values; each goes to one receiver, in the order sent."""
    made: _Channel[Any] = _Channel(capacity)
    return Sender(made), Receiver(made)


def oneshot() -> tuple[Sender[Any], Receiver[Any]]:
    """A channel for one value: ``try_send`` never finds it full the first time."""
    return channel(1)
