"""Names that users of other libraries try first: the error says what it is called here. (Only a
look-up that fails comes here.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar


class Hints:
    """A base of our classes; `_instead` maps names of other libraries to what to write here."""

    __slots__ = ()
    _instead: ClassVar[dict[str, str]] = {}

    if not TYPE_CHECKING:  # To a type checker it would be every attribute.

        def __getattr__(self, name: str) -> object:
            hint = self._instead.get(name)
            words = "" if hint is None else f": use {hint}"
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{words}",
                name=name,
                obj=self,
            )
