"""What touches the rest of the process: threads, an asyncio loop, children, forks, other runtimes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

import spargio
from spargio import boundary
from spargio.process import PIPE, Command

from .common import LIMIT_S, Soak, no_hang


async def calls(soak: Soak) -> None:
    """A server of requests; an asyncio loop and a plain thread ask."""
    client, server = boundary.channel(capacity=64)

    async def serve() -> None:
        async for request in server:
            request.respond(request.request * 2)

    async def ask() -> None:
        for n in range(200):
            assert await client.call(n) == n * 2

    def from_thread() -> None:
        for n in range(200):
            assert client.try_call(n).wait_timeout(LIMIT_S) == n * 2

    serving = spargio.current_handle().spawn_stealable(serve())
    while not soak.over:
        with no_hang("calls from outside"):
            await spargio.spawn_blocking(asyncio.run, ask())
            await spargio.spawn_blocking(from_thread)
        soak.done("calls")
    client.close()
    await serving


async def children(soak: Soak) -> None:
    """`cat` gives back what it got, or is killed in the middle."""
    rng = soak.random("children")
    while not soak.over:
        data = rng.randbytes(rng.randrange(1, 150_000))
        if rng.random() < 0.5:
            with no_hang("a child's output"):
                output = await Command("cat").stdin(PIPE).stdout(PIPE).output(data)
            assert (output.stdout, output.returncode) == (data, 0)
        else:
            async with await Command("cat").stdin(PIPE).stdout(PIPE).spawn() as child:
                child.kill()
                with no_hang("a killed child"):
                    assert await child.wait() == -signal.SIGKILL
            soak.met("child killed")
        soak.done("children")
        await spargio.sleep(0.02)


_starts = threading.Lock()
"""CPython 3.11 forks a child that hangs where another thread just made or ended its thread state;
a free-threaded 3.13 wherever another thread stops the world, so there is no fork there."""


async def forks(soak: Soak) -> None:
    """A forked child may not use the runtime, is told so, and disturbs nothing."""
    handle = spargio.current_handle()

    async def nothing() -> None:
        pass

    while not soak.over:
        with _starts:
            pid = os.fork()
        if pid == 0:
            coroutine = nothing()
            try:
                handle.spawn_stealable(coroutine)
            except BaseException:
                os._exit(42)
            os._exit(1)
        try:
            with no_hang("a forked child"):
                _, status = await spargio.spawn_blocking(os.waitpid, pid, 0)
        except AssertionError:
            os.kill(pid, signal.SIGKILL)
            raise
        assert os.waitstatus_to_exitcode(status) == 42, status
        soak.done("forks")
        await spargio.sleep(0.1)


def _one_runtime() -> None:
    async def work(n: int) -> int:
        await spargio.sleep(0.001)
        return n

    with _starts, spargio.Runtime.builder().shards(2).build() as handle:
        jobs = [handle.spawn_stealable(work(n)) for n in range(20)]
        assert [job.result(LIMIT_S) for job in jobs] == list(range(20))
        handle.spawn_stealable(_for_ever())


async def _for_ever() -> None:
    await spargio.sleep(3600)


async def runtimes(soak: Soak) -> None:
    """Runtimes that come and go beside this one, closed with work under way."""
    while not soak.over:
        with no_hang("another runtime"):
            await spargio.spawn_blocking(_one_runtime)
        soak.done("runtimes")
        await spargio.sleep(0.02)


async def signals(soak: Soak) -> None:
    async with spargio.signal.stream(signal.SIGUSR1) as stream:
        while not soak.over:
            os.kill(os.getpid(), signal.SIGUSR1)
            with no_hang("a signal"):
                assert await stream.recv() is signal.SIGUSR1
            soak.done("signals")
            await spargio.sleep(0.01)


WORKLOADS = {
    "calls": calls,
    "children": children,
    "runtimes": runtimes,
    "signals": signals,
}
if getattr(sys, "_is_gil_enabled", lambda: True)():
    WORKLOADS["forks"] = forks
