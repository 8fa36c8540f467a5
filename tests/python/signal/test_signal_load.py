"""A thousand SIGALRM a second while sockets and files are busy: no operation fails with EINTR, nothing
is lost or twice, and the handler runs on the main thread."""

from __future__ import annotations

import programs
import pytest
import support

LOAD = """
import os, signal, sys, tempfile, threading, time
import spargio
from spargio import fs, net, process

ticks, elsewhere = 0, 0

def tick(number, frame):
    # Python's way (signal.signal) has no SA_RESTART: what is interrupted says so.
    global ticks, elsewhere
    ticks += 1
    elsewhere += threading.current_thread() is not threading.main_thread()

async def echo(stream):
    async with stream:
        while data := await stream.recv(65536):
            await stream.write_all(data)

async def sockets(handle, port, until):
    rounds = 0
    async with await net.TcpStream.connect("127.0.0.1", port) as stream:
        while time.monotonic() < until:
            data = bytes([rounds % 256]) * 100_000
            sent = handle.spawn_pinned(spargio.current_shard(), send(stream, data))
            assert await stream.read_exactly(len(data)) == data
            await sent
            rounds += 1
    return rounds

async def send(stream, data):
    await stream.write_all(data)

async def files(folder, name, until):
    rounds = 0
    path = os.path.join(folder, str(name))
    while time.monotonic() < until:
        data = os.urandom(50_000)
        async with await fs.File.open(path, "w+") as file:
            await file.write_all_at(0, data)
            await file.fsync()
            assert await file.read_to_end_at(0) == data
        assert await fs.read(path) == data
        await fs.remove_file(path)
        rounds += 1
    return rounds

async def pipes(until):
    rounds = 0
    while time.monotonic() < until:
        done = await process.Command("cat").output(b"x" * 200_000)
        assert len(done.stdout) == 200_000
        rounds += 1
    return rounds

async def sleeps(until):
    rounds = 0
    while time.monotonic() < until:
        before = time.monotonic()
        await spargio.sleep(0.003)
        assert time.monotonic() - before >= 0.003
        rounds += 1
    return rounds

async def main(handle):
    until = time.monotonic() + SECONDS
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    port = listener.local_addr[1]
    async def serve():
        while True:
            stream, _ = await listener.accept()
            handle.spawn_stealable(echo(stream))
    serving = handle.spawn_pinned(0, serve())
    shards = handle.shard_count()
    with tempfile.TemporaryDirectory() as folder:
        jobs = [handle.spawn_pinned(n % shards, sockets(handle, port, until)) for n in range(4)]
        jobs += [handle.spawn_pinned(n % shards, files(folder, n, until)) for n in range(4)]
        jobs += [handle.spawn_pinned(0, pipes(until)), handle.spawn_pinned(0, sleeps(until))]
        rounds = [await job for job in jobs]
    serving.cancel()
    stats = handle.stats_snapshot()
    assert stats.stale_completions == 0
    return rounds

signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
RUN
signal.setitimer(signal.ITIMER_REAL, 0)
assert all(rounds), rounds
print(ticks > 100, elsewhere)
print(ticks, rounds, file=sys.stderr)
"""

RUNS = {
    "driven": "rounds = spargio.run(main, shards={shards}, backend={backend!r})",
    # The main thread starts it, waits, and stops it; shards are threads of their own.
    "background": """
with spargio.RuntimeBuilder().apply(shards={shards}, backend={backend!r}).build() as handle:
    rounds = handle.spawn_pinned(0, main(handle)).result()
""",
}


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
@pytest.mark.parametrize(("kind", "shards"), [("driven", 1), ("driven", 2), ("background", 2)])
def test_a_thousand_signals_a_second(kind: str, shards: int, backend: str) -> None:
    if backend == "io_uring" and support.ON_EPOLL:
        pytest.skip("io_uring's own: the backend is epoll")
    source = LOAD.replace("RUN", RUNS[kind].format(shards=shards, backend=backend))
    done = programs.run_program(source.replace("SECONDS", "1"))
    print(done.stderr)
    assert (done.returncode, done.stdout) == (0, "True 0\n"), done
