"""Mistakes that a type checker must report: each line with `# wrong`, and no other. tests/test_typing.py
runs mypy and pyright over it; it is never imported."""

from __future__ import annotations

import ssl
from pathlib import Path

import spargio
from spargio import fs, io, net, process, sync, tls


async def no_await(
    stream: net.TcpStream, file: fs.File, halves: io.WriteHalf[net.TcpStream], udp: net.UdpSocket
) -> None:
    stream.write_all(b"x")  # wrong
    stream.recv(10)  # wrong
    stream.recv_into(bytearray(10))  # wrong
    stream.read_exactly(10)  # wrong
    stream.shutdown()  # wrong
    stream.close()  # wrong
    halves.write_all(b"x")  # wrong
    udp.send(b"x")  # wrong
    udp.recv()  # wrong
    file.read_at(0, 1)  # wrong
    file.read_many_at([0], 1)  # wrong
    file.write_at(0, b"x")  # wrong
    file.write_all_at(0, b"x")  # wrong
    file.write_vectored_at(0, [b"x"])  # wrong
    file.fsync()  # wrong
    file.close()  # wrong
    spargio.sleep(1)  # wrong
    spargio.yield_now()  # wrong
    spargio.ShardCtx.current().next_event()  # wrong
    spargio.ShardCtx.current().flush()  # wrong
    fs.read("file")  # wrong


async def data_and_sizes(stream: net.TcpStream, file: fs.File, udp: net.UdpSocket) -> None:
    await stream.write_all("text")  # wrong
    await stream.send("text")  # wrong
    await stream.write_vectored(["text"])  # wrong
    await stream.recv("10")  # wrong
    await stream.recv_into("text")  # wrong
    await udp.send_to("text", ("::1", 9))  # wrong
    await file.write_at(0, "text")  # wrong
    await file.write_at(b"x", 0)  # wrong
    await file.write_all_at(0, None)  # wrong
    await file.read_at_into(0, 10)  # wrong
    await file.cursor().write("text")  # wrong
    await file.text().write(b"data")  # wrong
    await fs.write("file", "text")  # wrong
    await process.Command("cat").output("text")  # wrong
    process.Command(["ls", "-l"])  # wrong
    await spargio.sleep("1")  # wrong
    await stream.read(10)  # wrong
    await file.read()  # wrong
    async for _ in fs.write_many([("file", "text")]):  # wrong
        pass


async def addresses() -> None:
    await net.TcpListener.bind(None, 80)  # wrong
    await net.TcpListener.bind("::1", "80")  # wrong
    await net.TcpStream.connect_addr("127.0.0.1:80")  # wrong
    await net.TcpStream.connect_addr(("127.0.0.1", "80"))  # wrong
    await net.UnixStream.connect(("127.0.0.1", 80))  # wrong
    udp = await net.UdpSocket.bind()
    await udp.send_to(b"x", "127.0.0.1:9")  # wrong
    listener = await net.TcpListener.bind("::1", 0)
    listener.local_addr.port  # wrong
    name: str = listener.local_addr[1]  # wrong
    stream, _peer = await listener.accept()
    level: int = stream.getsockopt(1, 2, 16)  # wrong
    print(name, level)


async def files() -> None:
    await fs.File.open("file", "rt")  # wrong
    await fs.open("file", "q")  # wrong
    async for path, found in fs.read_many(["one", "two"]):
        path.upper()
        path.exists()  # wrong
        found.decode()  # wrong
    async for place, _ in fs.read_many([Path("one")]):
        place.exists()
        place.upper()  # wrong


async def channels() -> None:
    sender, receiver = sync.channel[int](4)
    await sender.send("text")  # wrong
    text: str = await receiver.recv()  # wrong
    once, _ = sync.oneshot[str]()
    once.try_send(5)  # wrong
    shared = sync.Broadcast[bytes](4)
    shared.send("text")  # wrong
    state = sync.watch(5)
    state.send("text")  # wrong
    number: str = state.borrow()  # wrong
    print(text, number)


async def plain() -> int:
    return 1


async def served(port: int, handle: spargio.RuntimeHandle) -> str:
    return str(port)


async def first(handle: spargio.RuntimeHandle, port: int) -> str:
    return str(port)


def starts(builder: spargio.RuntimeBuilder) -> None:
    spargio.run(plain, shard=2)  # wrong
    spargio.run(plain, shards="2")  # wrong
    spargio.run(plain, backend="uring")  # wrong
    spargio.run(plain())  # wrong
    spargio.run(plain, 5)  # wrong
    spargio.run(first, "8000")  # wrong
    spargio.run_with(builder, first, "8000")  # wrong
    text: str = spargio.run(plain)  # wrong
    builder.apply(shard=2)  # wrong
    builder.workers(2)  # wrong
    spargio.spawn_blocking(len, 5)  # wrong
    print(text)


async def spawns(handle: spargio.RuntimeHandle, group: spargio.TaskGroup) -> None:
    handle.spawn(plain)  # wrong
    handle.spawn(plain(), placement="pinned")  # wrong
    handle.spawn_pinned(plain(), 0)  # wrong
    group.spawn(plain)  # wrong
    text: str = await handle.spawn(plain())  # wrong
    handle.create_task(plain())  # wrong
    print(text)


@spargio.main
async def program(port: int) -> str:
    return str(port)


@spargio.main(shards=2)
async def other(handle: spargio.RuntimeHandle, port: int = 8000) -> str:
    return str(port)


def calls() -> None:
    program("8000")  # wrong
    program()  # wrong
    number: int = program(8000)  # wrong
    other("8000")  # wrong
    print(number)


def loaded_later() -> None:
    """Names of parts that load when they are first used."""
    spargio.net.nope  # wrong
    spargio.io.BufReader(3)  # wrong
    spargio.fs.OpenOptions()._read = True  # wrong


async def encrypted(stream: net.TcpStream, context: ssl.SSLContext) -> None:
    await tls.connect("localhost", "443")  # wrong
    await tls.connect("localhost", 443, alpn=7)  # wrong
    await tls.wrap(b"no stream", context)  # wrong
    near = await tls.wrap(stream, context)
    await near.write_all("text")  # wrong
    spargio.probe().tls.nope  # wrong
