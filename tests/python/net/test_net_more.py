"""spargio.net beside TCP itself: names, sessions, UDP, Unix, sockets of Python's, options."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import io, net

Main = Callable[..., Coroutine[Any, Any, Any]]


def run(main: Main) -> Any:
    return spargio.run(main, shards=2)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---- names ----


def test_a_name_is_resolved_and_connected_to() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("localhost", 0) as listener:
            port = listener.local_addr[1]
            accepted = handle.spawn_stealable(listener.accept())
            async with await net.TcpStream.connect("localhost", port) as stream:
                await stream.write_all(b"hello")
                peer, address = await accepted
                assert await peer.recv(10) == b"hello"
                assert address[:2] == stream.local_addr[:2]
                await peer.close()

    run(main)


def test_a_name_that_nobody_knows() -> None:
    async def main() -> None:
        for call in (net.TcpStream.connect, net.TcpListener.bind, net.UdpSocket.bind):
            with pytest.raises(socket.gaierror, match="no-such-host.invalid"):
                await call("no-such-host.invalid", 80)
        for wrong in ("", "a\0b"):
            with pytest.raises(ValueError, match="host is"):
                await net.TcpStream.connect(wrong, 80)

    run(main)


def test_a_slow_resolver_blocks_no_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow(*arguments: object) -> Any:
        assert gate.wait(support.LIMIT_S)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(spargio.current_shard(), net.resolve("slow.example", 80))
        for _ in range(100):
            await spargio.sleep(0)
        assert not job.done()
        gate.set()
        with pytest.raises(socket.gaierror, match="slow.example"):
            await job

    run(main)


def found(*addresses: tuple[int, Any]) -> Any:
    return lambda *_: [(family, 0, 0, "", address) for family, address in addresses]


def test_addresses_take_turns_by_family(monkeypatch: pytest.MonkeyPatch) -> None:
    v4 = [(socket.AF_INET, (f"10.0.0.{n}", 80)) for n in range(3)]
    v6 = [(socket.AF_INET6, (f"fd00::{n}", 80, 0, 0)) for n in range(2)]
    monkeypatch.setattr(socket, "getaddrinfo", found(*v6, *v4))

    async def main() -> None:
        assert await net.resolve("x.example", 80) == [v6[0], v4[0], v6[1], v4[1], v4[2]]
        assert await net.resolve("10.1.1.1", 80) == [(socket.AF_INET, ("10.1.1.1", 80))]

    run(main)


def test_the_race_goes_on_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        good, bad = server.getsockname(), closed.getsockname()
        monkeypatch.setattr(
            socket, "getaddrinfo", found((socket.AF_INET, bad), (socket.AF_INET, good))
        )

        async def main() -> None:
            async with await net.TcpStream.connect("x.example", 80) as stream:
                assert stream.peer_addr == good

        run(main)


def test_the_race_does_not_wait_for_an_address_that_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A listener whose queue is full answers nothing; the second address is tried beside it."""
    with socket.socket() as silent, socket.create_server(("127.0.0.1", 0)) as server:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for one in fill:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        silent_addr, good = silent.getsockname(), server.getsockname()
        monkeypatch.setattr(
            socket, "getaddrinfo", found((socket.AF_INET, silent_addr), (socket.AF_INET, good))
        )
        before = descriptors()

        async def main() -> None:
            with spargio.timeout(support.LIMIT_S):
                async with await net.TcpStream.connect("x.example", 80) as stream:
                    assert stream.peer_addr == good
            with pytest.raises(TimeoutError):
                await net.TcpStream.connect_addr(silent_addr, timeout=0.05)

        run(main)
        assert descriptors() == before
        for one in fill:
            one.close()


