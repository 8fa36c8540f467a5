"""What the pytest plugin does (``pytest_spargio``): a runtime per test, on which its coroutine and
its asynchronous fixtures run, while pytest waits for them on the main thread."""

from __future__ import annotations

import functools
import gc
import inspect
import os
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from ._ffi.core import Future, native
from .options import RuntimeBuilder
from .runtime import RuntimeHandle
from .testing import MockClock

SHARDS = 2
"""Of a test that asks for no number: what crosses shards is seen, and a start is cheap."""
LEAK_LIMIT_S = 5
"""The kernel takes a ring down a moment after its last reference went."""


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Of the markers from the module to the function; the nearer one wins."""
    options: dict[str, Any] = {"shards": SHARDS}
    for marker in reversed(list(request.node.iter_markers("spargio"))):
        if marker.args:
            raise pytest.UsageError(
                f"the arguments of the mark spargio must be options by name, got {marker.args!r}"
            )
        options |= marker.kwargs
    return options


def clock(request: pytest.FixtureRequest) -> MockClock:
    threshold = _options(request).get("autojump_threshold", 0.01)
    return MockClock(autojump_threshold=threshold)


def runtime(request: pytest.FixtureRequest) -> Iterator[RuntimeHandle]:
    """The body of the fixture `spargio_handle`."""
    options = _options(request)
    options.pop("autojump_threshold", None)
    check = options.pop("leak_check", request.config.getini("spargio_leak_check"))
    if "spargio_clock" in request.fixturenames:
        request.getfixturevalue("spargio_clock")  # It is there as long as the runtime is.
    before = _held() if check else {}
    with RuntimeBuilder().apply(**options).build() as handle:
        yield handle
    if check:
        _compare(before)


def call(item: pytest.Function) -> None:
    """Run a test's coroutine to its end."""
    handle: RuntimeHandle = item._request.getfixturevalue("spargio_handle")
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
    handle.spawn_pinned(0, item.obj(**arguments), name=item.nodeid).result()


def blocking(function: Callable[..., Any], request: pytest.FixtureRequest) -> Callable[..., Any]:
    """An ordinary fixture function for an asynchronous one."""
    if request.scope != "function":
        pytest.fail(
            f"the scope of the asynchronous fixture {request.fixturename!r} must be 'function', "
            f"because each test has a runtime of its own, got {request.scope!r}",
            pytrace=False,
        )

    # As pytest does with a method: it is the test's instance whose fixture it is.
    owner, instance = getattr(function, "__self__", None), request.instance
    if owner is not None and isinstance(instance, type(owner)):
        function = function.__func__.__get__(instance)  # type: ignore[attr-defined]

    if not inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        def returns(*arguments: Any, **named: Any) -> Any:
            handle: RuntimeHandle = request.getfixturevalue("spargio_handle")
            return handle.spawn_pinned(0, function(*arguments, **named)).result()

        return returns

    @functools.wraps(function)
    def yields(*arguments: Any, **named: Any) -> Iterator[Any]:
        handle: RuntimeHandle = request.getfixturevalue("spargio_handle")
        ready: Future[Any] = native.future()
        over: Future[None] = native.future()
        generator = function(*arguments, **named)
        job = handle.spawn_pinned(0, _keep(generator, ready, over), name=request.fixturename)
        yield ready.result()
        over.set_result(None)
        job.result()

    return yields


async def _keep(
    generator: AsyncGenerator[Any, None], ready: Future[Any], over: Awaitable[None]
) -> None:
    """All of a fixture in one task, so that what it enters it can leave."""
    try:
        value = await generator.__anext__()
    except StopAsyncIteration:
        ready.set_exception(ValueError("the fixture did not yield a value"))
        return
    except BaseException as error:
        ready.set_exception(error)
        return
    ready.set_result(value)
    await over
    async for _ in generator:
        raise RuntimeError("the fixture must yield once, it yields twice")


# ---- leaks ----


def _held() -> dict[str, str]:
    """Descriptors and what they are, and threads; the descriptor that lists them is left out."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if not target.startswith("/proc/"):
            found[f"descriptor {name}"] = target
    for thread in threading.enumerate():
        if not thread.name.startswith("spargio-blocking"):  # The process's own, for the next call.
            found[f"thread {thread.ident}"] = thread.name
    return found


def _compare(before: dict[str, str]) -> None:
    deadline = time.monotonic() + LEAK_LIMIT_S
    while True:
        gc.collect()
        more = {key: value for key, value in _held().items() if before.get(key) != value}
        if not more:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"the test left behind: {more}", pytrace=False)
        time.sleep(0.001)
