"""Coroutines as tasks of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, ParamSpec, TypeVar

from ..fs import sync

P = ParamSpec("P")
T = TypeVar("T")


class OnShards(Generic[P, T]):
    """An ``async def`` as an ordinary function, which runs it on the shards of this process's
    runtime in the background and waits for its result. Can be pickled if the function can, by its
    name or by cloudpickle."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, T]]) -> None:
        if not callable(function):
            raise TypeError(f"on_shards takes an `async def` function, got {function!r}")
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return sync.run(self.function(*args, **kwargs))

    def __repr__(self) -> str:
        return f"on_shards({self.function!r})"


def on_shards(function: Callable[P, Coroutine[Any, Any, T]]) -> OnShards[P, T]:
    """`function`, an ``async def``, as an ordinary one for ``dask.delayed``, ``dask.bag`` or
    ``client.submit``: dask would run a coroutine function on its own event loop."""
    return OnShards(function)


def submit(
    client: Any, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **options: Any
) -> Any:
    """``client.submit(function, *args, **options)`` of a coroutine function, which runs on the
    shards of the worker that gets it; a Future of dask's."""
    return client.submit(on_shards(function), *args, **options)


def map(
    client: Any,
    function: Callable[..., Coroutine[Any, Any, T]],
    /,
    *iterables: Iterable[Any],
    **options: Any,
) -> Any:
    """``client.map`` in the same way."""
    return client.map(on_shards(function), *iterables, **options)
