"""The libraries that stand on anyio, against peers that do not: httpx, Starlette and FastAPI, anycorn."""

from __future__ import annotations

import functools
import http.client
import http.server
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import support

import spargio

anyio = pytest.importorskip("anyio", reason="anyio is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")
anycorn = pytest.importorskip("anycorn", reason="anycorn is not installed")
fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed")
websockets = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")

import spargio.anyio  # noqa: E402

spargio.anyio.enable_httpx()


def run(main: Any, *arguments: Any, **options: Any) -> Any:
    return anyio.run(main, *arguments, backend="spargio", backend_options=options)


class _Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"page {self.path}".encode() * 100
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


@contextmanager
def pages() -> Iterator[str]:
    """The standard library's server, on threads."""
    server = _Server(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_httpx_fetches_a_hundred_pages_in_one_group() -> None:
    async def main(base: str) -> list[str]:
        found: list[str] = []

        async def fetch(client: Any, number: int) -> None:
            answer = await client.get(f"{base}/{number}")
            found.append(answer.text[: len(f"page /{number}")])

        async with httpx.AsyncClient() as client, anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(fetch, client, number)
        return found

    with pages() as base:
        assert sorted(run(main, base)) == sorted(f"page /{n}" for n in range(100))


def test_an_httpx_time_limit_and_a_refused_connection() -> None:
    async def main(port: int, closed: int) -> None:
        async with httpx.AsyncClient(timeout=0.05) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"http://127.0.0.1:{port}/")
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{closed}/")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            closed = gone.getsockname()[1]
        run(main, silent.getsockname()[1], closed)


def application() -> Any:
    app = fastapi.FastAPI()

    @app.get("/shard")
    async def shard() -> dict[str, int]:
        return {"shard": spargio.current_shard()}

    @app.get("/thread")
    def thread() -> dict[str, bool]:
        return {"in_thread": threading.current_thread() is not threading.main_thread()}

    @app.post("/echo")
    async def echo(request: fastapi.Request) -> fastapi.Response:
        return fastapi.Response(await request.body())

    @app.websocket("/ws")
    async def socket_(peer: fastapi.WebSocket) -> None:
        await peer.accept()
        async for text in peer.iter_text():
            await peer.send_text(text.upper())

    # Annotations are names here: FastAPI finds them in this module.
    return app


async def serve(sock: socket.socket, stop: Any, started: Any = None) -> None:
    """Anycorn on a socket of the test's."""
    config = anycorn.Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.errorlog = None
    await anycorn.serve(
        application(),
        config,
        shutdown_trigger=stop,
        task_status=started or anyio.TASK_STATUS_IGNORED,
    )


def with_server(client: Callable[[int], Any], **options: Any) -> Any:
    """What `client`, on a thread, gets from a server of one event loop."""

    async def main() -> Any:
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            await group.start(_start, sock, stop.wait)
            try:
                return await anyio.to_thread.run_sync(client, port)
            finally:
                stop.set()

    return run(main, **options)


async def _start(sock: socket.socket, stop: Any, *, task_status: Any) -> None:
    await serve(sock, stop, task_status)


def test_http_1_of_anycorn_with_a_client_of_the_standard_library() -> None:
    def client(port: int) -> list[Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=support.LIMIT_S)
        found: list[Any] = []
        for method, path, body in (
            ("GET", "/thread", None),
            ("POST", "/echo", b"x" * 300_000),
            ("GET", "/nowhere", None),
        ):
            connection.request(method, path, body)
            answer = connection.getresponse()
            found.append((answer.status, answer.read()))
        connection.close()
        return found

    first, second, third = with_server(client)
    assert first == (200, b'{"in_thread":true}')
    assert second == (200, b"x" * 300_000)
    assert third[0] == 404


def test_http_2_of_anycorn_with_curl() -> None:
    curl = shutil.which("curl")
    if (
        curl is None
        or "HTTP2"
        not in subprocess.run(
            [curl, "--version"], capture_output=True, text=True, check=True
        ).stdout
    ):
        pytest.skip("no curl with HTTP/2 is installed")

    def client(port: int) -> str:
        command = [curl, "-sS", "--http2-prior-knowledge", "-w", " %{http_version}"]
        command += ["-d", "@-", f"http://127.0.0.1:{port}/echo"]
        return subprocess.run(
            command, input="hello", capture_output=True, text=True, check=True, timeout=30
        ).stdout

    assert with_server(client) == "hello 2"


def test_http_2_of_anycorn_with_httpx() -> None:
    pytest.importorskip("h2", reason="h2 is not installed")

    async def main() -> tuple[str, int]:
        sock = socket.create_server(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        stop = anyio.Event()
        answers: list[Any] = []
        async with anyio.create_task_group() as group:
            await group.start(_start, sock, stop.wait)
            async with httpx.AsyncClient(http1=False, http2=True) as client:

                async def post(number: int) -> None:
                    answers.append(await client.post(f"{base}/echo", content=b"%d" % number))

                async with anyio.create_task_group() as posts:
                    for number in range(20):
                        posts.start_soon(post, number)
            stop.set()
        assert sorted(int(answer.text) for answer in answers) == list(range(20))
        return answers[0].http_version, len(answers)

    assert run(main) == ("HTTP/2", 20)


def test_websocket_of_anycorn_with_a_client_on_a_thread() -> None:
    def client(port: int) -> list[str]:
        with websockets.connect(f"ws://127.0.0.1:{port}/ws") as connection:
            found = []
            for text in ("one", "two", "x" * 100_000):
                connection.send(text)
                found.append(str(connection.recv(timeout=support.LIMIT_S)))
            return found

    assert with_server(client) == ["ONE", "TWO", "X" * 100_000]


def test_starlette_streams_a_file(tmp_path: Any) -> None:
    responses = pytest.importorskip("starlette.responses")
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await responses.FileResponse(path)(scope, receive, send)

    async def main() -> bytes:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return (await client.get("/")).content

    assert run(main) == path.read_bytes()


def test_one_process_serves_on_four_shards() -> None:
    """Each shard accepts from a socket of its own, on the same port: the kernel spreads connections."""

    def listener(port: int) -> socket.socket:
        sock = socket.create_server(("127.0.0.1", port), reuse_port=True)
        sock.setblocking(False)
        return sock

    def client(port: int, seen: set[int]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=support.LIMIT_S)
        connection.request("GET", "/shard")
        seen.add(json.loads(connection.getresponse().read())["shard"])
        connection.close()

    async def main() -> set[int]:
        first = listener(0)
        port = first.getsockname()[1]
        sockets = [first, *(listener(port) for _ in range(3))]
        seen: set[int] = set()

        stop = spargio.CancellationToken()  # One that all shards hear.

        async def root() -> None:
            await serve(sockets[spargio.current_shard()], stop.cancelled)

        async def ask() -> None:
            for _ in range(1000):
                await anyio.to_thread.run_sync(functools.partial(client, port, seen))
                if len(seen) == 4:
                    break
            stop.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(spargio.anyio.on_each_shard, root)
            await ask()
        return seen

    assert run(main, shards=4) == {0, 1, 2, 3}
