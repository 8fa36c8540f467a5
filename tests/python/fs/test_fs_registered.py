"""Registered buffers: the same bytes as from any other memory, on their shard and elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import support

import spargio
from spargio import RuntimeHandle, fs

DATA = os.urandom(1 << 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


@pytest.mark.parametrize("shard", [0, 1])
def test_reads_and_writes(path: Path, shard: int) -> None:
    async def work(file: fs.File, buffer: memoryview, n: int) -> None:
        assert await file.read_at_into(n * 5000, buffer) == len(buffer)
        assert buffer == DATA[n * 5000 :][: len(buffer)]
        assert await file.read_at_into(n, buffer[100:200]) == 100
        assert buffer[100:200] == DATA[n : n + 100]
        await file.write_all_at((1 << 20) + n * 8192, buffer)
        buffer[:] = bytes(len(buffer))

    async def main(handle: RuntimeHandle) -> None:
        async with (
            await fs.File.open(path, "r+") as file,
            fs.RegisteredBuffers(16, 8192) as buffers,
        ):
            assert len(buffers) == 16
            jobs = [handle.spawn_pinned(shard, work(file, buffers[n], n)) for n in range(16)]
            for job in jobs:
                await job
        written = path.read_bytes()[1 << 20 :]
        for n in range(16):
            wanted = bytearray(DATA[n * 5000 :][:8192])
            wanted[100:200] = DATA[n : n + 100]
            assert written[n * 8192 : (n + 1) * 8192] == wanted

    spargio.run(main, shards=2)


@support.needs_io_uring
def test_the_kernel_is_told_of_them(path: Path) -> None:
    """strace sees the registration; what the operation is called only the ring knows."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    program = (
        "import spargio\nfrom spargio import fs\nasync def main():\n"
        f"    async with await fs.File.open({str(path)!r}) as f, fs.RegisteredBuffers(2, 4096) as b:\n"
        "        assert await f.read_at_into(0, b[1]) == 4096\n"
        "spargio.run(main, shards=1)"
    )
    done = subprocess.run(
        [strace, "-f", "-e", "trace=io_uring_register", sys.executable, "-c", program],
        capture_output=True, text=True, timeout=support.LIMIT_S, check=True,
    )  # fmt: skip
    assert done.stderr.count("IORING_REGISTER_BUFFERS_UPDATE") == 2, done.stderr


def test_many_blocks_one_after_another_and_at_once(path: Path) -> None:
    async def main() -> None:
        async with await fs.File.open(path) as file:
            for n in range(100):
                async with fs.RegisteredBuffers(1, 4096) as buffers:
                    await file.read_at_into(n, buffers[0])
                    assert buffers[0] == DATA[n : n + 4096]
            blocks = [fs.RegisteredBuffers(1, 64) for _ in range(65)]
            for block in blocks[:64]:
                await block.__aenter__()
            with pytest.raises(OSError, match=os.strerror(105)):
                await blocks[64].__aenter__()
            for n, block in enumerate(blocks[:64]):
                await file.read_at_into(n, block[0])
                assert block[0] == DATA[n : n + 64]
            for block in blocks[:64]:
                await block.__aexit__()

    spargio.run(main, shards=1)


def test_memory_at_a_former_address_is_not_mistaken(path: Path) -> None:
    """After the block its pages are the process's own again, wherever they come to lie."""

    async def main() -> None:
        async with await fs.File.open(path) as file:
            for n in range(50):
                async with fs.RegisteredBuffers(4, 4096) as buffers:
                    await file.read_at_into(0, buffers[0])
                del buffers
                other = bytearray(16384)
                await file.read_at_into(n, other)
                assert other == DATA[n : n + 16384]

    spargio.run(main, shards=1)


def test_what_is_wrong_is_named() -> None:
    for count, size, text in (
        (0, 1, "count must be 1 or more.*, got 0"),
        (1, -1, "size must be 1 or more.*, got -1"),
        (1 << 20, 1 << 20, r"count \* size must be at most 1073741824 bytes, got 1099511627776"),
    ):
        with pytest.raises(ValueError, match=text):
            fs.RegisteredBuffers(count, size)
    with pytest.raises(TypeError, match="count must be an int.*, got 1.5"):
        fs.RegisteredBuffers(1.5, 1)  # type: ignore[arg-type]

    async def main() -> None:
        buffers = fs.RegisteredBuffers(2, 10)
        with pytest.raises(IndexError, match="index must be between 0 and 1, got 2"):
            buffers[2]
        async with buffers:
            with pytest.raises(RuntimeError, match="registered already"):
                await buffers.__aenter__()

    spargio.run(main)
