"""At the limit of processes and threads the kernel cannot make its workers, and ends what needs one as
cancelled, though nobody asked for that: the shard does it itself."""

from __future__ import annotations

import os

import programs
import pytest
import support

pytestmark = [
    support.needs_io_uring,
    pytest.mark.skipif(os.getuid() != 0, reason="a user of its own, for whom the limit counts"),
]

HEAD = """
import os, resource, socket, sys, tempfile
import spargio
from spargio import fs, net

spargio.preload()
top = tempfile.mkdtemp()
os.chmod(top, 0o777)
os.setgroups([]), os.setgid(61234), os.setuid(61234)

def limit():
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
"""


def program(source: str) -> list[str]:
    done = programs.run_program(HEAD + source)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_files_go_on() -> None:
    assert program(
        """
async def main(handle):
    limit()
    await fs.create_dir(f"{top}/d")
    await fs.create_dir_all(f"{top}/d/e/f")
    await fs.write(f"{top}/d/a", b"content")
    assert await fs.read(f"{top}/d/a") == b"content"
    assert (await fs.metadata(f"{top}/d/a")).size == 7
    await fs.rename(f"{top}/d/a", f"{top}/d/b")
    await fs.hard_link(f"{top}/d/b", f"{top}/d/c")
    await fs.symlink(f"{top}/d/b", f"{top}/d/s")
    async with await fs.File.open(f"{top}/d/b", "r+") as file:
        assert await file.read_at(0, 7) == b"content"
        await file.write_all_at(0, b"CONTENT")
        await file.fsync()
    contents = [content async for _, content in fs.read_many([f"{top}/d/b", f"{top}/d/c"])]
    assert contents == [b"CONTENT"] * 2
    await fs.remove_file(f"{top}/d/s")
    try:
        await fs.read(f"{top}/missing")
    except FileNotFoundError as error:
        assert error.filename == f"{top}/missing"
    near, far = socket.socketpair()
    async with net.UnixStream.from_socket(near) as stream, net.UnixStream.from_socket(far) as other:
        async with await fs.File.open(f"{top}/d/b") as file:
            assert await fs.sendfile(file, stream) == 7
        assert await other.read_exactly(7) == b"CONTENT"
        await stream.shutdown(socket.SHUT_WR)
        assert await other.recv(1) == b""
    print(handle.stats_snapshot().calls_made_here > 10)

spargio.run(main, shards=1)
"""
    ) == ["True"]


def test_what_would_keep_the_shard_names_the_limit() -> None:
    (line,) = program(
        """
os.mkfifo(f"{top}/fifo")

async def main():
    limit()
    try:
        await fs.File.open(f"{top}/fifo", "w")
    except OSError as error:
        print(error.errno, error)

spargio.run(main, shards=1)
"""
    )
    assert line.startswith("11 [Errno 11] Resource temporarily unavailable: ")
    assert "limit of processes and threads" in line and "fifo" in line
