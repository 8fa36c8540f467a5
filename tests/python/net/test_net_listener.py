"""TCP listeners: where they bind, and what they accept."""

from __future__ import annotations

import errno
import socket
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import net


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
    done = programs.run_program(
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
