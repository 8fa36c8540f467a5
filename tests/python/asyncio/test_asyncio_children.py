"""Children and pipes of the asyncio loop: what they inherit, how they end, who reaps them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import aio
import pytest

from spargio.asyncio import run


def test_what_a_child_inherits_and_how_it_ends() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        script = "import os,sys; sys.stdout.write(' '.join(os.listdir('/proc/self/fd')))"
        with socket.create_server(("127.0.0.1", 0)):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await child.communicate()
        assert len(output.split()) == 4 and child.returncode == 0  # 0, 1, 2, the listing's own
        for code, wanted in (("raise SystemExit(7)", 7), ("import os; os.abort()", -6)):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, stderr=asyncio.subprocess.DEVNULL
            )
            assert await child.wait() == wanted
            assert await child.wait() == wanted
        with pytest.raises(ProcessLookupError):
            child.kill()
        with pytest.raises(ValueError, match="null byte"):
            await asyncio.create_subprocess_exec("/bin/true", "a\0b")
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program")
        before = aio.descriptors()
        child = await asyncio.create_subprocess_shell(
            "kill -9 $$", preexec_fn=lambda: None, pass_fds=()
        )
        assert await child.wait() == -signal.SIGKILL
        assert aio.descriptors() == before and not loop._children

    run(main())


def test_a_child_that_writes_much_and_ends_is_read_to_its_end() -> None:
    """The exit does not overtake what lies in the pipe."""

    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self) -> None:
            self.size = 0
            self.calls: list[str] = []
            self.closed = asyncio.get_running_loop().create_future()

        def pipe_data_received(self, fd: int, data: bytes) -> None:
            self.size += len(data)

        def pipe_connection_lost(self, fd: int, error: BaseException | None) -> None:
            self.calls.append("pipe")

        def process_exited(self) -> None:
            self.calls.append("exit")

        def connection_lost(self, error: BaseException | None) -> None:
            self.calls.append("lost")
            self.closed.set_result(None)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(5):
            transport, protocol = await loop.subprocess_exec(
                Protocol, "head", "-c", "1000000", "/dev/zero", stdin=None, stderr=None
            )
            await asyncio.wait_for(protocol.closed, aio.LIMIT_S)
            assert protocol.size == 1_000_000
            assert sorted(protocol.calls) == ["exit", "lost", "pipe"]
            assert protocol.calls[-1] == "lost"
            transport.close()

    run(main())


def test_children_without_a_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old kernel, or a sandbox: a thread waits."""

    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)

    async def main() -> None:
        children = [await asyncio.create_subprocess_exec("/bin/sleep", "0.01") for _ in range(3)]
        assert [await child.wait() for child in children] == [0, 0, 0]

    run(main())


def test_a_child_of_somebody_else_is_left_alone() -> None:
    async def main() -> None:
        other = subprocess.Popen(["/bin/sh", "-c", "exit 3"])
        child = await asyncio.create_subprocess_exec("/bin/true")
        assert await child.wait() == 0
        assert other.wait(aio.LIMIT_S) == 3

    run(main())


def test_a_cancelled_start_leaves_no_child() -> None:
    async def main() -> None:
        before = aio.descriptors()
        for n in range(6):
            task = asyncio.ensure_future(
                asyncio.create_subprocess_exec("/bin/sleep", "100", stdout=asyncio.subprocess.PIPE)
            )
            for _ in range(n):
                await asyncio.sleep(0)
            task.cancel()
            try:
                child = await task
            except asyncio.CancelledError:
                continue
            child.kill()
            await child.wait()
            child._transport.close()
        await aio.until(lambda: aio.descriptors() == before)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    run(main())


def test_pipes_as_transports() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as sink:
            incoming, protocol = await loop.connect_read_pipe(aio.Recorder, source)
            outgoing, _ = await loop.connect_write_pipe(aio.Recorder, sink)
            outgoing.write(bytes(300_000))
            await aio.until(lambda: len(protocol.data) == 300_000)
            assert incoming.get_extra_info("pipe") is source
            outgoing.close()
            await protocol.closed
            assert protocol.calls[-2:] == ["eof", "lost"]

    run(main())
