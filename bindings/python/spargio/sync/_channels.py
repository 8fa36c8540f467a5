"""Values that go from task to task: all of them over any shard, and from ordinary threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from .._ffi.core import CLOSED, NOTHING, Exchange, native
from .._shared import Shared
from .._validate import at_least
from .._wait import MOST, wait, wait_thread
from ..errors import SpargioError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)  # A channel that says nothing of its values takes all.
else:
    from typing import TypeVar

    T = TypeVar("T")


class ChannelClosed(SpargioError):
    """The other side is gone: nothing will come, or nobody will take it."""


class ChannelFull(SpargioError):
    """There is no room now."""


class ChannelEmpty(SpargioError):
    """There is nothing now."""


class _End(Shared):
    """One side of a channel."""

    def __init__(self, values: Exchange, capacity: int) -> None:
        self._values = values
        self._capacity = capacity

    def _state(self) -> str:
        there, receiving, sending, closed = self._values.state()
        state = f"{there} of {self._capacity} values, {sending} sending, {receiving} receiving"
        return f"{state}, closed" if closed else state


class Sender(_End, Generic[T]):
    """The sending side; any number of tasks and threads may use it."""

    def _put(self, item: T) -> bool:
        return _sent(self._values.put(item))

    async def send(self, item: T) -> None:
        """Wait for room, then send; in the order of the calls. One that is cancelled has sent
        nothing. :class:`ChannelClosed` if nobody will receive it."""
        values = self._values
        if not _sent(values.put_in_turn(item)):
            _check(await wait(values.join_to_put(item), values.leave_put))

    def send_blocking(self, item: T, timeout: float | None = None) -> None:
        """The same on an ordinary thread; ``TimeoutError`` after `timeout` seconds: not sent."""
        if not self._put(item):
            values = self._values
            _check(wait_thread(values.join_to_put(item), values.leave_put, timeout))

    def try_send(self, item: T) -> None:
        """Send now; :class:`ChannelFull` if there is no room. Any thread, finalizers too."""
        if not self._put(item):
            raise ChannelFull(f"the channel holds {self._capacity} values")

    def close(self) -> None:
        """No more will be sent: receivers get what is left, then :class:`ChannelClosed`. Those
        who wait for room still send. Any thread; idempotent."""
        self._values.close()


class Receiver(_End, Generic[T]):
    """The receiving side; any number of tasks and threads may use it, each value goes to one."""

    def _take(self) -> Any:
        return _received(self._values.take())

    def _give_back(self, item: Any) -> None:
        """To the next receiver: the one that it was handed to cannot take it."""
        if item is not CLOSED:
            self._values.put_back(item)

    async def recv(self) -> T:
        """The next value; waits for one. One that is cancelled has taken nothing.
        :class:`ChannelClosed` if none will come."""
        values = self._values
        item = _received(values.take_in_turn())
        if item is NOTHING:
            item = _check(await wait(values.join_to_take(), values.leave, self._give_back))
        return item  # type: ignore[no-any-return]

    def recv_blocking(self, timeout: float | None = None) -> T:
        """The same on an ordinary thread; ``TimeoutError`` after `timeout` seconds."""
        item = self._take()
        if item is NOTHING:
            values = self._values
            item = _check(
                wait_thread(values.join_to_take(), values.leave, timeout, self._give_back)
            )
        return item  # type: ignore[no-any-return]

    def try_recv(self) -> T:
        """The next value now; :class:`ChannelEmpty` without one. Any thread, finalizers too."""
        item = self._take()
        if item is NOTHING:
            raise ChannelEmpty("the channel is empty")
        return item  # type: ignore[no-any-return]

    def close(self) -> None:
        """No more will be received; what is left is dropped. Any thread; idempotent."""
        self._values.break_off()

    def __aiter__(self) -> Receiver[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.recv()
        except ChannelClosed:
            raise StopAsyncIteration from None


def _sent(done: Any) -> bool:
    if done is CLOSED:
        raise ChannelClosed("send on a closed channel")
    return done  # type: ignore[no-any-return]


def _received(item: Any) -> Any:
    if item is CLOSED:
        raise ChannelClosed("the channel is closed and empty")
    return item


def _check(value: Any) -> Any:
    if value is CLOSED:
        native.raise_if_cancelled()  # A task that was cancelled before the close gets that.
        raise ChannelClosed("the channel was closed")
    return value


class channel(tuple[Sender[T], Receiver[T]]):
    """A queue of at most `capacity` values; each goes to one receiver, in the order sent. Gives the
    pair (sender, receiver); ``channel[int](16)`` says to a type checker what the values are."""

    # A class only for that: what it makes is a plain pair.
    def __new__(cls, capacity: int) -> tuple[Sender[T], Receiver[T]]:  # type: ignore[misc]
        capacity = at_least("capacity", capacity, 1)
        values = native.exchange(1, min(capacity, MOST), 0)
        return Sender(values, capacity), Receiver(values, capacity)


class oneshot(tuple[Sender[T], Receiver[T]]):
    """A :class:`channel` for one value: ``try_send`` never finds it full the first time.
    ``oneshot[int]()`` says to a type checker what the value is."""

    def __new__(cls) -> tuple[Sender[T], Receiver[T]]:  # type: ignore[misc]
        return channel[T](1)
