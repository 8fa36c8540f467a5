"""Servers, names, datagrams, TLS, subprocesses and sock_*: what other loops got wrong."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio
import pytest

from spargio.asyncio import EventLoop, new_event_loop, run


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = new_event_loop()
    yield made
    made.close()


# ---- servers ----


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_a_server_waits_for_its_connections_and_can_end_them() -> None:
    if sys.version_info < (3, 13):
        pytest.skip("asyncio has close_clients() since 3.13")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for how in ("close_clients", "abort_clients"):
            made: list[aio.Recorder] = []

            def factory(made: list[aio.Recorder] = made) -> aio.Recorder:
                made.append(aio.Recorder())
                return made[-1]

            server = await loop.create_server(factory, "127.0.0.1", 0)
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                await aio.until(lambda made=made: made and made[0].calls == ["made"])
                if how == "abort_clients":
                    made[0].transport.write(bytes(1 << 23))
                server.close()
                waiting = asyncio.ensure_future(server.wait_closed())
                await asyncio.sleep(0.005)
                assert not waiting.done()
                getattr(server, how)()
                await asyncio.wait_for(waiting, aio.LIMIT_S)
                assert made[0].calls == ["made", "lost"]
                client.close()

    run(main())


def test_serve_forever_ends_with_its_server() -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        serving = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        assert server.is_serving()
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, aio.LIMIT_S)
        await asyncio.wait_for(server.wait_closed(), aio.LIMIT_S)
        assert not server.is_serving() and server.sockets == ()

    run(main())


def test_a_server_that_does_not_serve_yet_accepts_later() -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        address = server.sockets[0].getsockname()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        await server.start_serving()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_two_servers_share_a_port() -> None:
    async def main() -> None:
        first = await asyncio.start_server(echo, "127.0.0.1", 0, reuse_port=True)
        port = first.sockets[0].getsockname()[1]
        second = await asyncio.start_server(echo, "127.0.0.1", port, reuse_port=True)
        with pytest.raises(OSError, match="ddress already in use"):
            await asyncio.start_server(echo, "127.0.0.1", port)
        for one in (first, second):
            one.close()
            await one.wait_closed()

    run(main())


def test_a_unix_server_cleans_up_its_own_socket_alone(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        server = await asyncio.start_unix_server(echo, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * 100_000)
        assert await reader.readexactly(100_000) == b"x" * 100_000
        assert writer.get_extra_info("peername") == str(path)
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        assert path.exists() == (sys.version_info < (3, 13))
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(echo, path)
        path.unlink()
        path.write_text("another's")
        server.close()
        await server.wait_closed()
        assert path.read_text() == "another's"

    run(main())


def test_a_socket_is_handed_in_and_taken_out_again() -> None:
    """The transport's own information; and a duplicate lives on after the transport's end."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            server = await asyncio.start_server(echo, sock=listener.dup())
            sock = socket.create_connection(listener.getsockname())
            sock.setblocking(False)
            transport, protocol = await loop.create_connection(aio.Recorder, sock=sock)
            assert transport.get_extra_info("sockname") == sock.getsockname()
            assert transport.get_extra_info("peername") == listener.getsockname()
            assert transport.get_extra_info("socket").fileno() == sock.fileno()
            assert transport.get_extra_info("nothing", 5) == 5
            assert isinstance(transport, asyncio.Transport)
            copy = sock.dup()
            transport.close()
            await protocol.closed
            assert sock.fileno() == -1
            await loop.sock_sendall(copy, b"again")
            assert await loop.sock_recv(copy, 10) == b"again"
            copy.close()
            server.close()
            await server.wait_closed()
            with pytest.raises(RuntimeError, match="is used by transport"):
                transport, protocol, theirs = await aio.connected()
                try:
                    await loop.sock_recv(transport.get_extra_info("socket")._sock, 1)
                finally:
                    transport.close()
                    await protocol.closed
                    theirs.close()

    run(main())


# ---- names ----


@pytest.mark.parametrize("host", ("127.0.0.1", b"127.0.0.1", "", None, "0", "127.1", "localhost"))
@pytest.mark.parametrize("port", (80, "80", b"80", None, 0))
@pytest.mark.parametrize("kind", (0, socket.SOCK_STREAM, socket.SOCK_DGRAM))
def test_names_are_resolved_as_by_the_system(host: Any, port: Any, kind: int) -> None:
    def outcome(function: Any) -> Any:
        try:
            return function()
        except OSError as error:
            return type(error), error.errno

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=kind, family=socket.AF_INET)

    wanted = outcome(lambda: socket.getaddrinfo(host, port, socket.AF_INET, kind))
    assert outcome(lambda: run(main())) == wanted


