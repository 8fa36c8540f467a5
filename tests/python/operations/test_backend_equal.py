"""Operations that end on the epoll backend as they do on io_uring, by the same entries on both."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support
from support import Pair

import spargio
from spargio._ffi.core import native
from spargio.uring import AT_FDCWD, Opcode, Sqe, address_of

HERE = (1 << 64) - 1
"""The descriptor's own position."""


@pytest.fixture(params=[pytest.param("io_uring", marks=support.needs_io_uring), "epoll"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


Submit = Callable[..., Awaitable[int]]


def on(backend: str, work: Callable[[Submit], Awaitable[Any]], **options: Any) -> Any:
    """`work(submit)` in a task: `submit(Opcode, fd, *keep, **fields)` gives the result of one entry."""

    async def submit(opcode: Opcode, fd: int, *keep: object, **fields: int) -> int:
        # Begun on this shard, in this turn of the loop.
        result, _ = await native.submit_sqe(Sqe(opcode=opcode, fd=fd, **fields), keep)
        return result

    async def main() -> Any:
        with spargio.timeout(support.LIMIT_S):
            return await work(submit)

    return spargio.run(main, backend=backend, **{"shards": 1, **options})


# ---- what epoll(7) does not take ----


@pytest.mark.parametrize("events", [select.POLLIN, select.POLLOUT, select.POLLPRI])
def test_a_poll_of_a_file(backend: str, file: int, events: int) -> None:
    result = on(backend, lambda submit: submit(Opcode.POLL_ADD, file, poll32_events=events))
    assert result == (-errno.EINVAL if events == select.POLLPRI else events)


def test_a_receive_from_a_file(backend: str, file: int) -> None:
    room = bytearray(10)

    async def work(submit: Submit) -> list[int]:
        fields = {"addr": address_of(room), "len": 10}
        poll_first = 1
        return [
            await submit(Opcode.RECV, file, room, **fields),
            await submit(Opcode.RECV, file, room, ioprio=poll_first, **fields),
            await submit(Opcode.SEND, file, room, **fields),
        ]

    plain, polled, sent = on(backend, work)
    assert plain == sent == -errno.ENOTSOCK
    assert polled in (-errno.ENOTSOCK, -errno.EAGAIN)  # io_uring polls before it looks what it is.


# ---- close ----


@pytest.mark.parametrize("shard", [0, 1])
def test_a_close_does_not_overtake(backend: str, shard: int, tmp_path: Path) -> None:
    """What is under way on a file, on this shard or another, is done in that file."""
    data = b"x" * 4096

    async def work(submit: Submit) -> None:
        handle = spargio.current_handle()
        for n in range(40):
            path = tmp_path / str(n)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DSYNC)
            fields = {"addr": address_of(data), "len": len(data)}
            begun = [
                handle.spawn_pinned(shard, submit(Opcode.WRITE, fd, data, off=offset, **fields))
                for offset in range(0, 4 * len(data), len(data))
            ]
            synced = handle.spawn_pinned(shard, submit(Opcode.FSYNC, fd))
            await handle.spawn_pinned(shard, spargio.yield_now())  # Their shard has them.
            await handle.spawn_pinned(shard, spargio.yield_now())
            assert await submit(Opcode.CLOSE, fd) == 0
            assert [await job for job in begun] == [len(data)] * 4
            # The kernel's own threads look for the file when they begin with an fsync: too late, at times.
            assert await synced in ([0] if backend == "epoll" else [0, -errno.EBADF])
            assert path.read_bytes() == data * 4
            assert await submit(Opcode.CLOSE, fd) == -errno.EBADF

    on(backend, work, shards=2)


def test_a_close_tells_other_shards(backend: str, pair: Pair) -> None:
    """One waits; its shard is busy while another shuts the socket down and closes it."""
    fd, room = pair[0].detach(), bytearray(10)

    async def receive(submit: Submit) -> int:
        return await submit(Opcode.RECV, fd, room, addr=address_of(room), len=10)

    async def close(submit: Submit) -> tuple[int, int]:
        down = await submit(Opcode.SHUTDOWN, fd, len=socket.SHUT_RDWR)
        return down, await submit(Opcode.CLOSE, fd)

    async def busy() -> None:
        time.sleep(0.1)

    async def work(submit: Submit) -> None:
        handle = spargio.current_handle()
        receiver = handle.spawn_pinned(1, receive(submit))
        await support.in_flight(handle, 1)
        holder = handle.spawn_pinned(1, busy())
        await support.started(holder)
        assert await handle.spawn_pinned(2, close(submit)) == (0, 0)
        assert await receiver == 0
        await holder

    on(backend, work, shards=3)


def test_a_close_gives_what_waited_its_end(backend: str, pair: Pair) -> None:
    room = bytearray(10)

    async def work(submit: Submit) -> None:
        handle = spargio.current_handle()
        fields = {"addr": address_of(room), "len": 10}
        receiver = handle.spawn_pinned(0, submit(Opcode.RECV, pair[0].fileno(), room, **fields))
        await support.in_flight(handle, 1)
        pair[0].shutdown(socket.SHUT_RDWR)
        assert await submit(Opcode.CLOSE, pair[0].detach()) == 0
        assert await receiver == 0

    on(backend, work)


# ---- ready, and would block all the same ----


def test_a_datagram_that_the_peer_does_not_take(backend: str, tmp_path: Path) -> None:
    """Such a socket is always ready to write. The shard stays free, and does not spin."""
    name = os.fsencode(tmp_path / "peer") + b"\0"
    address = struct.pack("H", socket.AF_UNIX) + name
    data = b"late"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        peer.bind(name[:-1])
        sender.setblocking(False)
        queued = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.sendto(b"early", name[:-1])
                queued += 1
        sender.setblocking(True)

        async def work(submit: Submit) -> None:
            to = {"off": address_of(address), "file_index": len(address)}
            fields = {"addr": address_of(data), "len": len(data), **to}
            sending = spargio.current_handle().spawn_pinned(
                0, submit(Opcode.SEND, sender.fileno(), data, address, **fields)
            )
            await support.in_flight(spargio.current_handle(), 1)
            before, began = time.process_time(), time.monotonic()
            await spargio.sleep(0.4)
            assert time.monotonic() - began < 2
            assert time.process_time() - before < 0.1
            for _ in range(queued):
                assert peer.recv(100) == b"early"
            sent = await sending
            # io_uring (6.18) takes the bytes before it finds the queue full, and has none at its next try.
            assert sent == len(data) or (backend, sent) == ("io_uring", 0)
            assert peer.recv(100) == data[:sent]

        on(backend, work)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_splice_from_a_blocking_socket(
    backend: str, family: socket.AddressFamily, pipe: tuple[int, int]
) -> None:
    """It waits for data without its shard, which sends them; and the socket blocks as before."""
    with contextlib.ExitStack() as stack:
        if family == socket.AF_UNIX:
            source, peer = map(stack.enter_context, socket.socketpair())
        else:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            source = stack.enter_context(socket.create_connection(listener.getsockname()))
            peer = stack.enter_context(listener.accept()[0])

        async def work(submit: Submit) -> None:
            places = {"splice_fd_in": source.fileno(), "splice_off_in": HERE, "off": HERE}
            moving = spargio.current_handle().spawn_pinned(
                0, submit(Opcode.SPLICE, pipe[1], len=100, **places)
            )
            await support.in_flight(spargio.current_handle(), 1)
            peer.sendall(b"moved")
            assert await moving == 5
            assert os.read(pipe[0], 100) == b"moved"

        on(backend, work)
        assert os.get_blocking(source.fileno()) and os.get_blocking(pipe[1])


# ---- transfers in parts ----


@pytest.mark.parametrize("many", [False, True])
def test_a_read_of_what_is_cached_in_part(backend: str, many: bool, tmp_path: Path) -> None:
    cached, size = 1 << 20, 16 << 20
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    rooms = [bytearray(cached - 1000), bytearray(2000), bytearray(size - cached - 1000)]
    vectors = b"".join(struct.pack("PN", address_of(room), len(room)) for room in rooms)
    whole = bytearray(size)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # No reading ahead.

    def cache() -> bool:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.preadv(fd, [bytearray(cached)], 0) == cached

    # A page that somebody looks at just now stays: asking for the rest begins to read it.
    if not any(cache() and os.preadv(fd, [whole], 0, os.RWF_NOWAIT) == cached for _ in range(50)):
        pytest.skip("this file system keeps all in the cache")
    time.sleep(0.05)
    cache()

    async def work(submit: Submit) -> int:
        if many:
            return await submit(Opcode.READV, fd, vectors, *rooms, addr=address_of(vectors), len=3)
        return await submit(Opcode.READ, fd, whole, addr=address_of(whole), len=size)

    assert on(backend, work) == size
    assert (b"".join(rooms) if many else whole) == path.read_bytes()
    os.close(fd)


def test_what_came_before_a_close_is_given(backend: str, pair: Pair) -> None:
    """Of a receive that waits for all."""
    left, right = pair
    room = bytearray(10)
    right.send(b"half")

    async def work(submit: Submit) -> int:
        fields = {"addr": address_of(room), "len": 10, "msg_flags": socket.MSG_WAITALL}
        receiver = spargio.current_handle().spawn_pinned(
            0, submit(Opcode.RECV, left.fileno(), room, **fields)
        )
        await support.in_flight(spargio.current_handle(), 1)
        assert await submit(Opcode.CLOSE, left.detach()) == 0
        right.close()
        return await receiver

    assert on(backend, work) == 4
    assert room[:4] == b"half"


def test_a_datagram_is_one_receive(backend: str) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    room = bytearray(10)

    async def work(submit: Submit) -> int:
        fields = {"addr": address_of(room), "len": 10, "msg_flags": socket.MSG_WAITALL}
        return await submit(Opcode.RECV, left.fileno(), room, **fields)

    with left, right:
        right.send(b"one")
        right.send(b"two")
        assert on(backend, work) == 3
        assert left.recv(10) == b"two"


class Message(ctypes.Structure):
    """struct msghdr (recvmsg(2)) of one buffer."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.c_void_p),
        ("vectors_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )

    def __init__(self, data: bytearray, control: bytearray) -> None:
        self.vector = struct.pack("PN", address_of(data), len(data))
        super().__init__(
            vectors=address_of(self.vector),
            vectors_length=1,
            control=address_of(control),
            control_length=len(control),
        )


def passed(control: bytes) -> list[int]:
    """The descriptors in control data (cmsg(3))."""
    found, at = [], 0
    while at + 16 <= len(control):
        length, level, kind = struct.unpack_from("Nii", control, at)
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        found += struct.unpack_from(f"{(length - 16) // 4}i", control, at + 16)
        at += (length + 7) & ~7
    return found


def test_a_long_message_passes_its_descriptor_once(backend: str, pair: Pair, file: int) -> None:
    """More than there is room for: what is sent is the result, MSG_WAITALL or not."""
    left, right = pair
    right.setblocking(False)
    data = bytearray(os.urandom(1 << 20))
    control = bytearray(struct.pack("Niiixxxx", 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, file))
    message = Message(data, control)

    async def work(submit: Submit) -> None:
        fields = {"addr": address_of(message), "len": 1, "msg_flags": socket.MSG_WAITALL}
        sending = spargio.current_handle().spawn_pinned(
            0, submit(Opcode.SENDMSG, left.fileno(), data, control, message, **fields)
        )
        await support.until(lambda: select.select([right], [], [], 0)[0])  # A part has been sent.
        got, descriptors = b"", list[int]()
        while not sending.done() or len(got) < await sending:
            with contextlib.suppress(BlockingIOError):
                part, more, _, _ = socket.recv_fds(right, 1 << 16, 10)
                got, descriptors = got + part, descriptors + more
            await spargio.yield_now()
        for fd in descriptors:
            os.close(fd)
        assert got == data[: len(got)]
        assert len(descriptors) == 1

    on(backend, work)


def test_a_message_with_a_descriptor_is_one_receive(backend: str, pair: Pair, file: int) -> None:
    left, right = pair
    data, control = bytearray(20), bytearray(96)
    message = Message(data, control)

    async def work(submit: Submit) -> int:
        fields = {"addr": address_of(message), "len": 1, "msg_flags": socket.MSG_WAITALL}
        socket.send_fds(right, [b"first"], [file])
        socket.send_fds(right, [b"other"], [file])
        return await submit(Opcode.RECVMSG, left.fileno(), data, control, message, **fields)

    assert on(backend, work) == 5
    [descriptor] = passed(control[: message.control_length])
    os.close(descriptor)


def test_a_cancel_by_descriptor(backend: str, tmp_path: Path) -> None:
    """More writes than threads: those that have not begun end at once."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_DSYNC)
    data = bytes(4096)

    async def work(submit: Submit) -> list[int]:
        handle = spargio.current_handle()
        fields = {"addr": address_of(data), "len": len(data)}
        jobs = [
            handle.spawn_pinned(0, submit(Opcode.WRITE, fd, data, off=n * len(data), **fields))
            for n in range(200)
        ]
        await handle.spawn_pinned(0, spargio.yield_now())
        by_descriptor, all_of_them = 2, 1
        cancelled = await submit(Opcode.ASYNC_CANCEL, fd, cancel_flags=by_descriptor | all_of_them)
        results = [await job for job in jobs]
        if backend == "epoll":
            assert cancelled == results.count(-errno.ECANCELED) > 0
        return results

    assert set(on(backend, work)) <= {len(data), -errno.ECANCELED, -errno.EINTR}
    os.close(fd)


def test_more_fifos_than_threads(tmp_path: Path) -> None:
    """Each opening for reading waits for its other end, which comes after all of them. (The kernel's own
    threads, four per CPU, would be too few for io_uring here.)"""
    paths = [tmp_path / str(n) for n in range(20)]
    for path in paths:
        os.mkfifo(path)

    async def work(submit: Submit) -> None:
        def open(path: Path, flags: int) -> spargio.JoinHandle[int]:
            name = os.fsencode(path) + b"\0"
            fields = {"addr": address_of(name), "open_flags": flags}
            return spargio.current_handle().spawn_pinned(
                0, submit(Opcode.OPENAT, AT_FDCWD, name, **fields)
            )

        readers = [open(path, os.O_RDONLY) for path in paths]
        await support.in_flight(spargio.current_handle(), len(paths))
        writers = [open(path, os.O_WRONLY) for path in paths]
        for job in readers + writers:
            descriptor = await job
            assert descriptor >= 0
            os.close(descriptor)

    on("epoll", work)
