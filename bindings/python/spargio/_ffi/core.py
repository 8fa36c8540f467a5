"""The native half as Python sees it. The functions and types are made by the library at import;
what stands under ``TYPE_CHECKING`` only tells type checkers their shape."""

from __future__ import annotations

import errno as errno_module
import os
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from .. import errors
from . import constants, library, messages
from .types import Buffer, Coro

if TYPE_CHECKING:
    from typing import TypeGuard

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class ShardHooks:
    """Called on a shard's thread at its start (with the thread's name, None for a caller's thread)
    and end, when a closing runtime has one task left, and now and then if it looks for signals;
    set by the module that needs them."""

    attached: Any = None
    detached: Any = None
    last_task: Any = None
    signals: Any = None
    stack: Any = None
    join_elsewhere: Any = None
    """(JoinHandle) -> what awaits it in an asyncio loop that is not spargio's."""


def _join_elsewhere(job: object) -> Any:
    if not messages.in_asyncio() or ShardHooks.join_elsewhere is None:
        return None
    return ShardHooks.join_elsewhere(job)


def _attached(runtime: object, shard: int, name: str | None) -> None:
    if ShardHooks.attached is not None:
        ShardHooks.attached(runtime, shard, name)


def _detached(runtime: object, shard: int) -> None:
    if ShardHooks.detached is not None:
        ShardHooks.detached(runtime, shard)


def _last_task(runtime: object, shard: int) -> None:
    if ShardHooks.last_task is not None:
        ShardHooks.last_task(runtime, shard)


def _stack(handle: object, runtime: object) -> list[str]:
    found: list[str] = ShardHooks.stack(handle, runtime)
    return found


def _signals(runtime: object, shard: int) -> None:
    if ShardHooks.signals is not None:
        ShardHooks.signals(runtime, shard)


_ITERABLE_COROUTINE = 0x100


def is_awaitable(given: object) -> TypeGuard[Awaitable[Any]]:
    """As ``inspect.isawaitable``, whose module costs more than all of this package."""
    if isinstance(given, GeneratorType):  # Of types.coroutine().
        return bool(given.gi_code.co_flags & _ITERABLE_COROUTINE)
    return isinstance(given, Awaitable)


def adopt(given: object, taker: str = "spawn takes a coroutine") -> Any:
    """For spawns of something that is not a native coroutine: Cython's, or another awaitable."""
    if isinstance(given, Coroutine):
        return given
    if is_awaitable(given):
        awaitable = given

        async def run() -> object:
            return await awaitable

        return run()
    raise TypeError(f"{taker}, not {_kind(given)}")


def _kind(given: object) -> str:
    if isinstance(given, AsyncGeneratorType):
        return f"the asynchronous generator {given!r}: a coroutine iterates it, with `async for`"
    if isinstance(given, GeneratorType):
        return f"the generator {given!r}: define it with `async def`, or by types.coroutine()"
    if callable(given):
        return f"the function {given!r}: call it"
    return repr(given)


def _os_error(number: int, text: str | None, filename: object) -> OSError:
    if number == errno_module.EPERM and text is None and native.submits_as_other():
        text = (
            "io_uring_sqpoll's kernel thread keeps the rights of the one that started the runtime, "
            "and this thread's user or group is another one now: start it after that change, or "
            "without io_uring_sqpoll"
        )
    if number == errno_module.EAGAIN and text is None and filename is not None:
        text = (
            "the kernel could make no thread for it: raise the limit of processes and threads "
            "(`ulimit -u`, pids.max of the control group)"
        )
    words = os.strerror(number) if text is None else f"{os.strerror(number)}: {text}"
    if isinstance(filename, tuple):  # Two paths: a rename, a link.
        return OSError(number, words, filename[0], None, filename[1])
    return OSError(number, words) if filename is None else OSError(number, words, filename)


_ERRNO_BASE = -4096


