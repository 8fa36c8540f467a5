"""A finalizer or a signal handler that comes in the middle of spargio's own code, and uses there what that
code works on: at each single step of it, one after the other."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import pytest
import support

import spargio
from spargio import boundary, sync
from spargio._ffi.core import native
from spargio.time import Sleep

PACKAGE = os.path.dirname(spargio.__file__)

Case = tuple[Callable[[], Awaitable[Any]], Callable[[], Any], Callable[[Any], Any]]
"""(what is awaited, what comes in the middle, what must be true of the result)"""


class At:
    """Calls `action` before step `number` of the package's code in the task that made it."""

    def __init__(self, number: int, action: Callable[[], Any]) -> None:
        self.left = number
        self.action: Callable[[], Any] | None = action
        self.task = native.current_task()

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if self.action is None or not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and native.current_task() is self.task:
            self.left -= 1
            if self.left < 0:
                self.now()
        return self

    def now(self) -> None:
        action, self.action = self.action, None
        if action is not None:
            action()


async def at_each_step(make: Callable[[], Case]) -> int:
    number = 0
    while await step(number, *make()):
        number += 1
    return number


async def step(number: int, work: Any, action: Callable[[], Any], check: Any) -> bool:
    """False where the work has fewer steps: the action then came while it waited."""
    at: list[At] = []

    async def whole() -> Any:
        at.append(At(number, action))
        sys.settrace(at[0])
        try:
            return await work()
        finally:
            sys.settrace(None)

    job = spargio.current_handle().spawn_pinned(spargio.current_shard(), whole())
    for _ in range(10):
        await spargio.yield_now()
    came = at[0].action is None
    at[0].now()
    with spargio.timeout(support.LIMIT_S):
        result = await job
    assert check(result), f"step {number}"
    return came


def semaphore() -> Case:
    made = sync.Semaphore(0, most=10)
    return made.acquire, made.release, lambda _: made.available() == 0


def lock() -> Case:
    made = sync.Lock()
    assert made.try_acquire()
    return made.acquire, made.release, lambda _: made.locked()


def receiver() -> Case:
    sender, made = sync.channel(1)
    return made.recv, lambda: sender.try_send(7), lambda got: got == 7


def sender() -> Case:
    made, receiver = sync.channel(1)
    made.try_send(1)
    seen: list[int] = []

    def check(_: Any) -> bool:
        while len(seen) < 2:
            seen.append(receiver.try_recv())
        return seen == [1, 2]

    return lambda: made.send(2), lambda: seen.append(receiver.try_recv()), check


def end_of_a_channel() -> Case:
    sender, made = sync.channel(1)

    async def work() -> list[Any]:
        return [item async for item in made]

    return work, sender.close, lambda got: got == []


def end_for_a_sender() -> Case:
    made, receiver = sync.channel(1)
    made.try_send(1)

    async def work() -> None:
        with pytest.raises(sync.ChannelClosed):
            await made.send(2)
            await made.send(3)

    return work, receiver.close, lambda _: True


def event() -> Case:
    made = sync.Event()
    return made.wait, made.set, lambda _: made.is_set()


def broadcast() -> Case:
    made = sync.broadcast(2)
    subscriber = made.subscribe()
    return subscriber.recv, lambda: made.send(3), lambda got: got == 3


def broadcasts() -> Case:
    """Two that send at once: each subscriber sees all, in one order."""
    made = sync.broadcast(2)
    one, other = made.subscribe(), made.subscribe()

    async def work() -> None:
        made.send(1)

    def check(_: Any) -> bool:
        seen = [[each.try_recv(), each.try_recv()] for each in (one, other)]
        return seen[0] == seen[1] and sorted(seen[0]) == [1, 2]

    return work, lambda: made.send(2), check


def watch() -> Case:
    made = sync.watch(0)
    watcher = made.watch()
    return watcher.changed, lambda: made.send(5), lambda got: got == 5 == made.borrow()


