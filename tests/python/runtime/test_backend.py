"""Where io_uring is forbidden or not wanted: the epoll backend, chosen or fallen back to."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio.uring import Opcode, Sqe

pytestmark = pytest.mark.any_backend

# A seccomp filter that answers the three calls of io_uring with an errno, as container runtimes have it
# (seccomp(2), BPF): numbers of the calls are the same on every architecture since Linux 5.1.
DENIED = """
import ctypes, struct

def deny(number):
    first, last = 425, 427
    code = [
        (0x20, 0, 0, 0),               # the call's number
        (0x35, 0, 2, first),           # below: allowed
        (0x25, 1, 0, last),            # above: allowed
        (0x06, 0, 0, 0x00050000 | number),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    program = b"".join(struct.pack("HBBI", *one) for one in code)
    memory = ctypes.create_string_buffer(program)
    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    filter = Filter(len(code), ctypes.addressof(memory))
    if libc.prctl(22, 2, ctypes.byref(filter), 0, 0) != 0:
        print("no seccomp")
        raise SystemExit(0)

deny(NUMBER)
"""

WORK = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(name)s %(message)s", stream=sys.stdout)
import spargio
from spargio import fs, net
spargio.preload()  # A first use takes its time, which debug mode tells.

async def serve(listener):
    stream, _ = await listener.accept()
    async with stream:
        while data := await stream.recv(65536):
            await stream.write_all(data)

async def main(handle):
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    async with listener:
        job = handle.spawn_pinned(1, serve(listener))
        async with await net.TcpStream.connect(*listener.local_addr[:2]) as stream:
            for n in range(50):
                await stream.write_all(bytes([n]) * 3000)
                assert await stream.read_exactly(3000) == bytes([n]) * 3000
        await job
    assert await fs.read("/proc/self/cmdline")
    await spargio.sleep(0.001)
    print(handle.backend(), handle.stats_snapshot().backend)

spargio.run(main, shards=2)
"""


def run(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if name != "SPARGIO_BACKEND"}
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", source],
        env=known | environment,
        capture_output=True,
        text=True,
        timeout=support.LIMIT_S,
    )


def denied(number: int, source: str = WORK, **environment: str) -> list[str]:
    done = run(DENIED.replace("NUMBER", str(number)) + source, **environment)
    if done.stdout == "no seccomp\n":
        pytest.skip("this machine does not allow seccomp filters")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES, 99])
def test_what_is_denied_falls_back_with_one_line(number: int) -> None:
    warning, told = denied(number)
    assert warning.startswith("WARNING spargio io_uring is not available")
    assert f"({errno.errorcode[number]}: {os.strerror(number)})" in warning
    if number == errno.EPERM:
        assert "seccomp profile" in warning and "kernel.io_uring_disabled" in warning
    assert told == "epoll epoll"


def test_chosen_it_says_nothing() -> None:
    assert denied(errno.EPERM, SPARGIO_BACKEND="epoll") == ["epoll epoll"]


def test_io_uring_that_is_demanded_is_an_error() -> None:
    source = """
import spargio
async def main(): pass
try:
    spargio.run(main, backend="io_uring")
except OSError as error:
    print(error.errno)
"""
    assert denied(errno.EPERM, source) == [str(errno.EPERM)]
    by_environment = source.replace(', backend="io_uring"', "")
    assert denied(errno.EPERM, by_environment, SPARGIO_BACKEND="io_uring") == [str(errno.EPERM)]


def test_the_option_wins_over_the_environment() -> None:
    source = WORK.replace("shards=2", "shards=2, backend='epoll'")
    done = run(source, SPARGIO_BACKEND="io_uring")
    assert (done.returncode, done.stdout, done.stderr) == (0, "epoll epoll\n", "")


def test_auto_as_an_option_falls_back_whatever_the_environment_says() -> None:
    source = WORK.replace("shards=2", "shards=2, backend='auto'")
    lines = denied(errno.EPERM, source, SPARGIO_BACKEND="io_uring")
    assert lines[-1] == "epoll epoll"


def test_a_wrong_environment_is_named() -> None:
    done = run(WORK, SPARGIO_BACKEND="kqueue")
    assert done.returncode == 1
    assert 'SPARGIO_BACKEND must be auto, io_uring or epoll, got "kqueue"' in done.stderr


@pytest.mark.parametrize("wrong", ["kqueue", "", "EPOLL"])
def test_a_wrong_option_is_named(wrong: str) -> None:
    allowed = f"backend must be 'auto', 'io_uring' or 'epoll', got {wrong!r}"
    with pytest.raises(ValueError, match=allowed):
        spargio.RuntimeBuilder().backend(wrong)