def _spargio_error(code: int) -> BaseException:
    text = library.strerror(code)
    if code <= _ERRNO_BASE:
        number = _ERRNO_BASE - code
        return OSError(number, os.strerror(number))
    if code == constants.E_NOMEM:
        return MemoryError(text)
    classes: dict[int, type[Exception]] = {
        constants.E_OVERLOADED: errors.Overloaded,
        constants.E_CLOSED: errors.RuntimeClosed,
        constants.E_CANCELLED: errors.TaskCancelled,
        constants.E_ON_SHARD: RuntimeError,
    }
    if code == constants.E_CLOSED:
        text = "the runtime is shutting down: it takes no new tasks"
    return classes.get(code, errors.SpargioError)(text)


if TYPE_CHECKING:

    class JoinHandle(Generic[T_co]):
        """A spawned task: await it in a spargio task or in an asyncio task, or wait for it on an
        ordinary thread.

        All methods may be called from any thread. An exception that nobody asks for is reported
        through ``sys.unraisablehook`` when the handle goes away.
        """

        def __await__(self) -> Generator[Any, None, T_co]: ...

        def cancel(self) -> bool:
            """Ask the task to end: :class:`CancelledError` is raised at its next await. A task that
            has not begun never does. False if it has ended already."""

        def done(self) -> bool:
            """Whether it has ended."""

        def cancelled(self) -> bool:
            """Whether it ended by cancellation."""

        def result(self, timeout: float | None = None) -> T_co:
            """Wait on an ordinary thread, at most `timeout` seconds (None: no limit), and give its
            result or raise its exception. ``TimeoutError``: it has not ended yet.
            ``RuntimeError`` on a shard: await the handle there."""

        def stack(self) -> list[str]:
            """Where its coroutine stands: its awaits, outermost call first, as lines of a
            traceback; empty before it begins and after its end. Read on its own shard, so any
            thread that is no shard may ask, and waits for at most 1 s (``TimeoutError``: the shard
            is blocked); on a shard only for tasks of the same one, else ``RuntimeError``."""

        @property
        def shard(self) -> int | None:
            """The shard it started on; None while it is queued."""

        @property
        def name(self) -> str | None:
            """The name it was spawned with."""

        @property
        def _runtime(self) -> Runtime: ...

    class NativeJoinHandle(JoinHandle[int]):
        """A spawned C function; its result is the `*result` that it set."""

    class Future(Generic[T]):
        """A value that is set once, by any thread, and awaited by tasks of any shard. An await
        that is cancelled raises only if the value is not set: nothing is lost."""

        def __await__(self) -> Generator[Any, None, T]: ...
        def set_result(self, value: T, /) -> bool:
            """False if it was set already."""

        def set_exception(self, exception: BaseException, /) -> bool: ...
        def done(self) -> bool: ...
        def result(self, timeout: float | None = None) -> T:
            """Wait on an ordinary thread; see :meth:`JoinHandle.result`."""

    class Descriptor:
        """A file descriptor whose operations run on the shard of the task that awaits them."""

        def recv(self, size: int, /) -> Coro[bytes]: ...
        def read_exactly(self, size: int, /) -> Coro[bytes]: ...
        def recv_into(self, buffer: Buffer, /) -> Coro[int]: ...
        def send(self, data: Buffer, /) -> Coro[int]: ...
        def write_all(self, data: Buffer, /) -> Coro[None]: ...
        def write_all_zero_copy(self, data: Buffer, /) -> Coro[None]: ...
        def segments(self) -> Segments: ...
        def incoming(self) -> Incoming: ...
        def accept(self) -> Coro[Descriptor]: ...
        def close(self) -> Coro[None]: ...
        def shutdown(self, how: int, /) -> Coro[None]: ...
        def fsync(self, data_only: int, /) -> Coro[None]: ...
        def read_at(self, offset: int, size: int, /) -> Coro[bytes]: ...
        def read_many_at(self, offsets: Iterable[int], size: int, /) -> Coro[list[bytes]]: ...
        def read_at_into(self, offset: int, buffer: Buffer, /) -> Coro[int]: ...
        def write_at(self, offset: int, data: Buffer, /) -> Coro[int]: ...
        def write_all_at(self, offset: int, data: Buffer, /) -> Coro[None]: ...
        def fileno(self) -> int: ...
        def detach(self) -> int: ...
        def unread(self, data: bytes, /) -> None: ...
        def take_unread(self) -> bytes: ...
        def begin_write(self) -> None: ...
        def end_write(self) -> None: ...
        def sockaddr(self, peer: int, /) -> bytes: ...
        def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...
        def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...
        def set_nodelay(self, enabled: int, /) -> None: ...

    class DirEntry:
        """A name in a directory. Its type is the directory's word for it: a symbolic link is
        neither a file nor a directory. An ``os.PathLike``; any thread may use it."""

        @property
        def name(self) -> str:
            """Its name in the directory."""

        @property
        def path(self) -> str:
            """The directory's path, as it was given, and the name."""

        @property
        def inode(self) -> int:
            """Its inode number."""

        def is_file(self) -> bool:
            """Whether it is a regular file."""

        def is_dir(self) -> bool:
            """Whether it is a directory."""

        def is_symlink(self) -> bool:
            """Whether it is a symbolic link."""

        def metadata(self) -> Any:
            """Its :class:`Metadata`; None unless it was asked for, or if it could not be looked
            at."""

        def __fspath__(self) -> str: ...

    class Walker:
        """Its methods block, and are for one thread at a time; `stop` is for any."""

        def block(self) -> EntryBlock | None: ...
        def count(self, one_file_system: bool, links_once: bool, /) -> tuple[int, ...] | None: ...
        def remove(self) -> bool: ...
        def stop(self) -> None: ...

    class EntryBlock:
        """Entries that a walk has found. Any thread may use it."""

        def __len__(self) -> int: ...
        def list(self) -> list[DirEntry]: ...
        def error(self) -> tuple[int, str] | None: ...

    class EntryStream:
        """Entries one after the other. Whenever a block is at its end its source is asked: the
        coroutine ``more(stream)`` calls `begin`."""

        def __aiter__(self) -> EntryStream: ...
        def __anext__(self) -> Awaitable[DirEntry]: ...
        def begin(self, block: EntryBlock, /) -> DirEntry: ...
        def aclose(self) -> Coroutine[Any, Any, None]: ...

    class Incoming:
        def __await__(self) -> Generator[Any, None, Descriptor]: ...
        def stop(self) -> None: ...

    class Segments:
        def __await__(self) -> Generator[Any, None, bytes]: ...
        def stop(self) -> None: ...

    class Runtime:
        def spawn(
            self, kind: int, value: int, coroutine: Coroutine[Any, Any, T], name: str | None, /
        ) -> JoinHandle[T]: ...
        def place(self, kind: int, value: int, /) -> int: ...
        def room(self, shard: int, /) -> Awaitable[None]: ...
        def spawn_cleanup(self, coroutine: Awaitable[Any], name: str, /) -> JoinHandle[Any]: ...
        def spawn_native(
            self, address: int, ctx: int, kind: int, value: int, /
        ) -> NativeJoinHandle: ...
        def signal_fd(self, fd: int, /) -> None: ...
        def drive(self, main: JoinHandle[Any], /) -> None: ...
        def drive_until(self, job: JoinHandle[Any], /) -> None: ...
        def shutdown(self, timeout_ns: int, /) -> bool: ...
        def request_stop(self) -> None: ...
        def cancel_again(self) -> None: ...
        def closing(self) -> bool: ...
        def stats(self) -> bytes: ...
        def backend(self) -> tuple[int, int, int, str]: ...
        def debugging(self) -> bool: ...
        def watch(self) -> tuple[int, str | None, Any, int, int] | None: ...
        def shard_count(self) -> int: ...
        def progress(self, wait_ns: int, /) -> list[tuple[int, int, bool]] | None: ...
        def monitor_open(self) -> str: ...
        def monitor_next(self) -> tuple[int, bytes] | None: ...
        def trace_start(self, events: int, /) -> int: ...
        def trace_stop(self) -> bool: ...
        def trace_write(self, since: int, fd: int, /) -> None: ...
        def flight_start(
            self,
            folder: bytes,
            events: int,
            blocked_ns: int,
            recorder: bytes,
            p99_ns: int,
            signal: int,
            files: int,
            /,
        ) -> None: ...
        def flight_stop(self) -> bool: ...
        def resting(self) -> int | None: ...

    class Timing:
        """A block that a recorder times: ``with recorder.time() as timing:``."""

        def __enter__(self) -> Timing: ...
        def __exit__(self, *exception: object) -> None: ...
        def count(self, bytes: int, operations: int = 0, /) -> None:
            """Add to what the block did: bytes moved, and operations beyond the one."""

        def fail(self, outcome: str | BaseException, /) -> None:
            """The block ends without an exception, and failed all the same."""

    class RecorderCore:
        @property
        def name(self) -> str:
            """Its name."""

        def _open(self, name: str, /) -> None: ...
        def _read(self) -> bytes: ...
        def record_ns(
            self,
            ns: int,
            /,
            *,
            outcome: str | BaseException = "ok",
            bytes: int = 0,
            operations: int = 1,
        ) -> None:
            """Record a duration in nanoseconds. `outcome` is ``"ok"``, ``"timeout"``,
            ``"overloaded"``, an exception, or the name of a kind of error (at most 32 kinds, others
            are "other"). ``ValueError`` for a negative one."""

        def record_from(
            self,
            intended_start: float,
            /,
            *,
            outcome: str | BaseException = "ok",
            bytes: int = 0,
            operations: int = 1,
        ) -> None:
            """Record the time since the operation should have begun: seconds of
            ``time.monotonic()`` as a float, or nanoseconds of ``time.monotonic_ns()`` as an int. A
            stalled server cannot hide its queue from this."""

        def record_corrected(
            self,
            ns: int,
            expected_interval_ns: int,
            /,
            *,
            outcome: str | BaseException = "ok",
            bytes: int = 0,
            operations: int = 1,
        ) -> None:
            """Record a duration, and those of the operations that could not begin meanwhile, one
            each `expected_interval_ns`. For a loop that waits for each answer before it goes on."""

        def time(self, intended_start: float | None = None, /) -> Timing:
            """``with recorder.time():`` records how long the block takes, or the time from
            `intended_start` to its end. An exception that leaves the block is the outcome."""

    class Exchange:
        def put_units(self, weight: int, /) -> bool: ...
        def take_units(self, weight: int, /) -> bool: ...
        def take_units_in_turn(self, weight: int, /) -> bool: ...
        def join_for_units(self, weight: int, /) -> Future[None]: ...
        def put(self, value: object, /) -> Any: ...
        def put_in_turn(self, value: object, /) -> Any: ...
        def join_to_put(self, value: object, /) -> Future[Any]: ...
        def take(self) -> Any: ...
        def take_in_turn(self) -> Any: ...
        def join_to_take(self) -> Future[Any]: ...
        def put_back(self, value: object, /) -> None: ...
        def publish(self, value: object, /) -> Any: ...
        def published(self) -> int: ...
        def read(self, position: int, /) -> tuple[int, Any]: ...
        def read_in_turn(self, position: int, /) -> tuple[int, Any]: ...
        def join_to_read(self, position: int, /) -> Future[None]: ...
        def join(self) -> Future[Any]: ...
        def serve(self, count: int, value: object, /) -> int: ...
        def meet(self, parties: int, /) -> Future[None]: ...
        def place(self, future: Future[None], /) -> int: ...
        def leave(self, future: Future[Any], /) -> bool: ...
        def leave_put(self, future: Future[Any], /) -> bool: ...
        def close(self) -> None: ...
        def break_off(self) -> list[Any]: ...
        def state(self) -> tuple[int, int, int, int]: ...

    class TlsEngine:
        """A TLS connection over OpenSSL's own functions. Any thread."""

        def feed(self, data: bytes, /) -> None: ...
        def fed(self) -> int: ...
        def take(self) -> bytes: ...
        def put_back(self, data: bytes, /) -> None: ...
        def has_output(self) -> bool: ...
        def output(self) -> int: ...
        def input(self) -> int: ...
        def receive(self, buffer: Buffer, /) -> bytes | None: ...
        def unused(self) -> bytes: ...
        def read(self, max_bytes: int, /) -> bytes | None: ...
        def read_into(self, buffer: Buffer, /) -> int | None: ...
        def write(self, data: Buffer, /) -> int: ...
        def close_notify(self) -> None: ...
        def unread(self, data: bytes, /) -> None: ...
        def take_unread(self) -> bytes: ...
        def failed(self) -> bool: ...
        def lock(self) -> None: ...
        def unlock(self) -> None: ...
        def close(self) -> None: ...
        def set_aside(self, function: Callable[[], Callable[[], object] | None], /) -> None: ...
        def recv(self, descriptor: Descriptor, max_bytes: int, /) -> Coro[bytes]: ...
        def recv_into(self, descriptor: Descriptor, buffer: Buffer, /) -> Coro[int]: ...
        def write_all(self, descriptor: Descriptor, data: Buffer, /) -> Coro[None]: ...

    class TimeLimit:
        def arm(self, duration_ns: int, /) -> None: ...
        def rearm(self, duration_ns: int, /) -> None: ...
        def expire(self) -> None: ...
        def expired(self) -> bool: ...
        def disarm(self) -> bool: ...