def condition() -> Case:
    made = sync.Condition()

    async def work() -> None:
        async with made:
            with spargio.move_on_after(0.002):
                await made.wait()

    def action() -> None:
        if made.lock.locked():
            made.notify_all()

    return work, action, lambda _: not made.lock.locked()


def sleep() -> Case:
    made = Sleep(support.LIMIT_S * 2)

    async def work() -> None:
        await made

    return work, lambda: made.reset(0.0), lambda _: made.is_elapsed()


def token() -> Case:
    made = spargio.CancellationToken()
    return made.cancelled, made.cancel, lambda _: made.is_cancelled()


def token_over_work() -> Case:
    made = spargio.CancellationToken()

    async def work() -> None:
        with pytest.raises(spargio.TaskCancelled):
            await made.run(spargio.sleep(support.LIMIT_S * 2))
            await made.run(spargio.sleep(support.LIMIT_S * 2))

    return work, made.cancel, lambda _: True


def request() -> Case:
    client, server = boundary.channel(4)

    async def work() -> Any:
        return (await server.recv()).request

    return work, lambda: client.try_call(9), lambda got: got == 9


def answer() -> Case:
    client, server = boundary.channel(4)

    async def work() -> Any:
        held.append(client.try_call(9))
        return await held[0]

    held: list[boundary.Ticket] = []

    def action() -> None:
        server.close()

    async def told() -> bool:
        with pytest.raises(boundary.Closed):
            await work()
        return True

    return told, action, lambda got: got is True


def group_or_token() -> Case:
    made = spargio.TaskGroup()

    async def work() -> None:
        async with made:
            await spargio.sleep(support.LIMIT_S * 2)

    return work, made.cancel, lambda _: made.token.is_cancelled()


def child_from_a_finalizer() -> Case:
    groups: list[spargio.TaskGroup] = []
    ran: list[int] = []
    spawned: list[int] = []

    async def child() -> None:
        ran.append(1)

    async def work() -> None:
        async with spargio.TaskGroup() as made:
            groups.append(made)
            await made.spawn(spargio.sleep(0))

    def action() -> None:
        if groups:
            try:
                groups[0].spawn(child())
            except RuntimeError as error:
                assert "allowed while it is open" in str(error)
            else:
                spawned.append(1)

    return work, action, lambda _: ran == spawned


CASES = [
    semaphore,
    lock,
    receiver,
    sender,
    end_of_a_channel,
    end_for_a_sender,
    event,
    broadcast,
    broadcasts,
    watch,
    condition,
    sleep,
    token,
    token_over_work,
    request,
    answer,
    group_or_token,
    child_from_a_finalizer,
]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_at_each_step(make: Callable[[], Case]) -> None:
    async def main() -> None:
        assert await at_each_step(make) > 3

    spargio.run(main, shards=1)


@pytest.mark.parametrize("threshold", [1, 7, 50])
def test_finalizers_of_the_collector(threshold: int) -> None:
    """The same by the collector, wherever it comes."""
    semaphore = sync.Semaphore(0, most=10**9)
    sender, receiver = sync.channel(10**6)
    watched = sync.watch(0)
    client, server = boundary.channel(10**6)
    group: list[spargio.TaskGroup] = []
    spoken: list[int] = []

    class Resource:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            semaphore.release()
            sender.try_send(1)
            watched.send(1)
            client.try_call(1)
            spoken.append(1)

    async def use() -> None:
        watcher = watched.watch()
        for _ in range(60):
            Resource()
            for wait in (semaphore.acquire, receiver.recv, watcher.changed, server.recv):
                with spargio.move_on_after(0.0005):
                    await wait()
            await group[0].spawn(spargio.sleep(0))

    async def main() -> None:
        before = gc.get_threshold()
        gc.set_threshold(threshold)
        try:
            async with spargio.TaskGroup() as made:
                group.append(made)
                for _ in range(4):
                    made.spawn(use())
        finally:
            gc.set_threshold(*before)

    spargio.run(main, shards=2)
    gc.collect()  # Of the last ones, while the server is there.
    assert spoken
    server.close()
