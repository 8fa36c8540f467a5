"""Children: lost statuses, process groups, pipes that nobody uses, what came before the end."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import _children, process
from spargio.io import BufReader
from spargio.process import DEVNULL, PIPE, Command

_numbers = itertools.count(1)


class Mark:
    """How long a `sleep` of this test sleeps: what to know it by."""

    def __init__(self) -> None:
        self.text = f"1000.{os.getpid()}{next(_numbers)}"

    def running(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[:2] == [b"sleep", self.text.encode()]:
                found.append(int(path.parent.name))
        return found


@pytest.fixture
def mark() -> Iterator[Mark]:
    made = Mark()
    yield made
    for pid in made.running():
        os.kill(pid, signal.SIGKILL)


def within(call: Awaitable[Any]) -> Any:
    """Run it, for no longer than anything here may take."""

    async def main() -> Any:
        with spargio.timeout(support.LIMIT_S):
            return await call

    return spargio.run(main, shards=1)


# ---- statuses ----

LOST = """
import collections, os, signal, threading, time
import spargio
from spargio.process import Command

seen = collections.Counter()

async def main():
    for _ in range(40):
        done = await Command("sh", "-c", "echo ran; exit 3").output()
        assert done.stdout == b"ran\\n"
        seen[done.returncode] += 1
        seen[await Command("true").stdin(0).status() in (0, None)] += 1
        child = await Command("sleep", "1000").spawn()
        async with child:
            child.kill()
            assert await child.wait() in (-9, None)
            child.kill()

def run():
    spargio.run(main, shards=2)
    assert seen.pop(True) == 40
    print(set(seen) <= {3, None}, sum(seen.values()))
"""


@pytest.mark.parametrize(
    "reaper",
    [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        """
def reap():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.0001)

threading.Thread(target=reap, daemon=True).start()
""",
    ],
    ids=["ignored", "another waiter"],
)
def test_a_status_that_somebody_else_took_is_none(reaper: str) -> None:
    done = programs.run_program(f"{LOST}\n{reaper}\nrun()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True 40\n", "")


@pytest.mark.parametrize("kernel_knows", [True, False])
def test_a_status_that_was_taken_while_it_ran(
    kernel_knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel_knows:
        monkeypatch.setattr(_children, "_PIDFD_GET_INFO", 0)

    async def main() -> None:
        async with await Command("sh", "-c", "exit 3").spawn() as child:
            assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 3
            assert await child.wait() in ((3, None) if kernel_knows else (None,))
            assert await child.wait() == child.returncode
            child.terminate()  # It is nobody's number any more.
        assert await child.wait() == child.returncode

    spargio.run(main, shards=1)


def test_a_child_is_killed_and_waited_for_without_a_descriptor_left() -> None:
    done = programs.run_program(
        """
        import os, resource
        import spargio
        from spargio.process import Command

        async def main():
            child = await Command("sleep", "1000").kill_on_drop(True).spawn()
            held = []
            try:
                while True:
                    held.append(os.dup(0))
            except OSError:
                pass
            await child.close()
            print(child.returncode, held.clear())

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        spargio.run(main, shards=1)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "-9 None\n", "")


def test_a_number_that_is_another_process_is_no_child() -> None:
    """As if the child's number had been given anew: no signal goes there."""
    popen = subprocess.Popen(["true"])
    popen.wait()
    popen.pid, popen.returncode = os.getppid(), None  # type: ignore[assignment]
    child = _children.Process(popen, own_group=True)
    child.send_signal(signal.SIGKILL)
    child.kill()
    assert within(child.wait()) is None


# ---- pipes that nobody uses ----


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: Command("cat").stdin(PIPE).output(), process.Output(0, b"", b"")),
        (lambda: Command("cat").stdin(PIPE).stdout(DEVNULL).status(), 0),
        (lambda: Command("head", "-c", "1000000", "/dev/zero").stdout(PIPE).status(), -13),
        (lambda: Command("cat").stdin(PIPE).stdout(PIPE).stderr(PIPE).status(), 0),
        (lambda: _spawn_and_wait(Command("cat").stdin(PIPE).stdout(DEVNULL)), 0),
    ],
    ids=["output", "status, stdin", "status, stdout", "status, all", "wait"],
)
def test_no_child_waits_for_a_pipe_that_nobody_uses(
    call: Callable[[], Awaitable[Any]], expected: object
) -> None:
    async def main() -> object:
        with spargio.timeout(support.LIMIT_S):
            return await call()

    assert spargio.run(main, shards=1) == expected


