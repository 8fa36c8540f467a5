"""spargio.signal: streams of real signals."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import programs
import pytest
import support

import spargio
from spargio.process import Command


def run(main: Any) -> Any:
    return spargio.run(main, shards=2)


def test_a_stream_of_signals(options: dict[str, Any]) -> None:
    before = signal.getsignal(signal.SIGUSR1)

    async def main() -> None:
        async with spargio.signal.stream(signal.SIGUSR1, signal.SIGUSR2) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert await signals.recv() is signal.SIGUSR1
            os.kill(os.getpid(), signal.SIGUSR2)
            assert await signals.recv() is signal.SIGUSR2
            os.kill(os.getpid(), signal.SIGUSR2)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert {await signals.recv(), await signals.recv()} == {
                signal.SIGUSR1,
                signal.SIGUSR2,
            }
            with pytest.raises(TimeoutError), spargio.timeout(0.005):
                await signals.recv()

    seen: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        spargio.run(main, **options)
        assert seen == []
        os.kill(os.getpid(), signal.SIGUSR1)  # The handler of before is back.
        assert seen == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_signals_in_a_runtime_in_the_background() -> None:
    async def wait(ready: threading.Event) -> list[int]:
        async with spargio.signal.stream(signal.SIGUSR1) as signals:
            ready.set()
            return [await signals.recv() for _ in range(2)]

    # The last one may come when nobody watches any more.
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with spargio.Runtime.builder().shards(2).build() as handle:
            ready = [threading.Event(), threading.Event()]
            jobs = [handle.spawn_pinned(shard, wait(ready[shard])) for shard in range(2)]
            for one in ready:
                assert one.wait(support.LIMIT_S)

            def told() -> bool:
                os.kill(
                    os.getpid(), signal.SIGUSR1
                )  # Again and again: fast ones may be told as one.
                return all(job.done() for job in jobs)

            support.eventually(told)
            for job in jobs:
                assert job.result(support.LIMIT_S) == [signal.SIGUSR1] * 2
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_is_awaited() -> None:
    source = """
        import os, signal
        import spargio

        async def main():
            async with spargio.signal.stream(signal.SIGINT) as signals:
                os.kill(os.getpid(), signal.SIGINT)
                print(await signals.recv())
            task = spargio.current_handle().spawn_pinned(0, spargio.signal.ctrl_c())
            while task.shard is None:
                await spargio.yield_now()
            os.kill(os.getpid(), signal.SIGINT)  # It has come to its await: this is its own shard.
            await task
            return "went on"

        print(spargio.run(main, shards=2))
        """
    done = programs.run_program(source)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "went on"


@pytest.mark.parametrize("number", [0, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, 65, -1])
def test_signals_that_cannot_be_awaited(number: int) -> None:
    before = len(support.descriptors())
    with pytest.raises(ValueError, match=f"signal must be .*, got .*{int(number)}"):
        spargio.signal.stream(number)
    with pytest.raises(ValueError, match="signals must"):
        spargio.signal.stream()
    assert len(support.descriptors()) == before


def test_a_stream_that_is_dropped_gives_the_handler_back() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with pytest.warns(ResourceWarning):
        spargio.signal.stream(signal.SIGUSR2)
        import gc

        gc.collect()
    seen: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
    os.kill(os.getpid(), signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, before)
    assert seen == [signal.SIGUSR2]


def test_children_do_not_inherit_what_is_watched() -> None:
    async def main() -> None:
        async with spargio.signal.stream(signal.SIGTERM):
            child = await Command("sleep", "1000").spawn()
            async with child:
                child.terminate()
                assert await child.wait() == -signal.SIGTERM

    run(main)
