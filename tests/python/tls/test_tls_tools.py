"""Peers that others wrote: openssl's client and server, curl, Python's ssl over plain sockets. Theirs
are new keys in the middle of a stream, and renegotiation."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import support
from wire import Contexts, Names

import spargio
from spargio import tls

on = spargio.TaskPlacement.Pinned

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is missing: apt-get install openssl"
)
needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="curl is missing: apt-get install curl"
)


class Tool:
    """A program whose input and output are lines. Its output is read by a thread, so that it never
    waits for us."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.output = bytearray()
        self.grown = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := self.process.stdout.read1(65536):  # type: ignore[attr-defined]
            with self.grown:
                self.output += data
                self.grown.notify_all()
        with self.grown:
            self.grown.notify_all()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def wait_for(self, text: bytes) -> None:
        """Waits on a thread; in a task by spawn_blocking."""
        with self.grown:
            found = self.grown.wait_for(
                lambda: text in self.output or not self.thread.is_alive(), support.LIMIT_S
            )
            assert found and text in self.output, bytes(self.output[-2000:])

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.thread.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


@contextmanager
def tool(*command: str) -> Iterator[Tool]:
    one = Tool(*command)
    try:
        yield one
    finally:
        one.end()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def client(port: int, names: Names, *more: str) -> Any:
    return tool(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost",
        "-CAfile", str(names.trust), "-verify_return_error", *more,
    )  # fmt: skip


@needs_openssl
def test_keys_change_while_both_directions_are_busy(contexts: Contexts, names: Names) -> None:
    """s_client's command K: new keys, and the peer is to make new ones as well. The answer is the
    reader's, the stream is the writer's, and they are on two shards."""
    rounds, piece = 40, 3000

    async def main() -> None:
        listener = await tls.TlsListener.bind("127.0.0.1", 0, contexts[0])
        with client(listener.local_addr[1], names) as peer:
            stream, _ = await listener.accept()
            await stream.handshake()
            stop = spargio.CancellationToken()

            async def write() -> None:
                while not stop.is_cancelled():
                    await stream.write_all(b"." * piece)
                    await spargio.sleep(0.001)
                await stream.write_all(b"the last")

            async def read() -> None:
                for number in range(rounds):
                    # Alone in its read: what came with it would be thrown away.
                    changed = peer.output.count(b"KEYUPDATE")
                    peer.say("K" if number % 2 else "k")
                    await spargio.spawn_blocking(_until_more, peer, b"KEYUPDATE", changed)
                    peer.say(f"line {number}")
                    assert await stream.read_until() == f"line {number}\n".encode()
                stop.cancel()

            async with spargio.TaskGroup() as group:
                group.spawn(write(), placement=on(1))
                group.spawn(read(), placement=on(0))
            await spargio.spawn_blocking(peer.wait_for, b"the last")
            assert b"KEYUPDATE" in peer.output
            assert b"error" not in peer.output
            await stream.close()
        await listener.close()

    spargio.run(main, shards=2)


@needs_openssl
def test_a_server_renegotiates(contexts: Contexts, names: Names) -> None:
    """TLS 1.2, s_server's command r: the handshake is done within a read, beside writes."""
    port = free_port()

    async def main() -> None:
        contexts[1].maximum_version = ssl.TLSVersion.TLSv1_2
        with tool(
            "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(names.chain),
            "-key", str(names.key), "-tls1_2",
        ) as peer:  # fmt: skip
            await spargio.spawn_blocking(peer.wait_for, b"ACCEPT")
            async with await tls.connect(
                "127.0.0.1", port, context=contexts[1], server_hostname="localhost"
            ) as stream:
                for number in range(3):
                    await stream.write_all(f"before {number}\n".encode())
                    await spargio.spawn_blocking(peer.wait_for, f"before {number}".encode())
                    seen = peer.output.count(b"Read BLOCK")
                    peer.say("r")
                    reading = spargio.current_handle().spawn(stream.read_until())
                    # The client's part of the new handshake came.
                    await spargio.spawn_blocking(_until_more, peer, b"Read BLOCK", seen)
                    await stream.write_all(f"after {number}\n".encode())
                    await spargio.spawn_blocking(peer.wait_for, f"after {number}".encode())
                    peer.say(f"answer {number}")
                    assert await reading == f"answer {number}\n".encode()

    spargio.run(main)


