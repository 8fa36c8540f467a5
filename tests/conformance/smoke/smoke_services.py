"""grpc.aio, websockets and httpx; nginx serves, and wrk asks a uvicorn on our loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
import trustme
import websockets
from conftest import program


async def test_grpc_unary_and_streams() -> None:
    async def double(request: bytes, context: Any) -> bytes:
        return request * 2

    async def count(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for n in range(int(request)):
            yield b"%d" % n

    async def never(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(3600)
        return b""

    handlers = {
        "Double": grpc.unary_unary_rpc_method_handler(double),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Never": grpc.unary_unary_rpc_method_handler(never),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/t.T/Double")
        answers = await asyncio.gather(*(call(b"%d" % n) for n in range(200)))
        assert answers == [b"%d%d" % (n, n) for n in range(200)]
        assert [piece async for piece in channel.unary_stream("/t.T/Count")(b"500")] == [
            b"%d" % n for n in range(500)
        ]
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/t.T/Never")(b"", timeout=0.1)
    await server.stop(None)


@pytest.mark.parametrize("secure", (False, True), ids=("plain", "tls"))
async def test_websockets_echo(secure: bool) -> None:
    async def echo(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    ours = theirs = None
    if secure:
        authority = trustme.CA()
        ours, theirs = (
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
            ssl.create_default_context(),
        )
        authority.issue_cert("localhost").configure_cert(ours)
        authority.configure_trust(theirs)
    server = await websockets.serve(echo, "localhost", 0, ssl=ours, max_size=None)
    port = server.sockets[0].getsockname()[1]
    scheme = "wss" if secure else "ws"

    async def talk(n: int) -> None:
        address = f"{scheme}://localhost:{port}"
        async with websockets.connect(address, ssl=theirs, max_size=None) as client:
            for size in (1, 1000, 100_000, 2_000_000 if n == 0 else 5):
                await client.send(bytes([n]) * size)
                assert await client.recv() == bytes([n]) * size
            await client.send("text")
            assert await client.recv() == "text"

    await asyncio.gather(*(talk(n) for n in range(10)))
    server.close()
    await server.wait_closed()


async def test_httpx_fetches_from_nginx(nginx: int) -> None:
    wanted = hashlib.sha256(bytes(range(256)) * 12_000).hexdigest()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{nginx}") as client:

        async def fetch() -> str:
            return hashlib.sha256((await client.get("/data")).content).hexdigest()

        assert await asyncio.gather(*(fetch() for _ in range(20))) == [wanted] * 20
        assert (await client.get("/nothing")).status_code == 404
        digest = hashlib.sha256()
        async with client.stream("GET", "/data") as response:
            async for piece in response.aiter_bytes(1000):
                digest.update(piece)
        assert digest.hexdigest() == wanted


SERVICE = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"10240")]})
    await send({"type": "http.response.body", "body": b"x" * 10240})
"""


@contextlib.contextmanager
def uvicorn(folder: Path, app: str, log: Path, **environment: str) -> Iterator[int]:
    """The port of a service that ends as Ctrl-C ends it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", app, "--loop", "spargio.asyncio:new_event_loop"]
    command += ["--port", str(port), "--no-access-log"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        while b"running on" not in log.read_bytes():
            assert server.poll() is None, log.read_text()
            os.sched_yield()
        yield port
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
    assert "Finished server process" in log.read_text(), log.read_text()


def test_wrk_loads_a_uvicorn(tmp_path: Path) -> None:
    wrk = program("wrk")
    (tmp_path / "service.py").write_text(SERVICE)
    with uvicorn(tmp_path, "service:app", tmp_path / "log") as port:
        done = subprocess.run(
            [wrk, "-t1", "-c32", "-d2", f"http://127.0.0.1:{port}/"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert "Requests/sec" in done.stdout
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout


def test_the_example_serves_and_hashes_files(tmp_path: Path) -> None:
    data = {f"file {n}": os.urandom(n * 100_001) for n in range(12)}
    (tmp_path / "data").mkdir()
    for name, content in data.items():
        (tmp_path / "data" / name).write_bytes(content)
    wanted = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
    examples = Path(__file__).parents[3] / "examples" / "python"
    folder = str(tmp_path / "data")
    with uvicorn(examples, "asyncio_files:app", tmp_path / "log", FOLDER=folder) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for name, content in data.items():
                assert client.get(f"/file/{name}").content == content
                assert client.get(f"/hash/{name}").text == wanted[name]
            assert client.get("/hashes").json() == wanted
            for path in ("/file/none", "/nothing", "/file/..%2fconf", "/hash/"):
                assert client.get(path).status_code == 404, path