async def _spawn_and_wait(command: Command) -> int | None:
    async with await command.spawn() as child:
        return await child.wait()


def test_wait_lets_a_write_end_first() -> None:
    size = 3_000_000

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await Command("wc", "-c").stdin(PIPE).stdout(PIPE).spawn() as child:
            assert child.stdin is not None
            assert child.stdout is not None
            writer = handle.spawn_pinned(0, child.stdin.write_all(bytes(size)))
            await support.started(writer)
            assert await child.wait() == 0
            assert int(await child.stdout.recv(100)) == size
            await writer

    spargio.run(main, shards=1)


def test_one_who_writes_on_takes_the_pipe_out() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await Command("cat").stdin(PIPE).stdout(PIPE).spawn() as child:
            stdin, child.stdin = child.stdin, None
            assert stdin is not None
            assert child.stdout is not None
            waiter = handle.spawn_pinned(0, child.wait())
            await support.started(waiter)
            await stdin.write_all(b"on")
            assert await child.stdout.recv(10) == b"on"
            await stdin.close()
            assert await waiter == 0

    spargio.run(main, shards=1)


# ---- groups ----


@pytest.mark.parametrize("kind", ["process_group", "new_session"])
@pytest.mark.parametrize("call", ["output", "status", "close", "drop"])
def test_what_is_killed_is_gone_with_all_it_started(
    call: str, kind: str, mark: Mark, unraisables: Any
) -> None:
    script = f"sleep {mark.text} & sleep {mark.text} & wait"

    async def cancelled(run: Coroutine[Any, Any, object]) -> None:
        job = spargio.current_handle().spawn_pinned(0, run)
        await support.until(lambda: len(mark.running()) == 2)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job

    async def main() -> None:
        command = getattr(Command("sh", "-c", script), kind)(True)
        if call in ("output", "status"):
            return await cancelled(getattr(command, call)())
        child = await command.kill_on_drop(True).spawn()
        await support.until(lambda: len(mark.running()) == 2)
        if call == "close":
            return await child.close()
        del child
        return None

    spargio.run(main, shards=1)
    if call != "drop":
        assert mark.running() == []  # When the call has ended, not soon after.
    assert {one.kind for one in unraisables.take()} <= {
        ResourceWarning
    }  # Of the one that was dropped.
    support.eventually(lambda: mark.running() == [])


def test_a_group_ends_whose_first_process_has_ended(mark: Mark) -> None:
    """It holds the pipe: output() waits for it, and its time limit ends it."""

    async def main() -> None:
        command = Command("sh", "-c", f"sleep {mark.text} & echo begun").process_group(True)
        with pytest.raises(TimeoutError) as caught, spargio.timeout(0.5):
            await command.output()
        assert caught.value.stdout == b"begun\n"  # type: ignore[attr-defined]

    spargio.run(main, shards=1)
    support.eventually(lambda: mark.running() == [])


def test_a_signal_for_the_group(mark: Mark) -> None:
    async def main() -> None:
        command = Command("sh", "-c", f"sleep {mark.text} & sleep {mark.text} & wait")
        async with await command.process_group(True).spawn() as child:
            await support.until(lambda: len(mark.running()) == 2)
            child.signal_group(signal.SIGTERM)
            assert await child.wait() == -signal.SIGTERM
            child.signal_group(signal.SIGTERM)  # There is none any more: nothing happens.
        child.signal_group(signal.SIGTERM)
        async with await Command("true").spawn() as child:
            with pytest.raises(ValueError, match=rf"child {child.pid} .* process_group\(True\)"):
                child.signal_group(signal.SIGTERM)
            await child.wait()

    spargio.run(main, shards=1)
    support.eventually(lambda: mark.running() == [])


def test_without_a_group_of_its_own_only_the_child_is_killed(mark: Mark) -> None:
    async def main() -> None:
        command = Command("sh", "-c", f"sleep {mark.text} & wait").kill_on_drop(True)
        async with await command.spawn():
            await support.until(mark.running)

    spargio.run(main, shards=1)
    assert len(mark.running()) == 1


def test_a_group_is_no_session() -> None:
    show = "import os; print(os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid())"

    async def main() -> list[bytes]:
        plain = Command("python3", "-c", show)
        commands = [
            plain,
            plain.process_group(True),
            plain.new_session(True),
            plain.new_session(True).process_group(True),
        ]
        return [(await one.output()).stdout.strip() for one in commands]

    group = (
        b"True False"
        if "process_group" in subprocess.Popen.__init__.__code__.co_varnames
        else b"True True"
    )
    assert spargio.run(main, shards=1) == [b"False False", group, b"True True", b"True True"]