# ---- datagrams ----


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[BaseException] = []
        self.calls: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.closed = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.received.append((data, address))

    def error_received(self, error: BaseException) -> None:
        self.errors.append(error)

    def connection_lost(self, error: BaseException | None) -> None:
        self.closed.set_result(error)


def test_datagrams_empty_ones_and_refusals() -> None:
    """An empty datagram is no end; a refusal goes to error_received() and the transport lives."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, inbox = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, answers = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", address)  # asyncio's sendto() itself sends none before 3.13.
        await aio.until(lambda: inbox.received)
        for data in (b"x", b"y" * 1400, b"z"):
            client.sendto(data)
        await aio.until(lambda: len(inbox.received) == 4)
        assert [data for data, _ in inbox.received] == [b"", b"x", b"y" * 1400, b"z"]
        back = inbox.received[1][1]
        server.sendto(b"answer", back)
        await aio.until(lambda: answers.received)
        assert answers.received == [(b"answer", address)]
        with pytest.raises(ValueError, match="Invalid address"):
            client.sendto(b"x", ("127.0.0.1", 1))
        server.close()
        assert await inbox.closed is None
        client.sendto(b"x")
        await aio.until(lambda: answers.errors)
        assert isinstance(answers.errors[0], ConnectionRefusedError)
        assert not client.is_closing()
        again, inbox = await loop.create_datagram_endpoint(Datagrams, local_addr=address)
        client.sendto(b"alive")
        await aio.until(lambda: inbox.received)
        client.abort()
        again.close()
        await asyncio.gather(answers.closed, inbox.closed)

    run(main())


@pytest.mark.parametrize("abstract", (False, True), ids=("path", "abstract"))
def test_unix_datagrams(abstract: bool, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        prefix = "\0" + str(tmp_path) if abstract else str(tmp_path)
        names = [f"{prefix}/{n}" for n in range(2)]
        ends = []
        for name in names:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.bind(name)
            ends.append(await loop.create_datagram_endpoint(Datagrams, sock=sock))
        ends[0][0].sendto(b"hello", names[1])
        await aio.until(lambda: ends[1][1].received)
        data, sender = ends[1][1].received[0]
        assert data == b"hello"
        assert (sender.encode() if isinstance(sender, str) else sender) == names[0].encode()
        for transport, protocol in ends:
            transport.close()
            await protocol.closed

    run(main())


# ---- TLS ----


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's; the certificate is made by openssl."""
    place = tmp_path_factory.mktemp("tls")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(place / "key"), "-out", str(place / "certificate")]
    subprocess.run(command, check=True, capture_output=True, timeout=aio.LIMIT_S)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(place / "certificate", place / "key")
    client = ssl.create_default_context(cafile=str(place / "certificate"))
    return server, client


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.mark.parametrize("size", (1, 100_000, 3_000_000))
def test_tls_echo(contexts: Contexts, size: int) -> None:
    theirs, ours = contexts

    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=theirs)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(
            *address, ssl=ours, server_hostname="localhost", ssl_handshake_timeout=aio.LIMIT_S
        )
        data = os.urandom(size)
        writer.write(data)
        assert await asyncio.wait_for(reader.readexactly(size), aio.LIMIT_S) == data
        assert writer.get_extra_info("peercert")["subject"] == ((("commonName", "localhost"),),)
        assert writer.get_extra_info("ssl_object") is not None
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), aio.LIMIT_S)
        server.close()
        await server.wait_closed()

    run(main())


def test_start_tls_keeps_what_had_come_before(contexts: Contexts) -> None:
    """A client that begins its handshake while the server is not ready for it: what the kernel has
    handed over to a paused transport is the handshake's."""
    theirs, ours = contexts

    class Starts(aio.Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            self.transport.write(b"go")
            self.upgrade = asyncio.ensure_future(self.start())

        async def start(self) -> None:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(0.02)
            assert self.data == b"STARTTLS"
            secure = aio.Recorder()
            transport = await loop.start_tls(self.transport, secure, theirs, server_side=True)
            assert transport is not None
            transport.write(b"secret")
            secure.connection_made(transport)
            assert await secure.closed is None

    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Starts] = []

        def factory() -> Starts:
            made.append(Starts())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        def client() -> bytes:
            with socket.create_connection(address, timeout=aio.LIMIT_S) as sock:
                sock.sendall(b"STARTTLS")
                assert sock.recv(2) == b"go"
                with ours.wrap_socket(sock, server_hostname="localhost") as secure:
                    return secure.recv(10)

        assert await asyncio.to_thread(client) == b"secret"
        await made[0].upgrade
        server.close()
        await server.wait_closed()

    run(main())


