"""Connections that fail, and invalid addresses."""

from __future__ import annotations

import errno
import socket
from typing import Any

import programs
import pytest
import support
from support import receive

import spargio
from spargio import net


def test_a_reset_connection() -> None:
    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                support.reset(remote)
                with pytest.raises(ConnectionResetError) as caught:
                    await stream.recv(10)
                assert caught.value.errno == errno.ECONNRESET
                with pytest.raises((BrokenPipeError, ConnectionResetError)):
                    await stream.write_all(b"data")

    spargio.run(main, shards=1)


def test_a_reset_while_a_task_waits(options: dict[str, Any]) -> None:
    async def read(stream: net.TcpStream) -> None:
        await stream.recv(10)

    async def main(handle: spargio.RuntimeHandle) -> None:
        for shard in range(handle.shard_count()):
            with support.peer() as (host, port, accept):
                stream, remote = await support.connected(host, port, accept)
                async with stream:
                    job = handle.spawn_pinned(shard, read(stream))
                    await support.in_flight(handle, 1)
                    support.reset(remote)
                    with pytest.raises(ConnectionResetError):
                        await job

    spargio.run(main, **options)


def test_a_write_that_is_reset_says_how_much_was_taken() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:

                async def write() -> None:
                    await stream.write_all(bytes(64 << 20))

                job = handle.spawn_pinned(0, write())
                await support.in_flight(handle, 1)
                receive(remote, 1 << 20)
                support.reset(remote)
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    await job

    spargio.run(main, shards=1)


def test_no_sigpipe() -> None:
    done = programs.run_program(
        """
        import signal, socket
        import spargio
        from spargio import net

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

        async def main():
            with socket.create_server(("127.0.0.1", 0)) as server:
                stream = await net.TcpStream.connect(*server.getsockname())
                server.accept()[0].close()
                try:
                    while True:
                        await stream.write_all(bytes(100_000))
                except OSError as error:
                    print("raised")
                await stream.close()

        spargio.run(main, shards=1)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "raised\n", "")


def test_refused(options: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError) as caught:
            await net.TcpStream.connect("127.0.0.1", port)
        assert caught.value.errno == errno.ECONNREFUSED
        assert caught.value.filename == f"127.0.0.1:{port}"

    spargio.run(main, **options)


@pytest.mark.parametrize(
    "host",
    ["localhost", "", "127.0.0", "256.0.0.1", "1.2.3.4.5", "::g", "127.0.0.1 ", "\u00e9" * 99],
)
def test_an_address_that_is_not_numeric_is_a_value_error_where_names_are_not_resolved(
    host: str,
) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="numeric IPv4 or IPv6"):
            await net.TcpStream.connect_addr((host, 80))
        with pytest.raises(ValueError, match="numeric IPv4 or IPv6"):
            net.TcpListener.bind_addr((host, 80))

    spargio.run(main, shards=1)


@pytest.mark.parametrize("port", [-1, 65536, 1 << 40])
def test_a_port_out_of_range_is_a_value_error(port: int) -> None:
    async def main() -> None:
        for call in (net.TcpStream.connect, net.TcpListener.bind):
            with pytest.raises(ValueError, match=f"port must be between 0 and 65535.*, got {port}"):
                await call("127.0.0.1", port)

    spargio.run(main, shards=1)


def test_wrong_types_are_type_errors() -> None:
    async def main() -> None:
        for host, port in ((b"127.0.0.1", 80), (None, 80), (2130706433, 80), ("127.0.0.1", "80")):
            for call in (net.TcpStream.connect, net.TcpListener.bind):
                with pytest.raises(TypeError):
                    await call(host, port)  # type: ignore[arg-type]

    spargio.run(main, shards=1)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (("::1", 1 << 16), ValueError),
        (("::1", 1, 1 << 20), ValueError),
        (("::1", 1, 0, 1 << 32), ValueError),
        (("fe80::1%4294967296", 1), ValueError),
        (("::1", 1.5), TypeError),
        ((None, 1), TypeError),
        (("::1",), TypeError),
        (("::1", 1, 0, 0, 0), TypeError),
        (5, TypeError),
    ],
)
def test_an_address_that_is_none(address: Any, error: type[Exception]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.UdpSocket.bind("::1", 0) as sock:
            with pytest.raises(error, match=r"must be|cannot be interpreted"):
                await sock.send_to(b"x", address)

    spargio.run(main, shards=1)
