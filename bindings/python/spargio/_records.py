"""``dataclass`` and ``replace`` as the standard library's, for what spargio's records need, because
importing ``dataclasses`` costs more than all of spargio: it brings inspect, ast, dis and tokenize.

``dataclasses.asdict``, ``fields`` and ``replace`` work on these records: a program that calls them
has imported that module, and the fields are made when it asks for them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import replace as replace
    from typing import Any
else:

    def dataclass(*, frozen=False):
        """A class decorator. Only annotated fields, with or without a default value."""

        def make(kind):
            notes = kind.__annotations__
            names = tuple(name for name in notes if not notes[name].startswith("ClassVar"))
            made = {
                "__init__": _init(kind, names),
                "__repr__": _repr,
                "__eq__": _eq,
                "__hash__": _hash if frozen else None,
                "__replace__": replace,
            }
            for name, value in made.items():
                if name not in vars(kind):
                    setattr(kind, name, value)
            kind.__match_args__ = names
            kind.__dataclass_fields__ = _Fields()
            if frozen:
                kind.__setattr__ = _refuse_to_set
                kind.__delattr__ = _refuse_to_delete
            return kind

        return make

    def replace(record, /, **changes):
        """A copy with other values for some fields."""
        return type(record)(**{**vars(record), **changes})


def _init(kind: type, names: tuple[str, ...]) -> Any:
    """Written as text, so that its signature is the fields', and a call costs no loop."""
    defaults = {name: vars(kind)[name] for name in names if name in vars(kind)}
    wanted = ", ".join(
        f"{name}=_defaults[{name!r}]" if name in defaults else name for name in names
    )
    taken = ", ".join(f"{name}={name}" for name in names)
    space: dict[str, Any] = {"_defaults": defaults, "__name__": kind.__module__}
    exec(f"def __init__(self, {wanted}):\n    self.__dict__.update({taken})", space)
    init = space["__init__"]
    init.__qualname__ = f"{kind.__qualname__}.__init__"
    init.__annotations__ = {**{name: kind.__annotations__[name] for name in names}, "return": None}
    return init


def _values(record: Any) -> tuple[object, ...]:
    return tuple([getattr(record, name) for name in type(record).__match_args__])


def _repr(record: Any) -> str:
    fields = zip(type(record).__match_args__, _values(record), strict=True)
    return (
        f"{type(record).__qualname__}({', '.join(f'{name}={value!r}' for name, value in fields)})"
    )


def _eq(record: object, other: object) -> bool:
    return _values(record) == _values(other) if type(other) is type(record) else NotImplemented


def _hash(record: object) -> int:
    return hash(_values(record))


def _refuse_to_set(record: object, name: str, value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(record: object, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


class _Fields:
    """The attribute by which ``dataclasses`` knows its own."""

    def __get__(self, record: object, kind: Any) -> Any:
        from dataclasses import field, make_dataclass

        fields = [
            (name, kind.__annotations__[name])
            if name not in vars(kind)
            else (name, kind.__annotations__[name], field(default=vars(kind)[name]))
            for name in kind.__match_args__
        ]
        made: Any = make_dataclass(kind.__name__, fields)
        return made.__dataclass_fields__
