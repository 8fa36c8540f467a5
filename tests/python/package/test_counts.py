"""Counts and sizes that are no integers are refused where they are given, by name: compared with
integers they would be bounds that nothing ever reaches."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

import pytest

import spargio
from spargio import boundary, fs, io, net, sync
from spargio.extension import fs as fs_extension

pytestmark = pytest.mark.any_backend


class Five:
    """An integer of another library."""

    def __index__(self) -> int:
        return 5


async def _all(items: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in items]


async def _notify(count: Any) -> None:
    condition = sync.Condition()
    async with condition:
        condition.notify(count)


async def _line(count: Any) -> None:
    one, other = net.UnixStream.pair()
    async with one, other:
        await other.write_all(b"1\n")
        assert await one.read_until(limit=count) == b"1\n"


async def _datagram(count: Any) -> None:
    async with await net.UdpSocket.bind("127.0.0.1") as socket:
        await socket.send_to(b"x", socket.local_addr)
        assert (await socket.recv_from(count))[0] == b"x"


async def _listen(count: Any) -> None:
    await (await net.TcpListener.bind("127.0.0.1", 0, backlog=count)).close()


async def _ended(data: bytes = b"1\n") -> io.DuplexStream:
    one, other = io.duplex()
    await one.write_all(data)
    await one.shutdown()
    return other


async def _buffered(count: Any) -> None:
    await io.BufReader(await _ended()).read_until(limit=count)


async def _copy(count: Any) -> None:
    assert await io.copy(await _ended(), io.duplex()[0], chunk=count) == 2


async def _exactly(count: Any) -> None:
    await io.BufReader(await _ended(b"12345")).read_exactly(count)


async def _received(count: Any) -> None:
    await (await _ended()).recv(count)


async def _collected(count: Any) -> None:
    await io.copy_to_vec(await _ended(), limit=count)


def _framed(count: Any) -> io.framed.LengthDelimited:
    return io.framed.LengthDelimited(io.duplex()[0], max_frame=count)


CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Semaphore": ("permits", sync.Semaphore),
    "Semaphore, most": ("most", lambda n: sync.Semaphore(0, most=n)),
    "Barrier": ("parties", sync.Barrier),
    "channel": ("capacity", sync.channel),
    "broadcast": ("capacity", sync.broadcast),
    "boundary.channel": ("capacity", boundary.channel),
    "Condition.notify": ("count", _notify),
    "read_many": ("concurrency", lambda n: _all(fs.read_many([__file__], concurrency=n))),
    "write_many": ("concurrency", lambda n: _all(fs.write_many([], concurrency=n))),
    "read_dir_entries": ("depth", lambda n: fs_extension.read_dir_entries("/dev/fd", depth=n)),
    "RegisteredBuffers": ("count", lambda n: fs.RegisteredBuffers(n, 1)),
    "BufReader": ("limit", lambda n: io.BufReader(io.duplex()[0], limit=n)),
    "BufReader.read_until": ("limit", _buffered),
    "BufReader.read_exactly": ("size", _exactly),
    "BufWriter": ("capacity", lambda n: io.BufWriter(io.duplex()[0], capacity=n)),
    "LengthDelimited": ("max_frame", _framed),
    "duplex": ("capacity", io.duplex),
    "DuplexStream.recv": ("max_bytes", _received),
    "copy": ("chunk", _copy),
    "copy_to_vec": ("limit", _collected),
    "read_until": ("limit", _line),
    "recv_from": ("max_bytes", _datagram),
    "listen": ("backlog", _listen),
}


async def _outcome(call: Callable[[Any], Any], count: Any) -> None:
    made = call(count)
    if isinstance(made, Awaitable):
        await made


@pytest.mark.parametrize(("name", "call"), CALLS.values(), ids=CALLS.keys())
def test_a_count_is_an_integer(name: str, call: Callable[[Any], Any]) -> None:
    async def main() -> None:
        for wrong in (1.5, float("nan"), "2", b"2"):
            with pytest.raises(TypeError, match=f"^{name} is {wrong!r}: allowed is an integer$"):
                await _outcome(call, wrong)
        with pytest.raises(ValueError, match=f"^{name} is -1: allowed is [01] "):
            await _outcome(call, -1)
        await _outcome(call, Five())

    spargio.run(main, shards=1)
