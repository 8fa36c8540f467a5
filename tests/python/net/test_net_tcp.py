"""TCP streams against plain blocking sockets of Python."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest
import support
from support import receive

import spargio
from spargio import net


async def serve_echo(handle: spargio.RuntimeHandle, listener: net.TcpListener) -> None:
    async def echo(stream: net.TcpStream) -> None:
        async with stream:
            while data := await stream.recv(65536):
                await stream.write_all(data)

    while True:
        stream, _ = await listener.accept_round_robin()
        assert stream.session_shard is not None
        handle.spawn_pinned(stream.session_shard, echo(stream))


async def cancelled(job: spargio.JoinHandle[Any]) -> None:
    job.cancel()
    with pytest.raises(spargio.TaskCancelled):
        await job


def test_echo(options: dict[str, Any]) -> None:
    def client(port: int, n: int) -> None:
        with support.dial(port) as connection:
            for size in (1, 100, 70_000):
                data = bytes([n]) * size
                connection.sendall(data)
                assert receive(connection, size) == data
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            server = handle.spawn_pinned(0, serve_echo(handle, listener))
            port = listener.local_addr[1]
            threads = [threading.Thread(target=client, args=(port, n)) for n in range(20)]
            for thread in threads:
                thread.start()
            await support.until(lambda: not any(thread.is_alive() for thread in threads))
            await cancelled(server)

    spargio.run(main, **options)


def test_500_connections(options: dict[str, Any]) -> None:
    count = 500

    def clients(port: int) -> None:
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for n, connection in enumerate(connections):
            connection.sendall(b"%03d" % n)
        for n, connection in enumerate(connections):
            assert receive(connection, 3) == b"%03d" % n
        for connection in connections:
            connection.close()

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            server = handle.spawn_pinned(0, serve_echo(handle, listener))
            with support.in_thread(clients, listener.local_addr[1]) as outcome:
                await support.until(lambda: not outcome.thread.is_alive())
            await cancelled(server)

    spargio.run(main, **options)


def test_stream_to_stream(options: dict[str, Any]) -> None:
    async def answer(listener: net.TcpListener) -> None:
        stream, peer = await listener.accept()
        async with stream:
            assert peer == stream.peer_addr
            assert await stream.read_exactly(5) == b"hello"
            assert await stream.send(b"world") == 5
            await stream.shutdown()
            assert await stream.recv(1) == b""

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            job = handle.spawn_stealable(answer(listener))
            async with await net.TcpStream.connect(*listener.local_addr) as stream:
                assert stream.session_shard is None
                assert stream.peer_addr == listener.local_addr
                assert stream.local_addr[0] == "127.0.0.1"
                await stream.write_all(b"hello")
                assert await stream.read_exactly(5) == b"world"
                assert await stream.recv(1) == b""
            await job

    spargio.run(main, **options)


def test_ipv6() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")

    async def main() -> None:
        async with await net.TcpListener.bind("::1", 0) as listener:
            host, port, *_ = listener.local_addr
            assert host == "::1"
            async with await net.TcpStream.connect("::1", port) as stream:
                accepted, peer = await listener.accept()
                async with accepted:
                    assert peer[:2] == stream.local_addr[:2]
                    await stream.write_all(b"six")
                    assert await accepted.read_exactly(3) == b"six"
            with support.dial(port, "::1") as plain:
                accepted, peer = await listener.accept()
                async with accepted:
                    assert peer[:2] == plain.getsockname()[:2]
        with pytest.raises(ConnectionRefusedError):
            await net.TcpStream.connect("::1", port)

    spargio.run(main, shards=1)


# ---- receiving ----


def test_recv_gives_what_there_is_up_to_the_size() -> None:
    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                remote.sendall(b"0123456789")
                assert await stream.recv(4) == b"0123"
                buffer = bytearray(b"-" * 8)
                assert await stream.recv_into(buffer) == 6
                assert buffer == b"456789--"
                remote.sendall(b"x" * 100_000)
                remote.shutdown(socket.SHUT_WR)
                got = bytearray()
                while part := await stream.recv(1 << 20):
                    got += part
                assert got == b"x" * 100_000
                # The end stays the end.
                assert await stream.recv(10) == b""
                assert await stream.recv_into(buffer) == 0

    spargio.run(main, shards=1)


def test_nothing_is_received_or_sent_at_once() -> None:
    """A size of 0 does not wait for data that may never come."""

    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, _remote = await support.connected(host, port, accept)
            async with stream:
                with spargio.timeout(support.LIMIT_S):
                    assert await stream.recv(0) == b""
                    assert await stream.read_exactly(0) == b""
                    assert await stream.recv_into(bytearray()) == 0
                    assert await stream.send(b"") == 0
                    assert await stream.write_all(b"") is None

    spargio.run(main, shards=1)


def test_read_exactly_waits_for_all() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:

                async def read() -> bytes:
                    return await stream.read_exactly(10)

                job = handle.spawn_pinned(0, read())
                for n in range(5):
                    assert not job.done()
                    remote.sendall(b"%02d" % n)
                    await spargio.sleep(0)
                assert await job == b"0001020304"

    spargio.run(main, shards=1)


def test_read_exactly_of_a_stream_that_ends() -> None:
    async def main() -> None:
        for sent in (b"", b"1", b"12345"):
            with support.peer() as (host, port, accept):
                stream, remote = await support.connected(host, port, accept)
                async with stream:
                    remote.sendall(sent)
                    remote.close()
                    with pytest.raises(spargio.IncompleteReadError) as caught:
                        await stream.read_exactly(10)
                    assert (caught.value.partial, caught.value.expected) == (sent, 10)
                    assert isinstance(caught.value, EOFError)
                    assert f"{len(sent)} of 10" in str(caught.value)
                    assert await stream.recv(1) == b""

    spargio.run(main, shards=1)


def test_read_exactly_of_8_mib() -> None:
    data = os.urandom(8 << 20)

    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                with support.in_thread(remote.sendall, data):
                    assert await stream.read_exactly(len(data)) == data

    spargio.run(main, shards=1)


# ---- sending ----


def test_write_all_of_8_mib_to_a_slow_reader(options: dict[str, Any]) -> None:
    data = os.urandom(8 << 20)

    def read_slowly(remote: socket.socket) -> None:
        got = bytearray()
        while part := remote.recv(5000):
            got += part
        assert got == data

    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                with support.in_thread(read_slowly, remote):
                    assert await stream.write_all(data) is None
                    await stream.shutdown()

    spargio.run(main, **options)


def test_send_may_take_less() -> None:
    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                data = memoryview(os.urandom(8 << 20))
                sent = await stream.send(data)
                assert 0 < sent < len(data)
                remote.settimeout(support.LIMIT_S)
                with support.in_thread(receive, remote, sent) as outcome:
                    pass
                assert outcome.value == data[:sent]

    spargio.run(main, shards=1)


def test_buffers_that_can_be_sent() -> None:
    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                for buffer in (b"data", bytearray(b"data"), memoryview(b"-data-")[1:5]):
                    await stream.write_all(buffer)
                    assert receive(remote, 4) == b"data"
                for wrong in ("text", None, 5):
                    for call in (stream.send, stream.write_all, stream.recv_into):
                        with pytest.raises(TypeError):
                            call(wrong)
                with pytest.raises(BufferError):
                    stream.recv_into(b"read-only")

    spargio.run(main, shards=1)


def test_one_reads_while_another_writes() -> None:
    data = os.urandom(2 << 20)

    def echo(remote: socket.socket) -> None:
        while part := remote.recv(65536):
            remote.sendall(part)
        remote.shutdown(socket.SHUT_WR)

    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:

                async def write() -> None:
                    await stream.write_all(data)
                    await stream.shutdown()

                with support.in_thread(echo, remote):
                    job = handle.spawn_pinned(1, write())
                    assert await stream.read_exactly(len(data)) == data
                    await job

    spargio.run(main, shards=2)


# ---- the socket itself ----


def test_nodelay() -> None:
    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, _remote = await support.connected(host, port, accept)
            async with stream:
                with socket.socket(fileno=os.dup(stream.fileno())) as same:
                    assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    for flag in (False, True):
                        stream.set_nodelay(flag)
                        option = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                        assert bool(option) is flag

    spargio.run(main, shards=1)


def test_shutdown_of_each_side() -> None:
    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                await stream.shutdown(socket.SHUT_WR)
                assert remote.recv(1) == b""
                remote.sendall(b"still")
                assert await stream.recv(10) == b"still"
                await stream.shutdown(socket.SHUT_RD)
                assert await stream.recv(10) == b""
                for wrong in (-1, 3):
                    with pytest.raises(ValueError, match="how must be between 0 and 2, got "):
                        stream.shutdown(wrong)

    spargio.run(main, shards=1)


def test_descriptors_are_not_inherited() -> None:
    def sockets() -> list[int]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    found.append(int(name))
            except FileNotFoundError:
                continue
        return found

    async def main() -> None:
        before = sockets()
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            async with await net.TcpStream.connect(*listener.local_addr):
                accepted, _ = await listener.accept()
                async with accepted:
                    ours = set(sockets()) - set(before)
                    assert len(ours) == 3
                    assert not any(os.get_inheritable(number) for number in ours)

    spargio.run(main, shards=1)


def test_a_stream_moves_between_shards() -> None:
    async def step(stream: net.TcpStream) -> bytes:
        data = await stream.read_exactly(3)
        await stream.write_all(data.upper())
        return data

    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                for n in range(40):
                    job = handle.spawn_pinned(n % 4, step(stream))
                    remote.sendall(b"a%02d" % n)
                    assert await job == b"a%02d" % n
                    assert receive(remote, 3) == b"A%02d" % n

    spargio.run(main, shards=4)