def _until_more(peer: Tool, text: bytes, count: int) -> None:
    with peer.grown:
        assert peer.grown.wait_for(lambda: peer.output.count(text) > count, support.LIMIT_S)


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_as_a_server(contexts: Contexts, names: Names, version: str) -> None:
    port = free_port()

    async def main() -> None:
        with tool(
            "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(names.chain),
            "-key", str(names.key), "-rev", version,
        ) as peer:  # fmt: skip
            await spargio.spawn_blocking(peer.wait_for, b"ACCEPT")
            stream = await tls.connect(
                "127.0.0.1", port, context=contexts[1], server_hostname="localhost"
            )
            async with stream:
                for _ in range(3):
                    await stream.write_all(b"stressed\n")
                    assert await stream.read_until() == b"desserts\n"
                assert stream.session is not None

    spargio.run(main)


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_as_a_client(contexts: Contexts, names: Names, version: str) -> None:
    async def main() -> None:
        listener = await tls.TlsListener.bind("127.0.0.1", 0, contexts[0])
        with client(listener.local_addr[1], names, version) as peer:
            stream, _ = await listener.accept()
            async with stream:
                peer.say("a question")
                assert await stream.read_until() == b"a question\n"
                await stream.write_all(b"an answer\n")
                await spargio.spawn_blocking(peer.wait_for, b"an answer")
                peer.say("Q")  # Ends it, properly.
                assert await stream.recv(100) == b""
            assert b"Verify return code: 0 (ok)" in peer.output
        await listener.close()

    spargio.run(main)


@needs_curl
def test_curl(contexts: Contexts, names: Names) -> None:
    body = bytes(range(256)) * 2000

    async def answer(stream: tls.TlsStream[Any]) -> None:
        head = await stream.read_until(b"\r\n\r\n")
        assert head.startswith(b"GET /page HTTP/1.1\r\n")
        await stream.write_vectored(
            [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]
        )

    async def main() -> None:
        contexts[0].set_alpn_protocols(["http/1.1"])
        stop = spargio.CancellationToken()
        listener = await tls.TlsListener.bind("127.0.0.1", 0, contexts[0])
        port = listener.local_addr[1]
        async with spargio.TaskGroup() as group:
            group.spawn(tls.serve(listener, answer, stop=stop))
            command = ["curl", "-sS", "--max-time", "20", "--cacert", str(names.trust)]
            resolve = ["--resolve", f"localhost:{port}:127.0.0.1"]
            url = f"https://localhost:{port}/page"
            done = await spargio.spawn_blocking(
                subprocess.run, [*command, *resolve, url], capture_output=True, check=False
            )
            assert (done.returncode, done.stdout) == (0, body)
            stop.cancel()

    spargio.run(main)


def test_pythons_own_sockets(versioned: Contexts) -> None:
    """ssl.SSLSocket on a thread, both ways."""

    async def main() -> None:
        listener = await tls.TlsListener.bind("127.0.0.1", 0, versioned[0])
        port = listener.local_addr[1]

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", port), support.LIMIT_S) as plain:
                with versioned[1].wrap_socket(plain, server_hostname="localhost") as one:
                    one.sendall(b"x" * 100_000)
                    got = b""
                    while len(got) < 100_000:
                        got += one.recv(65536)
                    one.unwrap()
                    return got

        talking = spargio.spawn_blocking(talk)
        stream, _ = await listener.accept()
        async with stream:
            await stream.write_all((await stream.read_exactly(100_000)).upper())
            assert await stream.recv(1) == b""
            await stream.unwrap()
            assert await talking == b"X" * 100_000
        await stream.transport.close()
        await listener.close()

    spargio.run(main)


@pytest.mark.skipif(sys.version_info < (3, 8), reason="post-handshake authentication")
def test_a_certificate_is_asked_for_later(contexts: Contexts, authority: Any) -> None:
    """TLS 1.3, RFC 8446, 4.6.2."""

    async def main() -> None:
        from wire import pair

        contexts[0].verify_mode = ssl.CERT_OPTIONAL
        authority.configure_trust(contexts[0])
        contexts[1].post_handshake_auth = True
        authority.issue_cert("me@example.org").configure_cert(contexts[1])
        contexts[0].post_handshake_auth = True
        async with pair(contexts) as (near, far):
            before = far.getpeercert()
            if not before:
                far.verify_client_post_handshake()
            await far.write_all(b"who are you?")
            assert await near.recv(100) == b"who are you?"
            await near.write_all(b"me")
            assert await far.recv(100) == b"me"
            assert ("email", "me@example.org") in far.getpeercert()["subjectAltName"]

    spargio.run(main)
