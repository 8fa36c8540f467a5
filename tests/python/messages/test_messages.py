"""Messages between shards: each path loses and reorders nothing, bounds are told, waits end."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable
from typing import Any, NamedTuple

import pytest
import support

import spargio
from spargio import Event, Overloaded, RuntimeHandle, ShardCtx, TaskCancelled

MANY = 250_000
TAG, HOT, COUNTED = 7, 8, 9
OPTIONS = {"hot_msg_tag": HOT, "coalesced_hot_msg_tag": COUNTED}


class Sender(NamedTuple):
    """How a path sends the values from `first` on; gives how many it sent."""

    tag: int
    send: str

    def step(self, target: spargio.RemoteShard, first: int, last: int) -> int:
        method = getattr(target, self.send)
        if "many" not in self.send:
            try:
                method(self.tag, first)
            except Overloaded:
                return 0
            return 1
        values = range(first, min(first + 100, last))
        try:
            method((self.tag, value) for value in values)
        except Overloaded as error:
            return error.sent
        return len(values)


PATHS = {
    "lane": Sender(TAG, "send_raw_nowait"),
    "batch": Sender(TAG, "send_many_raw_nowait"),
    "direct": Sender(TAG, "send_raw_direct_nowait"),
    "direct batch": Sender(TAG, "send_many_raw_direct_nowait"),
    "hot": Sender(HOT, "send_many_raw_nowait"),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("msg_ring", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_many_messages_arrive_once_and_in_order(path: str, msg_ring: bool) -> None:
    count = MANY if msg_ring and "many" in PATHS[path].send else MANY // 10

    async def receive(hot: bool) -> int:
        ctx = ShardCtx.current()
        take = ctx.next_hot_event if hot else ctx.next_event
        for wanted in range(count):
            assert await take() == (0, PATHS[path].tag, wanted)
        return count

    async def main(handle: RuntimeHandle) -> RuntimeStatsAndCount:
        receiver = handle.spawn_pinned(1, receive(path == "hot"))
        target = ShardCtx.current().remote(1)
        sent = 0
        while sent < count:
            taken = PATHS[path].step(target, sent, count)
            sent += taken
            if not taken:
                await spargio.yield_now()
        await target.flush()
        return RuntimeStatsAndCount(handle.stats_snapshot(), await receiver)

    stats, received = spargio.run(main, shards=2, msg_ring=msg_ring, **OPTIONS)
    assert received == count
    assert stats.messages_sent == count
    direct = count if msg_ring and "direct" in path and not support.ON_EPOLL else 0
    assert stats.messages_sent_direct == direct
    assert stats.stale_completions == 0


class RuntimeStatsAndCount(NamedTuple):
    stats: spargio.RuntimeStats
    received: int


def test_a_million_values_of_a_coalesced_tag_add_up() -> None:
    async def total(wanted: int) -> int:
        ctx = ShardCtx.current()
        taken = 0
        while taken < wanted:
            part = await ctx.next_hot_count(COUNTED)
            assert part >= 50
            taken += part
        return taken

    async def main(handle: RuntimeHandle) -> int:
        summing = handle.spawn_pinned(1, total(3 * MANY))
        target = handle.remote(1)
        for _ in range(MANY // 1000):
            target.send_many_raw_nowait([(COUNTED, 3)] * 1000)
        return await summing

    # 3,000,000 is a multiple of 3 only: what is left under the threshold would never be told.
    assert spargio.run(main, shards=2, hot_counter_wake_threshold=50, **OPTIONS) == 3 * MANY


def test_a_threshold_holds_back_and_a_try_does_not() -> None:
    async def main(handle: RuntimeHandle) -> list[object]:
        ctx = ShardCtx.current()
        seen: list[object] = [ctx.try_take_hot_count(COUNTED)]
        ctx.send_raw_nowait(0, COUNTED, 9)
        waiting = ctx.spawn_local(wait_for_count())
        await spargio.yield_now()
        await spargio.yield_now()
        seen.append(waiting.done())
        ctx.send_raw_nowait(0, COUNTED, 1)
        seen.append(await waiting)
        ctx.send_raw_nowait(0, COUNTED, 4)
        seen.append(ctx.try_take_hot_count(COUNTED))
        seen.append(ctx.try_take_hot_count(COUNTED))
        return seen

    async def wait_for_count() -> int:
        return await ShardCtx.current().next_hot_count(COUNTED)

    assert spargio.run(main, shards=1, hot_counter_wake_threshold=10, **OPTIONS) == [
        None,
        False,
        10,
        4,
        None,
    ]


def test_threads_outside_send_too() -> None:
    senders, each = 4, 5_000

    async def receive() -> list[int]:
        ctx = ShardCtx.current()
        following = [0] * senders
        for _ in range(senders * each):
            event = await ctx.next_event()
            assert event.from_shard is None
            assert event.value == following[event.tag]
            following[event.tag] += 1
        return following

    with spargio.Runtime.builder().shards(2).msg_ring_queue_capacity(64).build() as handle:
        job = handle.spawn_pinned(1, receive())

        def send(tag: int) -> None:
            target, value = handle.remote(1), 0
            while value < each:
                try:
                    target.send_raw_nowait(tag, value)
                except Overloaded:
                    time.sleep(0)  # The receiver needs the interpreter's lock.
                    continue
                value += 1

        threads = [threading.Thread(target=send, args=(tag,)) for tag in range(senders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert job.result(60) == [each] * senders
        stats = handle.stats_snapshot()
        assert stats.messages_sent == stats.messages_received == senders * each
        target = handle.remote(0)
    with pytest.raises(spargio.RuntimeClosed):
        target.send_raw_nowait(TAG, 1)


class Ping(NamedTuple):
    number: int

    def encode(self) -> tuple[int, int]:
        return TAG, self.number

    @classmethod
    def decode(cls, tag: int, value: int) -> Ping:
        assert tag == TAG
        return cls(value)


def test_typed_messages_and_tickets() -> None:
    async def main(handle: RuntimeHandle) -> list[Ping]:
        ctx = ShardCtx.current()
        target = ctx.remote(0)
        await target.send(Ping(1))
        ctx.send_nowait(0, Ping(2))
        target.send_many_nowait([Ping(3), Ping(4)])
        await ctx.send(0, Ping(5))
        await ctx.send_raw(0, TAG, 6)
        ticket = target.flush()
        await ticket
        with pytest.raises(RuntimeError, match="a ticket can be awaited once"):
            await ticket
        events = [await ctx.next_event() for _ in range(6)]
        return [Ping.decode(event.tag, event.value) for event in events]

    assert spargio.run(main, shards=1) == [Ping(n) for n in range(1, 7)]


def test_a_full_lane_says_so_and_is_counted() -> None:
    async def main(handle: RuntimeHandle) -> int:
        ctx = ShardCtx.current()
        for direct in (False, True):
            target = ctx.remote(1)
            send = target.send_raw_direct_nowait if direct else target.send_raw_nowait
            for value in range(4):
                send(TAG, value)
            with pytest.raises(Overloaded, match=r"shard 1 has as many .*msg_ring_queue_capacity"):
                send(TAG, 4)
            await handle.spawn_pinned(1, take(4))
        many = [(TAG, value) for value in range(6)]
        with pytest.raises(Overloaded, match="4 of 6 messages were sent") as caught:
            ctx.send_many_raw_nowait(0, many)
        assert caught.value.sent == 4
        ctx.send_raw_nowait(0, HOT, 1)  # Its lane has room.
        assert await ctx.next_hot_event() == Event(0, HOT, 1)
        await take(4)
        return handle.stats_snapshot().ring_msgs_backpressure

    async def take(count: int) -> None:
        for value in range(count):
            assert (await ShardCtx.current().next_event()).value == value

    assert spargio.run(main, shards=2, msg_ring_queue_capacity=4, **OPTIONS) == 4


def test_a_listener_that_is_cancelled_takes_nothing() -> None:
    async def main(handle: RuntimeHandle) -> None:
        ctx = ShardCtx.current()
        for value in range(300):
            first, second = ctx.spawn_local(one()), ctx.spawn_local(one())
            await spargio.yield_now()
            ctx.send_raw_nowait(0, TAG, value)
            if value % 3 == 0:
                await spargio.yield_now()
            first.cancel()
            try:
                assert await first == value
                second.cancel()
            except TaskCancelled:
                assert await second == value
                continue
            with pytest.raises(TaskCancelled):
                await second

    async def one() -> int:
        return (await ShardCtx.current().next_event()).value

    spargio.run(main, shards=1)


def test_a_time_limit_ends_the_wait_and_the_next_message_is_not_lost() -> None:
    async def main(handle: RuntimeHandle) -> Event:
        ctx = ShardCtx.current()
        with pytest.raises(TimeoutError):
            async with spargio.timeout(0.01):
                await ctx.next_event()
        await handle.spawn_pinned(1, back())
        return await ctx.next_event()

    async def back() -> None:
        await ShardCtx.current().send_raw(0, 65535, 4294967295)

    assert spargio.run(main, shards=2) == Event(1, 65535, 4294967295)


def test_a_flood_does_not_starve_the_shard() -> None:
    async def flood() -> None:
        ctx = ShardCtx.current()
        ctx.send_raw_nowait(0, TAG, 0)
        while True:  # Never waits: there is always one.
            event = await ctx.next_event()
            ctx.send_raw_nowait(0, TAG, (event.value + 1) % 1000)

    async def main(handle: RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, flood())
        for _ in range(5):
            await spargio.sleep(0.001)
        job.cancel()
        with pytest.raises(TaskCancelled):
            await job

    spargio.run(main, shards=1)


def test_what_is_wrong_is_named() -> None:
    async def main(handle: RuntimeHandle) -> None:
        ctx = ShardCtx.current()
        target = ctx.remote(1)
        with pytest.raises(ValueError, match="shard must be between 0 and 1, got 2"):
            handle.remote(2)
        with pytest.raises(ValueError, match="shard must be between 0 and 1, got -1"):
            ctx.send_raw_nowait(-1, TAG, 0)
        with pytest.raises(ValueError, match="tag must be between 0 and 65535, got 65536"):
            target.send_raw_nowait(65536, 0)
        with pytest.raises(ValueError, match="value must be between 0 and 4294967295, got -1"):
            await target.send_raw(TAG, -1)
        with pytest.raises(ValueError, match="value must be .*, got 4294967296"):
            target.send_many_raw_nowait([(1, 1), (1, 1 << 32)])
        with pytest.raises(TypeError, match=r"a message is a pair \(tag, value\)"):
            target.send_many_raw_nowait([(1, 2, 3)])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            target.send_raw_nowait("tag", 1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="tag must be one of coalesced_hot_msg_tags, got 8"):
            ctx.try_take_hot_count(HOT)
        with pytest.raises(RuntimeError, match="the context of shard 0, not of shard 1"):
            await handle.spawn_pinned(1, elsewhere(ctx))

    async def elsewhere(ctx: ShardCtx) -> None:
        await ctx.next_event()

    spargio.run(main, shards=2, **OPTIONS)
    with pytest.raises(RuntimeError, match="not on a shard"):
        ShardCtx.current()


def test_messages_nobody_takes_go_with_the_runtime() -> None:
    async def main(handle: RuntimeHandle) -> None:
        for shard in range(2):
            for send in ("send_raw_nowait", "send_raw_direct_nowait"):
                for value in range(100):
                    getattr(handle.remote(shard), send)(TAG, value)

    for _ in range(20):
        spargio.run(main, shards=2)


def test_run_local_on_and_spawn_local_on() -> None:
    async def where(handle: RuntimeHandle) -> tuple[int, int]:
        return spargio.current_shard(), await handle.spawn_local_on(0, here())

    async def here() -> int:
        return spargio.current_shard()

    builder = spargio.Runtime.builder().shards(2)
    assert spargio.run_local_on(builder, 1, where) == (1, 0)
    with pytest.raises(ValueError, match="shard must be between 0 and 1, got 2"):
        spargio.run_local_on(builder, 2, where)


def test_a_ticket_belongs_to_the_shard_it_was_made_on() -> None:
    """A counter, a place in an outbox: on another shard, or of another runtime, they are something else."""

    async def tickets() -> list[Awaitable[Any]]:
        ctx = ShardCtx.current()
        return [ctx.flush(), ctx.next_hot_count(COUNTED), ctx.next_event()]

    async def refused(made: list[Awaitable[Any]]) -> int:
        for ticket in made:
            with pytest.raises(RuntimeError, match="ticket belongs to the shard .* shard 1 of"):
                await ticket
        return len(made)

    def build() -> spargio.Runtime:
        builder = spargio.Runtime.builder().shards(2)
        return builder.apply(coalesced_hot_msg_tags=[COUNTED]).build()

    async def redeem(ticket: Awaitable[None]) -> None:
        await ticket

    with build() as handle, build() as other:
        made = handle.spawn_pinned(1, tickets()).result(support.LIMIT_S)
        for runtime, shard in ((handle, 0), (other, 0), (other, 1)):
            assert runtime.spawn_pinned(shard, refused(made)).result(support.LIMIT_S) == 3
        handle.spawn_pinned(1, redeem(made[0])).result(support.LIMIT_S)
        outside = handle.remote(0).flush()
        handle.spawn_pinned(1, redeem(outside)).result(support.LIMIT_S)
