"""spargio.net against plain blocking sockets of Python."""

from __future__ import annotations

import errno
import gc
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
import support

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


def receive(connection: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size and (part := connection.recv(size - len(got))):
        got += part
    return bytes(got)


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


# ---- errors ----


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
    done = support.run_program(
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
            with pytest.raises(ValueError, match=f"port is {port}: allowed is 0 to 65535"):
                await call("127.0.0.1", port)

    spargio.run(main, shards=1)


def test_wrong_types_are_type_errors() -> None:
    async def main() -> None:
        for host, port in ((b"127.0.0.1", 80), (None, 80), (2130706433, 80), ("127.0.0.1", "80")):
            for call in (net.TcpStream.connect, net.TcpListener.bind):
                with pytest.raises(TypeError):
                    await call(host, port)  # type: ignore[arg-type]

    spargio.run(main, shards=1)


def test_a_port_in_use() -> None:
    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            host, port = listener.local_addr
            with pytest.raises(OSError) as caught:
                await net.TcpListener.bind(host, port)
            assert caught.value.errno == errno.EADDRINUSE
            assert caught.value.filename == f"{host}:{port}"
        # SO_REUSEADDR: the port is free at once.
        async with await net.TcpListener.bind(host, port) as again:
            assert again.local_addr == (host, port)

    spargio.run(main, shards=1)


def test_reuse_port() -> None:
    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0, reuse_port=True) as first:
            async with await net.TcpListener.bind(
                "127.0.0.1", first.local_addr[1], reuse_port=True
            ) as second:
                assert first.local_addr == second.local_addr

    spargio.run(main, shards=1)


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    async def main() -> None:
        with pytest.raises(OSError) as caught:
            await net.TcpListener.bind("192.0.2.1", 0)
        assert caught.value.errno == errno.EADDRNOTAVAIL

    spargio.run(main, shards=1)


# ---- accepting ----


def test_accept_round_robin_takes_the_shards_in_turn(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        count = handle.shard_count()
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            shards = []
            for _ in range(2 * count + 1):
                with support.dial(listener.local_addr[1]) as connection:
                    stream, peer = await listener.accept_round_robin()
                    assert peer == connection.getsockname()
                    shards.append(stream.session_shard)
                    await stream.close()
            assert shards == [n % count for n in range(2 * count + 1)]
            with support.dial(listener.local_addr[1]):
                stream, _ = await listener.accept()
                assert stream.session_shard is None
                await stream.close()

    spargio.run(main, **options)


def test_tasks_of_all_shards_may_accept_from_one_listener() -> None:
    async def take(listener: net.TcpListener, count: int) -> int:
        for _ in range(count):
            stream, _ = await listener.accept()
            await stream.write_all(b"%d" % spargio.current_shard())
            await stream.close()
        return count

    def clients(port: int, answers: list[bytes]) -> None:
        for _ in range(80):
            with support.dial(port) as connection:
                answers.append(connection.recv(10))

    async def main(handle: spargio.RuntimeHandle) -> None:
        answers: list[bytes] = []
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            jobs = [handle.spawn_pinned(shard, take(listener, 20)) for shard in range(4)]
            with support.in_thread(clients, listener.local_addr[1], answers) as outcome:
                assert sum([await job for job in jobs]) == 80
                await support.until(lambda: not outcome.thread.is_alive())
        assert sorted(answers) == sorted(b"%d" % n for n in range(4) for _ in range(20))

    spargio.run(main, shards=4)


def test_a_peer_that_vanishes_before_it_is_accepted() -> None:
    """It was reset in the backlog; the listener goes on to the next one."""

    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            for _ in range(3):
                support.reset(socket.create_connection(listener.local_addr))
            with support.dial(listener.local_addr[1]) as connection:
                connection.sendall(b"here")
                with spargio.timeout(support.LIMIT_S):
                    stream, peer = await listener.accept()
                async with stream:
                    assert peer == connection.getsockname()
                    assert await stream.recv(10) == b"here"

    spargio.run(main, shards=1)


def test_too_many_open_files_at_an_accept() -> None:
    done = support.run_program(
        """
        import errno, os, resource, socket
        import spargio
        from spargio import net

        async def main():
            async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
                client = socket.create_connection(listener.local_addr)
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                lowest = os.dup(0)
                os.close(lowest)
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
                try:
                    await listener.accept()
                except OSError as error:
                    print(error.errno == errno.EMFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                stream, _ = await listener.accept()
                await stream.close()
                client.close()
                print("goes on")

        spargio.run(main, shards=1)
        """
    )
    assert (done.stdout, done.stderr) == ("True\ngoes on\n", "")


# ---- closing ----


@pytest.mark.parametrize("closer", [0, 1])
def test_a_close_ends_the_waits_of_other_tasks(options: dict[str, Any], closer: int) -> None:
    """On the closing task's own shard and on another one."""
    found: dict[str, type[BaseException]] = {}

    async def wait(name: str, operation: Callable[[], Any]) -> None:
        try:
            result = await operation()
        except BaseException as error:
            found[name] = type(error)
        else:
            raise AssertionError(f"{name} gave {result!r}")

    async def close(one: net.TcpStream | net.TcpListener) -> None:
        await one.close()

    async def main(handle: spargio.RuntimeHandle) -> None:
        last = handle.shard_count() - 1
        with support.peer() as (host, port, accept):
            waits: list[tuple[str, Any, Callable[[], Any]]] = []
            listener = await net.TcpListener.bind("127.0.0.1", 0)
            waits.append(("accept", listener, listener.accept))
            for name in ("recv", "recv_into", "read_exactly", "write_all"):
                stream, _remote = await support.connected(host, port, accept)
                arguments: dict[str, Any] = {
                    "recv": 10,
                    "recv_into": bytearray(10),
                    "read_exactly": 10,
                    "write_all": bytes(64 << 20),
                }
                waits.append(
                    (name, stream, lambda s=stream, n=name, a=arguments: getattr(s, n)(a[n]))
                )
            for name, one, operation in waits:
                job = handle.spawn_pinned(0, wait(name, operation))
                await support.in_flight(handle, 1)
                with spargio.timeout(support.LIMIT_S):
                    await handle.spawn_pinned(min(closer, last), close(one))
                    await job
                with pytest.raises(spargio.ClosedError):
                    await operation()

    spargio.run(main, **options)
    assert found == dict.fromkeys(
        ("accept", "recv", "recv_into", "read_exactly", "write_all"), spargio.ClosedError
    )


def test_a_closed_stream_and_listener() -> None:
    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            await stream.close()
            assert remote.recv(1) == b""
        listener = await net.TcpListener.bind("127.0.0.1", 0)
        address = listener.local_addr
        await listener.close()
        for one in (stream, listener):
            await one.close()
            async with one:
                pass
        assert stream.fileno() == -1
        for call in (
            lambda: stream.recv(1),
            lambda: stream.recv(0),
            lambda: stream.recv_into(bytearray(1)),
            lambda: stream.read_exactly(1),
            lambda: stream.send(b"x"),
            lambda: stream.write_all(b"x"),
            stream.shutdown,
            listener.accept,
            listener.accept_round_robin,
        ):
            with pytest.raises(spargio.ClosedError):
                await call()
        for ask in (
            lambda: stream.set_nodelay(True),
            lambda: stream.local_addr,
            lambda: stream.peer_addr,
        ):
            with pytest.raises(spargio.ClosedError):
                ask()
        assert listener.local_addr == address

    spargio.run(main, shards=1)


def test_many_tasks_close_one_stream() -> None:
    async def close(stream: net.TcpStream) -> None:
        await stream.close()

    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            for _ in range(20):
                stream, _remote = await support.connected(host, port, accept)
                for job in [handle.spawn_stealable(close(stream)) for _ in range(8)]:
                    await job
                assert stream.fileno() == -1

    spargio.run(main, shards=4)


def test_an_unclosed_socket_is_closed_with_a_warning() -> None:
    async def dropped(make: Callable[[], Any]) -> None:
        made = [await make()]
        await spargio.sleep(0)  # The task lets go of its last operation.
        with pytest.warns(ResourceWarning, match="unclosed spargio socket, descriptor") as caught:
            made.clear()
            gc.collect()
        assert len(caught) == 1

    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            port = listener.local_addr[1]
            await dropped(lambda: net.TcpStream.connect("127.0.0.1", port))
            await dropped(listener.accept)
        await dropped(lambda: net.TcpListener.bind("127.0.0.1", port))
        with pytest.raises(ConnectionRefusedError):
            await net.TcpStream.connect("127.0.0.1", port)

    spargio.run(main, shards=1)


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
                    with pytest.raises(ValueError, match="how is"):
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


def test_connections_come_and_go_without_a_leak() -> None:
    """With the leak check of every test: closed by us, by the peer, by a reset, by a cancellation."""

    async def session(stream: net.TcpStream) -> None:
        async with stream:
            try:
                while await stream.recv(100):
                    pass
            except ConnectionResetError:
                pass

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            for n in range(200):
                client = socket.create_connection(listener.local_addr)
                stream, _ = await listener.accept()
                job = handle.spawn_stealable(session(stream))
                if n % 4 == 0:
                    client.close()
                elif n % 4 == 1:
                    support.reset(client)
                elif n % 4 == 2:
                    await stream.close()
                    client.close()
                else:
                    job.cancel()
                    client.close()
                try:
                    with spargio.timeout(support.LIMIT_S):
                        await job
                except (spargio.TaskCancelled, spargio.ClosedError):
                    pass
                await stream.close()

    spargio.run(main, shards=2)


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
            with pytest.raises(error, match=r"allowed is|cannot be interpreted"):
                await sock.send_to(b"x", address)

    spargio.run(main, shards=1)