def test_where_all_addresses_fail_the_first_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as one, socket.socket() as other:
        for sock in (one, other):
            sock.bind(("127.0.0.1", 0))
        addresses = [(socket.AF_INET, sock.getsockname()) for sock in (one, other)]
        monkeypatch.setattr(socket, "getaddrinfo", found(*addresses))
        port = one.getsockname()[1]

        async def main() -> None:
            with pytest.raises(ConnectionRefusedError) as caught:
                await net.TcpStream.connect("x.example", 80)
            assert caught.value.filename == f"127.0.0.1:{port}"

        run(main)


def test_accept_has_a_time_limit() -> None:
    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            with pytest.raises(TimeoutError):
                await listener.accept(timeout=0.01)
            async with await net.TcpStream.connect(*listener.local_addr) as stream:
                peer, address = await listener.accept(timeout=support.LIMIT_S)
                assert address == stream.local_addr
                await peer.close()

    run(main)


# ---- sessions ----


def test_sessions_have_shards() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        policy = net.StreamSessionPolicy

        async def where() -> int:
            return spargio.current_shard()

        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            host, port = listener.local_addr
            streams = await net.TcpStream.connect_many_round_robin(host, port, 6)
            shards = [stream.session_shard for stream in streams]
            first = shards[0] or 0
            assert shards == [(first + n) % 3 for n in range(6)]
            for stream in streams:
                assert await stream.spawn_on_session(where()) == stream.session_shard
            for chosen, wanted in (
                (policy.Fixed(2), 2),
                (policy.Opener, spargio.current_shard()),
            ):
                stream, _ = await listener.accept_with_session_policy(chosen)
                assert stream.session_shard == wanted
                assert await stream.spawn_stealable_on_session(where()) in range(3)
                await stream.close()
            sticky = {
                (await listener.accept_with_session_policy(policy.Sticky("k")))[0].session_shard
                for _ in range(3)
            }
            assert len(sticky) == 1
            placed = handle.spawn_with_placement(spargio.TaskPlacement.Sticky("k"), where())
            assert sticky == {await placed}
            with pytest.raises(ValueError, match="shard is 3: allowed is 0 to 2"):
                await listener.accept_with_session_policy(policy.Fixed(3))
            for stream in streams:
                await stream.close()

    with pytest.warns(ResourceWarning, match="unclosed"):  # The three sticky ones.
        spargio.run(main, shards=3)
        import gc

        gc.collect()


def test_connect_many_leaves_none_open_where_one_fails() -> None:
    before = descriptors()

    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                targets = [listener.local_addr] * 3 + [closed.getsockname()]
                with pytest.raises(ConnectionRefusedError):
                    await net.TcpStream.connect_many_with_session_policy(
                        targets, net.StreamSessionPolicy.Opener
                    )

    run(main)
    assert descriptors() == before


# ---- reading and writing ----


def test_read_until_loses_nothing() -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)
    lines = [chosen.randbytes(chosen.randrange(200)).replace(b"\r\n", b"") for _ in range(300)]
    data = b"".join(line + b"\r\n" for line in lines)

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()

        async def write() -> None:
            at = 0
            while at < len(data):
                size = chosen.randrange(1, 300)
                await one.write_all(data[at : at + size])
                at += size
            await one.write_all(b"rest")
            await one.shutdown()

        job = handle.spawn_pinned(1, write())
        for line in lines:
            assert await other.read_until(b"\r\n") == line + b"\r\n"
        with pytest.raises(spargio.IncompleteReadError) as caught:
            await other.read_until(b"\n")
        assert caught.value.partial == b"rest"
        await job
        await one.close()
        await other.close()

    run(main)


def test_read_until_that_is_cancelled_or_too_long_leaves_the_bytes() -> None:
    async def main() -> None:
        one, other = net.UnixStream.pair()
        await one.write_all(b"no end")
        with pytest.raises(TimeoutError), spargio.timeout(0.02):
            await other.read_until()
        await one.write_all(b" yet\nnext")
        with pytest.raises(ValueError, match="limit = 5"):
            await other.read_until(limit=5)
        assert await other.read_until() == b"no end yet\n"
        assert await other.read_exactly(4) == b"next"
        with pytest.raises(ValueError, match="separator"):
            await other.read_until(b"")
        await one.close()
        await other.close()

    run(main)


