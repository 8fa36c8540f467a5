"""Messages between shards: a tag (0 to 65535) and a value (0 to 4294967295), for the tasks of one
shard. They lie in a lane of that shard until a task there takes them; each sender's arrive in the
order they were sent. What lies there when the runtime ends goes away with it."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from ._asyncgens import current_runtime
from ._ffi import constants
from ._ffi.core import Event, JoinHandle, native
from ._ffi.core import Runtime as NativeRuntime
from ._ffi.types import Coro
from ._validate import within
from .errors import Overloaded

__all__ = ("Event", "RemoteShard", "RingMsg", "ShardCtx")

T = TypeVar("T")


class RingMsg(Protocol):
    """A type that travels as a message."""

    def encode(self) -> tuple[int, int]:
        """Its tag and value."""

    @classmethod
    def decode(cls, tag: int, value: int) -> Any:
        """The other way round: ``Type.decode(event.tag, event.value)``."""


class RemoteShard:
    """A shard as the target of messages, from ``handle.remote(shard)`` or ``ctx.remote(shard)``.

    Any thread may send. Every send raises :class:`spargio.Overloaded` if the target's lane is
    full (``msg_ring_queue_capacity``; counted as ``ring_msgs_backpressure``): nothing of that
    message was sent. ``ValueError`` for a tag or value out of range,
    :class:`spargio.RuntimeClosed` after the runtime's end.

    The queued variants put a message into the target's lane and wake it if it sleeps. The direct
    ones send each message as the payload of one ``IORING_OP_MSG_RING`` (5.18): they need a task of
    the same runtime, and are queued elsewhere, to the own shard, and on older kernels. Direct
    messages keep their order among themselves, not with queued ones.
    """

    __slots__ = ("_runtime", "id")

    def __init__(self, runtime: NativeRuntime, shard: int) -> None:
        self._runtime = runtime
        self.id = within("shard", shard, 0, runtime.shard_count() - 1)

    def send_raw(self, tag: int, value: int) -> Awaitable[None]:
        """Queued. Await the ticket once, in a task, to know that it has arrived."""
        self.send_raw_nowait(tag, value)
        return native.sent()

    def send_raw_nowait(self, tag: int, value: int) -> None:
        """Queued, without a ticket."""
        if not native.send(self._runtime, self.id, tag, value, 0):
            raise self._overloaded(0)

    def send_many_raw_nowait(self, messages: Iterable[tuple[int, int]]) -> None:
        """Several ``(tag, value)`` pairs at once. If there is not room for all,
        :class:`Overloaded` has in ``sent`` how many of the first ones were sent."""
        self._send_many(messages, 0)

    def send_raw_direct_nowait(self, tag: int, value: int) -> None:
        """Direct."""
        if not native.send(self._runtime, self.id, tag, value, 1):
            raise self._overloaded(0)

    def send_many_raw_direct_nowait(self, messages: Iterable[tuple[int, int]]) -> None:
        """Direct, several."""
        self._send_many(messages, 1)

    def send(self, message: RingMsg) -> Awaitable[None]:
        """A typed message; see :meth:`send_raw`."""
        return self.send_raw(*message.encode())

    def send_nowait(self, message: RingMsg) -> None:
        """A typed message; see :meth:`send_raw_nowait`."""
        self.send_raw_nowait(*message.encode())

    def send_many_nowait(self, messages: Iterable[RingMsg]) -> None:
        """Several typed messages; see :meth:`send_many_raw_nowait`."""
        self._send_many((message.encode() for message in messages), 0)

    def flush(self) -> Coro[None]:
        """A ticket, to be awaited once in a task: everything that this task's shard has sent is
        then in its target's lane (not yet taken from there)."""
        return native.flush()

    def _send_many(self, messages: Iterable[tuple[int, int]], direct: int) -> None:
        pairs = tuple(messages)
        sent = native.send_many(self._runtime, self.id, pairs, direct)
        if sent < len(pairs):
            raise self._overloaded(sent, f": {sent} of {len(pairs)} messages were sent")

    def _overloaded(self, sent: int, text: str = "") -> Overloaded:
        error = Overloaded(
            f"shard {self.id} has as many messages as its lane holds "
            f"(msg_ring_queue_capacity){text}"
        )
        error.sent = sent
        return error

    def __repr__(self) -> str:
        return f"RemoteShard({self.id})"


class ShardCtx:
    """The shard that runs this task: :meth:`current`. What receives, works in tasks of that shard
    only: ``RuntimeError`` elsewhere."""

    __slots__ = ("_runtime", "shard_id")

    def __init__(self, runtime: NativeRuntime, shard: int) -> None:
        self._runtime = runtime
        self.shard_id = shard

    @staticmethod
    def current() -> ShardCtx:
        """``RuntimeError`` outside a spargio task."""
        return ShardCtx(current_runtime(), native.current_shard())

    def remote(self, shard: int) -> RemoteShard:
        """A shard of the same runtime, this one included, as a target."""
        return RemoteShard(self._runtime, shard)

    def send_raw(self, target: int, tag: int, value: int) -> Awaitable[None]:
        """See :meth:`RemoteShard.send_raw`."""
        return self.remote(target).send_raw(tag, value)

    def send_raw_nowait(self, target: int, tag: int, value: int) -> None:
        """See :meth:`RemoteShard.send_raw_nowait`."""
        self.remote(target).send_raw_nowait(tag, value)

    def send_many_raw_nowait(self, target: int, messages: Iterable[tuple[int, int]]) -> None:
        """See :meth:`RemoteShard.send_many_raw_nowait`."""
        self.remote(target).send_many_raw_nowait(messages)

    def send(self, target: int, message: RingMsg) -> Awaitable[None]:
        """See :meth:`RemoteShard.send`."""
        return self.remote(target).send(message)

    def send_nowait(self, target: int, message: RingMsg) -> None:
        """See :meth:`RemoteShard.send_nowait`."""
        self.remote(target).send_nowait(message)

    def flush(self) -> Coro[None]:
        """See :meth:`RemoteShard.flush`."""
        self._here()
        return native.flush()

    def spawn_local(
        self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None
    ) -> JoinHandle[T]:
        """Spawn a task on this shard."""
        return self._runtime.spawn(constants.PLACE_PINNED, self.shard_id, coroutine, name)

    def next_event(self) -> Coro[Event]:
        """The oldest message of this shard, when there is one. Of several tasks that wait, the one
        that has waited longest gets it; a cancelled one takes none."""
        return native.next_event(self._runtime, self.shard_id, 0)

    def next_hot_event(self) -> Coro[Event]:
        """The same for messages with one of ``hot_msg_tags``, which have a lane of their own."""
        return native.next_event(self._runtime, self.shard_id, 1)

    def next_hot_count(self, tag: int) -> Coro[int]:
        """The sum of the values of messages with this tag, one of ``coalesced_hot_msg_tags``, since
        it was last taken; waits until it is ``hot_counter_wake_threshold`` at least."""
        self._here()
        return native.next_hot_count(tag)

    def try_take_hot_count(self, tag: int) -> int | None:
        """What the sum is now, whatever the threshold; None for 0."""
        self._here()
        return native.take_hot_count(tag) or None

    def _here(self) -> None:
        native.here(self._runtime, self.shard_id)

    def __repr__(self) -> str:
        return f"ShardCtx({self.shard_id})"
