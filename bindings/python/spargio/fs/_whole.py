"""Whole files: read, written and copied in one call."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import stat
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from .._blocking import spawn_blocking, to_its_end
from .._counts import at_least
from .._ffi.core import JoinHandle, native
from .._ffi.types import Buffer
from ..placement import TaskPlacement
from ..runtime import current_handle
from ._file import File
from ._names import Path, encode
from ._options import OpenOptions
from ._paths import metadata, remove_file, rename

_CHUNK = 64
_COPY_BYTES = 1 << 20

K = TypeVar("K")
P = TypeVar("P", bound=Path)
V = TypeVar("V")

Result = bytes | OSError


async def read(path: Path) -> bytes:
    """All of a file. Opened, read to its end and closed in one await: ``IORING_OP_OPENAT``,
    ``READ`` and ``CLOSE``, Linux 5.6."""
    (result,) = await native.read_files([encode(path)], [path], 1)
    if isinstance(result, OSError):
        raise result
    return result


async def read_to_string(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The same, decoded."""
    return (await read(path)).decode(encoding, errors)


async def _in_order(
    work: Iterator[tuple[K, Coroutine[Any, Any, V]]], window: int
) -> AsyncGenerator[tuple[K, V], None]:
    """Run coroutines on all shards, `window` at a time; (key, result) of each, in order. What runs
    is cancelled, and has ended, when the iterator is closed or raises."""
    handle = current_handle()
    running: deque[tuple[K, JoinHandle[V]]] = deque()

    def fill() -> None:
        for key, coroutine in itertools.islice(work, window - len(running)):
            job = handle.spawn_with_placement(TaskPlacement.RoundRobin, coroutine)
            running.append((key, job))

    try:
        fill()
        while running:
            key, job = running[0]
            result = await job
            running.popleft()
            fill()
            yield key, result
    finally:
        for _, job in running:
            job.cancel()
        for _, job in running:
            await _ended(job)


async def _ended(job: JoinHandle[Any]) -> None:
    """However it ends: the first error is told already, or nobody asks any more."""
    with contextlib.suppress(Exception):
        await to_its_end(lambda: job)


def _chunks(paths: Iterable[P], size: int) -> Iterator[list[P]]:
    source = iter(paths)
    while chunk := list(itertools.islice(source, size)):
        yield chunk


async def _read_chunk(paths: list[P], depth: int) -> list[Result]:
    return await native.read_files([encode(path) for path in paths], list(paths), depth)


