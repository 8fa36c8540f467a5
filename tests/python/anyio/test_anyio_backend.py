"""What anyio's own suite cannot know: the backend together with spargio's own tasks, groups and limits."""

from __future__ import annotations

import inspect
import math
import signal
import socket
import subprocess
import sys
import threading
import types
from typing import Any

import pytest
import support

import spargio

anyio = pytest.importorskip("anyio", reason="anyio is not installed")
pytest.importorskip("sniffio", reason="sniffio is not installed")

import spargio.anyio  # noqa: E402
from spargio._ffi.core import native  # noqa: E402
from spargio.anyio._plain import Plain  # noqa: E402

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


def run(main: Any, *arguments: Any, **options: Any) -> Any:
    return anyio.run(main, *arguments, backend="spargio", backend_options=options)


def test_an_import_without_anyio_says_what_to_install() -> None:
    program = "import sys; sys.modules['anyio'] = None\nimport spargio.anyio"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: spargio.anyio needs anyio and sniffio, and anyio is not" in done.stderr
    assert "pip install 'spargio[anyio]'" in done.stderr


def test_the_backend_has_plain_functions_with_the_parameters_of_anyio() -> None:
    from anyio.abc import AsyncBackend

    from spargio.anyio._backend import SpargioBackend

    def positional(function: Any) -> list[str]:
        found = inspect.signature(function).parameters.values()
        return [each.name for each in found if each.kind is each.POSITIONAL_OR_KEYWORD]

    names = [name for name, method in vars(AsyncBackend).items() if isinstance(method, classmethod)]
    assert len(names) > 40
    for name in names:
        ours = vars(SpargioBackend)[name]
        assert type(ours) is types.FunctionType, name
        assert positional(ours) == positional(getattr(AsyncBackend, name)), name


def test_its_objects_can_be_made_with_all_arguments() -> None:
    async def main() -> None:
        assert anyio.CancelScope(deadline=math.inf, shield=True).shield
        assert not anyio.Event().is_set()
        assert not anyio.Lock(fast_acquire=True).locked()
        assert anyio.Semaphore(2, max_value=3, fast_acquire=True).max_value == 3
        assert anyio.CapacityLimiter(4).total_tokens == 4

    run(main)


def test_a_base_with_fields_of_its_own_still_makes_objects() -> None:
    class Base:
        __slots__ = ("field",)

        def __new__(cls, number: int) -> Any:
            raise AssertionError("of the base")

    class Made(Plain, Base):
        __slots__ = ("number",)

        def __init__(self, number: int) -> None:
            self.number = number

    assert Made(3).number == 3


def test_a_scope_without_a_deadline_says_inf() -> None:
    async def main() -> None:
        for scope in (anyio.CancelScope(), anyio.CancelScope(deadline=math.inf)):
            assert scope.deadline == math.inf
            with scope:
                assert anyio.current_effective_deadline() == math.inf
                scope.deadline = anyio.current_time() + 100
                assert anyio.current_effective_deadline() == scope.deadline < math.inf
                scope.deadline = math.inf
                assert anyio.current_effective_deadline() == scope.deadline == math.inf
        with pytest.raises(ValueError):
            anyio.CancelScope(deadline=math.nan)

    run(main)


def test_in_a_task_of_spargio_run() -> None:
    async def main() -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)
        with anyio.move_on_after(0) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        return anyio.get_current_task().name or ""

    assert spargio.run(main, shards=1).endswith("main")


def test_a_group_of_spargio_in_a_cancelled_scope_waits_for_its_children_at_rest() -> None:
    async def child(ended: list[int]) -> None:
        try:
            await spargio.sleep(60)
        finally:
            ended.append(1)

    async def main() -> tuple[int, int]:
        ended: list[int] = []
        with anyio.CancelScope() as scope:
            async with spargio.TaskGroup() as group:
                for _ in range(3):
                    group.spawn(child(ended))
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        return len(ended), spargio.current_handle().stats_snapshot().passes

    ended, passes = run(main)
    assert ended == 3
    assert passes < 100  # A wait that is cancelled over and over would take thousands.


def test_a_cancel_of_the_task_itself_is_not_swallowed_by_a_scope() -> None:
    async def work() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()

    async def patient() -> None:
        with anyio.CancelScope():
            await anyio.sleep_forever()

    async def main() -> None:
        await spargio.current_handle().spawn_pinned(0, work())
        job = spargio.current_handle().spawn_pinned(0, patient())
        await anyio.wait_all_tasks_blocked()
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job

    run(main)


def test_each_await_is_cancelled_until_the_scope_is_left() -> None:
    async def main() -> list[str]:
        told = []
        with anyio.CancelScope() as scope:
            scope.cancel("enough")
            for wait in (
                lambda: anyio.sleep(1),
                lambda: native.future(),
                lambda: spargio.yield_now(),
                lambda: native.nop(),
            ):
                with pytest.raises(spargio.CancelledError) as caught:
                    await wait()
                told.append(str(caught.value))
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0)
                await spargio.yield_now()
        await anyio.sleep(0)
        return told

    told = run(main)
    assert len(told) == 4 and all("enough" in one for one in told)


