"""spargio.process: real children, what goes to them and what comes from them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import process
from spargio.process import Command


def run(main: Any) -> Any:
    return spargio.run(main, shards=2)


def test_output_of_a_child(tmp_path: Path) -> None:
    before = len(support.descriptors())

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
    assert len(support.descriptors()) == before


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
