"""What anyio makes on a worker thread and the ring can do. anyio hands over a function and its
arguments; those that are known here become operations of the ring. Calls with a limiter of their
own stay on threads."""

from __future__ import annotations

import builtins
import functools
import inspect
import os
import pathlib
import stat
import types
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .._ffi.core import native
from ..fs import _names
from ..fs._file import _FLAGS
from . import _paths
from ._files import RingFile
from ._loop import checkpoint
from ._text import RingText, Source

T = TypeVar("T")


def instead(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Coroutine[Any, Any, Any] | None:
    """What the ring does in place of this call, or None."""
    owner = getattr(function, "__self__", None)
    kind = type(owner)
    if kind is RingFile or kind is RingText:
        return _of_file(owner, function, arguments)
    if function is builtins.open:
        return _opening(*arguments)
    if function is builtins.next:
        return _of_iterator(arguments)
    return _of_path(function, arguments)


_PATH = type(pathlib.Path())

_ITERDIR = pathlib.Path.iterdir.__code__

_OF_OS: dict[Any, Callable[..., Coroutine[Any, Any, Any]]] = {
    os.stat: _paths.stat_of,
    os.link: _paths.link,
}


def _of_path(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Coroutine[Any, Any, Any] | None:
    method, keywords = function, {}
    if isinstance(function, functools.partial) and not function.args:
        method, keywords = function.func, function.keywords
    if keywords.keys() - {"follow_symlinks"}:
        return None
    if type(method) is types.BuiltinFunctionType and method in _OF_OS:
        if isinstance(arguments[0], int):
            return None
        return _shielded(_OF_OS[method], None, arguments, keywords)
    owner = getattr(method, "__self__", None)
    if type(owner) is not _PATH:
        return None
    name = method.__name__
    if name == "open":
        return _opening(owner, *arguments)
    if (work := _paths.METHODS.get(name)) is None:
        return None
    plain = functools.partial(function, *arguments)
    return _shielded(work, plain, (str(owner), *arguments), keywords)


def _of_file(
    owner: Any, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Coroutine[Any, Any, Any] | None:
    work = getattr(owner, f"ring_{function.__name__}", None)
    if work is None:
        if type(owner) is RingFile:
            owner.forget_ahead()
        return None
    if owner.closed and function.__name__ != "close":
        return None  # Python's own error.
    return _shielded(work, None, arguments, {})


def _of_iterator(arguments: tuple[Any, ...]) -> Coroutine[Any, Any, Any] | None:
    """The names in a directory: after the first one they are in memory."""
    iterator = arguments[0]
    if type(iterator) is not _paths.Names:
        begun = type(iterator) is types.GeneratorType and iterator.gi_code is _ITERDIR
        if not begun or inspect.getgeneratorstate(iterator) != inspect.GEN_SUSPENDED:
            return None
    return _shielded(_next, None, arguments, {})


async def _next(*arguments: Any) -> Any:
    return next(*arguments)


# ---- opening ----


def _opening(
    path: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: object = None,
) -> Coroutine[Any, Any, Any] | None:
    plain = mode.replace("t", "", 1) if "b" not in mode else mode.replace("b", "", 1)
    if isinstance(path, int) or opener is not None or not closefd or plain not in _FLAGS:
        return None
    name = os.fspath(path)
    if "b" not in mode:
        if buffering == 0:
            return None  # Python's own error.
        options = (buffering, encoding, errors, newline)
        return _shielded(_open_text, None, (name, mode, plain, options), {})
    if not encoding is errors is newline is None:
        return None
    return _shielded(_open, None, (name, mode, plain), {})


async def _number_of(path: Any, plain: str) -> int:
    where = _names.encode(path)
    descriptor = await native.open(where, _names.label(path), _FLAGS[plain], 0o666)
    return descriptor.detach()


async def _open(path: Any, mode: str, plain: str) -> RingFile:
    number = await _number_of(path, plain)
    # If this fails (a directory), it closes the number: the opener's result is its own.
    return RingFile(path, mode, opener=lambda *_: number)


async def _open_text(path: Any, mode: str, plain: str, options: tuple[Any, ...]) -> Any:
    number = await _number_of(path, plain)
    opener = lambda *_: number  # noqa: E731
    if not stat.S_ISREG(os.fstat(number).st_mode):
        # Of a pipe nothing is read ahead that was not asked for.
        return builtins.open(path, mode, *options, opener=opener)  # type: ignore[call-overload]
    source = Source(path, plain, opener=opener)
    buffering, encoding, errors, newline = options
    try:
        return RingText(source, mode, encoding, errors, newline, buffering == 1)
    except BaseException:
        source.close()
        raise


async def _shielded(
    work: Callable[..., Coroutine[Any, Any, T]],
    plain: Callable[[], T] | None,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> T:
    """As on a thread: a cancellation comes before it or after it. `plain` is what was asked for."""
    await checkpoint()
    native.keep_back(1)
    try:
        return await work(*arguments, **keywords)
    except _paths.Unclear:
        assert plain is not None
        return plain()
    finally:
        native.keep_back(-1)
