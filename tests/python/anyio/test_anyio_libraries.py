"""Libraries that look at more of anyio than its interface: clients that ask sniffio which library
runs, and what extends the classes of a backend."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

anyio = pytest.importorskip("anyio", reason="anyio is not installed")

import spargio.anyio  # noqa: E402
from spargio.anyio import _httpx  # noqa: E402


def run(main: Any, *arguments: Any) -> Any:
    return anyio.run(main, *arguments, backend="spargio")


@pytest.fixture(params=("httpx", "httpx2"))
def client(request: pytest.FixtureRequest) -> Any:
    module = pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    spargio.anyio.enable_httpx()
    spargio.anyio.enable_httpx()  # Twice is once.
    return module


_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


async def _answer(stream: Any) -> None:
    async with stream:
        while b"\r\n\r\n" not in await stream.receive():
            pass
        await stream.send(_ANSWER)


def test_a_client_over_tcp(client: Any) -> None:
    """Its pool has one connection at most: requests wait for each other, and one is cancelled."""

    async def main() -> list[str]:
        found: list[str] = []
        limits = client.Limits(max_connections=1)
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            client.AsyncClient(limits=limits) as session,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, _answer)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)

            async def fetch(limit: float) -> None:
                with anyio.move_on_after(limit):
                    found.append((await session.get(f"http://127.0.0.1:{port}/")).text)

            async with anyio.create_task_group() as fetches:
                fetches.start_soon(fetch, 0)
                for _ in range(5):
                    fetches.start_soon(fetch, 30)
            group.cancel_scope.cancel()
        return found

    assert run(main) == ["hello"] * 5


def test_a_client_of_an_application_in_memory(client: Any) -> None:
    """The application waits until the client has left: by an event that is made for it."""
    last: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        async with anyio.create_task_group() as group:

            async def leave() -> None:
                last.append((await receive())["type"])

            group.start_soon(leave)
            await anyio.wait_all_tasks_blocked()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})

    async def main() -> str:
        transport = client.ASGITransport(app=app)
        async with client.AsyncClient(transport=transport, base_url="http://app") as session:
            return str((await session.get("/")).text)

    assert run(main) == "hello"
    assert last == ["http.disconnect"]


def test_without_a_client_enabling_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setattr(_httpx, "_PAIRS", (("no_core", "no_httpx"), ("no_core2", "no_httpx2")))
    with pytest.raises(ImportError, match="no_core and no_core2 are not installed: pip install"):
        spargio.anyio.enable_httpx()


def test_one_client_is_enough(client: Any, monkeypatch: Any) -> None:
    core = client.__name__.replace("httpx", "httpcore")
    monkeypatch.setattr(_httpx, "_PAIRS", (("no_core", "no_httpx"), (core, client.__name__)))
    spargio.anyio.enable_httpx()


def test_the_backend_is_a_module_like_those_of_anyio() -> None:
    """asyncer and others look there for the classes, to extend them."""
    module = importlib.import_module("anyio._backends._spargio")
    assert module is sys.modules["spargio.anyio._backend"]
    assert module.backend_class.create_task_group().__class__ is module.TaskGroup
    assert issubclass(module.CancelScope, anyio.CancelScope)


def test_a_task_group_that_is_extended() -> None:
    module = importlib.import_module("anyio._backends._spargio")

    class Mixed(anyio.abc.TaskGroup):
        def soon(self, function: Any, *arguments: Any) -> list[Any]:
            found: list[Any] = []

            async def work() -> None:
                found.append(await function(*arguments))

            self.start_soon(work)
            return found

    class Extended(module.TaskGroup, Mixed):
        pass

    async def double(number: int) -> int:
        await anyio.sleep(0)
        return number * 2

    async def main() -> list[list[int]]:
        async with Extended() as group:
            return [group.soon(double, 1), group.soon(double, 2)]

    assert run(main) == [[2], [4]]


def test_asyncer() -> None:
    asyncer = pytest.importorskip("asyncer", reason="asyncer is not installed")

    async def double(number: int) -> int:
        await anyio.sleep(0)
        return number * 2

    def in_thread(number: int) -> int:
        return int(asyncer.syncify(double)(number))

    async def main() -> list[int]:
        async with asyncer.create_task_group() as group:
            soon = group.soonify(double)(1)
        return [soon.value, await asyncer.asyncify(in_thread)(2)]

    assert asyncer.runnify(main, backend="spargio")() == [2, 4]
