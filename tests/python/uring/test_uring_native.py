"""Operations of `spargio.uring` that find their shard: what they do, from where, and their end."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import programs
import pytest
import support
from support import Pair

import spargio
from spargio import TaskCancelled
from spargio.uring import AT_FDCWD

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


def test_a_forked_child_is_told(file: int) -> None:
    done = programs.run_program(
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
