"""What a task can await: coroutines of Cython, other awaitables; what it cannot: asyncio's."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import types
from collections.abc import Awaitable, Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import support

import spargio
from spargio import net


class Through:
    """An awaitable of a class in Python."""

    def __init__(self, inner: Awaitable[Any]) -> None:
        self.inner = inner

    def __await__(self) -> Generator[Any, None, Any]:
        result = yield from self.inner.__await__()
        return ("through", result)


async def value(result: object) -> object:
    await spargio.yield_now()
    await spargio.sleep(0)
    return result


def test_an_awaitable_of_a_python_class(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        assert await Through(value(1)) == ("through", 1)
        assert await Through(spargio.sleep(0)) == ("through", None)
        assert await handle.spawn_stealable(Through(value(2))) == ("through", 2)  # type: ignore[arg-type]
        job = handle.spawn_stealable(value(3))
        assert await Through(job) == ("through", 3)

    spargio.run(main, **options)


def test_a_generator_based_coroutine() -> None:
    @types.coroutine
    def old_style() -> Generator[Any, Any, str]:
        yield from value(1).__await__()
        return "old style"

    async def main(handle: spargio.RuntimeHandle) -> None:
        assert await old_style() == "old style"
        assert await handle.spawn_stealable(old_style()) == "old style"  # type: ignore[arg-type]

    spargio.run(main, shards=2)


def test_an_operation_spawned_as_a_task() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        assert await handle.spawn_stealable(spargio.sleep(0)) is None  # type: ignore[arg-type]
        job = handle.spawn_stealable(value(4))
        assert await handle.spawn_stealable(job) == 4  # type: ignore[arg-type]

    spargio.run(main, shards=2)


# ---- Cython ----

PYX = """
# cython: language_level=3
import spargio

async def add(a, b):
    await spargio.yield_now()
    await spargio.sleep(0)
    return a + b

async def fail():
    await spargio.sleep(0)
    raise KeyError("cython")

async def wait(log):
    try:
        await spargio.sleep(1000)
    finally:
        log.append("cleaned up")

async def numbers(n):
    for i in range(n):
        yield i
        await spargio.yield_now()
