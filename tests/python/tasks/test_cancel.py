"""Cancellation: where it strikes, and that nothing is lost by it."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import support

import spargio
from spargio import net


async def seen_by(
    handle: spargio.RuntimeHandle, shard: int, wait: Callable[[], Awaitable[Any]]
) -> type[BaseException] | None:
    """What an await raises when its task is cancelled while it waits there."""
    found: list[type[BaseException]] = []
    arrived = threading.Event()

    async def task() -> None:
        arrived.set()
        try:
            await wait()
        except BaseException as error:
            found.append(type(error))
            raise

    job = handle.spawn_pinned(shard, task())
    await support.until(arrived.is_set)
    await spargio.sleep(0.002)  # Not for order: to find it more often in the kernel than before.
    job.cancel()
    with pytest.raises(spargio.TaskCancelled):
        await job
    return found[0] if found else None


def test_before_the_start_it_never_runs(options: dict[str, Any]) -> None:
    ran: list[int] = []

    async def never(n: int) -> None:
        ran.append(n)

    with spargio.RuntimeBuilder().apply(**{**options, "shards": 1}).build() as handle:
        with support.Blocker(handle, 0):
            jobs = [handle.spawn_pinned(0, never(1)), handle.spawn_stealable(never(2))]
            assert [job.cancel() for job in jobs] == [True, True]
            assert [job.cancel() for job in jobs] == [True, True]
        for job in jobs:
            with pytest.raises(spargio.TaskCancelled):
                job.result(support.LIMIT_S)
            assert job.cancelled()
    assert ran == []


def test_during_sleep_join_and_yield(options: dict[str, Any]) -> None:
    async def forever() -> None:
        await spargio.sleep(1000)

    async def yields() -> None:
        while True:
            await spargio.yield_now()

    async def main(handle: spargio.RuntimeHandle) -> None:
        other = handle.spawn_stealable(forever())
        for shard in range(handle.shard_count()):

            async def join() -> None:
                await other

            for wait in (forever, yields, join):
                assert await seen_by(handle, shard, wait) is spargio.CancelledError
        assert not other.done()
        other.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await other

    spargio.run(main, **options)


def test_during_network_operations(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            with support.peer() as (host, port, accept):
                stream, remote = await support.connected(host, port, accept)
                async with stream:
                    for shard in range(handle.shard_count()):
                        for wait in (
                            listener.accept,
                            lambda: stream.recv(100),
                            lambda: stream.recv_into(bytearray(100)),
                            lambda: stream.read_exactly(100),
                        ):
                            assert await seen_by(handle, shard, wait) is spargio.CancelledError
                    # The stream and the listener work as before.
                    remote.sendall(b"after")
                    assert await stream.recv(100) == b"after"
            with support.dial(listener.local_addr[1]):
                accepted, _ = await listener.accept()
                await accepted.close()

    spargio.run(main, **options)


def test_during_a_write_that_the_peer_does_not_take() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            stream, _remote = await support.connected(host, port, accept)
            async with stream:

                def write() -> Awaitable[None]:
                    return stream.write_all(bytes(64 << 20))

                assert await seen_by(handle, 0, write) is spargio.CancelledError

    spargio.run(main, shards=1)


def test_it_can_be_caught_and_the_task_goes_on(options: dict[str, Any]) -> None:
    async def stubborn(caught: list[int]) -> str:
        for n in range(3):
            try:
                await spargio.sleep(1000)
            except spargio.CancelledError:
                caught.append(n)
        await spargio.sleep(0.001)
        return "ended by itself"

    async def main(handle: spargio.RuntimeHandle) -> None:
        caught: list[int] = []
        job = handle.spawn_stealable(stubborn(caught))
        await support.started(job)
        for n in range(3):
            assert job.cancel()
            await support.until(lambda n=n: len(caught) == n + 1)
        assert await job == "ended by itself"
        assert not job.cancelled()

    spargio.run(main, **options)


def test_a_task_that_ends_with_a_result_was_not_cancelled() -> None:
    async def ends() -> int:
        try:
            await spargio.sleep(1000)
        except spargio.CancelledError:
            return 5
        raise AssertionError

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(ends())
        await support.started(job)
        job.cancel()
        assert (await job, job.cancelled()) == (5, False)

    spargio.run(main, shards=2)


def test_it_may_be_turned_into_another_exception() -> None:
    async def turns() -> None:
        try:
            await spargio.sleep(1000)
        except spargio.CancelledError as error:
            raise LookupError("instead") from error

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(turns())
        await support.started(job)
        job.cancel()
        with pytest.raises(LookupError, match="instead"):
            await job
        assert not job.cancelled()

    spargio.run(main, shards=2)


def test_a_running_task_is_told_at_its_next_await() -> None:
    log: list[str] = []

    async def self_cancel(box: list[spargio.JoinHandle[None]]) -> None:
        await support.until(lambda: box)
        assert box[0].cancel()
        log.append("still here")
        await spargio.sleep(0)
        log.append("not here")

    async def main(handle: spargio.RuntimeHandle) -> None:
        box: list[Any] = []
        box.append(handle.spawn_stealable(self_cancel(box)))
        with pytest.raises(spargio.TaskCancelled):
            await box[0]
        box.clear()

    spargio.run(main, shards=2)
    assert log == ["still here"]


def test_the_end_of_a_task_wins_over_a_cancellation_that_no_await_saw() -> None:
    async def self_cancel(box: list[spargio.JoinHandle[str]]) -> str:
        await support.until(lambda: box)
        assert box[0].cancel()
        return "ended"

    async def main(handle: spargio.RuntimeHandle) -> None:
        box: list[Any] = []
        box.append(handle.spawn_stealable(self_cancel(box)))
        assert await box[0] == "ended"
        box.clear()

    spargio.run(main, shards=1)


def test_a_cancelled_awaiter_leaves_what_it_awaited() -> None:
    go = threading.Event()

    async def target() -> str:
        await support.until(go.is_set)
        return "target"

    async def wait(job: spargio.JoinHandle[str]) -> str:
        return await job

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(target())
        waiting = [handle.spawn_stealable(wait(job)) for _ in range(10)]
        await support.started(*waiting)
        for one in waiting[::2]:
            one.cancel()
        for one in waiting[::2]:
            with pytest.raises(spargio.TaskCancelled):
                await one
        go.set()
        assert [await one for one in waiting[1::2]] == ["target"] * 5

    spargio.run(main, shards=2)


def test_a_task_cancelled_below_is_an_ordinary_error_above() -> None:
    async def below() -> None:
        await spargio.sleep(1000)

    async def above(job: spargio.JoinHandle[None]) -> str:
        try:
            await job
        except spargio.TaskCancelled:
            await spargio.sleep(0)
            return "goes on"
        raise AssertionError

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(below())
        waiting = handle.spawn_stealable(above(job))
        await support.started(job, waiting)
        job.cancel()
        assert await waiting == "goes on"

    spargio.run(main, shards=2)


def test_no_byte_is_lost_when_the_receive_succeeded_meanwhile() -> None:
    """The data and the cancellation come while the shard is kept busy: when the task is resumed the
    receive has ended, so its bytes are given, and the cancellation comes at the next await."""
    log: list[Any] = []

    async def reader(stream: net.TcpStream) -> None:
        log.append(await stream.recv(100))
        try:
            await stream.recv(100)
        except spargio.CancelledError:
            log.append("cancelled at the next await")
            raise

    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                job = handle.spawn_pinned(0, reader(stream))
                await support.started(job)
                remote.sendall(b"data")
                job.cancel()
                with pytest.raises(spargio.TaskCancelled):
                    await job
                if log == []:  # It was cancelled first: then the bytes are still in the socket.
                    log.extend([await stream.recv(100), "cancelled at the next await"])

    for _ in range(50):
        log.clear()
        spargio.run(main, shards=1)
        assert log in (
            [b"data", "cancelled at the next await"],
            ["cancelled at the next await"],
        ), log


def test_cancelled_receives_lose_no_byte(options: dict[str, Any]) -> None:
    """A peer sends numbered bytes all the time; readers are cancelled all the time."""
    total = 20_000
    data = bytes(n % 251 for n in range(total))

    def send(remote: Any) -> None:
        for start in range(0, total, 50):
            remote.sendall(data[start : start + 50])
        remote.shutdown(1)

    async def main(handle: spargio.RuntimeHandle) -> None:
        got = bytearray()
        ended = False
        cancelled = 0

        async def reader(stream: net.TcpStream) -> None:
            nonlocal ended
            while not ended:
                part = await stream.recv(37)
                got.extend(part)
                ended = not part

        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                with support.in_thread(send, remote):
                    while not ended:
                        job = handle.spawn_stealable(reader(stream))
                        await spargio.sleep(0.0002)
                        job.cancel()
                        try:
                            await job
                        except spargio.TaskCancelled:
                            cancelled += 1
        assert bytes(got) == data
        assert cancelled > 0

    spargio.run(main, **options)


def test_no_connection_is_lost_by_cancelled_accepts() -> None:
    """A late success of a cancelled accept goes to the awaiter, or is closed with the task."""
    count = 100

    async def main(handle: spargio.RuntimeHandle) -> None:
        streams: list[net.TcpStream] = []

        async def acceptor(listener: net.TcpListener) -> None:
            while True:
                stream, _ = await listener.accept()
                streams.append(stream)

        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            clients = []
            port = listener.local_addr[1]
            for _ in range(count):
                job = handle.spawn_stealable(acceptor(listener))
                await spargio.yield_now()
                dialled = support.dial(port)
                dialled.__enter__()
                clients.append(dialled)
                job.cancel()
                with pytest.raises(spargio.TaskCancelled):
                    await job
            while len(streams) < count:
                streams.append((await listener.accept())[0])
            for stream in streams:
                await stream.close()
            for dialled in clients:
                dialled.__exit__(None, None, None)

    spargio.run(main, shards=2)


def test_a_read_that_was_cut_short_says_what_it_had() -> None:
    """read_exactly with a part of its bytes already taken: they are not lost."""

    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            async with stream:
                remote.sendall(b"12345")
                with pytest.raises(TimeoutError), spargio.timeout(0.05):
                    await stream.read_exactly(10)
                remote.sendall(b"67890")
                assert await stream.read_exactly(10) == b"1234567890"

    spargio.run(main, shards=1)


def test_close_is_not_cut_short() -> None:
    async def closer(stream: net.TcpStream, log: list[str]) -> None:
        box[0].cancel()
        await stream.close()
        log.append("closed")
        await spargio.sleep(0)
        log.append("not here")

    box: list[Any] = []

    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            stream, _remote = await support.connected(host, port, accept)
            log: list[str] = []
            box.append(handle.spawn_pinned(0, closer(stream, log)))
            with pytest.raises(spargio.TaskCancelled):
                await box[0]
            assert (log, stream.fileno()) == (["closed"], -1)
            box.clear()

    spargio.run(main, shards=1)


def test_clean_up_of_a_cancelled_task_may_await() -> None:
    log: list[Any] = []

    async def task(handle: spargio.RuntimeHandle, stream: net.TcpStream) -> None:
        try:
            async with stream:
                await stream.recv(100)
        finally:
            await spargio.sleep(0.001)
            log.append(stream.fileno())

    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            stream, _remote = await support.connected(host, port, accept)
            job = handle.spawn_stealable(task(handle, stream))
            await support.in_flight(handle, 1)
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
        assert log == [-1]

    spargio.run(main, shards=2)


@pytest.mark.parametrize("backend", ["mutex", "lock_free"])
def test_cancelling_at_every_moment_of_a_short_life(backend: str) -> None:
    """Tasks that are queued, stolen, running, waiting and ending are cancelled by other threads."""

    async def work(n: int) -> int:
        for _ in range(n % 4):
            await spargio.sleep(0 if n % 3 else 0.00005)
        await spargio.yield_now()
        return n

    with (
        spargio.Runtime.builder()
        .shards(4)
        .stealable_queue_backend(backend)
        .stealable_queue_capacity(1 << 15)
        .build() as handle
    ):
        jobs: list[Any] = []
        made = threading.Event()

        def cancel() -> None:
            made.wait(support.LIMIT_S)
            for job in jobs[::2]:
                job.cancel()

        with support.in_thread(cancel), support.in_thread(cancel):
            for n in range(5_000):
                jobs.append(handle.spawn_stealable(work(n)))
                if n == 500:
                    made.set()
        ended = cancelled = 0
        for n, job in enumerate(jobs):
            try:
                assert job.result(support.LIMIT_S) == n
                ended += 1
            except spargio.TaskCancelled:
                assert n % 2 == 0
                cancelled += 1
        assert ended + cancelled == 5_000
        # A task's end is counted after its join.
        support.eventually(lambda: handle.stats_snapshot().tasks_ended == 5_000)
        assert handle.stats_snapshot().spawn_accepted == 5_000
