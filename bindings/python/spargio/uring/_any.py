"""Operations on plain descriptors, from any task of a runtime and from threads outside it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from .._ffi.core import Runtime, native
from .._ffi.opcodes import NUMBER
from .._ffi.sqe import Sqe
from .._ffi.types import Buffer, Coro
from .._pieces import IOV_MAX, Unsent
from .._validate import at_least, view_of, wrong
from ..fs._names import AT_FDCWD as AT_FDCWD
from ..fs._names import Path, terminated
from ..time import sleep
from ._leases import RANK, WEAK_LIFETIME_S, Lease
from ._opcodes import Opcode
from ._operation import Completion, NativeOp
from ._state import State, state_of

T = TypeVar("T")

_WITHOUT_DESCRIPTOR = frozenset(
    {
        Opcode.NOP,
        Opcode.TIMEOUT,
        Opcode.MADVISE,
        Opcode.SOCKET,
        Opcode.WAITID,
        Opcode.FUTEX_WAIT,
        Opcode.FUTEX_WAKE,
        Opcode.FUTEX_WAITV,
        Opcode.PIPE,
    }
)
"""What stands in their `fd` is something else, or nothing."""


class UringNativeAny:
    """Operations of io_uring that belong to no shard yet: each goes to the one that a lease of its
    descriptor names, else to the preferred one if that is at most one operation deeper than the
    least busy, else to the least busy; of equals the caller's own goes first.

    From :meth:`RuntimeHandle.uring_native_unbound`. Descriptors are plain numbers, and the
    caller's: they must stay open while an operation is under way. What the copies of one runtime
    know of leases and operations is shared. Any thread may use it; see :class:`NativeOp` for what a
    call gives."""

    __slots__ = ("_preferred", "_state")

    def __init__(self, runtime: Runtime) -> None:
        self._state: State = state_of(runtime)
        self._preferred: int | None = None

    # ---- where ----

    @property
    def preferred_shard(self) -> int | None:
        """The preferred shard, or None."""
        return self._preferred

    def with_preferred_shard(self, shard: int) -> UringNativeAny:
        """A copy that prefers `shard`; ``ValueError`` if there is no such shard."""
        self._state.check_shard(shard)
        return self._copy(shard)

    def clear_preferred_shard(self) -> UringNativeAny:
        """A copy that prefers none."""
        return self._copy(None)

    def _copy(self, preferred: int | None) -> UringNativeAny:
        copy = UringNativeAny(self._state.runtime)
        copy._preferred = preferred
        return copy

    def select_shard(self, fd: int | None = None) -> int:
        """The shard that an operation (on `fd`) would go to now."""
        return self._state.select(None if fd is None else _descriptor(fd), self._preferred)

    def fd_affinity_shard(self, fd: int) -> int | None:
        """The shard that a lease binds `fd` to, or None."""
        lease = self._state.leases.of(_descriptor(fd))
        return None if lease is None else lease.shard

    def lease(
        self,
        fd: int,
        kind: str = "strong",
        *,
        shard: int | None = None,
        lifetime: float | None = None,
    ) -> Lease:
        """Bind `fd` to `shard` (None: the one that would be selected now).

        "weak": that shard is preferred for it. "strong": the selector always takes it. "hard": an
        operation that names another shard is an :class:`AffinityViolation` too. A lease ends when
        it is closed or dropped, and `lifetime` seconds after the descriptor's last operation (None:
        no limit; a weak one has 1 second). A second lease on another shard than a strong or hard
        one is an :class:`AffinityViolation`.

        Operations take leases by themselves, which end with the first one asked for here: on files
        weak ones for 0.1 s, on streams strong ones for 1 s after the last."""
        _descriptor(fd)
        if kind not in RANK:
            raise ValueError(wrong("kind", "'weak', 'strong' or 'hard'", kind))
        if lifetime is not None and not lifetime > 0:
            raise ValueError(wrong("lifetime", "more than 0 seconds, or None", lifetime))
        if lifetime is None and kind == "weak":
            lifetime = WEAK_LIFETIME_S
        where = self.select_shard(fd) if shard is None else self._state.check_shard(shard)
        return self._state.take_lease(fd, kind, where, lifetime)

    def active_native_op_count(self) -> int:
        """How many operations of this runtime's selectors are under way, or wait for their
        shard."""
        return self._state.count()

    def active_native_op_shard(self, op: NativeOp[Any]) -> int | None:
        """The shard of an operation that is under way, or waits for it; else None."""
        return self._state.shard_of(op)

    # ---- files ----

    def read_at(self, fd: int, offset: int, size: int) -> NativeOp[bytes]:
        """At most `size` bytes from `offset`; ``b""`` at the end. ``IORING_OP_READ``, Linux 5.6."""
        at_least("offset", offset, 0)
        at_least("size", size, 0)

        async def read() -> bytes:
            buffer = bytearray(size)
            count: int = await _submit(Opcode.READ, fd, offset, buffer)
            return bytes(memoryview(buffer)[:count])

        return self._file(fd, read)

    def read_at_into(self, fd: int, offset: int, buffer: Buffer) -> NativeOp[int]:
        """The same into a writable buffer; returns the number of bytes."""
        at_least("offset", offset, 0)
        view = _writable(buffer)
        return self._file(fd, lambda: _submit(Opcode.READ, fd, offset, view))

    def write_at(self, fd: int, offset: int, data: Buffer) -> NativeOp[int]:
        """Returns the number of bytes taken, which may be fewer. ``IORING_OP_WRITE``, Linux 5.6."""
        at_least("offset", offset, 0)
        view = _readable(data)
        return self._file(fd, lambda: _submit(Opcode.WRITE, fd, offset, view))

    def fsync(self, fd: int, *, data_only: bool = False) -> NativeOp[int]:
        """fsync(2), or fdatasync(2). ``IORING_OP_FSYNC``, Linux 5.1."""
        return self._file(fd, lambda: _submit(Opcode.FSYNC, fd, 0, 0, 0, int(data_only)))

    # ---- paths; a directory's descriptor, or AT_FDCWD ----

    def mkdir_at(self, dir_fd: int, path: Path, mode: int = 0o777) -> NativeOp[int]:
        """mkdirat(2). ``IORING_OP_MKDIRAT``, Linux 5.15."""
        name = terminated(path)
        return self._path(dir_fd, lambda: _submit(Opcode.MKDIRAT, dir_fd, 0, name, mode, name=path))

    def unlink_at(self, dir_fd: int, path: Path, flags: int = 0) -> NativeOp[int]:
        """unlinkat(2); with AT_REMOVEDIR (0x200) a directory. ``IORING_OP_UNLINKAT``, Linux
        5.11."""
        name = terminated(path)
        return self._path(
            dir_fd, lambda: _submit(Opcode.UNLINKAT, dir_fd, 0, name, 0, flags, name=path)
        )

    def rename_at(
        self, dir_fd: int, source: Path, target_dir_fd: int, target: Path, flags: int = 0
    ) -> NativeOp[int]:
        """renameat2(2). ``IORING_OP_RENAMEAT``, Linux 5.11."""
        return self._two_paths(Opcode.RENAMEAT, dir_fd, source, target_dir_fd, target, flags)

    def link_at(
        self, dir_fd: int, source: Path, target_dir_fd: int, target: Path, flags: int = 0
    ) -> NativeOp[int]:
        """linkat(2). ``IORING_OP_LINKAT``, Linux 5.15."""
        return self._two_paths(Opcode.LINKAT, dir_fd, source, target_dir_fd, target, flags)

    def symlink_at(self, target: Path, dir_fd: int, link: Path) -> NativeOp[int]:
        """symlinkat(2): `link` says `target`. ``IORING_OP_SYMLINKAT``, Linux 5.15."""
        says, name = terminated(target), terminated(link)
        return self._path(
            dir_fd,
            lambda: _submit(Opcode.SYMLINKAT, dir_fd, name, says, 0, name=(target, link)),
        )

    # ---- streams ----

    def recv(self, fd: int, max_bytes: int, flags: int = 0) -> NativeOp[bytes]:
        """recv(2): at least one byte, ``b""`` at the end. ``IORING_OP_RECV``, Linux 5.6."""
        at_least("max_bytes", max_bytes, 1)

        async def receive() -> bytes:
            buffer = bytearray(max_bytes)
            count: int = await _submit(Opcode.RECV, fd, 0, buffer, None, flags)
            return bytes(memoryview(buffer)[:count])

        return self._stream(fd, receive)

    recv_owned = recv

    def recv_into(self, fd: int, buffer: Buffer, flags: int = 0) -> NativeOp[int]:
        """The same into a writable buffer; returns the number of bytes."""
        view = _writable(buffer)
        return self._stream(fd, lambda: _submit(Opcode.RECV, fd, 0, view, None, flags))

    def recv_batch_into(self, fd: int, buffers: Sequence[Buffer], flags: int = 0) -> NativeOp[int]:
        """recvmsg(2): fills the buffers one after the other; returns the number of bytes in all.
        ``IORING_OP_RECVMSG``, Linux 5.3."""
        views = _batch(buffers, _writable)

        async def receive() -> int:
            got = await native.message(Opcode.RECVMSG, fd, views, None, None, flags)
            return got[0]

        return self._stream(fd, receive)

    def send(self, fd: int, data: Buffer, flags: int = 0) -> NativeOp[int]:
        """send(2) with MSG_NOSIGNAL; returns the number of bytes taken, which may be fewer.
        ``IORING_OP_SEND``, Linux 5.6."""
        view = _readable(data)
        return self._stream(
            fd,
            lambda: _submit(Opcode.SEND, fd, 0, view, None, flags | socket.MSG_NOSIGNAL),
        )

    send_owned = send

    def send_batch(self, fd: int, buffers: Sequence[Buffer], flags: int = 0) -> NativeOp[int]:
        """Several buffers (at most 1,024) with one sendmsg(2); returns the number of bytes taken,
        which may be fewer. ``IORING_OP_SENDMSG``, Linux 5.3."""
        views = _batch(buffers, _readable)

        async def send() -> int:
            sent = await native.message(
                Opcode.SENDMSG, fd, views, None, None, flags | socket.MSG_NOSIGNAL
            )
            return sent[0]

        return self._stream(fd, send)

    def send_all_batch(self, fd: int, buffers: Sequence[Buffer], flags: int = 0) -> NativeOp[int]:
        """All of several buffers, with as many calls as it takes, one after the other on one shard;
        gives the number of bytes."""
        views = [_readable(buffer) for buffer in buffers]

        async def send() -> int:
            unsent = Unsent(list(views))
            total = 0
            with_flags = flags | socket.MSG_NOSIGNAL | socket.MSG_WAITALL
            while batch := unsent.batch():
                count, *_ = await native.message(Opcode.SENDMSG, fd, batch, None, None, with_flags)
                total += count
                unsent.took(count)
            return total

        return self._stream(fd, send)

    # ---- time ----

    def sleep(self, seconds: float) -> NativeOp[None]:
        """A timer of the chosen shard; see :func:`spargio.sleep`."""
        return NativeOp(self._state, lambda: sleep(seconds), None, None, self._preferred)

    # ---- what spargio does not wrap ----

    def submit_unsafe(self, sqe: Sqe, keep: Sequence[object] = ()) -> NativeOp[Completion]:
        """Hand `sqe` (copied now) to the kernel as it is. Gives the :class:`Completion`: a negative
        `res` is not raised. `keep` are the objects whose memory it names (:func:`address_of`): they
        are held, and those with the buffer protocol cannot be resized, until the kernel is done,
        whatever becomes of the task.

        Unsafe: a wrong address is a fault of the process, or worse. ``ValueError`` for what cannot
        work here: `user_data`, flags but IOSQE_ASYNC, operations with more than one completion, and
        those that name others or need what is registered with a ring; it says which and why. A new
        descriptor that nobody takes, because the task ended, is closed."""
        return self._unsafe(sqe, keep, None)

    def submit_unsafe_on_shard(
        self, shard: int, sqe: Sqe, keep: Sequence[object] = ()
    ) -> NativeOp[Completion]:
        """The same on `shard`. :class:`AffinityViolation` at the await if a hard lease binds the
        descriptor to another."""
        return self._unsafe(sqe, keep, self._state.check_shard(shard))

    def _unsafe(self, sqe: Sqe, keep: Sequence[object], shard: int | None) -> NativeOp[Completion]:
        if not isinstance(sqe, Sqe):
            raise TypeError(wrong("sqe", "a spargio.uring.Sqe", sqe))
        if isinstance(keep, (bytes, bytearray, memoryview, str)):
            raise TypeError(f"keep must be a sequence of objects, got a {type(keep).__name__}")
        submission = native.submit_sqe(sqe, tuple(map(_held, keep)))

        async def run() -> Completion:
            return Completion(*await submission)

        fd = None if sqe.fd < 0 or sqe.opcode in _WITHOUT_DESCRIPTOR else sqe.fd
        return NativeOp(self._state, run, fd, None, self._preferred, shard, submission.close)

    # ---- how ----

    def _file(self, fd: int, make: Callable[[], Awaitable[T]]) -> NativeOp[T]:
        return NativeOp(self._state, make, _descriptor(fd), "weak", self._preferred)

    def _stream(self, fd: int, make: Callable[[], Awaitable[T]]) -> NativeOp[T]:
        return NativeOp(self._state, make, _descriptor(fd), "strong", self._preferred)

    def _path(self, dir_fd: int, make: Callable[[], Awaitable[T]]) -> NativeOp[T]:
        _directory(dir_fd)
        return NativeOp(self._state, make, None, None, self._preferred)

    def _two_paths(
        self,
        opcode: int,
        dir_fd: int,
        source: Path,
        target_dir_fd: int,
        target: Path,
        flags: int,
    ) -> NativeOp[int]:
        _directory(target_dir_fd)
        old, new = terminated(source), terminated(target)
        other = target_dir_fd & 0xFFFFFFFF
        return self._path(
            dir_fd,
            lambda: _submit(opcode, dir_fd, new, old, other, flags, name=(source, target)),
        )


def _submit(
    opcode: int,
    fd: int,
    off: object,
    addr: object,
    length: int | None = None,
    flags: int = 0,
    *,
    name: object = None,
) -> Coro[int]:
    return native.submit(opcode, fd, off, addr, length, flags, 0, name, NUMBER)


def _held(kept: object) -> object:
    """A view, if there is one: what is exported cannot be resized."""
    try:
        return memoryview(kept), kept  # type: ignore[arg-type]
    except (TypeError, BufferError, ValueError):
        return kept


def _readable(data: object) -> memoryview:
    return view_of(data)  # type: ignore[arg-type]


def _writable(buffer: object) -> memoryview:
    view = _readable(buffer)
    if view.readonly:
        raise TypeError(f"buffer must be writable, got a {type(buffer).__name__}")
    return view


def _batch(
    buffers: Sequence[Buffer], view: Callable[[object], memoryview]
) -> tuple[memoryview, ...]:
    if not 1 <= len(buffers) <= IOV_MAX:
        raise ValueError(f"buffers must be between 1 and {IOV_MAX}, got {len(buffers)}")
    return tuple(map(view, buffers))


def _descriptor(fd: int) -> int:
    return at_least("fd", fd, 0)


def _directory(dir_fd: int) -> int:
    if dir_fd != AT_FDCWD and dir_fd < 0:
        raise ValueError(wrong("dir_fd", f"AT_FDCWD ({AT_FDCWD}), or 0 or more", dir_fd))
    return dir_fd