if TYPE_CHECKING:

    class Functions(Protocol):
        """The module-level functions of the bridge."""

        def start(self, options_address: int, driven: int, debug: int, /) -> Runtime: ...
        def open(self, path: bytes, name: object, flags: int, mode: int, /) -> Coro[Descriptor]: ...
        def adopt(self, fd: int, kind: int, /) -> Descriptor: ...
        def register_buffer(self, buffer: Buffer, /) -> int: ...
        def unregister_buffer(self, place: int, /) -> None: ...
        def sleep(self, duration_ns: int, /) -> Coro[None]: ...
        def nop(self) -> Coro[None]: ...
        def submit(
            self,
            opcode: int,
            fd: int | Descriptor,
            off: object,
            addr: object,
            length: int | None,
            op_flags: int,
            extra: int,
            name: object,
            outcome: int,
            /,
        ) -> Coro[Any]: ...
        def message(
            self,
            opcode: int,
            fd: int | Descriptor,
            buffers: tuple[Any, ...],
            address: object,
            control: object,
            flags: int,
            /,
        ) -> Coro[tuple[int, int, int, int]]: ...
        def submit_sqe(self, sqe: object, keep: tuple[object, ...], /) -> Coro[tuple[int, int]]: ...
        def address_of(self, buffer: Buffer, /) -> int: ...
        def ops_in_flight(self, runtime: Runtime, /) -> list[int]: ...
        def count_affinity_violation(self, runtime: Runtime, /) -> None: ...
        def read_files(
            self,
            paths: list[bytes],
            names: list[Any],
            depth: int,
            results: list[bytes | OSError | None],
            told: Callable[[], None] | None,
            budget: int,
            done: list[int] | None,
            /,
        ) -> Coro[list[bytes | OSError]]: ...
        def read_ranges(
            self,
            paths: list[bytes],
            labels: list[Any],
            files: list[int],
            offsets: list[int],
            lengths: list[int],
            into: list[Any] | None,
            gap: int,
            largest: int,
            depth: int,
            results: list[Any],
            done: list[int] | None,
            told: Callable[[], None] | None,
            /,
        ) -> Coro[list[bytes | int | OSError]]: ...
        def copy_data(
            self, source: int, target: int, offset: int, size: int, most: int, /
        ) -> tuple[int, int]: ...
        def walker(self, path: bytes, options: int, metadata: object, /) -> Walker: ...
        def entry_stream(self, source: object, /) -> EntryStream: ...
        def list_directories(
            self, names: list[bytes], /
        ) -> list[tuple[list[DirEntry], list[DirEntry]] | tuple[int, str]]: ...
        def signal_add(self, number: int, eventfd: int, /) -> int: ...
        def signal_take(self, key: int, /) -> int: ...
        def signal_remove(self, key: int, /) -> None: ...
        def signal_watched(self, number: int, /) -> bool: ...
        def send(
            self, runtime: Runtime, shard: int, tag: int, value: int, direct: int, /
        ) -> bool: ...
        def send_many(
            self, runtime: Runtime, shard: int, pairs: tuple[tuple[int, int], ...], direct: int, /
        ) -> int: ...
        def flush(self) -> Coro[None]: ...
        def sent(self) -> Awaitable[None]: ...
        def here(self, runtime: Runtime, shard: int, /) -> None: ...
        def next_event(self, runtime: Runtime, shard: int, hot: int, /) -> Coro[Event]: ...
        def next_hot_count(self, tag: int, /) -> Coro[int]: ...
        def take_hot_count(self, tag: int, /) -> int: ...
        def exchange(self, has_values: int, most: int, units: int, /) -> Exchange:
            """What waits and is waited for: units or values. Each method is one step, which nothing
            of Python's (a finalizer, a signal handler) can come into the middle of. Any thread."""

        def ended(self, handle: JoinHandle[Any], /) -> Awaitable[None]: ...
        def loop_types(self, helpers: dict[str, Any], /) -> dict[str, Any]: ...
        def future(self) -> Future[Any]: ...
        def timeout(self) -> TimeLimit: ...
        def redeliver(self, error: BaseException, /) -> None: ...
        def yield_now(self) -> Coro[None]: ...
        def current_task(self) -> JoinHandle[Any] | None: ...
        def current_shard(self) -> int: ...
        def tasks_here(self) -> list[tuple[JoinHandle[Any] | None, Any, Any, str, int, int]]: ...
        def coroutine_of(self, handle: JoinHandle[Any], /) -> Any: ...
        def raise_if_cancelled(self) -> None: ...
        def hold(self, handle: JoinHandle[Any], on: bool, /) -> None: ...
        def keep_back(self, change: int, /) -> None: ...
        def companion(self) -> Any: ...
        def set_companion(self, companion: object, /) -> None: ...
        def quiet(self) -> Awaitable[None]: ...
        def alarm(
            self, handle: JoinHandle[Any], callback: Callable[[], Any], duration_ns: int, /
        ) -> Any: ...
        def tls_open(
            self, path: bytes, make_error: Callable[[bool, int, str | None], Exception], /
        ) -> str | None: ...
        def tls_watch(self) -> None: ...
        def tls_engine(
            self,
            owner: object,
            lenient: bool,
            receiving: Exchange | None,
            sending: Exchange | None,
            writing: Exchange | None,
            /,
        ) -> TlsEngine | None: ...
        def submits_as_other(self) -> bool: ...
        def supports(self, opcode: int, /) -> bool: ...


