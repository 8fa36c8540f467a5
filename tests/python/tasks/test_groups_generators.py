"""Task groups that end by what is no ``Exception``: no error of a child is lost, and a generator can
be closed."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import support
from support import Unraisables

import spargio
from spargio import sync

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


async def generate(waits: support.Waits, *errors: Exception | None) -> AsyncGenerator[int, None]:
    """Its group has a child for each of `errors`, raised at the child's end."""
    async with spargio.TaskGroup() as group:
        before = waits.waiting
        for error in errors:
            group.spawn(waits.run(error))
        await waits.until(before + len(errors))
        yield 1


def test_what_is_no_exception_of_the_common_kind() -> None:
    class Odd(BaseException):
        pass

    async def main() -> None:
        waits = support.Waits()
        with pytest.raises(BaseExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                group.spawn(waits.run())
                await waits.until(1)
                group.spawn(support.fail(Odd()))
                await support.forever()
        assert [type(error) for error in caught.value.exceptions] == [Odd]
        with pytest.raises(BaseExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                group.spawn(waits.run(KeyError("child")))
                await waits.until(2)
                raise Odd
        assert [type(error) for error in caught.value.exceptions] == [Odd, KeyError]
        assert waits.cleaned == 2

    spargio.run(main, shards=2)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("by", ["child", "body"])
def test_what_ends_the_program(kind: type[BaseException], by: str) -> None:
    waits = support.Waits()

    async def main() -> None:
        async with spargio.TaskGroup() as group:
            group.spawn(waits.run())
            await waits.until(1)
            if by == "child":
                group.spawn(support.fail(kind()))
                await support.forever()
            raise kind

    with pytest.raises(kind):
        spargio.run(main, shards=2)
    assert waits.cleaned == 1


def test_a_generator_is_closed_in_its_group(options: dict[str, Any]) -> None:
    async def main() -> None:
        waits = support.Waits()
        for errors in ([], [None], [KeyError("one")], [KeyError("one"), None, KeyError("two")]):
            numbers = generate(waits, *errors)
            assert await numbers.__anext__() == 1
            expected = [type(error) for error in errors if error is not None]
            if expected:
                with pytest.raises(BaseExceptionGroup) as caught:
                    await numbers.aclose()
                told = [type(error) for error in caught.value.exceptions]
                assert told == [GeneratorExit, *expected]
            else:
                await numbers.aclose()
            await spargio.sleep(0)  # No cancellation is left over.
        assert waits.cleaned == waits.waiting == 5

    spargio.run(main, **options)


def test_a_dropped_generator_says_what_failed_and_cancels_nobody(
    options: dict[str, Any], unraisables: Unraisables
) -> None:
    async def main() -> None:
        waits = support.Waits()
        for count, error in enumerate((None, KeyError("flush")), 1):
            async for _ in generate(waits, error):
                break
            gc.collect()
            await support.until(lambda count=count: waits.cleaned == count)

    spargio.run(main, **options)
    (seen,) = unraisables.take()
    assert issubclass(seen.kind, BaseExceptionGroup)
    assert seen.object == "aclose of a dropped generator"


def test_a_cancellation_while_a_generator_is_closed_goes_on() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        cleaning, go_on = sync.Event(), sync.Event()

        async def child() -> None:
            try:
                await support.forever()
            finally:
                cleaning.set()
                await go_on.wait()

        async def numbers() -> AsyncGenerator[int, None]:
            async with spargio.TaskGroup() as group:
                await support.started(group.spawn(child()))
                yield 1

        async def close() -> None:
            generator = numbers()
            await generator.__anext__()
            await generator.aclose()
            raise AssertionError

        job = handle.spawn_pinned(0, close())
        await cleaning.wait()
        job.cancel()
        await support.started(job)
        assert not job.done()
        go_on.set()
        with pytest.raises(spargio.TaskCancelled):
            await job

    spargio.run(main, shards=1)