"""


@pytest.fixture(scope="session")
def cython_module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Coroutines compiled by Cython."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: `cc` is not on the PATH")
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").is_file():
        pytest.skip(f"no headers of this Python: {include}/Python.h")
    pytest.importorskip("Cython", reason="Cython is not installed")
    folder = tmp_path_factory.mktemp("cython")
    source = folder / "compiled.pyx"
    source.write_text(PYX)
    library = folder / f"compiled{sysconfig.get_config_var('EXT_SUFFIX')}"
    free_threaded = [] if not support.free_threaded() else ["-X", "freethreading_compatible=True"]
    commands = [
        [sys.executable, "-m", "cython", "-3", *free_threaded, source.name],
        [compiler, "-O0", "-w", "-shared", "-fPIC", f"-I{include}", "-o", library, "compiled.c"],
    ]
    for command in commands:
        subprocess.run(command, cwd=folder, check=True, timeout=support.LIMIT_S)
    spec = importlib.util.spec_from_file_location("compiled", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cython_coroutines(cython_module: ModuleType, options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        assert await cython_module.add(1, 2) == 3
        jobs = [handle.spawn_stealable(cython_module.add(n, n)) for n in range(20)]
        assert [await job for job in jobs] == [2 * n for n in range(20)]
        with pytest.raises(KeyError, match="cython"):
            await handle.spawn_stealable(cython_module.fail())
        assert [n async for n in cython_module.numbers(5)] == [0, 1, 2, 3, 4]

    spargio.run(main, **options)


def test_cython_coroutines_are_cancelled(cython_module: ModuleType) -> None:
    log: list[str] = []

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, cython_module.wait(log))
        await support.started(job)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        never = handle.spawn_pinned(0, cython_module.wait(log))
        never.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await never

    spargio.run(main, shards=1)
    assert log == ["cleaned up"]


# ---- sniffio ----


def test_sniffio_says_spargio(options: dict[str, Any]) -> None:
    sniffio = pytest.importorskip("sniffio")

    async def which() -> str:
        name: str = sniffio.current_async_library()
        await spargio.sleep(0)
        assert sniffio.current_async_library() == name
        return name

    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_pinned(shard, which()) for shard in range(handle.shard_count())]
        assert {await which(), *[await job for job in jobs]} == {"spargio"}

    spargio.run(main, **options)
    with pytest.raises(sniffio.AsyncLibraryNotFoundError):
        sniffio.current_async_library()


# ---- what does not belong here ----


class Foreign:
    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield "something")


def test_an_asyncio_future_is_a_runtime_error_at_the_await() -> None:
    loop = asyncio.new_event_loop()
    try:
        future = loop.create_future()

        async def main() -> str:
            with pytest.raises(RuntimeError, match=r"awaited something that yields .*Future"):
                await future
            await spargio.sleep(0)
            return "goes on"

        assert spargio.run(main, shards=1) == "goes on"
        future.cancel()
    finally:
        loop.close()


def test_asyncio_sleep_is_a_runtime_error() -> None:
    async def main() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="only awaitables of spargio"):
        spargio.run(main, shards=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: asyncio.sleep(0.001),
        lambda: asyncio.wait_for(asyncio.Event(), 0.001),
        lambda: asyncio.Event().wait(),
        lambda: asyncio.open_connection("127.0.0.1", 1),
    ],
)
def test_what_asyncio_raises_without_a_loop_says_what_to_do(call: Any) -> None:
    async def inner() -> None:
        await call()

    async def main(handle: spargio.RuntimeHandle) -> None:
        await handle.spawn_pinned(0, inner())

    with pytest.raises((RuntimeError, AttributeError)) as caught:
        spargio.run(main, shards=1)
    words = [*map(str, caught.value.args), *getattr(caught.value, "__notes__", ())]
    assert "\n".join(words).count("a spargio task runs here") == 1
    assert "spargio.sleep" in "\n".join(words)


def test_other_errors_are_left_as_they_are() -> None:
    async def main() -> None:
        raise RuntimeError("mine", 5)

    with pytest.raises(RuntimeError) as caught:
        spargio.run(main, shards=1)
    assert caught.value.args == ("mine", 5)
    assert not hasattr(caught.value, "__notes__")


def test_a_foreign_awaitable_is_refused_each_time() -> None:
    async def main() -> list[str]:
        log = []
        for _ in range(4):
            try:
                log.append(f"got {await Foreign()}")
            except RuntimeError:
                log.append("refused")
        await spargio.sleep(0)
        return log

    assert spargio.run(main, shards=1) == ["refused"] * 4


def test_a_task_that_ends_on_the_refusal() -> None:
    async def caught() -> str:
        try:
            await Foreign()
        except RuntimeError:
            return "caught"
        raise AssertionError

    async def other() -> None:
        try:
            await Foreign()
        except RuntimeError:
            raise LookupError("instead") from None

    async def main(handle: spargio.RuntimeHandle) -> None:
        assert await handle.spawn_stealable(caught()) == "caught"
        with pytest.raises(LookupError):
            await handle.spawn_stealable(other())

    spargio.run(main, shards=2)


@pytest.mark.parametrize("make", [lambda: spargio.sleep(0), spargio.yield_now], ids=["op", "yield"])
def test_an_awaitable_of_ours_elsewhere_is_a_runtime_error(make: Any) -> None:
    async def main() -> None:
        await make()

    with pytest.raises(RuntimeError, match="outside a spargio task"):
        asyncio.run(main())
    coroutine = main()
    with pytest.raises(RuntimeError, match="outside a spargio task"):
        coroutine.send(None)
    coroutine.close()


def test_a_join_handle_may_be_awaited_in_asyncio() -> None:
    with spargio.Runtime.builder().shards(1).build() as handle:
        job = handle.spawn_stealable(value(5))

        async def main() -> object:
            return await job

        assert asyncio.run(main()) == 5
        assert job.result(support.LIMIT_S) == 5


def test_asyncio_and_a_background_runtime_in_one_program() -> None:
    with spargio.Runtime.builder().shards(2).build() as handle:

        async def main() -> object:
            job = handle.spawn_stealable(value("from spargio"))
            return await asyncio.to_thread(job.result, support.LIMIT_S)

        assert asyncio.run(main()) == "from spargio"


def test_an_operation_can_be_awaited_once() -> None:
    async def main() -> None:
        operation = spargio.sleep(0)
        await operation
        for _ in range(2):
            with pytest.raises(RuntimeError, match="awaited once"):
                await operation

    spargio.run(main, shards=1)


def test_an_operation_belongs_to_the_task_that_awaits_it() -> None:
    async def second(operation: Awaitable[bytes]) -> bytes:
        return await operation

    async def main(handle: spargio.RuntimeHandle) -> None:
        near, far = net.UnixStream.pair()
        async with near, far:
            operation = near.recv(10)
            job = handle.spawn_pinned(0, second(operation))
            await support.started(job)
            with pytest.raises(RuntimeError, match="two tasks"):
                await operation
            await far.write_all(b"x")
            assert await job == b"x"

    spargio.run(main, shards=1)


def test_an_operation_started_by_hand_ends_with_its_task() -> None:
    """Nobody drives it on: the shard cancels it, and its object does not touch another's."""

    async def by_hand(operation: Awaitable[None]) -> None:
        next(operation.__await__())

    async def later(operation: Awaitable[None]) -> str:
        try:
            await operation
        except RuntimeError:
            return "refused"
        return "awaited"

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(50):
            operation = spargio.sleep(1000)
            await handle.spawn_pinned(0, by_hand(operation))
            jobs = [handle.spawn_pinned(0, later(operation)) for _ in range(3)]
            with spargio.timeout(support.LIMIT_S):
                assert [await job for job in jobs] == ["refused"] * 3

    spargio.run(main, shards=1)