def test_sqpoll_is_of_io_uring_only() -> None:
    with pytest.raises(ValueError, match="io_uring_sqpoll_idle_ms must be 0 with .*, got 5"):
        spargio.RuntimeBuilder().backend("epoll").io_uring_sqpoll(5).build()


def test_on_epoll_no_call_of_io_uring_is_made(tmp_path: Path) -> None:
    source = WORK.replace("shards=2", "shards=2, backend='epoll'")
    assert programs.system_calls(tmp_path, source, *programs.RING_CALLS) == []


def test_the_end_waits_for_a_thread_that_rings(tmp_path: Path) -> None:
    """What it has done is seen before it rings: its bell is not closed until then."""
    source = """
        import spargio
        from spargio import fs

        async def main(handle):
            job = handle.spawn_pinned(0, fs.metadata("/"))
            while not job.done():
                await spargio.sleep(0.001)

        spargio.run(main, shards=1, backend="epoll")
    """
    late = "inject=write:delay_enter=200000"  # The bell is the only write, 0.2 s late.
    lines = programs.system_calls(tmp_path, source, "write", late=late)
    assert lines and not any("EBADF" in line for line in lines), lines


def test_what_only_io_uring_has_says_so() -> None:
    async def main() -> None:
        native = spargio.current_handle().uring_native_unbound()
        sqe = Sqe(opcode=Opcode.FUTEX_WAIT, fd=2)
        with pytest.raises(
            OSError, match=r"FUTEX_WAIT\) needs io_uring: the backend is epoll"
        ) as caught:
            await native.submit_unsafe(sqe)
        assert caught.value.errno == errno.EOPNOTSUPP

    spargio.run(main, backend="epoll", shards=1)


def epoll(main: Any, **options: Any) -> Any:
    return spargio.run(main, backend="epoll", **options)


def test_a_busy_shard_looks_at_its_sockets() -> None:
    """Ready tasks do not keep I/O waiting: nothing but `submit` brings it forward there."""

    async def main(handle: spargio.RuntimeHandle) -> int:
        listener = await spargio.net.TcpListener.bind("127.0.0.1", 0)
        async with listener, await spargio.net.TcpStream.connect(*listener.local_addr[:2]) as one:
            other, _ = await listener.accept()
            async with other:
                answer = handle.spawn_pinned(0, other.read_exactly(5))
                await spargio.yield_now()  # It waits.
                await one.write_all(b"hello")
                turns = 0
                while not answer.done():
                    await spargio.yield_now()  # Never idle.
                    turns += 1
                    assert turns < 100_000
                assert await answer == b"hello"
                return turns

    assert epoll(main, shards=1) < 100


def test_more_completions_than_the_queue_holds() -> None:
    async def main(handle: spargio.RuntimeHandle) -> int:
        async with await spargio.fs.File.open(__file__) as file:
            buffers = [bytearray(50) for _ in range(2000)]
            jobs = [
                handle.spawn_pinned(0, file.read_vectored_at(n % 100, [buffer]))
                for n, buffer in enumerate(buffers)
            ]
            text = Path(__file__).read_bytes()
            for n, job in enumerate(jobs):
                assert await job == 50
                assert buffers[n] == text[n % 100 : n % 100 + 50]
        stats = handle.stats_snapshot()
        assert stats.stale_completions == 0
        return int(stats.cq_overflows)

    assert epoll(main, shards=1, ring_entries=8) > 0


def test_a_pipe_and_a_process() -> None:
    async def main() -> Any:
        command = spargio.process.Command(sys.executable, "-c", "print('x' * 100000)")
        out = await command.output()
        return len(out.stdout)

    assert epoll(main, shards=2) == 100_001


def test_cancelled_while_it_waits_for_a_thread() -> None:
    """More blocking calls than threads: those in the queue end at once, those under way by themselves."""

    async def main(handle: spargio.RuntimeHandle) -> int:
        jobs = [handle.spawn_pinned(0, spargio.fs.read("/proc/self/maps")) for _ in range(200)]
        await spargio.yield_now()
        await spargio.yield_now()
        for job in jobs:
            job.cancel()
        ended = 0
        for job in jobs:
            try:
                await job
            except spargio.TaskCancelled:
                ended += 1
        # The sleep of this wait is one itself.
        await support.until(lambda: handle.stats_snapshot().ops_in_flight <= 1)
        return ended

    assert epoll(main, shards=1) > 0


def test_the_snapshot_can_be_read_as_json() -> None:
    async def main(handle: spargio.RuntimeHandle) -> str:
        return json.dumps({"backend": handle.stats_snapshot().backend})

    assert epoll(main) == '{"backend": "epoll"}'
