"""How main is called: its arguments, and which parameter gets the handle."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Optional

import pytest

import spargio
from spargio import RuntimeHandle
from spargio.options import OPTION_NAMES, Options


def run_with(main: Any, *args: Any) -> Any:
    return spargio.run_with(spargio.Runtime.builder().shards(1), main, *args)


def run_local_on(main: Any, *args: Any) -> Any:
    return spargio.run_local_on(spargio.Runtime.builder().shards(2), 1, main, *args)


def run_decorated(main: Any, *args: Any) -> Any:
    return spargio.main(shards=1)(main)(*args)


def run(main: Any, *args: Any) -> Any:
    return spargio.run(main, *args, shards=1)


each_way = pytest.mark.parametrize("start", [run, run_with, run_local_on, run_decorated])


@each_way
def test_a_parameter_with_a_default_keeps_it(start: Callable[..., Any]) -> None:
    async def port(port: int = 8000) -> object:
        return port

    async def arguments(argv: object = None, *rest: object, **named: object) -> object:
        return argv, rest, named

    async def keyword(*, verbose: bool = False) -> object:
        return verbose

    class Service:
        async def main(self, config: object = "config") -> object:
            return config

        async def __call__(self, config: object = "called") -> object:
            return config

    assert start(port) == 8000
    assert start(arguments) == (None, (), {})
    assert start(keyword) is False
    assert start(Service().main) == "config"
    assert start(Service()) == "called"
    assert start(functools.partial(port, 9000)) == 9000
    assert start(functools.partial(port, port=9000)) == 9000
    assert start(lambda x=7: port(x)) == 7


@each_way
def test_the_handle_goes_to_who_asks_for_it(start: Callable[..., Any]) -> None:
    async def named(handle: Any) -> object:
        return handle

    async def named_with_default(port: int = 1, handle: Any = None) -> object:
        return handle

    async def keyword(*, handle: Any) -> object:
        return handle

    async def annotated(runtime: RuntimeHandle, port: int = 1) -> object:
        return runtime

    async def qualified(port: int = 1, *, runtime: spargio.RuntimeHandle | None = None) -> object:
        return runtime

    async def only(whatever: Any, port: int = 1) -> object:
        return whatever

    async def optional(port: int = 1, runtime: Any = None) -> object:
        return runtime

    optional.__annotations__["runtime"] = Optional[RuntimeHandle]  # noqa: UP045

    async def before(first: int, handle: Any) -> object:
        return handle if first == 1 else None

    async def positional(handle: Any, /, port: int = 1) -> object:
        return handle

    for main in (
        named, named_with_default, keyword, annotated, qualified, only, optional, positional,
        functools.partial(before, 1), functools.partial(before, first=1), lambda h: only(h),
    ):  # fmt: skip
        assert isinstance(start(main), RuntimeHandle), main


@each_way
def test_arguments_go_to_the_other_parameters(start: Callable[..., Any]) -> None:
    async def plain(host: str, port: int = 8000) -> object:
        return host, port

    async def first(handle: RuntimeHandle, host: str, port: int = 8000) -> object:
        return handle.shard_count() > 0, host, port

    async def last(host: str, port: int, handle: RuntimeHandle) -> object:
        return handle.shard_count() > 0, host, port

    async def keyword(host: str, *, handle: Any) -> object:
        return handle.shard_count() > 0, host

    async def rest(*hosts: str) -> object:
        return hosts

    assert start(plain, "::1") == ("::1", 8000)
    assert start(plain, "::1", 1) == ("::1", 1)
    assert start(first, "::1") == (True, "::1", 8000)
    assert start(first, "::1", 1) == (True, "::1", 1)
    assert start(last, "::1", 1) == (True, "::1", 1)
    assert start(keyword, "::1") == (True, "::1")
    assert start(rest, "a", "b") == ("a", "b")


@each_way
def test_what_main_does_not_take_is_told_before_anything_starts(start: Callable[..., Any]) -> None:
    async def two(host: str, port: int) -> None: ...

    async def none() -> None: ...

    with pytest.raises(
        TypeError, match=r"main is .*two\(host.*missing a required argument: 'host'.*run\(main"
    ):
        start(two)
    with pytest.raises(TypeError, match="missing a required argument: 'port'"):
        start(two, "::1")
    with pytest.raises(TypeError, match=r"main is .*none\(\).*too many positional arguments"):
        start(none, 1)


def test_a_coroutine_says_what_to_write_and_is_closed() -> None:
    async def main() -> None: ...

    coroutine = main()
    with pytest.raises(TypeError, match=r"the function itself, without a call, run\(main\)"):
        spargio.run(coroutine)  # type: ignore[call-overload]
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_a_decorated_main_is_called_like_itself() -> None:
    @spargio.main(shards=1)
    async def serve(host: str, handle: RuntimeHandle, *, port: int = 8000) -> tuple[str, int, int]:
        """Serves."""
        return host, port, handle.shard_count()

    assert serve("::1") == serve(host="::1") == ("::1", 8000, 1)  # type: ignore[call-arg]
    assert serve("::1", port=1) == ("::1", 1, 1)  # type: ignore[call-arg]
    assert list(inspect.signature(serve).parameters) == ["host", "port"]
    assert serve.__doc__ == "Serves."
    with pytest.raises(TypeError, match="missing a required argument: 'host'"):
        serve()  # type: ignore[call-arg]
    given = spargio.run(_handle, shards=1)
    assert _handle_of(given) is given


async def _handle(handle: RuntimeHandle) -> RuntimeHandle:
    return handle


def _handle_of(handle: RuntimeHandle) -> object:
    @spargio.main(shards=1)
    async def main(handle: RuntimeHandle) -> object:
        return handle

    return main(handle=handle)  # type: ignore[call-arg]


def test_the_options_of_a_type_checker_are_those_of_the_builder() -> None:
    assert set(Options.__annotations__) == set(OPTION_NAMES)


def test_a_runtime_takes_options() -> None:
    async def work() -> int:
        return spargio.current_handle().shard_count()

    with spargio.Runtime(shards=2) as handle:
        assert handle.spawn(work()).result(10) == 2
        with pytest.raises(TypeError, match="not both"):
            spargio.Runtime(spargio.RuntimeBuilder(), shards=2)
