"""TLS on the asyncio loop: bytes, starttls, closes, peers that leave or are silent."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import threading

import aio
import pytest

from spargio.asyncio import run


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
        server = await asyncio.start_server(aio.echo, "127.0.0.1", 0, ssl=theirs)
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
