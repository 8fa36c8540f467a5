"""Operations that find their shard, raw SQEs, leases of descriptors."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import stat
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import TaskCancelled, uring
from spargio._ffi.core import native
from spargio.uring import AT_FDCWD, AffinityViolation, Completion, Opcode, Sqe, address_of

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    right.settimeout(support.LIMIT_S)
    with left, right:
        yield left, right


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 16)
    number = os.open(path, os.O_RDWR)
    yield number
    os.close(number)


@pytest.fixture
def two() -> Iterator[spargio.RuntimeHandle]:
    """A runtime of two shards, used from this thread."""
    with spargio.Runtime.builder().shards(2).build() as handle:
        yield handle


class Buffer(bytearray):
    """One that can be referred to weakly."""


def read_sqe(fd: int, buffer: bytearray) -> Sqe:
    # An offset of -1 is the descriptor's own position: what a pipe wants.
    return Sqe(
        opcode=Opcode.READ, fd=fd, addr=address_of(buffer), len=len(buffer), off=(1 << 64) - 1
    )


# ---- the SQE ----


def test_an_sqe_takes_no_unknown_name_and_no_value_out_of_range() -> None:
    for wrong in ({"opcode": 256}, {"fd": 1 << 31}, {"fd": -(1 << 31) - 1}, {"off": -1}):
        [(name, value)] = wrong.items()
        with pytest.raises(ValueError, match=f"{name} is {value}: allowed is "):
            Sqe(**wrong)
    with pytest.raises(AttributeError, match="'lenght'"):
        Sqe(lenght=1)
    sqe = Sqe(addr2=7, fd=-1, file_index=3)
    assert (sqe.off, sqe.splice_fd_in, sqe.fd, sqe.user_data) == (7, 3, -1, 0)


def test_statx_by_hand(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "seven"
    path.write_bytes(b"spargio")
    name, answer = os.fsencode(path) + b"\0", bytearray(256)
    sqe = Sqe(
        opcode=Opcode.STATX,
        fd=AT_FDCWD,
        addr=address_of(name),
        addr2=address_of(answer),
        len=0x7FF,
        statx_flags=0,
    )

    async def main(handle: spargio.RuntimeHandle) -> None:
        for shard in range(handle.shard_count()):
            answer[:] = bytes(256)
            native_any = handle.uring_native_unbound()
            assert await native_any.submit_unsafe_on_shard(shard, sqe, [name, answer]) == (0, 0)
            assert int.from_bytes(answer[40:48], "little") == 7
            assert stat.S_ISREG(int.from_bytes(answer[28:30], "little"))

    spargio.run(main, **options)


def test_splice_between_pipes(pipe: tuple[int, int]) -> None:
    source, sink = pipe, os.pipe()
    os.write(source[1], b"moved")
    sqe = Sqe(
        opcode=Opcode.SPLICE,
        fd=sink[1],
        splice_fd_in=source[0],
        off=(1 << 64) - 1,
        splice_off_in=(1 << 64) - 1,
        len=100,
    )

    async def main(handle: spargio.RuntimeHandle) -> Completion:
        return await handle.uring_native_unbound().submit_unsafe(sqe)

    assert spargio.run(main, shards=1).check() == 5
    assert os.read(sink[0], 100) == b"moved"
    for end in sink:
        os.close(end)


def test_a_negative_result_is_given_not_raised() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()
        done = await native_any.submit_unsafe(Sqe(opcode=Opcode.FSYNC, fd=1 << 20))
        assert done.res == -errno.EBADF
        with pytest.raises(OSError, match="'the name'") as raised:
            done.check("the name")
        assert raised.value.errno == errno.EBADF

    spargio.run(main, shards=1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"flags": 1}, "flags is 1, with IOSQE_FIXED_FILE"),
        ({"flags": 2}, "IOSQE_IO_DRAIN"),
        ({"flags": 4}, "IOSQE_IO_LINK"),
        ({"flags": 8}, "IOSQE_IO_HARDLINK"),
        ({"flags": 32}, "IOSQE_BUFFER_SELECT"),
        ({"flags": 64}, "IOSQE_CQE_SKIP_SUCCESS .*would never end"),
        ({"flags": 128}, "unknown bit"),
        ({"user_data": 5}, "user_data is 5: allowed is 0"),
        ({"opcode": Opcode.SEND_ZC}, "SEND_ZC.*two completions"),
        ({"opcode": Opcode.SENDMSG_ZC}, "SENDMSG_ZC.*two completions"),
        ({"opcode": Opcode.READ_MULTISHOT}, "several completions"),
        ({"opcode": Opcode.RECV, "ioprio": 2}, "IORING_RECV_MULTISHOT"),
        ({"opcode": Opcode.RECVMSG, "ioprio": 2}, "IORING_RECV_MULTISHOT"),
        ({"opcode": Opcode.ACCEPT, "ioprio": 1}, "IORING_ACCEPT_MULTISHOT"),
        ({"opcode": Opcode.POLL_ADD, "len": 1}, "IORING_POLL_ADD_MULTI"),
        ({"opcode": Opcode.TIMEOUT, "timeout_flags": 64}, "IORING_TIMEOUT_MULTISHOT"),
        ({"opcode": Opcode.URING_CMD, "uring_cmd_flags": 2}, "IORING_URING_CMD_MULTISHOT"),
        ({"opcode": Opcode.ASYNC_CANCEL}, "IORING_ASYNC_CANCEL_FD"),
        ({"opcode": Opcode.ASYNC_CANCEL, "cancel_flags": 6}, "IORING_ASYNC_CANCEL_FD"),
        ({"opcode": Opcode.TIMEOUT_REMOVE}, "user_data"),
        ({"opcode": Opcode.MSG_RING}, "MSG_RING"),
        ({"opcode": Opcode.PROVIDE_BUFFERS}, "buffer groups"),
        ({"opcode": 63}, "opcode is 63: allowed is 0 to 62"),
    ],
    ids=str,
)
def test_what_breaks_the_bookkeeping_is_refused(
    two: spargio.RuntimeHandle, fields: dict[str, int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        two.uring_native_unbound().submit_unsafe(Sqe(**fields))


def test_what_is_not_an_sqe_is_refused(two: spargio.RuntimeHandle) -> None:
    native_any = two.uring_native_unbound()
    with pytest.raises(TypeError, match="Sqe"):
        native_any.submit_unsafe(bytes(64))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="keep is a bytes"):
        native_any.submit_unsafe(Sqe(), b"name")
    with pytest.raises(ValueError, match="sqe has 63 bytes: allowed is 64"):
        native.submit_sqe(bytes(63), ())
    with pytest.raises(ValueError, match="shard is 2: allowed is 0 to 1"):
        native_any.submit_unsafe_on_shard(2, Sqe())


def test_a_cancel_by_descriptor_ends_the_other_operation(pair: Pair) -> None:
    fd = pair[0].fileno()

    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()
        poll = Sqe(opcode=Opcode.POLL_ADD, fd=fd, poll32_events=select.POLLIN)
        waiting = native_any.submit_unsafe(poll).start()
        await support.in_flight(handle, 1)
        cancel = Sqe(opcode=Opcode.ASYNC_CANCEL, fd=fd, cancel_flags=2)
        assert (await native_any.submit_unsafe(cancel)).res == 0
        assert (await waiting).res == -errno.ECANCELED

    spargio.run(main, shards=1)


# ---- what is kept alive ----


def test_what_is_kept_cannot_be_resized_and_is_let_go_at_the_end(pipe: tuple[int, int]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        buffer = Buffer(16)
        kept = weakref.ref(buffer)
        op = (
            handle.uring_native_unbound().submit_unsafe(read_sqe(pipe[0], buffer), [buffer]).start()
        )
        await support.in_flight(handle, 1)
        with pytest.raises(BufferError):
            buffer.extend(b"more")
        del buffer
        gc.collect()
        assert kept() is not None
        os.write(pipe[1], b"here")
        assert (await op).res == 4
        buffer = kept()
        assert buffer is None or buffer.startswith(b"here")
        if buffer is not None:
            buffer.extend(b"more")
        del buffer
        gc.collect()
        assert kept() is None
        assert op.done()

    spargio.run(main, shards=1)


def test_what_is_kept_stays_while_the_kernel_has_it_though_the_coroutine_is_closed(
    pipe: tuple[int, int],
) -> None:
    async def main(handle: spargio.RuntimeHandle) -> weakref.ref[Buffer]:
        async def careless() -> weakref.ref[Buffer]:
            buffer = Buffer(16)
            kept = weakref.ref(buffer)
            op = handle.uring_native_unbound().submit_unsafe(read_sqe(pipe[0], buffer), [buffer])
            by_hand = op.__await__()
            by_hand.send(None)  # It is with the kernel,
            by_hand.close()  # and nobody awaits it any more.
            del op, by_hand, buffer
            gc.collect()
            await spargio.sleep(0)
            assert kept() is not None
            os.write(pipe[1], b"here")
            await support.until(lambda: (kept() or b"").startswith(b"here"))
            return kept

        kept = await handle.spawn_pinned(0, careless())
        gc.collect()
        assert kept() is None
        return kept

    spargio.run(main, shards=1)


@pytest.mark.parametrize("shard", [0, 1])
def test_what_is_kept_is_let_go_after_a_cancellation(pipe: tuple[int, int], shard: int) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        buffer = Buffer(16)
        kept = weakref.ref(buffer)
        native_any = handle.uring_native_unbound()
        sqe = read_sqe(pipe[0], buffer)
        with pytest.raises(TimeoutError):
            with spargio.timeout(0.01):
                await native_any.submit_unsafe_on_shard(shard, sqe, [buffer])
        buffer.extend(b"more")
        del buffer
        gc.collect()
        assert kept() is None
        assert native_any.active_native_op_count() == 0

    spargio.run(main, shards=2)


def test_a_socket_that_nobody_takes_is_closed(two: spargio.RuntimeHandle) -> None:
    """The leak check of every test would find it open."""

    async def leaves() -> None:
        sqe = Sqe(opcode=Opcode.SOCKET, fd=socket.AF_UNIX, off=socket.SOCK_STREAM)
        by_hand = two.uring_native_unbound().submit_unsafe_on_shard(0, sqe).__await__()
        by_hand.send(None)
        by_hand.close()

    for _ in range(20):
        two.spawn_pinned(0, leaves()).result(support.LIMIT_S)


# ---- the operations ----


def test_files(options: dict[str, Any], file: int) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        base = handle.uring_native_unbound()
        for shard in range(handle.shard_count()):
            native_any = base.with_preferred_shard(shard)
            assert await native_any.read_at(file, 250, 8) == bytes([*range(250, 256), 0, 1])
            assert await native_any.read_at(file, 4096, 8) == b""
            into = bytearray(4)
            assert await native_any.read_at_into(file, 2, into) == 4
            assert into == b"\2\3\4\5"
            assert await native_any.write_at(file, 4000, b"end") == 3
            assert await native_any.fsync(file, data_only=True) == 0
            assert os.pread(file, 3, 4000) == b"end"
            assert await native_any.sleep(0) is None
            with pytest.raises(OSError) as raised:
                await native_any.read_at(1 << 20, 0, 1)
            assert raised.value.errno == errno.EBADF

    spargio.run(main, **options)


def test_paths(options: dict[str, Any], tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            await native_any.mkdir_at(folder, "a", 0o700)
            assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
            (tmp_path / "a" / "x").write_bytes(b"x")
            await native_any.link_at(folder, "a/x", folder, "y")
            await native_any.rename_at(AT_FDCWD, tmp_path / "y", folder, "z")
            await native_any.symlink_at("z", folder, "link")
            assert os.readlink(tmp_path / "link") == "z"
            assert (tmp_path / "z").stat().st_nlink == 2
            for name in ("a/x", "z", "link"):
                await native_any.unlink_at(folder, name)
            await native_any.unlink_at(folder, "a", 0x200)
            assert os.listdir(tmp_path) == []
            with pytest.raises(FileNotFoundError) as raised:
                await native_any.unlink_at(folder, "a")
            assert raised.value.filename == "a"
            with pytest.raises(FileNotFoundError) as raised:
                await native_any.rename_at(folder, "a", folder, "b")
            assert (raised.value.filename, raised.value.filename2) == ("a", "b")
        finally:
            os.close(folder)

    spargio.run(main, **options)


def test_streams(options: dict[str, Any], pair: Pair) -> None:
    left, right = pair[0].fileno(), pair[1].fileno()

    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()
        assert await native_any.send(left, b"one") == 3
        assert await native_any.recv(right, 100) == b"one"
        assert await native_any.send_batch(left, [b"two", bytearray(b"three")]) == 8
        first, second = bytearray(4), bytearray(10)
        assert await native_any.recv_batch_into(right, [first, second]) == 8
        assert (first, second[:4]) == (b"twot", b"hree")
        assert await native_any.send_owned(left, b"four") == 4
        assert await native_any.recv_into(right, first) == 4
        assert first == b"four"
        assert await native_any.send(left, b"peek") == 4
        assert await native_any.recv_owned(right, 4, socket.MSG_PEEK) == b"peek"
        assert await native_any.recv(right, 4) == b"peek"
        pair[0].shutdown(socket.SHUT_WR)
        assert await native_any.recv(right, 4) == b""

    spargio.run(main, **options)


def test_send_all_batch_sends_all(pair: Pair) -> None:
    """Far more than the socket takes at once, and more buffers than one call takes."""
    pieces = [bytes([n % 251]) * 700 for n in range(3000)]

    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()
        sending = native_any.send_all_batch(pair[0].fileno(), pieces).start()
        got = bytearray()
        while len(got) < 700 * 3000:
            got += await native_any.recv(pair[1].fileno(), 1 << 20)
        assert await sending == 700 * 3000
        assert got == b"".join(pieces)

    spargio.run(main, shards=2)


def test_arguments_that_cannot_be_are_refused(two: spargio.RuntimeHandle) -> None:
    native_any = two.uring_native_unbound()
    for words, call in {
        "fd is -1: allowed is 0 or more": lambda: native_any.read_at(-1, 0, 1),
        "offset is -1": lambda: native_any.read_at(0, -1, 1),
        "max_bytes is 0": lambda: native_any.recv(0, 0),
        "dir_fd is -1: allowed is AT_FDCWD": lambda: native_any.mkdir_at(-1, "x"),
        "NUL": lambda: native_any.unlink_at(AT_FDCWD, "x\0"),
        "buffers has 0: allowed is 1 to 1024": lambda: native_any.send_batch(0, []),
        "shard is 2: allowed is 0 to 1": lambda: native_any.with_preferred_shard(2),
        "kind is 'soft'": lambda: native_any.lease(0, "soft"),
        "lifetime is 0": lambda: native_any.lease(0, lifetime=0),
    }.items():
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="writable"):
        native_any.read_at_into(0, 0, b"fixed")


# ---- ordinary threads, other runtimes ----


def test_on_an_ordinary_thread(two: spargio.RuntimeHandle, file: int, pair: Pair) -> None:
    native_any = two.uring_native_unbound()
    assert native_any.read_at(file, 1, 3).result(support.LIMIT_S) == b"\1\2\3"
    waiting = native_any.recv(pair[0].fileno(), 10)
    with pytest.raises(TimeoutError):
        waiting.result(0.001)
    assert not waiting.done()
    assert native_any.active_native_op_count() == 1
    pair[1].sendall(b"late")
    assert waiting.result(support.LIMIT_S) == b"late"
    assert waiting.done()
    dropped = native_any.recv(pair[0].fileno(), 10)
    assert dropped.cancel()
    with pytest.raises(TaskCancelled):
        dropped.result(support.LIMIT_S)
    pair[1].sendall(b"kept")
    assert native_any.recv(pair[0].fileno(), 10).result(support.LIMIT_S) == b"kept"
    assert native_any.active_native_op_count() == 0


def test_many_threads_at_once(two: spargio.RuntimeHandle, file: int) -> None:
    def work(seed: int) -> None:
        native_any = two.uring_native_unbound()
        for n in range(100):
            at = (seed * 31 + n * 7) % 4000
            assert native_any.read_at(file, at, 1).result(support.LIMIT_S)[0] == at % 256

    with support.in_thread(work, 1), support.in_thread(work, 2), support.in_thread(work, 3):
        work(4)
    assert two.uring_native_unbound().active_native_op_count() == 0


def test_in_a_task_of_another_runtime(two: spargio.RuntimeHandle, pair: Pair) -> None:
    native_any = two.uring_native_unbound()
    fd = pair[0].fileno()

    async def main(handle: spargio.RuntimeHandle) -> None:
        pair[1].sendall(b"over")
        assert await native_any.recv(fd, 10) == b"over"
        with pytest.raises(TimeoutError):
            with spargio.timeout(0.01):
                await native_any.recv(fd, 10)
        assert native_any.active_native_op_count() == 0

    spargio.run(main, shards=1)


def test_after_the_end_of_the_runtime(file: int) -> None:
    with spargio.Runtime.builder().shards(2).build() as handle:
        native_any = handle.uring_native_unbound()
    with pytest.raises(spargio.RuntimeClosed):
        native_any.read_at(file, 0, 1)
    assert native_any.active_native_op_count() == 0


def test_the_end_of_the_runtime_cancels(pair: Pair) -> None:
    with spargio.Runtime.builder().shards(2).build() as handle:
        native_any = handle.uring_native_unbound()
        ops = [native_any.recv(pair[0].fileno(), 10) for _ in range(20)]
    for op in ops:
        with pytest.raises(TaskCancelled):
            op.result(support.LIMIT_S)
    assert native_any.active_native_op_count() == 0


def test_an_operation_is_awaited_once_unless_it_was_started(file: int) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()
        op = native_any.read_at(file, 0, 1)
        with pytest.raises(RuntimeError, match="has not begun"):
            op.result()
        assert await op == b"\0"
        with pytest.raises(RuntimeError, match="awaited once"):
            await op
        with pytest.raises(RuntimeError, match="awaited once"):
            op.start()
        started = native_any.read_at(file, 0, 1).start()
        assert started.start() is started
        assert [await started, await started] == [b"\0", b"\0"]

    spargio.run(main, shards=1)


# ---- cancellation ----


@pytest.mark.parametrize("shard", [0, 1])
def test_cancelling_the_awaiter_cancels_the_operation(pair: Pair, shard: int) -> None:
    fd = pair[0].fileno()

    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()

        async def waits() -> None:
            with native_any.lease(fd, "strong", shard=shard):
                await native_any.recv(fd, 10)

        job = handle.spawn_pinned(0, waits())
        await support.until(lambda: native_any.active_native_op_count() == 1)
        await support.in_flight(handle, 1)
        assert job.cancel()
        with pytest.raises(TaskCancelled):
            await job
        assert native_any.active_native_op_count() == 0
        pair[1].sendall(b"kept")
        assert await native_any.recv(fd, 10) == b"kept"

    spargio.run(main, shards=2)


@pytest.mark.parametrize("shard", [0, 1])
def test_a_cancellation_that_races_with_data_loses_none(pair: Pair, shard: int) -> None:
    """Each round either the receive gets the byte, or the byte is still there; and a cancellation
    that came too late is delivered at the next await."""
    fd = pair[0].fileno()
    got = {"taken": 0, "left": 0}

    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()

        async def receives() -> bytes:
            data = await native_any.recv(fd, 10)
            got["taken"] += 1
            with pytest.raises(spargio.CancelledError):
                await spargio.sleep(support.LIMIT_S)
            return data

        with native_any.lease(fd, "strong", shard=shard):
            for n in range(200):
                job = handle.spawn_pinned(0, receives())
                for _ in range(n % 5):
                    await spargio.yield_now()
                if n % 2:
                    pair[1].sendall(b"x")
                    for _ in range(n // 5):
                        await spargio.yield_now()
                    if n % 10 == 9:  # Now and then surely too late.
                        await support.until(lambda: native_any.active_native_op_count() == 0)
                    job.cancel()
                else:
                    job.cancel()
                    pair[1].sendall(b"x")
                try:
                    assert await job == b"x"
                except TaskCancelled:
                    got["left"] += 1
                    assert await native_any.recv(fd, 10) == b"x"
        pair[1].setblocking(False)
        assert native_any.active_native_op_count() == 0

    spargio.run(main, shards=2)
    assert sum(got.values()) == 200
    assert got["taken"] > 0 and got["left"] > 0, got


def test_one_that_was_started_and_cancelled_before_its_shard_took_it(
    two: spargio.RuntimeHandle, file: int
) -> None:
    native_any = two.uring_native_unbound().with_preferred_shard(1)
    with support.Blocker(two, 1):
        with native_any.lease(file, "strong", shard=1):
            ops = [native_any.read_at(file, 0, 1) for _ in range(5)]
            assert native_any.active_native_op_count() == 5
            assert {native_any.active_native_op_shard(op) for op in ops} == {1}
            for op in ops:
                op.cancel()
    for op in ops:
        with pytest.raises(TaskCancelled):
            op.result(support.LIMIT_S)
        assert native_any.active_native_op_shard(op) is None
    assert native_any.active_native_op_count() == 0


# ---- the selector ----


def hold(handle: spargio.RuntimeHandle, shard: int, fd: int) -> spargio.JoinHandle[Any]:
    """One more operation under way on `shard`."""
    before = native.ops_in_flight(handle._runtime)[shard]
    poll = Sqe(opcode=Opcode.POLL_ADD, fd=fd, poll32_events=select.POLLIN)

    async def wait() -> None:
        await native.submit_sqe(poll, ())

    job = handle.spawn_pinned(shard, wait())
    support.eventually(lambda: native.ops_in_flight(handle._runtime)[shard] == before + 1)
    return job


def test_the_selector(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound()
    assert native_any.preferred_shard is None
    prefers = native_any.with_preferred_shard(0)
    assert (prefers.preferred_shard, native_any.preferred_shard) == (0, None)
    assert prefers.clear_preferred_shard().preferred_shard is None
    jobs = [hold(two, 0, fd)]
    assert native_any.select_shard() == 1  # 1 and 0 under way: the fewest.
    assert prefers.select_shard() == 0  # One deeper: it still wins.
    jobs.append(hold(two, 0, fd))
    assert prefers.select_shard() == 1  # Two deeper.
    assert prefers.clear_preferred_shard().select_shard() == 1
    jobs += [hold(two, 1, fd), hold(two, 1, fd), hold(two, 1, fd)]
    assert native_any.select_shard() == 0  # 2 and 3.
    for job in jobs:
        job.cancel()
        with pytest.raises(TaskCancelled):
            job.result(support.LIMIT_S)


def test_of_equal_shards_the_own_one(file: int) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async def where() -> tuple[int, int]:
            native_any = handle.uring_native_unbound()
            op = native_any.sleep(0)
            selected = native_any.select_shard()
            await op
            return selected, spargio.current_shard()

        for shard in range(3):
            selected, current = await handle.spawn_pinned(shard, where())
            assert selected == current == shard

    spargio.run(main, shards=3)


def test_operations_that_wait_for_their_shard_count(two: spargio.RuntimeHandle, pair: Pair) -> None:
    native_any = two.uring_native_unbound()
    with support.Blocker(two, 0), support.Blocker(two, 1):
        ops = [native_any.sleep(0) for _ in range(10)]
        shards = [native_any.active_native_op_shard(op) for op in ops]
        assert shards == [0, 1] * 5
        assert native_any.active_native_op_count() == 10
    for op in ops:
        op.result(support.LIMIT_S)
    assert native_any.active_native_op_count() == 0
    assert {native_any.active_native_op_shard(op) for op in ops} == {None}


# ---- leases ----


def test_a_strong_lease_binds_a_descriptor(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound().with_preferred_shard(0)
    other = two.uring_native_unbound()
    assert native_any.fd_affinity_shard(fd) is None
    with native_any.lease(fd, shard=1) as lease:
        assert (lease.kind, lease.shard, lease.fd, lease.active) == ("strong", 1, fd, True)
        assert other.fd_affinity_shard(fd) == native_any.select_shard(fd) == 1
        jobs = [hold(two, 1, fd) for _ in range(3)]
        assert native_any.select_shard(fd) == 1
        op = native_any.recv(fd, 10)
        assert native_any.active_native_op_shard(op) == 1
        with pytest.raises(AffinityViolation, match="a strong lease: a weak lease on shard 0"):
            native_any.lease(fd, "weak", shard=0)
        # Another descriptor, and an operation that names its shard, go where they want.
        assert native_any.select_shard(fd + 1) == 0
        nop = native_any.submit_unsafe_on_shard(0, Sqe(opcode=Opcode.FSYNC, fd=fd))
        assert nop.result(support.LIMIT_S).res == -errno.EINVAL
        pair[1].sendall(b"x")
        assert op.result(support.LIMIT_S) == b"x"
        for job in jobs:
            job.result(support.LIMIT_S)
    assert not lease.active
    lease.close()


def test_a_hard_lease_refuses_other_shards(two: spargio.RuntimeHandle, file: int) -> None:
    native_any = two.uring_native_unbound()
    sqe = Sqe(opcode=Opcode.FSYNC, fd=file)
    words = f"descriptor {file} is held on shard 1 by a hard lease: an operation on shard 0"
    with native_any.lease(file, "hard", shard=1):
        with pytest.raises(AffinityViolation, match=words):
            native_any.submit_unsafe_on_shard(0, sqe)
        assert native_any.submit_unsafe_on_shard(1, sqe).result(support.LIMIT_S).res == 0
        assert native_any.submit_unsafe(sqe).result(support.LIMIT_S).res == 0
        assert native_any.with_preferred_shard(0).select_shard(file) == 1
        # Where `fd` is no descriptor there is nothing to violate.
        nop = Sqe(opcode=Opcode.NOP, fd=file)
        assert native_any.submit_unsafe_on_shard(0, nop).result(support.LIMIT_S).res == 0
    assert native_any.submit_unsafe_on_shard(0, sqe).result(support.LIMIT_S).res == 0
    assert native_any.active_native_op_count() == 0
    assert two.stats_snapshot().outside.native_affinity_violations == 1


def test_violations_are_counted_where_they_happen(file: int) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()
        with native_any.lease(file, "hard", shard=1):
            with pytest.raises(AffinityViolation, match="an operation on shard 0"):
                await native_any.submit_unsafe_on_shard(0, Sqe(opcode=Opcode.FSYNC, fd=file))
            with pytest.raises(AffinityViolation, match="a hard lease: a strong lease on shard 0"):
                native_any.lease(file, shard=0)
            native_any.lease(file, shard=1).close()
        stats = handle.stats_snapshot()
        assert stats.native_affinity_violations == 2
        assert stats.shards[0].native_affinity_violations == 2

    spargio.run(main, shards=2)


def test_a_weak_lease_is_a_preference(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound()
    with native_any.lease(fd, "weak", shard=1, lifetime=support.LIMIT_S * 10):
        assert native_any.select_shard(fd) == 1
        assert native_any.with_preferred_shard(0).select_shard(fd) == 0  # A wish goes before it.
        jobs = [hold(two, 1, fd)]
        assert native_any.select_shard(fd) == 1
        jobs.append(hold(two, 1, fd))
        assert native_any.select_shard(fd) == 0
        pair[1].sendall(b"x")
        for job in jobs:
            job.result(support.LIMIT_S)
        with native_any.lease(fd, "hard", shard=0):  # A stronger one goes before it.
            assert native_any.fd_affinity_shard(fd) == 0
        assert native_any.fd_affinity_shard(fd) == 1


def test_a_lease_that_is_not_used_expires(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound()
    lease = native_any.lease(fd, "hard", shard=1, lifetime=0.02)
    op = native_any.recv(fd, 10)
    support.eventually(lambda: lease._users == 1)
    threading.Event().wait(0.05)  # Longer than its life: the operation under way keeps it.
    assert lease.active
    assert native_any.fd_affinity_shard(fd) == 1
    pair[1].sendall(b"x")
    assert op.result(support.LIMIT_S) == b"x"
    support.eventually(lambda: not lease.active, "the lease to expire")
    assert native_any.fd_affinity_shard(fd) is None


def test_a_lease_that_is_dropped_ends(two: spargio.RuntimeHandle, file: int) -> None:
    native_any = two.uring_native_unbound()
    lease = native_any.lease(file, "hard", shard=1)
    assert native_any.fd_affinity_shard(file) == 1
    del lease
    gc.collect()
    assert native_any.fd_affinity_shard(file) is None


def test_streams_stay_where_they_are_used(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound()
    waiting = native_any.with_preferred_shard(1).recv(fd, 10)
    support.eventually(lambda: native_any.fd_affinity_shard(fd) == 1)
    assert native_any.with_preferred_shard(0).select_shard(fd) == 1
    with native_any.lease(fd, "hard", shard=0):  # One that was asked for goes before it.
        assert native_any.fd_affinity_shard(fd) == 0
    pair[1].sendall(b"x")
    assert waiting.result(support.LIMIT_S) == b"x"


def test_leases_of_operations_do_not_pile_up(two: spargio.RuntimeHandle) -> None:
    table = uring._state.state_of(two._runtime).leases
    for fd in range(1000):
        held = table.begin(fd, "weak", 0)
        table.end(held)
        for lease in held:
            lease._used -= 1  # As if it were a second later.
    assert len(table._implicit) <= 256


def test_a_forked_child_is_told(file: int) -> None:
    done = support.run_program(
        """
        import os, spargio
        with spargio.Runtime.builder().shards(1).build() as handle:
            uring = handle.uring_native_unbound()
            child = os.fork()
            if child == 0:
                try:
                    handle.uring_native_unbound().read_at(0, 0, 1)
                except spargio.SpargioError as error:
                    print(error, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            uring.sleep(0).result(10)
        """,
        "-Wignore::DeprecationWarning",  # Of a fork with threads, which is what this is about.
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "parent" in done.stdout
