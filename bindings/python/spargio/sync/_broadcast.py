"""One to many: every value to every subscriber, or the latest to whoever looks."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Generic, TypeVar

from .._counts import at_least
from .._ffi.core import Future, native
from ..errors import SpargioError
from ._channels import ChannelClosed, ChannelEmpty
from ._wait import hand_over, wait

T = TypeVar("T")


class Lagged(SpargioError):
    """A subscriber was slower than the channel is long: `missed` values are gone, the next receive
    gives the oldest that is left."""

    def __init__(self, missed: int) -> None:
        super().__init__(f"the subscriber missed {missed} values")
        self.missed = missed


class Broadcast(Generic[T]):
    """Each subscriber gets each value that is sent after it subscribed; of the values that a slow
    one has not taken, the last `capacity` are kept."""

    def __init__(self, capacity: int) -> None:
        self._lock = threading.Lock()
        self._values: deque[T] = deque(maxlen=at_least("capacity", capacity, 1))
        self._sent = 0
        self._closed = False
        self._waiting: deque[Future[None]] = deque()

    def send(self, value: T) -> None:
        """Never waits. :class:`ChannelClosed` after a close. Any thread."""
        with self._lock:
            if self._closed:
                raise ChannelClosed("send on a closed channel")
            self._values.append(value)
            self._sent += 1
            while hand_over(self._waiting, None):
                pass

    def close(self) -> None:
        """Subscribers get what is left, then :class:`ChannelClosed`. Any thread; idempotent."""
        with self._lock:
            self._closed = True
            while hand_over(self._waiting, None):
                pass

    def subscribe(self) -> Subscriber[T]:
        """From the next value on. Any thread."""
        with self._lock:
            return Subscriber(self, self._sent)


class Subscriber(Generic[T]):
    """One of a :class:`Broadcast`; one task at a time."""

    def __init__(self, source: Broadcast[T], position: int) -> None:
        self._source = source
        self._position = position

    def _take(self) -> T:
        """Under the lock of the source."""
        source = self._source
        oldest = source._sent - len(source._values)
        if self._position < oldest:
            missed, self._position = oldest - self._position, oldest
            raise Lagged(missed)
        if self._position == source._sent:
            if source._closed:
                raise ChannelClosed("the channel is closed and empty")
            raise ChannelEmpty("there is no newer value")
        value = source._values[self._position - oldest]
        self._position += 1
        return value

    def try_recv(self) -> T:
        """The next value now; :class:`ChannelEmpty` where there is none."""
        with self._source._lock:
            return self._take()

    async def recv(self) -> T:
        """The next value; waits for one. :class:`Lagged` where some are gone."""
        source = self._source
        while True:
            with source._lock:
                try:
                    return self._take()
                except ChannelClosed:
                    native.raise_if_cancelled()  # Before the close: told of that.
                    raise
                except ChannelEmpty:
                    future: Future[None] = native.future()
                    source._waiting.append(future)
            await wait(future, source._waiting, future, source._lock)

    def __aiter__(self) -> Subscriber[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.recv()
        except ChannelClosed:
            raise StopAsyncIteration from None


class Watch(Generic[T]):
    """A value that changes: watchers see the latest, not each."""

    def __init__(self, initial: T) -> None:
        self._source: Broadcast[T] = Broadcast(1)
        self._value = initial

    def send(self, value: T) -> None:
        """The new value. Any thread."""
        self._value = value
        self._source.send(value)

    def borrow(self) -> T:
        """The value now. Any thread."""
        return self._value

    def close(self) -> None:
        """No more changes: those who wait get :class:`ChannelClosed`."""
        self._source.close()

    def watch(self) -> Watcher[T]:
        """Sees changes from now on."""
        return Watcher(self)


class Watcher(Generic[T]):
    """One who looks at a :class:`Watch`; one task at a time."""

    def __init__(self, source: Watch[T]) -> None:
        self._source = source
        self._changes = source._source.subscribe()

    def borrow(self) -> T:
        """The value now."""
        return self._source.borrow()

    async def changed(self) -> T:
        """Wait for a change that this watcher has not seen; gives the latest value.
        :class:`ChannelClosed` where there will be none."""
        while True:
            try:
                return await self._changes.recv()
            except Lagged:
                continue


def broadcast(capacity: int) -> Broadcast[Any]:
    """See :class:`Broadcast`."""
    return Broadcast(capacity)


def watch(initial: T) -> Watch[T]:
    """See :class:`Watch`."""
    return Watch(initial)
