"""Streams against other people's programs: socat over TCP, IPv6 and Unix sockets, curl over HTTP."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import peers
import pytest

import spargio
from spargio import RuntimeHandle, net

pytestmark = pytest.mark.timeout(120)

KINDS = ["tcp", "tcp6", "unix", "abstract"]


async def bind(kind: str, folder: Path) -> tuple[net.TcpListener | net.UnixListener, str]:
    """A listener, and what socat calls its address."""
    if kind == "unix":
        return await net.UnixListener.bind(folder / "socket"), f"UNIX-CONNECT:{folder / 'socket'}"
    if kind == "abstract":
        name = f"spargio-test-{folder.name}"
        return await net.UnixListener.bind(f"\0{name}"), f"ABSTRACT-CONNECT:{name}"
    host = "::1" if kind == "tcp6" else "127.0.0.1"
    listener = await net.TcpListener.bind(host, 0)
    return listener, f"TCP:{f'[{host}]' if ':' in host else host}:{listener.local_addr[1]}"


@pytest.mark.parametrize("kind", KINDS)
def test_socat_sends_and_closes_its_half(kind: str, tmp_path: Path) -> None:
    """The end of its input comes as the end of our stream, and the echo still reaches it whole."""
    socat = peers.program("socat")

    async def main(handle: RuntimeHandle) -> bytes:
        listener, address = await bind(kind, tmp_path)
        async with peers.serving(handle, listener, peers.echo):
            return await peers.output(socat, "-t30", "-", address, data=peers.DATA)

    assert spargio.run(main, shards=2) == peers.DATA


def test_many_socats_at_once(tmp_path: Path) -> None:
    socat = peers.program("socat")
    parts = [bytes([n]) * (n * 5000 + 1) for n in range(40)]

    async def main(handle: RuntimeHandle) -> list[bytes]:
        listener, address = await bind("tcp", tmp_path)
        async with peers.serving(handle, listener, peers.echo):
            jobs = [peers.output(socat, "-t30", "-", address, data=part) for part in parts]
            return [await job for job in jobs]

    assert spargio.run(main, shards=2) == parts


def test_a_socat_that_is_killed_ends_one_connection_only(tmp_path: Path) -> None:
    socat = peers.program("socat")

    async def main(handle: RuntimeHandle) -> bytes:
        listener, address = await bind("tcp", tmp_path)
        begun, ended = spargio.sync.Event(), spargio.sync.Event()

        async def service(stream: peers.Stream) -> None:
            try:
                while data := await stream.recv(65536):
                    begun.set()
                    await stream.write_all(data)
            except ConnectionError:
                pass
            finally:
                ended.set()
                await stream.close()

        async with peers.serving(handle, listener, service):
            with peers.running(socat, "-u", "/dev/zero", address) as child:
                await begun.wait()
                child.send_signal(signal.SIGKILL)
                await ended.wait()
            return await peers.output(socat, "-t30", "-", address, data=b"still here")

    assert spargio.run(main, shards=2) == b"still here"


@pytest.mark.parametrize("kind", ["TCP-LISTEN", "TCP6-LISTEN", "UNIX-LISTEN"])
def test_socat_is_the_server(kind: str, tmp_path: Path) -> None:
    """It runs `cat` for each connection, so what comes back is what a pipe made of it."""
    socat = peers.program("socat")
    host = "::1" if "6" in kind else "127.0.0.1"
    port = peers.free_port(host=host)
    path = tmp_path / "socket"
    address = f"{kind}:{path},fork" if "UNIX" in kind else f"{kind}:{port},bind={host},fork"

    async def connect() -> peers.Stream:
        if "UNIX" in kind:
            return await net.UnixStream.connect(path)
        return await net.TcpStream.connect(host, port)

    async def talk(n: int) -> None:
        data = peers.DATA[n : n + 500_000]
        async with await peers.ready(connect) as stream:
            async with spargio.TaskGroup() as group:
                sending = group.spawn(send(stream, data))
                assert await stream.read_exactly(len(data)) == data
                await sending
            assert await stream.recv(1) == b""

    async def send(stream: peers.Stream, data: bytes) -> None:
        await stream.write_all(data)
        await stream.shutdown()

    async def main(handle: RuntimeHandle) -> None:
        with peers.running(socat, address, "EXEC:cat"):
            await talk(0)
            async with spargio.TaskGroup() as group:
                for n in range(1, 10):
                    group.spawn(talk(n))

    spargio.run(main, shards=2)


# ---- HTTP ----

BODIES = {f"/{size}": peers.DATA[:size] for size in (0, 1, 1000, 65536, 3_000_000)}


async def body_of(stream: peers.Stream, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await stream.read_exactly(int(headers.get("content-length", "0")))
    parts = []
    while size := int((await stream.read_until(b"\r\n")).split(b";")[0], 16):
        parts.append(await stream.read_exactly(size))
        assert await stream.read_exactly(2) == b"\r\n"
    assert await stream.read_until(b"\r\n") == b"\r\n"
    return b"".join(parts)


async def request_line(stream: peers.Stream) -> bytes:
    """Empty at the end of the connection."""
    try:
        return await stream.read_until(b"\r\n")
    except spargio.IncompleteReadError as error:
        assert error.partial == b""
        return b""


async def http(stream: peers.Stream) -> None:
    """GET gives one of BODIES, POST the digest of what was sent; connections are kept."""
    async with stream:
        while line := await request_line(stream):
            method, path, _ = line.decode().split()
            headers = {}
            while (line := await stream.read_until(b"\r\n")) != b"\r\n":
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("expect") == "100-continue":
                await stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            given = await body_of(stream, headers)
            body = hashlib.sha256(given).hexdigest().encode() if method == "POST" else BODIES[path]
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            await stream.send_all_batch([head, body])


def curl(*arguments: str, data: bytes = b"") -> bytes:
    command = peers.program("curl")

    async def main(handle: RuntimeHandle) -> bytes:
        listener = await net.TcpListener.bind("127.0.0.1", 0)
        base = f"http://127.0.0.1:{listener.local_addr[1]}"
        given = [argument.replace("BASE", base) for argument in arguments]
        async with peers.serving(handle, listener, http):
            return await peers.output(command, "-sS", "--noproxy", "*", "--fail", *given, data=data)

    return spargio.run(main, shards=2)


@pytest.mark.parametrize("path", BODIES)
def test_curl_gets(path: str) -> None:
    assert curl(f"BASE{path}") == BODIES[path]


def test_curl_keeps_its_connection() -> None:
    count = ["-w", "%{num_connects}\n", "-o", "/dev/null"]
    assert curl(*count, "BASE/1", *count, "BASE/1000", *count, "BASE/65536") == b"1\n0\n0\n"


@pytest.mark.parametrize("header", ["Content-Type: x", "Transfer-Encoding: chunked"])
def test_curl_posts(header: str) -> None:
    digest = hashlib.sha256(peers.DATA).hexdigest().encode()
    assert curl("--data-binary", "@-", "-H", header, "BASE/", data=peers.DATA) == digest


def test_many_curls_in_parallel(tmp_path: Path) -> None:
    arguments = []
    for n in range(100):
        arguments += ["-o", str(tmp_path / f"{n}"), f"BASE{list(BODIES)[n % len(BODIES)]}"]
    curl("--parallel", "--parallel-max", "50", *arguments)
    for n in range(100):
        wanted = BODIES[list(BODIES)[n % len(BODIES)]]
        found = (tmp_path / f"{n}").read_bytes() if wanted else b""
        assert found == wanted
