"""What is right, of which a type checker must report nothing. tests/test_typing.py runs mypy and pyright
over it; it is never imported."""

from __future__ import annotations

import mmap
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

import spargio
from spargio import fs, io, net, process, sync, tls


async def data(stream: net.TcpStream, file: fs.File, shared: mmap.mmap) -> None:
    for one in (b"x", bytearray(b"x"), memoryview(b"x")):
        await stream.write_all(one)
        await file.write_all_at(0, one)
    await stream.write_all(shared)
    assert_type(await stream.recv(10), bytes)
    assert_type(await stream.recv_into(bytearray(10)), int)
    assert_type(await file.read_many_at(range(3), 10), list[bytes])
    await fs.write("file", b"x")
    async for path, error in fs.write_many([(Path("file"), b"x")]):
        assert_type(path, Path)
        assert_type(error, "OSError | None")
    assert_type((await process.Command("cat", Path("file")).output(b"x")).stdout, bytes)


async def copies(one: net.TcpStream, other: io.DuplexStream) -> None:
    await io.copy(one, other)
    reader, writer = io.split(one)
    await io.copy(reader, writer)
    lines = io.BufReader(reader)
    assert_type(await lines.read_line(), bytes)


async def kept(handle: spargio.RuntimeHandle, stream: net.TcpStream) -> None:
    operation: Coroutine[Any, Any, bytes] = stream.recv(10)
    assert_type(await handle.spawn(operation), bytes)
    assert_type(await spargio.shield(stream.recv(10)), bytes)
    async with spargio.TaskGroup() as group:
        group.spawn(spargio.sleep(1))
    handle.remote(0).send_raw(1, 2)
    handle.spawn(plain())
    assert_type(await spargio.spawn_blocking(int, "7", base=8), int)


async def addresses() -> None:
    async with await net.TcpListener.bind("::1", 0) as listener:
        host, port, *_ = listener.local_addr
        assert_type(listener.local_addr[1], int)
        stream = await net.TcpStream.connect_addr(listener.local_addr)
        assert_type(stream.getsockopt(1, 2), int)
        assert_type(stream.getsockopt(1, 2, 16), bytes)
        async with listener.incoming() as connections:
            async for connection, peer in connections:
                assert_type(connection, net.TcpStream)
                print(peer[0], host, port)
    await net.UnixStream.connect(Path("socket"))


async def files() -> None:
    for mode in ("r", "rb", "w", "wb", "r+b", "a+", "xb"):
        await fs.File.open("file", mode)
    async for name, found in fs.read_many(["one", "two"]):
        assert_type(name, str)
        assert_type(found, "bytes | OSError")


async def channels() -> None:
    sender, receiver = sync.channel(4)  # Of anything.
    await sender.send("text")
    await sender.send(5)
    print(await receiver.recv())
    numbers: tuple[sync.Sender[int], sync.Receiver[int]] = sync.channel(4)
    assert_type(await numbers[1].recv(), int)
    assert_type(sync.watch(5).borrow(), int)
    sync.broadcast(4).send(object())


async def plain() -> int:
    return 1


async def served(port: int = 8000) -> str:
    return str(port)


async def first(handle: spargio.RuntimeHandle, port: int, host: str = "::1") -> str:
    return str(port)


def starts(builder: spargio.RuntimeBuilder) -> None:
    assert_type(spargio.run(plain, shards=2, backend="epoll"), int)
    assert_type(spargio.run(served), str)
    assert_type(spargio.run(served, 8000), str)
    assert_type(spargio.run(first, 8000), str)
    assert_type(spargio.run(first, 8000, "::1", shards=1), str)
    assert_type(spargio.run(lambda: served(5)), str)
    assert_type(spargio.run_with(builder, first, 8000), str)
    assert_type(spargio.run_local_on(builder, 0, plain), int)
    with spargio.Runtime(shards=2) as handle:
        assert_type(handle.spawn(plain()).result(), int)


@spargio.main
async def program(port: int, *, host: str = "::1") -> str:
    return str(port)


@spargio.main(shards=2)
async def other(handle: spargio.RuntimeHandle, port: int = 8000) -> str:
    return str(port)


def calls() -> None:
    assert_type(program(8000, host="::1"), str)
    assert_type(other(), str)
    assert_type(other(8000), str)


async def loaded_later() -> None:
    """Names of parts that load when they are first used."""
    assert_type(await spargio.net.TcpStream.connect("localhost", 1), net.TcpStream)
    assert_type(await spargio.fs.read("x"), bytes)
    assert_type(spargio.probe().setup_errno, int)
    assert_type(spargio.probe().tls, tls.EngineInfo)


async def encrypted(stream: net.UnixStream, context: ssl.SSLContext) -> None:
    async with await tls.connect("localhost", 443, alpn=["h2"], timeout=1) as far:
        assert_type(far, tls.TlsStream[net.TcpStream])
        assert_type(far.selected_alpn_protocol(), "str | None")
    near = await tls.wrap(stream, context, server_side=True)
    assert_type(near, tls.TlsStream[net.UnixStream])
    inner = await tls.wrap(near, context, server_hostname="localhost", session=near.session)
    assert_type(inner, tls.TlsStream[tls.TlsStream[net.UnixStream]])
    assert_type(await inner.recv_into(bytearray(10)), int)
    assert_type(await inner.read_until(b"\n"), bytes)
    assert_type(await inner.unwrap(), tls.TlsStream[net.UnixStream])
    await inner.write_all(memoryview(b"x"))
    listener = tls.TlsListener(await net.TcpListener.bind("::1", 0), context)
    await tls.serve(listener, answer)
    assert_type((await listener.accept())[0], tls.TlsStream[Any])


async def answer(stream: tls.TlsStream[Any]) -> None:
    await io.copy(stream, stream)
