"""One to many: every value to every subscriber, or the latest to every watcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic

from .._ffi.core import CLOSED, NOTHING, native
from .._shared import Shared
from .._validate import at_least
from .._wait import MOST, wait
from ..errors import SpargioError
from ._channels import ChannelClosed, ChannelEmpty

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)  # One that says nothing of its values takes all.
else:
    from typing import TypeVar

    T = TypeVar("T")


class Lagged(SpargioError):
    """A subscriber was slower than the channel is long: `missed` values are gone, the next receive
    gives the oldest that is left."""

    def __init__(self, missed: int) -> None:
        super().__init__(f"the subscriber missed {missed} values")
        self.missed = missed


class Broadcast(Shared, Generic[T]):
    """Each subscriber gets each value that is sent after it subscribed; of the values that a slow
    one has not taken, the last `capacity` are kept."""

    def __init__(self, capacity: int) -> None:
        self._capacity = at_least("capacity", capacity, 1)
        self._values = native.exchange(1, min(self._capacity, MOST), 0)

    def send(self, value: T) -> None:
        """Never waits. :class:`ChannelClosed` after a close. Any thread, finalizers too."""
        if self._values.publish(value) is CLOSED:
            raise ChannelClosed("send on a closed channel")

    def close(self) -> None:
        """Subscribers get what is left, then :class:`ChannelClosed`. Any thread; idempotent."""
        self._values.close()

    def subscribe(self) -> Subscriber[T]:
        """From the next value on. Any thread."""
        return Subscriber(self, self._values.published())

    def _state(self) -> str:
        there, waiting, _, closed = self._values.state()
        state = f"{there} of {self._capacity} values, {waiting} waiting"
        return f"{state}, closed" if closed else state


class Subscriber(Shared, Generic[T]):
    """One of a :class:`Broadcast`; one task at a time."""

    def __init__(self, source: Broadcast[T], position: int) -> None:
        self._source = source
        self._position = position

    def _take(self, read: Callable[[int], tuple[int, Any]]) -> Any:
        """The next value, or NOTHING."""
        position, value = read(self._position)
        if value is NOTHING:
            return value
        if value is CLOSED:
            raise ChannelClosed("the channel is closed and empty")
        missed, self._position = position - self._position, position
        if missed:
            raise Lagged(missed)
        self._position += 1
        return value

    def try_recv(self) -> T:
        """The next value now; :class:`ChannelEmpty` without one."""
        value = self._take(self._source._values.read)
        if value is NOTHING:
            raise ChannelEmpty("there is no newer value")
        return value  # type: ignore[no-any-return]

    async def recv(self) -> T:
        """The next value; waits for one. :class:`Lagged` if some are gone."""
        values = self._source._values
        try:
            while (value := self._take(values.read_in_turn)) is NOTHING:
                await wait(values.join_to_read(self._position), values.leave)
        except ChannelClosed:
            native.raise_if_cancelled()  # Before the close: told of that.
            raise
        return value  # type: ignore[no-any-return]

    def __aiter__(self) -> Subscriber[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.recv()
        except ChannelClosed:
            raise StopAsyncIteration from None

    def _state(self) -> str:
        behind = self._source._values.published() - self._position
        return f"{behind} values behind, of {self._source!r}"


class Watch(Shared, Generic[T]):
    """A value that changes: watchers see the latest, not each."""

    def __init__(self, initial: T) -> None:
        self._source: Broadcast[T] = Broadcast(1)
        self._source.send(initial)

    def send(self, value: T) -> None:
        """The new value. :class:`ChannelClosed` after a close. Any thread, finalizers too."""
        self._source.send(value)

    def borrow(self) -> T:
        """The value now. Any thread."""
        return self._source._values.read(0)[1]  # type: ignore[no-any-return]

    def close(self) -> None:
        """No more changes: those who wait get :class:`ChannelClosed`."""
        self._source.close()

    def watch(self) -> Watcher[T]:
        """Sees changes from now on."""
        return Watcher(self)

    def _state(self) -> str:
        _, waiting, _, closed = self._source._values.state()
        changes = self._source._values.published() - 1
        return f"{changes} changes, {waiting} waiting{', closed' if closed else ''}"


class Watcher(Shared, Generic[T]):
    """A view of a :class:`Watch`, for one task at a time."""

    def __init__(self, source: Watch[T]) -> None:
        self._source = source
        self._changes = source._source.subscribe()

    def borrow(self) -> T:
        """The value now."""
        return self._source.borrow()

    async def changed(self) -> T:
        """Wait for a change that this watcher has not seen; returns the latest value.
        :class:`ChannelClosed` if there will be none."""
        while True:
            try:
                return await self._changes.recv()
            except Lagged:
                continue

    def _state(self) -> str:
        return f"of {self._source!r}"


def broadcast(capacity: int) -> Broadcast[T]:
    """See :class:`Broadcast`; ``Broadcast[int](16)`` says to a type checker what the values are."""
    return Broadcast(capacity)


def watch(initial: T) -> Watch[T]:
    """See :class:`Watch`."""
    return Watch(initial)
