"""spargio.boundary: calls from threads, asyncio loops and tasks, and each way they can end."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import support

import spargio
from spargio import boundary


async def serve(server: boundary.Server) -> int:
    count = 0
    async for request in server:
        count += 1
        if request.request == "drop":
            del request
        elif request.request == "fail":
            request.respond(KeyError("told"))
        else:
            request.respond(request.request * 2)
    return count


@contextmanager
def service(capacity: int = 1000, shards: int = 2) -> Iterator[boundary.Client]:
    """A runtime in the background that doubles what it is given."""
    client, server = boundary.channel(capacity)
    with spargio.Runtime.builder().shards(shards).build() as handle:
        jobs = [handle.spawn_pinned(shard, serve(server)) for shard in range(shards)]
        yield client
        client.close()
        for job in jobs:
            job.result(support.LIMIT_S)


def test_calls_from_threads() -> None:
    with service() as client:

        def work(n: int) -> None:
            for k in range(200):
                assert client.try_call((n, k)).wait_timeout(support.LIMIT_S) == (n, k, n, k)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ticket = client.try_call(5)
        assert [ticket.wait_timeout() for _ in range(3)] == [10, 10, 10]
        assert ticket.done()
        with pytest.raises(KeyError, match="told"):
            client.try_call("fail").wait_timeout(support.LIMIT_S)
        with pytest.raises(boundary.Canceled):
            client.try_call("drop").wait_timeout(support.LIMIT_S)
    with pytest.raises(boundary.Closed):
        client.try_call(1)


def test_calls_from_asyncio() -> None:
    async def main(client: boundary.Client) -> None:
        assert await client.call(21) == 42
        found = await asyncio.gather(*(client.call(n) for n in range(500)))
        assert found == [2 * n for n in range(500)]
        with pytest.raises(KeyError):
            await client.call("fail")
        with pytest.raises(boundary.Canceled):
            await client.call_with_timeout("drop", support.LIMIT_S)
        task = asyncio.create_task(client.call(1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ticket = client.try_call(3)
        assert await ticket == await ticket == 6

    with service() as client:
        for _ in range(3):  # Each loop has a bridge of its own, which goes with it.
            asyncio.run(main(client))
            gc.collect()


def test_answers_come_in_batches() -> None:
    """However many answers arrive before the loop looks, they wake it once."""
    client, server = boundary.channel(100)

    async def answer() -> None:
        for _ in range(100):
            (await server.recv()).respond("x")

    async def main() -> None:
        tickets = [client.try_call(n) for n in range(100)]
        waits = [asyncio.ensure_future(_await(ticket)) for ticket in tickets]
        await asyncio.sleep(0)
        (bridge,) = {bridge for ticket in tickets for bridge in ticket._wakers.values()}
        with spargio.Runtime.builder().shards(1).build() as handle:
            handle.spawn_pinned(0, answer()).result(support.LIMIT_S)  # The loop stands meanwhile.
        assert len(bridge._arrived) == 100
        drains = 0
        drain = bridge._drain

        def counted() -> None:
            nonlocal drains
            drains += 1
            drain()

        asyncio.get_running_loop().add_reader(bridge._eventfd, counted)
        assert await asyncio.gather(*waits) == ["x"] * 100
        assert drains == 1

    async def _await(ticket: boundary.Ticket) -> Any:
        return await ticket

    asyncio.run(main())


def test_calls_from_tasks(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        client, server = boundary.channel(1000)
        job = handle.spawn_stealable(serve(server))
        for n in range(200):
            assert await client.call(n) == 2 * n
        with pytest.raises(KeyError):
            await client.call("fail")
        with pytest.raises(boundary.Canceled):
            await client.call("drop")
        client.close()
        assert await job == 202

    spargio.run(main, **options)


def test_what_comes_too_late() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        client, server = boundary.channel(10)
        with pytest.raises(boundary.Timeout):
            await client.call_with_timeout("nobody looks", 0.005)
        live = client.try_call("later", seconds=1000)
        request = await server.recv()  # The first one is left out: its client gave up.
        assert request.request == "later"
        assert request.deadline is not None
        assert request.respond("answer")
        assert await live == "answer"
        with pytest.raises(RuntimeError, match="answered already"):
            request.respond("again")

        late = client.try_call("late")
        with pytest.raises(boundary.Timeout):
            await spargio.spawn_blocking(late.wait_timeout, 0.001)
        with pytest.raises(boundary.Timeout):
            await server.recv_timeout(0.005)
        kept = client.try_call("kept")
        what, ticket = (await server.recv_timeout(1)).into_request()
        assert (what, ticket) == ("kept", kept)
        with pytest.raises(ValueError, match="seconds is -1"):
            client.try_call(1, seconds=-1)

    spargio.run(main, shards=1)


def test_what_is_too_much_and_what_is_closed() -> None:
    before = boundary.stats_snapshot()

    async def main() -> None:
        client, server = boundary.channel(2)
        tickets = [client.try_call(n) for n in range(2)]
        with pytest.raises(boundary.Overloaded, match="2 values"):
            client.try_call(2)
        with pytest.raises(spargio.Overloaded):
            await client.call(2)
        (await server.recv()).respond("first")
        server.close()
        assert await tickets[0] == "first"
        with pytest.raises(boundary.Closed):
            await tickets[1]
        with pytest.raises(boundary.Closed):
            await client.call(3)
        with pytest.raises(boundary.Closed):
            await server.recv()

    spargio.run(main, shards=1)
    after = boundary.stats_snapshot()
    grown = {name: getattr(after, name) - getattr(before, name) for name in vars(after)}
    assert grown == {
        "calls": 5,
        "completed": 1,
        "timed_out": 0,
        "canceled": 0,
        "closed": 2,
        "overloaded": 2,
    }


def test_an_answer_after_the_loop_has_gone() -> None:
    client, server = boundary.channel(10)
    kept: list[boundary.Ticket] = []

    async def main() -> None:
        kept.append(client.try_call(1))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_await(kept[0]), 0.005)

    async def _await(ticket: boundary.Ticket) -> Any:
        return await ticket

    async def answer() -> None:
        (await server.recv()).respond("late")

    asyncio.run(main())
    gc.collect()
    spargio.run(answer, shards=1)
    assert kept[0].wait_timeout() == "late"


# ---- who is gone ----


def test_a_server_that_nobody_holds_is_closed() -> None:
    client, server = boundary.channel(4)
    with spargio.Runtime.builder().shards(1).build() as handle:
        handle.spawn_stealable(serve(server))
        del server
        assert client.try_call(21).wait_timeout(support.LIMIT_S) == 42
    gc.collect()  # Without a GIL it went away on the shard, which did not make it.
    with pytest.raises(boundary.Closed, match="the server is gone"):
        client.try_call(1).wait_timeout(support.LIMIT_S)

    client, server = boundary.channel(4)
    queued = [client.try_call(n) for n in range(3)]
    del server
    for ticket in queued:
        with pytest.raises(boundary.Closed, match="the server is gone"):
            ticket.wait_timeout(support.LIMIT_S)


def test_a_closed_loop_with_an_answer_that_nobody_fetched_goes_away() -> None:
    client, server = boundary.channel(100)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def give_up() -> None:
        """The answer comes in the loop's last turn."""
        loops.append(weakref.ref(asyncio.get_running_loop()))
        ticket = client.try_call(1)
        call = asyncio.ensure_future(_one(ticket))
        await asyncio.sleep(0)
        assert ticket._wakers
        with spargio.Runtime.builder().shards(1).build() as handle:
            handle.spawn_pinned(0, _answer_one(server)).result(support.LIMIT_S)
        assert not ticket._wakers
        call.cancel()

    async def _one(ticket: boundary.Ticket) -> Any:
        return await ticket

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        asyncio.run(give_up())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 5
    assert len(os.listdir("/proc/self/fd")) == before
    assert not boundary._bridges


