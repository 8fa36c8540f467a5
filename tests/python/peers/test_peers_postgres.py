"""A Unix socket to a PostgreSQL of the test's own: its protocol, version 3, by hand."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import peers
import pytest
import support

import spargio
from spargio import RuntimeHandle, net

pytestmark = pytest.mark.timeout(120)

ROWS = 100_000


def as_nobody() -> dict[str, int]:
    """The server does not run as root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """The folder of its socket."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    initdb, postgres = (peers.program(name, *folders) for name in ("initdb", "postgres"))
    folder = Path(tempfile.mkdtemp(prefix="spargio-pg-"))
    try:
        options = as_nobody()
        if options:
            os.chown(folder, options["user"], options["group"])
        environment = {**os.environ, "LC_ALL": "C", "HOME": str(folder)}
        subprocess.run(
            [initdb, "-D", folder / "data", "-A", "trust", "-U", "test", "-N"],
            check=True, capture_output=True, cwd=folder, env=environment,
            timeout=support.LIMIT_S, **options,
        )  # fmt: skip
        command = [postgres, "-D", folder / "data", "-k", folder, "-c", "listen_addresses="]
        command += ["-c", "fsync=off", "-c", "logging_collector=off"]
        with (folder / "log").open("wb") as log:
            options["stdout"] = options["stderr"] = log  # type: ignore[assignment]
            with peers.running(*command, cwd=folder, env=environment, **options):
                yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


class Client:
    def __init__(self, stream: net.UnixStream) -> None:
        self.stream = stream

    async def receive(self) -> tuple[bytes, bytes]:
        kind, size = struct.unpack(">cI", await self.stream.read_exactly(5))
        return kind, await self.stream.read_exactly(size - 4) if size > 4 else b""

    async def until_ready(self) -> list[tuple[bytes, bytes]]:
        found = []
        while True:
            kind, body = await self.receive()
            if kind == b"Z":
                return found
            found.append((kind, body))

    async def query(self, text: str) -> list[tuple[bytes, bytes]]:
        await self.stream.write_all(message(b"Q", text.encode() + b"\0"))
        return await self.until_ready()


def cells(answer: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The first column of each row."""
    return [
        body[6 : 6 + struct.unpack_from(">i", body, 2)[0]] for kind, body in answer if kind == b"D"
    ]


@contextlib.asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Client]:
    async def connect() -> Client:
        """Refused with an error message while the server starts."""
        stream = await net.UnixStream.connect(folder / ".s.PGSQL.5432")
        try:
            await stream.write_all(struct.pack(">II", 8, 80877103))  # SSLRequest
            assert await stream.read_exactly(1) == b"N"
            names = b"user\0test\0database\0postgres\0\0"
            await stream.write_all(struct.pack(">II", 8 + len(names), 3 << 16) + names)
            client = Client(stream)
            kind, body = await client.receive()
            if kind == b"E" and b"57P03" in body:
                raise ConnectionRefusedError
            assert (kind, body) == (b"R", struct.pack(">I", 0)), body
        except BaseException:
            await stream.close()
            raise
        return client

    client = await peers.ready(connect)
    async with client.stream:
        await client.until_ready()
        yield client
        await client.stream.write_all(message(b"X", b""))
        assert await client.stream.recv(1) == b""


def test_hello_and_a_query(server: Path) -> None:
    async def main(handle: RuntimeHandle) -> list[bytes]:
        async with connected(server) as client:
            return cells(await client.query("select 6 * 7"))

    assert spargio.run(main, shards=1) == [b"42"]


def test_many_rows_on_several_connections(server: Path) -> None:
    async def read(first: int) -> int:
        async with connected(server) as client:
            last = first + ROWS - 1
            found = cells(await client.query(f"select generate_series({first}, {last})"))
            assert found == [str(n).encode() for n in range(first, last + 1)]
            return len(found)

    async def main(handle: RuntimeHandle) -> int:
        jobs = [handle.spawn_stealable(read(n)) for n in (1, 500_000, -20)]
        return sum([await job for job in jobs])

    assert spargio.run(main, shards=2) == 3 * ROWS


def test_large_values_both_ways(server: Path) -> None:
    text = "x" * 1_000_000

    async def main(handle: RuntimeHandle) -> list[bytes]:
        async with connected(server) as client:
            return cells(await client.query(f"select '{text}' || 'y'"))

    assert spargio.run(main, shards=1) == [text.encode() + b"y"]


def test_a_query_that_hangs_is_given_up(server: Path) -> None:
    """The connection goes; the server and other connections stay."""

    async def main(handle: RuntimeHandle) -> list[bytes]:
        stuck = Client(await net.UnixStream.connect(server / ".s.PGSQL.5432"))
        names = b"user\0test\0database\0postgres\0\0"
        await stuck.stream.write_all(struct.pack(">II", 8 + len(names), 3 << 16) + names)
        await stuck.until_ready()
        with pytest.raises(TimeoutError), spargio.timeout(0.1):
            await stuck.query("select pg_sleep(600)")
        await stuck.stream.close()
        async with connected(server) as client:
            return cells(await client.query("select 1"))

    assert spargio.run(main, shards=2) == [b"1"]
