"""What a task may await, spawn or call by mistake: foreign and malformed awaitables, operations resumed by
hand, functions of the bridge with any arguments. Each is an exception in that task, the others go on."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import types
from collections.abc import Callable, Coroutine
from typing import Any

from data import Data

import spargio
from spargio._ffi.core import Descriptor, JoinHandle, native

LIMIT_S = 20


class Started:
    runtime: spargio.Runtime | None = None


def runtime() -> spargio.Runtime:
    if Started.runtime is None:
        sys.unraisablehook = lambda _: None  # Failures that nobody asks for are part of this.
        Started.runtime = spargio.Runtime.builder().shards(2).hot_msg_tags([1, 2]).build()
    return Started.runtime


# ---- things that are not awaitable ----


class Mistake(Exception):
    pass


class Yields:
    """Yields what it likes."""

    def __init__(self, values: list[Any], result: Any) -> None:
        self.values, self.result = values, result

    def __await__(self) -> Any:
        for value in self.values:
            with contextlib.suppress(RuntimeError):  # It goes on all the same.
                yield value
        return self.result


class Returns:
    """Its iterator is anything."""

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator

    def __await__(self) -> Any:
        return self.iterator


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __await__(self) -> Any:
        raise self.error


class Iterator:
    """An iterator with methods of the wrong kind."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        if self.data.number() % 3 == 0 or not self.data.left():
            raise StopIteration(self.data.anything())
        return self.data.anything()

    throw = 5