async def read_many(
    paths: Iterable[P], *, concurrency: int = 128
) -> AsyncGenerator[tuple[P, Result], None]:
    """Read many files: (path, its bytes or the ``OSError``) for each, in the order of `paths`, on
    all shards. At most `concurrency` files are open at a time; read ahead are at most `concurrency`
    files, rounded up to chunks of 64. Close the iterator, or leave the task, and the rest is not
    read."""
    concurrency = at_least("concurrency", concurrency, 1)
    depth = min(concurrency, _CHUNK)
    size = _CHUNK if concurrency > 1 else 1
    work = ((chunk, _read_chunk(chunk, depth)) for chunk in _chunks(paths, size))
    async with contextlib.aclosing(_in_order(work, max(1, concurrency // depth))) as results:
        async for chunk, found in results:
            for pair in zip(chunk, found, strict=True):
                yield pair


async def write(
    path: Path, data: Buffer, *, atomic: bool = False, permissions: int | None = None
) -> None:
    """Make `path` hold exactly `data`. A new file has `permissions` less the umask, by default
    0o666; an existing one keeps its own. ``TypeError`` and ``BufferError`` for `data` that cannot
    be written come before `path` is touched.

    With `atomic` others see the old file or the new one and nothing between, also after a power
    failure: a temporary file beside it is written, fsynced and renamed over it; a symbolic link is
    then replaced, not followed. The new file has the permissions of the old one, less setuid and
    setgid, because its owner is who writes it; `permissions` goes before them. A cancellation is
    raised where the old file is still there; where the new one is, it comes at the next await."""
    _check_data(data)
    mode = 0o666 if permissions is None else permissions
    if not atomic:
        async with await File.open(path, "w", permissions=mode) as file:
            await file.write_all_at(0, data)
        return
    kept = await _permissions(path) if permissions is None else None
    name = os.fsdecode(encode(path))
    directory, base = os.path.split(name)
    start = os.fsdecode(os.fsencode(base)[:200])  # Of the 255 bytes that a name may have.
    temporary = os.path.join(directory, f".{start}.{secrets.token_hex(6)}")
    fresh = OpenOptions().write(True).create_new(True).mode(mode if kept is None else 0o600)
    file = await fresh.open(temporary)
    try:
        async with file:
            if kept is not None:
                await _on_descriptor(file, os.fchmod, kept)
            await file.write_all_at(0, data)
            await file.fsync()
        await rename(temporary, name)
    except BaseException:
        await to_its_end(lambda: _remove_quietly(temporary))
        raise
    # It is the new file: a cancellation comes after this.
    await to_its_end(lambda: _sync_directory(directory or "."))


def _check_data(data: object) -> None:
    """Opening the file empties it: what cannot be written is refused before."""
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        kind = type(data).__name__
        raise TypeError(
            f"data is {kind}: allowed is bytes, bytearray, memoryview or another buffer"
        ) from None
    with view:
        if not view.c_contiguous:
            raise BufferError("data is a buffer in pieces: allowed is a contiguous one")


async def _permissions(path: Path) -> int | None:
    """Of what is there, less setuid and setgid; None where there is nothing."""
    try:
        return (await metadata(path)).permissions() & 0o777
    except FileNotFoundError:
        return None


async def _on_descriptor(file: File, call: Callable[[int, int], None], mode: int) -> None:
    """``call(descriptor, mode)`` on a thread of the pool: io_uring has no fchmod. Not cut short, so
    that it does not come when the file is another one."""
    answer = spawn_blocking(call, file.fileno(), mode)
    try:
        await to_its_end(lambda: answer)
    except OSError as error:
        error.filename = file.path
        raise


async def _remove_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        await remove_file(path)


async def _sync_directory(path: str) -> None:
    async with await File.open(path) as directory:
        await directory.fsync()


async def write_many(
    files: Iterable[tuple[P, Buffer]], *, concurrency: int = 64
) -> AsyncGenerator[tuple[P, OSError | None], None]:
    """Write many files: (path, None or the ``OSError``) for each, in order, on all shards; at most
    `concurrency` are open at a time. ``TypeError`` or ``BufferError`` for data that cannot be
    written comes in its turn, and nothing behind it is written. Close the iterator, or leave the
    task, and the writes under way are cancelled: their files may be empty or in part."""
    concurrency = at_least("concurrency", concurrency, 1)
    async with contextlib.aclosing(_in_order(_writes(files), concurrency)) as results:
        async for pair in results:
            yield pair


def _writes(
    files: Iterable[tuple[P, Buffer]],
) -> Iterator[tuple[P, Coroutine[Any, Any, OSError | None]]]:
    for path, data in files:
        yield path, _write_one(path, data)
        try:
            _check_data(data)
        except (TypeError, BufferError):
            return  # That write raises it. One behind it would be cut short, its file empty.


async def _write_one(path: Path, data: Buffer) -> OSError | None:
    try:
        await write(path, data)
    except OSError as error:
        return error
    return None


async def copy(source: Path, target: Path) -> int:
    """Copy a file's bytes and permissions over `target`, made where there is none; gives the number
    of bytes. The permissions are exactly the source's, whatever the umask and those of an existing
    target, before the first byte is there; ``PermissionError``, and `target` as it was, where they
    cannot be given. The same file twice is ``ValueError``."""
    async with await File.open(source) as reader:
        info = await reader.metadata()
        if info.is_dir():
            raise IsADirectoryError(21, "copy() copies files", os.fsdecode(source))
        with contextlib.suppress(FileNotFoundError):
            other = await metadata(target)
            if (other.device, other.inode) == (info.device, info.inode):
                raise ValueError(f"copy: {source!r} and {target!r} are the same file")
        mode = info.permissions()
        options = OpenOptions().write(True).create(True).mode(0o600)
        buffer = bytearray(min(_COPY_BYTES, max(1, info.size)))
        offset = 0
        async with await options.open(target) as writer:
            await _on_descriptor(writer, _empty, mode & 0o1777)
            while count := await reader.read_at_into(offset, buffer):
                await writer.write_all_at(offset, memoryview(buffer)[:count])
                offset += count
            if mode & 0o6000:  # A write takes setuid and setgid away.
                await _on_descriptor(writer, _set_mode, mode)
    return offset


def _empty(descriptor: int, mode: int) -> None:
    """Cut to nothing and given `mode`. In between it has what old and new have in common: what was
    there is not shown to more, and what may not be changed fails before anything is lost. Devices
    and pipes are left as they are."""
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        return
    old = stat.S_IMODE(info.st_mode)
    if old != mode:
        os.fchmod(descriptor, old & mode)
    os.ftruncate(descriptor, 0)
    _set_mode(descriptor, mode)


def _set_mode(descriptor: int, mode: int) -> None:
    info = os.fstat(descriptor)
    if stat.S_ISREG(info.st_mode) and stat.S_IMODE(info.st_mode) != mode:
        os.fchmod(descriptor, mode)
