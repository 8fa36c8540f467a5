"""contextvars: every task has a context of its own, a copy of its spawner's."""

from __future__ import annotations

import contextvars
from typing import Any

import support

import spargio

number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)


def test_a_task_sees_its_spawners_values_and_keeps_its_own(options: dict[str, Any]) -> None:
    async def child(n: int) -> tuple[int, int]:
        inherited = number.get()
        number.set(n)
        for _ in range(3):
            await spargio.yield_now()
            await spargio.sleep(0)
        return inherited, number.get()

    async def main(handle: spargio.RuntimeHandle) -> None:
        number.set(42)
        jobs = [handle.spawn_stealable(child(n)) for n in range(50)]
        assert [await job for job in jobs] == [(42, n) for n in range(50)]
        assert number.get() == 42

    spargio.run(main, **options)
    assert number.get() == 0


def test_the_copy_is_made_at_the_spawn() -> None:
    async def child() -> int:
        return number.get()

    async def main(handle: spargio.RuntimeHandle) -> None:
        number.set(1)
        job = handle.spawn_pinned(0, child())
        number.set(2)
        assert await job == 1

    spargio.run(main, shards=1)


def test_spawns_from_threads_take_the_threads_context() -> None:
    async def child() -> int:
        return number.get()

    with spargio.Runtime.builder().shards(2).build() as handle:

        def spawn(n: int) -> int:
            number.set(n)
            return handle.spawn_stealable(child()).result(support.LIMIT_S)

        assert [contextvars.copy_context().run(spawn, n) for n in (5, 6)] == [5, 6]


def test_a_clean_up_sees_the_tasks_context(options: dict[str, Any]) -> None:
    seen: list[int] = []

    async def child(n: int) -> None:
        number.set(n)
        try:
            await spargio.sleep(1000)
        finally:
            await spargio.sleep(0)
            seen.append(number.get())

    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_stealable(child(n)) for n in range(10)]
        await support.started(*jobs)
        await support.until(lambda: handle.stats_snapshot().timers_set >= 10)

    spargio.run(main, **options)
    assert sorted(seen) == list(range(10))
