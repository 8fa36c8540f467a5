"""The pytest plugin of spargio, as pytest finds it (entry point ``pytest11``). It stands outside of
the package, so that a run of pytest that has no test for it does not import spargio: what it does
is in :mod:`spargio.pytest_plugin`. How to use it: ``docs/testing-your-code.md``."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from spargio import RuntimeHandle
    from spargio.testing import MockClock

_MARKER = (
    "spargio(**options): run this coroutine on a runtime of its own. options are those of "
    "spargio.run(); and autojump_threshold, of the clock; and leak_check"
)
_MODE = "strict: marked coroutines are spargio's; auto: all coroutine tests are"
_LEAK_CHECK = "fail a test that leaves descriptors or threads behind"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("spargio_mode", _MODE, default="strict")
    parser.addini("spargio_leak_check", _LEAK_CHECK, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    mode = config.getini("spargio_mode")
    if mode not in ("strict", "auto"):
        raise pytest.UsageError(f"spargio_mode must be 'strict' or 'auto', got {mode!r}")


def _is_asynchronous(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _is_ours(item: pytest.Item) -> bool:
    if item.get_closest_marker("spargio") is not None:
        return True
    return item.config.getini("spargio_mode") == "auto" and _is_asynchronous(
        getattr(item, "obj", None)
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not (inspect.iscoroutinefunction(pyfuncitem.obj) and _is_ours(pyfuncitem)):
        return None
    from spargio import pytest_plugin

    pytest_plugin.call(pyfuncitem)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    function = fixturedef.func
    item = getattr(request, "_pyfuncitem", None)
    if not _is_asynchronous(function) or item is None or not _is_ours(item):
        return (yield)
    from spargio import pytest_plugin

    fixturedef.func = pytest_plugin.blocking(function, request)  # type: ignore[misc]
    try:
        return (yield)
    finally:
        fixturedef.func = function  # type: ignore[misc]


@pytest.fixture
def spargio_handle(request: pytest.FixtureRequest) -> Iterator[RuntimeHandle]:
    """The handle of this test's runtime, for ordinary tests too."""
    from spargio import pytest_plugin

    yield from pytest_plugin.runtime(request)


@pytest.fixture
def spargio_clock(request: pytest.FixtureRequest) -> Iterator[MockClock]:
    """A :class:`spargio.testing.MockClock`, which this test's sleeps and time limits go by."""
    from spargio import pytest_plugin

    with pytest_plugin.clock(request) as made:
        yield made
