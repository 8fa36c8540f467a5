"""spargio.process and spargio.signal: real children, real signals."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import process
from spargio.process import Command


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def run(main: Any) -> Any:
    return spargio.run(main, shards=2)


# ---- processes ----


def test_output_of_a_child(tmp_path: Path) -> None:
    before = descriptors()

    async def main() -> None:
        found = (
            await Command("sh", "-c", "cat; echo $X >&2; pwd; exit 3")
            .env({"X": "told", "PATH": os.environ["PATH"]})
            .cwd(tmp_path)
            .output(b"input\n")
        )
        assert found == process.Output(3, b"input\n" + os.fsencode(tmp_path) + b"\n", b"told\n")
        both = await Command("sh", "-c", "echo a; echo b >&2").stderr(process.STDOUT).output()
        assert both.stdout == b"a\nb\n"
        quiet = await Command("sh").args(["-c", "echo a"]).stdout(process.DEVNULL).output()
        assert quiet == process.Output(0, b"", b"")
        assert await Command("true").status() == 0
        assert await Command("sh", "-c", "kill -9 $$").status() == -9

    run(main)
    assert descriptors() == before


def test_much_output_and_input_at_once(options: dict[str, Any]) -> None:
    """More than the pipes hold, both ways: a child that nobody reads from would stop."""
    data = os.urandom(3_000_000)

    async def main() -> None:
        found = await Command("tee", "/dev/stderr").output(data)
        assert (found.returncode, found.stdout == data, found.stderr == data) == (0, True, True)
        # A child that does not want its input is no error.
        assert (await Command("true").output(data)).returncode == 0

    spargio.run(main, **options)


def test_a_conversation_with_a_child() -> None:
    async def main() -> None:
        command = Command("cat").stdin(process.PIPE).stdout(process.PIPE)
        async with await command.spawn() as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.returncode is None
            for n in range(50):
                line = f"line {n}\n".encode()
                await child.stdin.write_all(line)
                assert await child.stdout.recv(100) == line
            await child.stdin.close()
            assert await child.stdout.recv(100) == b""
            assert await child.wait() == 0
            assert await child.wait() == child.returncode == 0
            child.kill()  # It is gone: nothing happens.

    run(main)


def test_many_children_at_once() -> None:
    async def main() -> None:
        async with spargio.TaskGroup() as group:
            jobs = [group.spawn(Command("sh", "-c", f"exit {n}").status()) for n in range(40)]
        assert [await job for job in jobs] == list(range(40))

    spargio.run(main, shards=3)


def test_several_tasks_wait_for_one_child() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await Command("sleep", "1000").spawn() as child:
            jobs = [handle.spawn_stealable(child.wait()) for _ in range(5)]
            await support.started(*jobs)
            child.terminate()
            assert [await job for job in jobs] == [-signal.SIGTERM] * 5

    spargio.run(main, shards=2)


def test_a_cancelled_child_is_killed() -> None:
    async def main() -> None:
        for call in (Command("sleep", "1000").status, Command("sleep", "1000").output):
            with pytest.raises(TimeoutError), spargio.timeout(0.05):
                await call()
        async with await Command("sleep", "1000").kill_on_drop(True).spawn() as child:
            pid = child.pid
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert child.returncode == -signal.SIGKILL

    run(main)


def test_what_cannot_be_started() -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError, match="no-such-program"):
            await Command("no-such-program").spawn()
        with pytest.raises(PermissionError):
            await Command("/etc/passwd").status()
        with pytest.raises(FileNotFoundError, match="no-such-directory"):
            await Command("true").cwd("/no-such-directory").status()
        with pytest.raises(ValueError, match="without a program"):
            Command()

    run(main)


def test_a_process_group_of_its_own() -> None:
    async def main() -> None:
        source = "import os; print(os.getpgid(0) == os.getpid())"
        for own in (True, False):
            command = Command(sys.executable, "-c", source).process_group(own)
            assert (await command.output()).stdout.strip() == str(own).encode()

    run(main)


# ---- signals ----


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
    done = support.run_program(source)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "went on"


@pytest.mark.parametrize("number", [0, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, 65, -1])
def test_signals_that_cannot_be_awaited(number: int) -> None:
    before = descriptors()
    with pytest.raises(ValueError, match=f"signal is {int(number)}"):
        spargio.signal.stream(number)
    with pytest.raises(ValueError, match="no signal"):
        spargio.signal.stream()
    assert descriptors() == before


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
