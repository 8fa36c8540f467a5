"""UDP against dnsmasq: questions made by hand (RFC 1035), answered by a server of its own."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import peers
import pytest

import spargio
from spargio import RuntimeHandle, net

pytestmark = pytest.mark.timeout(60)

A, TXT, NXDOMAIN = 1, 16, 3
TRUNCATED = 0x0200
LONG = "long.test"


def question(number: int, name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)


def parse(answer: bytes) -> tuple[int, int, list[bytes]]:
    """(id, flags, the data of each answer)"""
    number, flags, _, answers, _, _ = struct.unpack_from(">6H", answer)
    at = answer.index(b"\0", 12) + 5
    found = []
    for _ in range(answers):
        at += 2 if answer[at] >= 0xC0 else answer.index(b"\0", at) - at + 1
        size = struct.unpack_from(">H", answer, at + 8)[0]
        found.append(answer[at + 10 : at + 10 + size])
        at += 10 + size
    return number, flags, found


@contextlib.asynccontextmanager
async def dnsmasq(folder: Path) -> AsyncIterator[int]:
    """Its port. Hosts n0.test to n255.test, and one name with more text than a datagram takes."""
    for attempt in range(5):
        try:
            async with attempted_dnsmasq(folder) as port:
                yield port
                return
        except peers.Gone:
            if attempt == 4:
                raise


@contextlib.asynccontextmanager
async def attempted_dnsmasq(folder: Path) -> AsyncIterator[int]:
    command = peers.program("dnsmasq")
    port = peers.free_port()
    lines = [f"host-record=n{n}.test,192.0.2.{n}" for n in range(256)]
    lines += [f"txt-record={LONG},{str(n) * 200}" for n in range(6)]
    (folder / "conf").write_text(
        f"port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\n"
        "user=root\ngroup=root\nlocal=/test/\ndns-forward-max=1000\n" + "\n".join(lines) + "\n"
    )
    options = ["--keep-in-foreground", "--log-facility=/dev/null", f"--pid-file={folder}/pid"]
    with peers.running(command, f"--conf-file={folder}/conf", *options) as child:
        # It answers TCP at the same port: once that listens, so does the other.
        async with await peers.ready(lambda: net.TcpStream.connect("127.0.0.1", port), child):
            pass
        yield port


def test_many_questions_at_once_over_a_connected_socket(tmp_path: Path) -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with dnsmasq(tmp_path) as port, await net.UdpSocket.bind("127.0.0.1", 0) as ours:
            await ours.connect("127.0.0.1", port)
            numbers = random.Random(7).sample(range(256), 100)
            for n in numbers:
                await ours.send(question(1000 + n, f"n{n}.test"))
            left = set(numbers)
            while left:
                number, flags, found = parse(await ours.recv())
                assert flags & 0xF == 0
                assert found == [bytes([192, 0, 2, number - 1000])]
                left.remove(number - 1000)

    spargio.run(main, shards=2)


def test_tasks_with_a_socket_each(tmp_path: Path) -> None:
    async def ask(port: int, n: int) -> bytes:
        async with await net.UdpSocket.bind("127.0.0.1", 0) as ours:
            await ours.send_to(question(n, f"n{n}.test"), ("127.0.0.1", port))
            answer, sender = await ours.recv_from()
            assert sender == ("127.0.0.1", port)
            number, _, (address,) = parse(answer)
            assert number == n
            return address

    async def main(handle: RuntimeHandle) -> list[bytes]:
        async with dnsmasq(tmp_path) as port:
            jobs = [handle.spawn_stealable(ask(port, n)) for n in range(100)]
            return [await job for job in jobs]

    assert spargio.run(main, shards=2) == [bytes([192, 0, 2, n]) for n in range(100)]


def test_an_unknown_name(tmp_path: Path) -> None:
    async def main(handle: RuntimeHandle) -> tuple[int, int, list[bytes]]:
        async with dnsmasq(tmp_path) as port, await net.UdpSocket.bind("127.0.0.1", 0) as ours:
            await ours.send_to(question(9, "nobody.test"), ("127.0.0.1", port))
            return parse((await ours.recv_from())[0])

    number, flags, found = spargio.run(main, shards=1)
    assert (number, flags & 0xF, found) == (9, NXDOMAIN, [])


def test_a_truncated_answer_is_asked_for_again_over_tcp(tmp_path: Path) -> None:
    async def main(handle: RuntimeHandle) -> list[bytes]:
        async with dnsmasq(tmp_path) as port:
            asked = question(5, LONG, TXT)
            async with await net.UdpSocket.bind("127.0.0.1", 0) as ours:
                await ours.send_to(asked, ("127.0.0.1", port))
                assert parse((await ours.recv_from())[0])[1] & TRUNCATED
            async with await net.TcpStream.connect("127.0.0.1", port) as stream:
                await stream.write_all(struct.pack(">H", len(asked)) + asked)
                (size,) = struct.unpack(">H", await stream.read_exactly(2))
                return parse(await stream.read_exactly(size))[2]

    found = spargio.run(main, shards=1)
    assert sorted(found) == [bytes([200]) + str(n).encode() * 200 for n in range(6)]