def test_a_task_that_takes_no_notice_of_its_cancellation_lets_others_run() -> None:
    async def main() -> int:
        seen = 0

        async def other() -> None:
            nonlocal seen
            for _ in range(5):
                await anyio.sleep(0)
                seen += 1

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            with anyio.CancelScope() as scope:
                scope.cancel()
                while seen < 5:
                    try:
                        await anyio.sleep(0)
                    except anyio.get_cancelled_exc_class():
                        continue
        return seen

    assert run(main) == 5


def test_no_byte_is_lost_by_a_cancelled_receive() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            stream = await anyio.abc.SocketStream.from_socket(ours)
            got = b""
            for number in range(200):
                theirs.send(bytes([number]))
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    try:
                        got += await stream.receive(1)
                    finally:
                        assert not got.endswith(bytes([number])) or number < 200
                with anyio.move_on_after(0.0002 if number % 3 else 1):
                    got += await stream.receive(1)
            while len(got) < 200:
                got += await stream.receive(1)
            assert got == bytes(range(200))
            await stream.aclose()

    run(main)


def test_a_scope_is_cancelled_by_another_thread() -> None:
    async def main() -> bool:
        with anyio.fail_after(support.LIMIT_S), anyio.CancelScope() as scope:
            thread = threading.Thread(target=scope.cancel)
            thread.start()
            try:
                await anyio.sleep_forever()
            finally:
                thread.join()
        return scope.cancelled_caught

    assert run(main)


def test_tasks_stay_on_the_shard_of_the_group() -> None:
    async def where(found: list[int]) -> None:
        await anyio.sleep(0)
        found.append(spargio.current_shard())

    async def root() -> list[int]:
        found: list[int] = []
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(where, found)
        return found

    async def main() -> list[list[int]]:
        return await spargio.anyio.on_each_shard(root)

    assert run(main, shards=4) == [[shard] * 10 for shard in range(4)]


def test_the_error_of_one_shard_ends_the_others() -> None:
    async def root() -> None:
        if spargio.current_shard() == 1:
            raise ValueError("one")
        await anyio.sleep_forever()

    async def main() -> None:
        await spargio.anyio.on_each_shard(root)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main, shards=3)
    assert [str(error) for error in caught.value.exceptions] == ["one"]


def test_an_interrupt_ends_the_tasks_of_groups() -> None:
    ended = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(1)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(child)
            await anyio.wait_all_tasks_blocked()
            signal.raise_signal(signal.SIGINT)
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert ended == [1, 1, 1]


def test_a_task_that_never_began_at_the_end_of_the_runtime() -> None:
    async def child() -> None:
        raise AssertionError

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            spargio.current_handle().shutdown()

    run(main)


def test_a_deadline_that_a_generator_left_behind_is_no_timer_of_the_shard(
    unraisables: support.Unraisables,
) -> None:
    async def numbers() -> Any:
        with anyio.move_on_after(3600):
            yield 1

    async def main() -> None:
        async for _ in numbers():
            break

    run(main)
    # Its clean-up is a task of its own, which cannot leave another one's scope.
    assert "in a different task than it was entered in" in unraisables.take()[0].text


def test_spargio_limits_and_scopes_together() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            with spargio.timeout(0.01):
                with anyio.CancelScope():
                    await anyio.sleep_forever()
        with anyio.move_on_after(0.01) as scope:
            with spargio.timeout(60):
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    run(main)


def test_what_keep_back_refuses() -> None:
    async def main() -> None:
        for change in (-1, 0, 2):
            with pytest.raises(ValueError, match="change must be 1, or -1 once for each 1"):
                native.keep_back(change)
        with pytest.raises(TypeError, match=r"hold\(\) takes a JoinHandle"):
            native.hold(None, True)  # type: ignore[arg-type]

    run(main)
    with pytest.raises(RuntimeError):
        native.keep_back(1)


def test_wait_all_tasks_blocked_waits_for_what_comes_at_once() -> None:
    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        one = await anyio.abc.SocketStream.from_socket(ours)
        other = await anyio.abc.SocketStream.from_socket(theirs)
        got = b""

        async def echo() -> None:
            nonlocal got
            for _ in range(50):
                await one.send(b"x")
                got += await one.receive()

        async def mirror() -> None:
            async for data in other:
                await other.send(data)

        async with anyio.create_task_group() as group:
            group.start_soon(mirror)
            group.start_soon(echo)
            await anyio.wait_all_tasks_blocked()
            seen = got
            group.cancel_scope.cancel()
        await one.aclose()
        await other.aclose()
        return seen

    assert run(main) == b"x" * 50