def test_a_batch_costs_as_much_as_its_parts() -> None:
    """CPU time of one batch of many pieces, and of the same in batches of 1,000: each piece sent
    must not move all that follow."""
    parts = [b"0123456789"] * 200_000

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        job = handle.spawn_pinned(1, io.copy_to_vec(other))
        began = time.process_time()
        for at in range(0, len(parts), 1_000):
            await one.send_all_batch(parts[at : at + 1_000])
        between = time.process_time()
        await one.send_all_batch(parts)
        ended = time.process_time()
        await one.close()
        assert len(await job) == 2 * 10 * len(parts)
        await other.close()
        assert ended - between < 10 * (between - began)

    run(main)


def test_batches_and_vectors() -> None:
    parts = [os.urandom(random.Random(n).randrange(5_000)) for n in range(3_000)]

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        whole = b"".join(parts)
        job = handle.spawn_pinned(1, other.read_exactly(len(whole)))
        assert await one.send_all_batch(parts) == len(whole)
        assert await job == whole
        assert await one.send_all_batch([]) == 0
        assert await one.write_vectored([b"ab", bytearray(b"cd"), memoryview(b"e")]) == 5
        assert await other.recv(10) == b"abcde"
        await one.close()
        with pytest.raises(spargio.ClosedError):
            await one.send_all_batch([b"x"])
        await other.close()

    run(main)


# ---- UDP ----


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_udp_with_a_peer_of_pythons(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        peer = socket.socket(family, socket.SOCK_DGRAM)
        peer.bind((host, 0))
    except OSError as error:
        pytest.skip(f"no {host} here: {error}")
    peer.settimeout(support.LIMIT_S)

    async def main() -> None:
        async with await net.UdpSocket.bind(host) as sock:
            assert await sock.send_to(b"question", peer.getsockname()) == 8
            data, address = peer.recvfrom(100)
            assert (data, address) == (b"question", sock.local_addr)
            peer.sendto(b"answer", address)
            assert await sock.recv_from() == (b"answer", peer.getsockname())
            peer.sendto(b"", address)
            assert await sock.recv() == b""
            peer.sendto(b"0123456789", address)
            assert await sock.recv(4) == b"0123"  # The rest of a datagram is gone.
            with pytest.raises(OSError, match="Destination address required"):
                await sock.send(b"x")
            await sock.connect(host, peer.getsockname()[1])
            await sock.send(b"connected")
            assert peer.recvfrom(100)[0] == b"connected"
            assert sock.peer_addr == peer.getsockname()
            with pytest.raises(OSError, match="too long"):
                await sock.send_to(b"x" * 70_000, peer.getsockname())
            with pytest.raises(ValueError, match="port is 65536"):
                await sock.send_to(b"x", (host, 65536))

    with peer:
        run(main)


def test_many_datagrams_at_once() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.UdpSocket.bind("127.0.0.1") as server:

            async def serve() -> None:
                while True:
                    data, address = await server.recv_from()
                    await server.send_to(data[::-1], address)

            async def ask(n: int) -> None:
                async with await net.UdpSocket.bind("127.0.0.1") as sock:
                    await sock.connect(*server.local_addr)
                    for k in range(50):
                        await sock.send(f"{n} {k}".encode())
                        assert await sock.recv() == f"{n} {k}".encode()[::-1]

            servers = [handle.spawn_stealable(serve()) for _ in range(4)]
            for job in [handle.spawn_stealable(ask(n)) for n in range(20)]:
                await job
            for job in servers:
                job.cancel()
                with pytest.raises(spargio.TaskCancelled):
                    await job

    spargio.run(main, shards=3)


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
