"""The call of a program's main function: which of its parameters gets the runtime's handle."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from ._ffi.core import is_awaitable
from ._validate import wrong

if TYPE_CHECKING:
    import inspect

    from .runtime import RuntimeHandle

T = TypeVar("T")

_OTHER_KINDS = 0x04 | 0x08
"""CO_VARARGS, CO_VARKEYWORDS."""


def _names_handle(annotation: str) -> bool:
    """Whether the word ``RuntimeHandle`` stands in it. (The module re costs as much as a tenth of
    the whole import.)"""
    letters = (one if one.isalnum() or one == "_" else " " for one in annotation)
    return "RuntimeHandle" in "".join(letters).split()


class Main:
    """`function` with the caller's arguments. The handle goes to the parameter that is annotated as
    :class:`RuntimeHandle`, else to the one named ``handle``, else to the only one, if it has no
    default and the caller gave no arguments."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if isinstance(function, CoroutineType):
            function.close()  # The error says enough: no warning that it was never awaited.
            name = function.__name__
            raise TypeError(
                f"main must be the function itself, without a call, as run({name}) or "
                f"run({name}, arguments), got {function!r}"
            )
        if not callable(function):
            raise TypeError(wrong("main", "a function, as one of `async def`", function))
        self.name = getattr(function, "__qualname__", None)
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._signature: inspect.Signature | None = None
        self._place: int | str | None = None
        if not kwargs:
            known, self._place = _quickly(function, args)
            if known:
                return
        import inspect

        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError):
            self._signature = None  # One in C, maybe: it is called as it is.
        self._place = self._find()
        if self._signature is not None:
            self._check(self._signature)

    def _find(self) -> int | str | None:
        """Where the handle goes: a position, a keyword, or nowhere."""
        if self._signature is None:
            return None if self._args or self._kwargs else 0
        parameter = handle_parameter(self._signature)
        if parameter is None:
            if not self._args and not self._kwargs:
                parameter = _only(self._signature)
            if parameter is None:
                return None
        index = list(self._signature.parameters).index(parameter.name)
        if parameter.name in self._kwargs:
            return None  # The caller gives one.
        if parameter.kind is parameter.KEYWORD_ONLY:
            return parameter.name
        if index <= len(self._args):
            return index
        return None if parameter.kind is parameter.POSITIONAL_ONLY else parameter.name

    def _check(self, signature: inspect.Signature) -> None:
        """``TypeError`` for what the function does not take, before anything is started."""
        args, kwargs = self._with(None)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"main is {self.name or repr(self._function)}{signature}: {error}. Its arguments "
                "come after it, run(main, 1, 2); a parameter `handle` gets the RuntimeHandle"
            ) from None

    def _with(self, handle: Any) -> tuple[list[Any], dict[str, Any]]:
        args, kwargs = list(self._args), dict(self._kwargs)
        if isinstance(self._place, int):
            args.insert(self._place, handle)
        elif self._place is not None:
            kwargs[self._place] = handle
        return args, kwargs

    def call(self, handle: RuntimeHandle) -> Coroutine[Any, Any, Any]:
        """The coroutine; ``TypeError`` if the call gives none."""
        args, kwargs = self._with(handle)
        given = self._function(*args, **kwargs)
        if not is_awaitable(given):
            raise TypeError(
                "main must be a function whose call returns a coroutine, as one of `async def`, "
                f"got {self._function!r}, whose call returned {given!r}"
            )
        return given  # type: ignore[return-value]


def _quickly(function: Any, args: tuple[Any, ...]) -> tuple[bool, int | None]:
    """The same as `_find` and `_check` for a plain function, as most are (inspect costs 10 ms):
    whether that is enough, and the handle's position."""
    if not _is_plain(function):
        return False, None
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    needed = len(names) - len(function.__defaults__ or ())
    index = _handle_index(function, names)
    if index is None and not args and needed == 1:
        index = 0
    given = len(args) + (index is not None)
    fits = needed <= given <= len(names) and (index is None or index <= len(args))
    return fits, index


def _is_plain(function: Any) -> bool:
    """Nothing but its code says what it takes: parameters by position."""
    if type(function) is not FunctionType or vars(function):
        return False
    code = function.__code__
    return code.co_kwonlyargcount == 0 and not code.co_flags & _OTHER_KINDS


def _handle_index(function: Any, names: tuple[str, ...]) -> int | None:
    annotations = function.__annotations__
    for index, name in enumerate(names):
        if _is_handle(annotations.get(name)):
            return index
    return names.index("handle") if "handle" in names else None


def handle_parameter(signature: inspect.Signature) -> inspect.Parameter | None:
    """The one that is annotated so, else the one of that name."""
    parameters = [
        one
        for one in signature.parameters.values()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    for one in parameters:
        if _is_handle(one.annotation):
            return one
    return next((one for one in parameters if one.name == "handle"), None)


def _is_handle(annotation: object) -> bool:
    from .runtime import RuntimeHandle

    if isinstance(annotation, str):
        return _names_handle(annotation)
    return annotation is RuntimeHandle or RuntimeHandle in get_args(annotation)


def _only(signature: inspect.Signature) -> inspect.Parameter | None:
    """The only parameter that must be given."""
    needed = [
        one
        for one in signature.parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    return needed[0] if len(needed) == 1 else None


def without_handle(function: Callable[..., object]) -> inspect.Signature | None:
    """What the caller of a decorated function may give; None if that is not known."""
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    handle = handle_parameter(signature)
    kept = [one for one in signature.parameters.values() if one is not handle]
    try:
        return signature.replace(parameters=kept)
    except ValueError:
        return None