# ---- what came before the end ----


def test_a_time_limit_tells_what_came() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError) as caught, spargio.timeout(0.5):
            await Command("sh", "-c", "echo out; echo err >&2; exec sleep 1000").output()
        assert (caught.value.stdout, caught.value.stderr) == (b"out\n", b"err\n")  # type: ignore[attr-defined]
        cause = caught.value.__cause__
        assert (cause.stdout, cause.stderr) == (b"out\n", b"err\n")  # type: ignore[union-attr]

    spargio.run(main, shards=1)


@pytest.mark.parametrize("script", ["yes", "yes >&2"])
def test_a_limit_on_what_comes(script: str) -> None:
    async def main() -> None:
        name = "stderr" if "2" in script else "stdout"
        with pytest.raises(ValueError, match=f"limit = 1000 bytes came from {name}") as caught:
            await Command("sh", "-c", script).process_group(True).output(limit=1000)
        assert getattr(caught.value, name) == b"y\n" * 500
        exact = await Command("head", "-c", "1000", "/dev/zero").output(limit=1000)
        assert exact.stdout == bytes(1000)
        with pytest.raises(ValueError, match="limit must .*got -1"):
            await Command("true").output(limit=-1)

    spargio.run(main, shards=1)


# ---- pipelines ----


def test_a_pipeline() -> None:
    async def main() -> None:
        async with await Command("echo", "piped").stdout(PIPE).spawn() as first:
            assert (await Command("cat").stdin(first.stdout).output()).stdout == b"piped\n"
            assert await first.wait() == 0
        async with await Command("yes").stdout(PIPE).spawn() as first:
            done = await Command("head", "-n", "1").stdin(first.stdout).output()
            assert done.stdout == b"y\n"
            assert await first.wait() == -signal.SIGPIPE  # No end of the pipe is left here.
        async with await Command("cat").stdin(PIPE).stdout(PIPE).spawn() as last:
            assert last.stdout is not None
            assert await Command("echo", "back").stdout(last.stdin).status() == 0
            assert await last.stdout.recv(100) == b"back\n"
            assert await last.wait() == 0

    spargio.run(main, shards=1)


def test_pipes_that_cannot_be_given_on() -> None:
    async def main() -> None:
        async with await Command("echo", "kept").stdout(PIPE).spawn() as first:
            with pytest.raises(FileNotFoundError):
                await Command("no-such-program").stdin(first.stdout).status()
            assert first.stdout is not None
            assert os.get_blocking(first.stdout.fileno())
            assert await first.stdout.recv(100) == b"kept\n"  # It is ours as before.
            with pytest.raises(TypeError, match="stdout must be .* another child's stdin, got"):
                Command("cat").stdout(first.stdout)
            await first.stdout.close()
            with pytest.raises(ValueError, match="stdin must be an open pipe"):
                await Command("cat").stdin(first.stdout).status()
            await first.wait()
        with pytest.raises(TypeError, match="stdin must .*got 'text'"):
            Command("cat").stdin("text")  # type: ignore[arg-type]

    spargio.run(main, shards=1)


def test_a_pipe_with_bytes_that_were_read_ahead_is_not_given_on() -> None:
    """The child would never see them."""

    async def main() -> None:
        script = "printf 'one\\ntwo\\n'; sleep 0.01; printf 'three\\n'"
        async with await Command("sh", "-c", script).stdout(PIPE).spawn() as first:
            assert first.stdout is not None
            reader = BufReader(first.stdout)
            assert await reader.read_line() == b"one\n"
            assert reader.detach() is first.stdout
            with pytest.raises(ValueError, match="stdin must be .* got one with 4 bytes"):
                await Command("cat").stdin(first.stdout).output()
            assert await first.stdout.recv(4) == b"two\n"
            assert (await Command("cat").stdin(first.stdout).output()).stdout == b"three\n"
            await first.wait()

    spargio.run(main, shards=1)


def test_no_descriptor_stays_open_where_a_pidfd_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with await Command("sleep", "1000").stdout(PIPE).kill_on_drop(True).spawn() as first:
            monkeypatch.setattr(os, "pidfd_open", _none_left)
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                await Command("cat").stdin(first.stdout).status()
            monkeypatch.undo()

    spargio.run(main, shards=1)


def _none_left(pid: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
