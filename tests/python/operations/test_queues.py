"""The kernel's queues when they are full or refuse: nothing is lost, each event is counted. Refusals are
injected into the real system call, by strace."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from contextlib import ExitStack
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import net

pytestmark = support.needs_io_uring

WORK = """
    import json
    import spargio
    from spargio import fs, net

    async def client(port, n):
        async with await net.TcpStream.connect("127.0.0.1", port) as one:
            await one.write_all(bytes([n]) * 1000)
            return await one.read_exactly(1000)

    async def serve(listener, count):
        for _ in range(count):
            one, _ = await listener.accept()
            async with one:
                await one.write_all(await one.read_exactly(1000))

    async def main(handle):
        print("ready", flush=True)
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            server = handle.spawn_pinned(0, serve(listener, 60))
            jobs = [handle.spawn_pinned(1, client(listener.local_addr[1], n)) for n in range(60)]
            for n, job in enumerate(jobs):
                assert await job == bytes([n]) * 1000
            await server
        while (stats := handle.stats_snapshot()).tasks_ended < 61:  # The counts of their last pass.
            await spargio.yield_now()
        print(json.dumps(stats.as_dict()))

    spargio.run(main, shards=2, backend="io_uring", ring_entries=16)
"""


def injected(source: str, what: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("strace") is None:
        pytest.skip("no strace on this machine")
    inject = f"inject=io_uring_enter:{what}"
    before = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=io_uring_enter", "-e", inject)
    done = programs.run_program(source, before=before)
    if "ptrace" in done.stderr or "PTRACE" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.splitlines()[0]}")
    return done


@pytest.mark.parametrize("errno", ["EAGAIN", "EBUSY", "ENOMEM"])
def test_a_submission_that_is_refused_is_repeated(errno: str) -> None:
    done = injected(WORK, f"error={errno}:when=3+5")
    assert (done.returncode, done.stderr) == (0, "")
    stats = json.loads(done.stdout.splitlines()[-1])
    assert stats["submits_refused"] > 3
    assert stats["stale_completions"] == 0


def test_an_interrupted_wait_goes_on() -> None:
    done = injected(WORK, "error=EINTR:when=3+3")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.splitlines()[-1])["submits_refused"] == 0


@pytest.mark.parametrize(
    ("errno", "says"),
    [("EBADR", "completions were lost"), ("EPERM", "seccomp"), ("EBADF", "not its own")],
)
def test_what_cannot_be_gone_on_from_says_why(errno: str, says: str) -> None:
    done = injected(WORK, f"error={errno}:when=20")
    assert done.returncode not in (0, 1)
    assert f"io_uring_enter failed with {errno[1:]}" in done.stderr
    assert says in done.stderr


def test_a_burst_through_a_tiny_ring() -> None:
    """Far more operations than both queues have room for, begun in one pass."""

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await spargio.fs.File.open(__file__) as file:
            buffers = [bytearray(50) for _ in range(3000)]
            jobs = [
                handle.spawn_pinned(0, file.read_vectored_at(n % 100, [buffer]))
                for n, buffer in enumerate(buffers)
            ]
            text = await spargio.fs.read(__file__)
            for n, job in enumerate(jobs):
                assert await job == 50
                assert buffers[n] == text[n % 100 : n % 100 + 50]
        await support.until(lambda: handle.stats_snapshot().sqes_submitted >= 3000)
        assert handle.stats_snapshot().stale_completions == 0

    spargio.run(main, shards=1, ring_entries=8, backend="io_uring")


def overflowing(count: int) -> dict[str, Any]:
    """So many connections come while the shard does not look at its queue, which has 32 places."""

    async def main(handle: spargio.RuntimeHandle) -> dict[str, Any]:
        taken = 0
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            port = listener.local_addr[1]

            async def accept() -> None:
                nonlocal taken
                async for one, _ in listener.incoming():
                    await one.close()
                    taken += 1
                    if taken == count:
                        return

            job = handle.spawn_pinned(0, accept())
            await support.started(job)
            await support.in_flight(handle, 1)
            with ExitStack() as stack:
                for _ in range(count):  # Plain and blocking: the shard does nothing else.
                    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                with spargio.timeout(support.LIMIT_S):
                    await job
        await support.until(lambda: handle.stats_snapshot().tasks_ended == 1)
        return handle.stats_snapshot().as_dict()

    # Completions come by themselves, not when they are asked for: so the queue can overflow.
    result: dict[str, Any] = spargio.run(
        main, shards=1, ring_entries=8, backend="io_uring", io_uring_coop_taskrun=True
    )
    return result


def test_a_multishot_accept_that_overflow_ended_begins_anew() -> None:
    stats = overflowing(200)
    assert stats["cq_overflows"] > 0
    assert stats["multishots_cut"] > 0
    assert stats["stale_completions"] == 0


def test_more_receives_than_buffers() -> None:
    """What finds no buffer brings its own: all bytes come."""
    count = 300

    async def main(handle: spargio.RuntimeHandle) -> int:
        pairs = [net.UnixStream.pair() for _ in range(count)]
        jobs = [handle.spawn_pinned(0, near.recv(100)) for near, _ in pairs]
        await support.started(*jobs)
        await support.in_flight(handle, count)
        with ExitStack() as stack:
            for n, (_, far) in enumerate(pairs):  # In one pass of the shard.
                plain = stack.enter_context(socket.socket(fileno=far._io.detach()))
                plain.send(str(n).encode())
        for n, job in enumerate(jobs):
            assert await job == str(n).encode()
        for near, _ in pairs:
            await near.close()
        await support.until(lambda: handle.stats_snapshot().tasks_ended == count)
        stats = handle.stats_snapshot()
        assert stats.buffers_in_hands == 0
        return int(stats.buffers_exhausted)

    # As above; otherwise a pass takes fewer completions than there are buffers.
    assert spargio.run(main, shards=1, backend="io_uring", io_uring_coop_taskrun=True) > 0
