"""Exceptions. If the kernel said no it is an ``OSError`` with errno and filename; the states of
the runtime itself are subclasses of :class:`SpargioError`."""

from __future__ import annotations

__all__ = (
    "BusyError",
    "CancelledError",
    "ClosedError",
    "IncompleteReadError",
    "Overloaded",
    "RuntimeClosed",
    "SpargioError",
    "TaskCancelled",
)


class SpargioError(Exception):
    """Base of the errors that the runtime itself raises."""


class Overloaded(SpargioError):
    """A bounded queue is full: the shard's stealable queue at a spawn (wait for room with
    ``spawn_wait``, or raise ``stealable_queue_capacity``), a shard's lane at a send (let it take
    messages, or raise ``msg_ring_queue_capacity``), a boundary's. Nothing of it was accepted.
    """

    sent: int = 0
    """Of several messages, how many were sent before: the first of them."""


class RuntimeClosed(SpargioError):
    """The runtime is shutting down or gone: it takes no new tasks."""


class TaskCancelled(SpargioError):
    """The awaited task ended by cancellation. The awaiting task itself is not cancelled: that would
    be a :class:`CancelledError`."""


class CancelledError(BaseException):
    """This task was asked to end; raised at its next await. Let it pass after cleaning up."""


class ClosedError(OSError):
    """The file or stream is closed, or was closed by another task meanwhile."""


class BusyError(SpargioError):
    """Another task writes to the stream: one may at a time, because the bytes of two would mix.
    Nothing of the refused write was sent. Let one task write, or hold a lock around the writes."""


class IncompleteReadError(EOFError):
    """The stream ended before the wanted number of bytes."""

    def __init__(self, partial: bytes, expected: int) -> None:
        super().__init__(f"the stream ended after {len(partial)} of {expected} bytes")
        self.partial = partial
        self.expected = expected


def bytes_written(error: BaseException) -> int:
    """How many bytes a write took before it ended by `error`: its attribute of that name."""
    return getattr(error, "bytes_written", 0)


def say_written(error: BaseException, count: int) -> None:
    """An exception that tells so of this write, which may be one that native code shares."""
    error.bytes_written = count  # type: ignore[attr-defined]


def carry_written(cause: BaseException, error: BaseException) -> BaseException:
    """`error`, which stands for `cause`, has the attributes by which that tells how far it came:
    the bytes that a write has written, the output that a child left."""
    for name, value in vars(cause).items():
        if not name.startswith("_"):
            setattr(error, name, value)
    return error