class Event(NamedTuple):
    """A message that a shard received."""

    from_shard: int | None
    """The sender; None if an ordinary thread sent it."""
    tag: int
    value: int


class Sign:
    """A value that is nothing but itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


# For annotations; the type itself is the library's.
if not TYPE_CHECKING:
    Exchange = Any

NOTHING: Any = Sign("NOTHING")
CLOSED: Any = Sign("CLOSED")
"""What an exchange returns: there is nothing now; there never will be."""


class _Namespace:
    def __init__(self, names: dict[str, Any]) -> None:
        self.__dict__.update(names)


_made = library.start_bridge(
    {
        "CancelledError": errors.CancelledError,
        "TaskCancelled": errors.TaskCancelled,
        "Overloaded": errors.Overloaded,
        "ClosedError": errors.ClosedError,
        "BusyError": errors.BusyError,
        "SpargioError": errors.SpargioError,
        "IncompleteReadError": errors.IncompleteReadError,
        "NOTHING": NOTHING,
        "CLOSED": CLOSED,
        "Event": Event,
        "adopt": adopt,
        "attached": _attached,
        "detached": _detached,
        "last_task": _last_task,
        "place": messages.place,
        "outside": messages.outside,
        "join_elsewhere": _join_elsewhere,
        "foreign": messages.foreign,
        "no_buffer": messages.no_buffer,
        "other_loop": messages.other_loop,
        "run_twice": messages.run_twice,
        "explain": messages.explain,
        "signals": _signals,
        "stack": _stack,
        "os_error": _os_error,
        "spargio_error": _spargio_error,
    }
)

native: Functions = _Namespace(_made)  # type: ignore[assignment]

if not TYPE_CHECKING:
    JoinHandle = _made["JoinHandle"]
    NativeJoinHandle = _made["NativeJoinHandle"]
    Descriptor = _made["Descriptor"]
    Future = _made["Future"]
    Runtime = _made["Runtime"]
    RecorderCore = _made["RecorderCore"]
    DirEntry = _made["DirEntry"]