def test_a_tls_transport_that_closes_stops_reading(contexts: Contexts) -> None:
    """Though its peer goes on sending."""
    theirs, ours = contexts

    async def main() -> None:
        loop = asyncio.get_running_loop()
        sent = 0

        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            try:
                while True:
                    writer.write(bytes(65536))
                    await writer.drain()
                    sent += 65536
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(flood, "127.0.0.1", 0, ssl=theirs)
        transport, protocol = await loop.create_connection(
            aio.Recorder,
            *server.sockets[0].getsockname(),
            ssl=ours,
            server_hostname="localhost",
            ssl_shutdown_timeout=0.3,
        )
        await aio.until(lambda: len(protocol.data) > 1 << 20)
        transport.close()
        had = len(protocol.data)
        await asyncio.wait_for(protocol.closed, aio.LIMIT_S)
        assert len(protocol.data) == had
        before = sent
        await asyncio.sleep(0.02)
        assert sent - before <= 1 << 20
        server.close()
        await server.wait_closed()

    run(main())


def test_a_peer_that_leaves_without_a_word_ends_the_stream(contexts: Contexts) -> None:
    """Truncated, without close_notify, and under TLS 1.3: no hang."""
    theirs, ours = contexts

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                sock, _ = listener.accept()
                secure = theirs.wrap_socket(sock, server_side=True)
                secure.send(b"x")
                raw = socket.socket(fileno=secure.detach())
                raw.close()

            thread = threading.Thread(target=serve)
            thread.start()
            _, protocol = await loop.create_connection(
                aio.Recorder, *listener.getsockname(), ssl=ours, server_hostname="localhost"
            )
            await asyncio.wait_for(protocol.closed, aio.LIMIT_S)
            assert protocol.data == b"x"
            thread.join()

    run(main())


def test_a_handshake_that_does_not_come_times_out(contexts: Contexts) -> None:
    _, ours = contexts

    async def main() -> None:
        before = aio.descriptors()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with pytest.raises(ConnectionAbortedError, match="handshake"):
                await asyncio.open_connection(
                    *listener.getsockname(),
                    ssl=ours,
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.05,
                )
        await aio.until(lambda: aio.descriptors() == before)

    run(main())


# ---- subprocesses ----


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


# ---- sock_* ----


def test_a_cancelled_sock_recv_loses_nothing() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for one in (ours, theirs):
                one.setblocking(False)
            for n in range(100):
                task = asyncio.ensure_future(loop.sock_recv(ours, 100))
                await asyncio.sleep(0)
                theirs.send(b"%d" % n)
                if n % 2:
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    got = await task
                except asyncio.CancelledError:
                    got = await loop.sock_recv(ours, 100)
                assert got == b"%d" % n
            into = bytearray(10)
            theirs.send(b"abc")
            assert await loop.sock_recv_into(ours, memoryview(into)[2:]) == 3
            assert into == b"\0\0abc\0\0\0\0\0"

    run(main())


def test_a_cancelled_sock_accept_loses_no_connection() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            for _ in range(20):
                task = asyncio.ensure_future(loop.sock_accept(listener))
                await asyncio.sleep(0)
                client = socket.create_connection(listener.getsockname())
                task.cancel()
                try:
                    sock, _ = await task
                except asyncio.CancelledError:
                    sock, _ = await asyncio.wait_for(loop.sock_accept(listener), aio.LIMIT_S)
                assert sock.getpeername() == client.getsockname()
                sock.close()
                client.close()

    run(main())


def test_sock_calls_refuse_what_cannot_work() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        with socket.socket() as blocking:
            for call in (
                loop.sock_recv(blocking, 1),
                loop.sock_sendall(blocking, b"x"),
                loop.sock_accept(blocking),
                loop.sock_connect(blocking, ("127.0.0.1", 1)),
            ):
                with pytest.raises(ValueError, match="non-blocking"):
                    await call
            blocking.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(blocking, ("127.0.0.1", aio.refused_port()))
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(socket.gaierror):
                await loop.sock_connect(sock, ("does-not-exist.invalid", 1))
        loop.set_debug(False)

    run(main())


def test_sock_sendfile_falls_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"z" * 100_000)

    async def main() -> None:
        import io

        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs, path.open("rb") as file:
            for one in (ours, theirs):
                one.setblocking(False)
            received = 0

            async def receive() -> None:
                nonlocal received
                while data := await loop.sock_recv(theirs, 65536):
                    received += len(data)

            receiving = asyncio.ensure_future(receive())
            assert await loop.sock_sendfile(ours, file) == 100_000
            memory = io.BytesIO(b"y" * 50_000)
            assert await loop.sock_sendfile(ours, memory, 10_000) == 40_000  # type: ignore[arg-type]
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sock_sendfile(ours, memory, fallback=False)  # type: ignore[arg-type]
            ours.shutdown(socket.SHUT_WR)
            await receiving
            assert received == 140_000

    run(main())
