"""Sockets: echoes of frames by TCP and Unix sockets, datagrams, receives and accepts that go on, zero copy. Peers reset,
tasks are cancelled, time limits pass."""

from __future__ import annotations

import random
import struct

import spargio
from spargio import net
from spargio.io import framed

from .common import Soak, no_hang

CLIENTS = 8
FRAME_MAX = 200_000
BROKEN = (ConnectionError, spargio.IncompleteReadError, spargio.ClosedError, BrokenPipeError)


async def _serve(soak: Soak, stream: net.TcpStream | net.UnixStream) -> None:
    with soak.expecting(*BROKEN):
        async with stream:
            frames = framed.LengthDelimited(stream)
            while (frame := await frames.read_frame()) is not None:
                await frames.write_frame(frame)


def _reset(stream: net.TcpStream | net.UnixStream) -> None:
    stream.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER


async def _client(soak: Soak, stream: net.TcpStream | net.UnixStream, rng: random.Random) -> None:
    """Some frames there and back; ends well, by a reset, or in the middle of a frame."""
    async with stream:
        frames = framed.LengthDelimited(stream)
        for _ in range(rng.randrange(1, 12)):
            frame = rng.randbytes(int(rng.paretovariate(0.5)) % FRAME_MAX)
            await frames.write_frame(frame)
            assert await frames.read_frame() == frame
        end = rng.random()
        if end < 0.2:
            _reset(stream)
        elif end < 0.4:
            await stream.write_all(struct.pack(">I", 1000) + b"half a frame")
        elif end < 0.6:
            await stream.shutdown()
            assert await frames.read_frame() is None


async def _client_loop(soak: Soak, name: str, connect: object, rng: random.Random) -> None:
    while not soak.over:
        stream = await connect()  # type: ignore[operator]
        job = spargio.current_handle().spawn_stealable(_client(soak, stream, rng), name=name)
        if rng.random() < 0.15:
            await spargio.sleep(rng.random() * 0.005)
            job.cancel()
        with no_hang(name), soak.expecting(spargio.TaskCancelled):
            await job
        await stream.close()
        soak.done(name)


async def _echo(soak: Soak, name: str, listener: object, connect: object) -> None:
    async with spargio.TaskGroup() as group:

        async def accept() -> None:
            async with listener:  # type: ignore[attr-defined]
                async with listener.incoming() as connections:  # type: ignore[attr-defined]
                    async for stream, _ in connections:
                        group.spawn(_serve(soak, stream))

        acceptor = group.spawn(accept())
        async with spargio.TaskGroup() as clients:
            for number in range(CLIENTS):
                rng = soak.random(f"{name} {number}")
                clients.spawn(_client_loop(soak, name, connect, rng))
        acceptor.cancel()


async def echo_tcp(soak: Soak) -> None:
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    address = listener.local_addr
    await _echo(soak, "echo_tcp", listener, lambda: net.TcpStream.connect_addr(address))


async def echo_unix(soak: Soak) -> None:
    path = str(soak.folder / "socket")
    listener = await net.UnixListener.bind(path)
    await _echo(soak, "echo_unix", listener, lambda: net.UnixStream.connect(path))


async def datagrams(soak: Soak) -> None:
    """Numbered datagrams come back as they were; over loopback none is lost while one is under way."""
    rng = soak.random("datagrams")
    async with (
        await net.UdpSocket.bind("127.0.0.1", 0) as server,
        await net.UdpSocket.bind("127.0.0.1", 0) as client,
    ):

        async def answer() -> None:
            while True:
                data, address = await server.recv_from()
                await server.send_to(data, address)

        answering = spargio.current_handle().spawn_stealable(answer())
        number = 0
        while not soak.over:
            number += 1
            data = struct.pack("Q", number) + rng.randbytes(rng.randrange(0, 1400))
            await client.send_to(data, server.local_addr)
            with no_hang("a datagram"):
                back, _ = await client.recv_from()
            assert back == data
            soak.done("datagrams")
            if number % 64 == 0:
                await spargio.sleep(0.002)
        answering.cancel()


async def segments(soak: Soak) -> None:
    """A receive that goes on beside a sender that does not wait, zero copy every other time."""
    rng = soak.random("segments")
    while not soak.over:
        left, right = net.UnixStream.pair()
        data = rng.randbytes(rng.randrange(1, 1 << 20))

        async def send(stream: net.UnixStream = left, data: bytes = data) -> None:
            async with stream:
                await stream.write_all(data)

        sender = spargio.current_handle().spawn_stealable(send())
        got = bytearray()
        async with right:
            with no_hang("segments"):
                async with right.recv_multishot_segments() as pieces:
                    async for piece in pieces:
                        got += piece
        await sender
        assert got == data
        soak.done("segments")


async def zero_copy(soak: Soak) -> None:
    rng = soak.random("zero_copy")
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    async with listener:
        while not soak.over:
            data = rng.randbytes(rng.randrange(1, 1 << 19))

            async def send(data: bytes = data) -> None:
                async with await net.TcpStream.connect_addr(listener.local_addr) as stream:
                    await stream.write_all_zero_copy(data)

            sender = spargio.current_handle().spawn_stealable(send())
            with no_hang("zero copy"):
                stream, _ = await listener.accept()
                async with stream:
                    assert await stream.read_exactly(len(data)) == data
                    assert await stream.recv(1) == b""
            await sender
            soak.done("zero_copy")


async def closes(soak: Soak) -> None:
    """A stream is closed under the operations of other tasks: each is told, none gets strange bytes."""
    rng = soak.random("closes")
    handle = spargio.current_handle()
    while not soak.over:
        left, right = net.UnixStream.pair()

        async def read(stream: net.UnixStream = right) -> bytes:
            with soak.expecting(spargio.ClosedError):
                return await stream.recv(100)
            return b""

        readers = [handle.spawn_stealable(read()) for _ in range(3)]
        await spargio.sleep(rng.random() * 0.002)
        await right.close()
        with no_hang("a closed stream's readers"):
            for reader in readers:
                assert await reader == b""
        await left.close()
        soak.done("closes")


WORKLOADS = {
    "echo_tcp": echo_tcp,
    "echo_unix": echo_unix,
    "datagrams": datagrams,
    "segments": segments,
    "zero_copy": zero_copy,
    "closes": closes,
}