class Fake(Coroutine[Any, Any, Any]):
    """A Coroutine by its base class, whose methods do anything."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def _any(self) -> Any:
        how = self.data.number() % 4
        if how == 0 or not self.data.left():
            raise StopIteration(self.data.anything())
        if how == 1:
            raise Mistake
        return self.data.anything()

    def send(self, value: Any) -> Any:
        return self._any()

    def throw(self, *_: Any) -> Any:
        return self._any()

    def close(self) -> None:
        self._any()

    def __await__(self) -> Any:
        return self._any()


@types.coroutine
def old_style(data: Data) -> Any:
    while data.left() and data.flag():
        with contextlib.suppress(RuntimeError):
            yield data.anything()
    return data.anything()


async def plain(data: Data, depth: int) -> Any:
    """A task of several mistakes."""
    kept: list[Any] = [native.current_task()]
    for _ in range(data.number() % 6):
        if not data.left():
            break
        try:
            await step(data, depth, kept)
        except (Exception, spargio.CancelledError) as error:
            check(error)
    return None


def check(error: BaseException) -> None:
    assert not isinstance(error, AssertionError | SystemError | SystemExit), error
    assert type(error).__name__ != "UnboundLocalError"


def operation(data: Data, kept: list[Any]) -> Any:
    """One that ends by itself, or soon."""
    how = data.number() % 12
    if how == 0:
        return native.nop()
    if how == 1:
        return native.sleep(data.number(2))
    if how == 2:
        return native.yield_now()
    if how == 3:
        future = native.future()
        future.set_result(data.anything())
        return future
    if how == 4:
        return native.next_event(runtime()._native, data.number() % 2, 0)
    if how == 5:
        return native.flush()
    if how == 6:
        return data.choose(kept)
    if how == 7:
        return native.submit_sqe(bytes(64), (bytearray(data.number()),))
    if how == 8:
        return native.submit(0, -1, None, data.buffer(), None, 0, 0, None, 0)
    if how == 9:
        return native.future()  # Never set: a time limit ends the await.
    if how == 10:
        return native.open(b"/proc/self/fd\0", b"name", os.O_RDONLY, 0)
    return native.sleep(2**62)


async def step(data: Data, depth: int, kept: list[Any]) -> None:
    how = data.number() % 12
    with spargio.timeout(0.002):
        if how == 0:
            await Yields([data.anything(kept) for _ in range(data.number() % 4)], data.anything())
        elif how == 1:
            await Returns(
                data.choose([Iterator(data), data.anything(kept), iter([1, 2]), iter(())])
            )
        elif how == 2:
            await Raises(data.choose([Mistake(), StopIteration(3), GeneratorExit(), TypeError()]))
        elif how == 3:
            await data.anything(kept)
        elif how == 4:
            await old_style(data)
        elif how == 5:
            await Fake(data)
        elif how == 6:
            one = operation(data, kept)
            kept.append(one)
            await one
        elif how == 7:
            by_hand(data, operation(data, kept), kept)
        elif how == 8 and depth:
            await spawn(data, depth - 1, kept)
        elif how == 9:
            await Returns(operation(data, kept))
        elif how == 10:
            result = call(data, kept)
            kept.append(result)
            if hasattr(result, "__await__"):
                await result
        else:
            kept.clear()
            kept.append(None)
            if data.number() % 32 == 0:
                gc.collect()


def by_hand(data: Data, one: Any, kept: list[Any]) -> None:
    """Resumed, thrown into and closed past the executor."""
    kept.append(one)
    iterator = one.__await__() if data.flag() else iter(one)
    for _ in range(data.number() % 4):
        how = data.number() % 4
        if how == 0:
            next(iterator)
        elif how == 1:
            iterator.send(data.anything())
        elif how == 2:
            iterator.throw(Mistake())
        else:
            iterator.close()


def spawn(data: Data, depth: int, kept: list[Any]) -> Any:
    given: Any = data.choose(
        [
            lambda: plain(data, depth),
            lambda: Yields([data.anything()], None),
            lambda: old_style(data),
            lambda: Fake(data),
            lambda: operation(data, kept),
            lambda: data.anything(kept),
            lambda: step,
            lambda: closed(),
            lambda: running(),
        ]
    )()
    kind, value = data.integer(), data.integer()
    if data.number() % 4:
        kind, value = kind % 5, value % 3
    job = runtime()._native.spawn(kind, value, given, data.choose([None, "name", data.anything()]))
    kept.append(job)
    if data.flag():
        job.cancel()
    return job


def closed() -> Any:
    coroutine = plain(Data(b""), 0)
    coroutine.close()
    return coroutine


def running() -> Any:
    """A coroutine that another task has begun: here, this one itself."""
    frame = sys._getframe()
    while frame is not None and frame.f_code is not plain.__code__:
        frame = frame.f_back  # type: ignore[assignment]
    holders = [] if frame is None else gc.get_referrers(frame)
    return next((one for one in holders if isinstance(one, types.CoroutineType)), None)


# ---- functions and methods with any arguments ----

# Left out is what takes an address, or acts on the whole process.
DANGEROUS = {"start", "submit", "message", "adopt", "signal_add", "register_buffer", "open"}
FUNCTIONS = sorted(
    name for name, value in vars(native).items() if callable(value) and name not in DANGEROUS
)
FUNCTIONS = [name for name in FUNCTIONS if not isinstance(getattr(native, name), type)]
OWN = {"shutdown", "request_stop", "drive", "spawn_native", "spawn_cleanup"}


def methods(value: object, without: set[str]) -> list[str]:
    names = (name for name in dir(value) if not name.startswith("_") and name not in without)
    return sorted(name for name in names if callable(getattr(type(value), name, None)))


def call(data: Data, kept: list[Any]) -> Any:
    how = data.number() % 8
    own = runtime()._native
    pool = [*kept, own]
    if how == 0:
        return submit(data, pool)
    if how == 1:
        return message(data, pool)
    if how == 2:
        return native.open(
            data.anything(pool), data.anything(), data.integer() & 0xFFF03F, data.integer()
        )
    if how < 5:
        function: Callable[..., Any] = getattr(native, data.choose(FUNCTIONS))
    elif how == 5:
        function = getattr(own, data.choose(methods(own, OWN)))
    elif how == 6:
        target = data.choose(kept)
        names = methods(target, {"result"} if isinstance(target, JoinHandle) else set())
        if type(target).__module__ != "spargio._core" or not names:
            return None
        function = getattr(target, data.choose(names))
    else:
        return descriptor(data, pool)
    return function(*(data.anything(pool) for _ in range(data.number() % 6)))


def number_or_odd(data: Data, pool: list[Any], usual: int) -> Any:
    return data.anything(pool) if data.number() % 4 == 0 else usual


def no_address(value: Any) -> Any:
    """A number would be where the kernel reads or writes."""
    return value if not isinstance(value, int) and not hasattr(value, "__index__") else None


def submit(data: Data, pool: list[Any]) -> Any:
    opcode = number_or_odd(data, pool, 0)
    if isinstance(opcode, int) and opcode != 0:
        opcode = 0 if -1 < opcode < 256 else opcode  # Any operation but a nop might do harm.
    if hasattr(opcode, "value"):
        opcode = None
    buffers = tuple(data.buffer() for _ in range(data.number() % 4))
    return native.submit(
        opcode,
        number_or_odd(data, pool, -1),
        no_address(data.anything(pool)),
        data.choose([buffers, no_address(data.anything(pool))]),
        number_or_odd(data, pool, data.number()),
        0,
        number_or_odd(data, pool, 0),
        data.anything(),
        data.number() % 5 and 0,
    )


def message(data: Data, pool: list[Any]) -> Any:
    opcode = data.choose([9, 10])  # sendmsg, recvmsg, on no socket
    fd = data.choose([-1, -(2**31), *pool[:0]])
    buffers: Any = tuple(data.buffer() for _ in range(data.number() % 4))
    if data.number() % 8 == 0:
        buffers = data.anything(pool)
    address, control = no_address(data.anything(pool)), no_address(data.anything(pool))
    return native.message(opcode, fd, buffers, address, control, number_or_odd(data, pool, 0))


def descriptor(data: Data, pool: list[Any]) -> Any:
    """A socket of a pair, whose other end is closed, or not, or which is itself."""
    ours, theirs = socket.socketpair()
    one: Descriptor = native.adopt(ours.detach(), 1)
    pool[0:0] = [one]
    theirs.setblocking(False)
    if data.flag():
        theirs.send(data.blob() or b"x")
    if data.flag():
        theirs.close()
    result = None
    for _ in range(data.number() % 3 + 1):
        name = data.choose(methods(one, set()))
        function = getattr(one, name)
        count = 2 if name.endswith(("_at", "_at_into")) else 1
        if name in ("close", "accept", "fileno", "detach", "incoming", "segments"):
            count = 0
        count = data.number() % 4 if data.number() % 8 == 0 else count
        with contextlib.suppress(
            TypeError, ValueError, OverflowError, BufferError, OSError, EOFError
        ):
            result = function(*(data.anything(pool) for _ in range(count)))
        if name == "detach" and isinstance(result, int):
            os.close(result)
            return None
    return result


def one(raw: bytes) -> None:
    data = Data(raw)
    job = runtime()._native.spawn(0, data.number() % 2, plain(data, 2), "fuzz")
    with contextlib.suppress(
        RuntimeError, ValueError, GeneratorExit
    ):  # Its own, or of a task that got its coroutine.
        job.result(LIMIT_S)
    # Others are as they were.
    assert runtime().handle().spawn_pinned(0, echo(1)).result(LIMIT_S) == 1


async def echo(value: int) -> int:
    await spargio.yield_now()
    return value


def finish() -> None:
    if Started.runtime is not None:
        Started.runtime.shutdown(LIMIT_S)
