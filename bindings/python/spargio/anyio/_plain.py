"""How objects are made whose class in anyio chooses the backend's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


def _new(cls: type[Any], *_: object, **__: object) -> Any:
    return object.__new__(cls)


class Plain:
    """The first base of such a class: its instances are made as those of ``object``, without a call
    of Python for each. Where anyio's class has fields of its own, it decides how they are made, and
    it needs the call."""

    __slots__ = ()

    if not TYPE_CHECKING:
        __new__ = object.__new__

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if cls.__base__ is not Plain:
            cls.__new__ = _new  # type: ignore[method-assign]
