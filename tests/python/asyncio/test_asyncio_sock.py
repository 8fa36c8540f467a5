"""The sock_* calls of the asyncio loop: cancellations lose nothing, what cannot work is refused."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aio
import pytest

from spargio.asyncio import run


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
