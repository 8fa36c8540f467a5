"""What all objects have in common that tasks and threads share."""

from __future__ import annotations

from typing import NoReturn


class Shared:
    """A copy would be another one, which nobody waits for: neither ``copy`` nor ``pickle`` makes
    one. ``repr()`` says what it is, then its state."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        name = type(self).__name__
        raise TypeError(
            f"{name} cannot be copied or pickled: tasks and threads share the object itself"
        )

    def _state(self) -> str:
        """For ``repr()``: a few words, parted by commas."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state()}>"


def counted(count: int, one: str, many: str | None = None) -> str:
    """``"1 value"``, ``"2 values"``."""
    return f"{count} {one if count == 1 else many or one + 's'}"
