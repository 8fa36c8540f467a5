"""Unix sockets; sockets of Python that are taken over and given up; socket options."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import net

Main = Callable[..., Coroutine[Any, Any, Any]]


def run(main: Main) -> Any:
    return spargio.run(main, shards=2)


# ---- Unix ----


def test_unix_streams(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def main(handle: spargio.RuntimeHandle) -> None:
        for address in (path, f"\0spargio-{os.getpid()}".encode()):
            async with await net.UnixListener.bind(address) as listener:
                assert listener.local_addr == address
                accepted = handle.spawn_stealable(listener.accept())
                async with await net.UnixStream.connect(address) as stream:
                    await stream.write_all(b"hello")
                    peer, name = await accepted
                    assert name == ""
                    assert await peer.read_exactly(5) == b"hello"
                    who = peer.peer_credentials()
                    assert (who.pid, who.uid, who.gid) == (os.getpid(), os.getuid(), os.getgid())
                    await peer.close()
        with pytest.raises(OSError, match="in use") as caught:
            await net.UnixListener.bind(path)
        assert caught.value.filename == path
        with pytest.raises(ConnectionRefusedError) as refused:
            await net.UnixStream.connect(path)
        assert refused.value.filename == path
        for wrong in ("x" * 108, "a\0b", ""):
            with pytest.raises(ValueError, match=r"allowed|cannot contain"):
                await net.UnixStream.connect(wrong)

    run(main)


def test_a_unix_stream_with_a_peer_of_pythons(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                while data := peer.recv(65_536):
                    peer.sendall(data)

        async def main() -> None:
            async with await net.UnixStream.connect(path) as stream:
                data = os.urandom(100_000)
                await stream.write_all(data)
                assert await stream.read_exactly(len(data)) == data

        with support.in_thread(serve):
            run(main)


def test_unix_datagrams(tmp_path: Path) -> None:
    one_path, other_path = str(tmp_path / "one"), str(tmp_path / "other")

    async def main() -> None:
        async with (
            await net.UnixDatagram.bind(one_path) as one,
            await net.UnixDatagram.bind(other_path) as other,
            await net.UnixDatagram.unbound() as nameless,
        ):
            await one.send_to(b"hello", other_path)
            assert await other.recv_from() == (b"hello", one_path)
            await nameless.connect(other_path)
            await nameless.send(b"who?")
            assert await other.recv_from() == (b"who?", None)
            with pytest.raises(FileNotFoundError):
                await one.send_to(b"x", str(tmp_path / "none"))
        first, second = net.UnixDatagram.pair()
        async with first, second:
            await first.send(b"x")
            assert await second.recv() == b"x"

    run(main)


# ---- sockets of Python's, options ----


def test_sockets_of_python_are_taken_over_and_given_up() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(1)  # Nonblocking for the kernel: from_socket leaves it so.
        stream = net.UnixStream.from_socket(ours)
        assert ours.fileno() == -1
        theirs.sendall(b"one")
        assert await stream.recv(10) == b"one"
        with pytest.raises(TimeoutError), spargio.timeout(0.01):
            await stream.recv(10)
        back = socket.socket(fileno=stream.detach())
        theirs.sendall(b"two")
        assert back.recv(10) == b"two"
        with pytest.raises(spargio.ClosedError):
            await stream.recv(10)
        back.close()
        theirs.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for kind in (net.TcpStream, net.TcpListener, net.UnixStream, net.UnixDatagram):
                with pytest.raises(ValueError, match="allowed is a"):
                    kind.from_socket(udp)
            assert udp.fileno() >= 0

    run(main)


def test_options() -> None:
    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0, reuse_port=True) as listener:
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1
            async with await net.TcpStream.connect(*listener.local_addr) as stream:

                def tcp(option: int) -> Any:
                    return stream.getsockopt(socket.IPPROTO_TCP, option)

                assert tcp(socket.TCP_NODELAY) == 1
                stream.set_nodelay(False)
                assert tcp(socket.TCP_NODELAY) == 0
                stream.set_keepalive(True, idle=30, interval=5, count=4)
                assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert tcp(socket.TCP_KEEPIDLE) == 30
                assert tcp(socket.TCP_KEEPINTVL) == 5
                assert tcp(socket.TCP_KEEPCNT) == 4
                stream.set_recv_buffer_size(50_000)
                assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 100_000
                stream.set_send_buffer_size(40_000)
                assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 80_000
                linger = stream.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
                assert linger == bytes(8)
                stream.set_linger(0)  # The close below resets the connection.
                peer, _ = await listener.accept()
            with pytest.raises(ConnectionResetError):
                await peer.recv(10)
            await peer.close()
        try:
            v6 = await net.TcpListener.bind("::1", 0, v6only=True)
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")
        assert v6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        await v6.close()

    run(main)
