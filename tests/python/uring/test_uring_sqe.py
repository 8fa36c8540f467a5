"""Raw SQEs of `spargio.uring`: what they may hold, and what stays alive while the kernel has them."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import stat
import weakref
from pathlib import Path
from typing import Any

import pytest
import support
from support import Pair

import spargio
from spargio._ffi.core import native
from spargio.uring import AT_FDCWD, Completion, Opcode, Sqe, address_of


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
        with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
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
        ({"flags": 1}, r"flags must be 0 or IOSQE_ASYNC \(16\), got 1, which has IOSQE_FIXED_FILE"),
        ({"flags": 2}, "IOSQE_IO_DRAIN"),
        ({"flags": 4}, "IOSQE_IO_LINK"),
        ({"flags": 8}, "IOSQE_IO_HARDLINK"),
        ({"flags": 32}, "IOSQE_BUFFER_SELECT"),
        ({"flags": 64}, "IOSQE_CQE_SKIP_SUCCESS .*would never end"),
        ({"flags": 128}, "unknown bit"),
        ({"user_data": 5}, "user_data must be 0, got 5"),
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
        ({"opcode": 63}, "opcode must be between 0 and 62, got 63"),
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
    with pytest.raises(TypeError, match="keep must be a sequence of objects"):
        native_any.submit_unsafe(Sqe(), b"name")
    with pytest.raises(ValueError, match="sqe must have 64 bytes, got 63"):
        native.submit_sqe(bytes(63), ())
    with pytest.raises(ValueError, match="shard must be between 0 and 1.*, got 2"):
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
        assert native_any.active_native_op_count() == 0
        if shard == 0:  # The other shard lets go of it a moment later.
            buffer.extend(b"more")
        del buffer
        await support.until(lambda: gc.collect() >= 0 and kept() is None)

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