async def _answer_one(server: boundary.Server) -> None:
    (await server.recv()).respond("late")


def test_no_call_is_lost_in_a_close() -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(500):
            client, server = boundary.channel(1000)
            tickets: list[boundary.Ticket] = []
            with support.in_thread(_call_until_closed, client, tickets):
                support.eventually(lambda made=tickets: made)
                server.close()
            assert all(ticket.done() for ticket in tickets)
    finally:
        sys.setswitchinterval(usual)


def _call_until_closed(client: boundary.Client, tickets: list[boundary.Ticket]) -> None:
    try:
        while True:
            tickets.append(client.try_call(1))
    except (boundary.Closed, boundary.Overloaded):
        pass


def test_the_request_of_a_cancelled_call_is_left_out() -> None:
    async def give_up(client: boundary.Client) -> None:
        for call in (client.call("no"), client.call_with_timeout("no", support.LIMIT_S)):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(call, 0.005)

    async def main(handle: spargio.RuntimeHandle) -> None:
        client, server = boundary.channel(10)
        await spargio.spawn_blocking(asyncio.run, give_up(client))
        for call in (client.call("no"), client.call_with_timeout("no", support.LIMIT_S)):
            job = handle.spawn_pinned(0, call)
            await support.started(job)
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
        ticket = client.try_call("yes")
        assert (await server.recv()).request == "yes"
        with pytest.raises(boundary.Canceled):
            await ticket

    before = boundary.stats_snapshot()
    spargio.run(main, shards=1)
    after = boundary.stats_snapshot()
    assert (after.calls - before.calls, after.canceled - before.canceled) == (5, 5)
