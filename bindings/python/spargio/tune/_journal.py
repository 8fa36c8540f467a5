"""What a session measured, a line of JSON each, written before it is used. A session that is
resumed runs the same code, and gets what was measured from here until there is no more."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ._machine import Refused, check_same

__all__ = ("Journal",)

VERSION = 1
_SHOWN = 3
"""Differences that a refusal names."""


class Journal:
    """`head` says what the session is. With `resume` a file that is there goes on, if it is of the
    same session on the same machine: :exc:`Refused` if not. ``FileExistsError`` if it is there and
    nobody said so."""

    def __init__(self, path: Path, head: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = path
        self._recorded: deque[dict[str, Any]] = deque()
        head = _plain({"version": VERSION, **head})
        if not resume:
            self._file: IO[bytes] = open(path, "xb", buffering=0)  # noqa: SIM115
            self._write({"key": "session", "value": head})
            return
        lines, size = _whole_lines(path)
        if not lines or lines[0].get("key") != "session":
            raise Refused(f"{path} is not the journal of a session")
        _check_head(lines[0]["value"], head, path)
        self._recorded.extend(lines[1:])
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115
        self._file.truncate(size)  # A line that was cut off is measured again.
        self._file.seek(size)

    @property
    def is_replaying(self) -> bool:
        return bool(self._recorded)

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` returned, in JSON's types; it is called if the journal does not know."""
        if self._recorded:
            line = self._recorded.popleft()
            if line["key"] != key:
                raise Refused(
                    f"{self.path} has {line['key']!r} where this session has {key!r}: it is of "
                    "another version"
                )
            return line["value"]
        value = _plain(make())
        self._write({"key": key, "value": value})
        return value

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


def _plain(value: Any) -> Any:
    """As it will be read: keys are text, tuples are lists."""
    return json.loads(json.dumps(value))


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Those that were written to their end, and where that is."""
    data = path.read_bytes()
    size = data.rfind(b"\n") + 1
    return [json.loads(line) for line in data[:size].splitlines()], size


def _check_head(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    check_same(before["settings"], now["settings"])
    if before.get("version") != now["version"]:
        raise Refused(f"{path} is of another version of spargio tune")
    changed = [
        f"{name} was {one!r} and is {other!r}"
        for part in ("asked", "subject")
        for name, one, other in _changed(before.get(part, {}), now[part])
    ]
    if changed:
        more = len(changed) - _SHOWN
        changed[_SHOWN:] = [f"{more} more differ"] if more > 0 else []
        raise Refused(
            f"{path} is of another session: {'; '.join(changed)}. Runs under different loads or "
            "limits cannot be compared: ask for the same, or begin anew with --journal FILE"
        )


def _changed(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    """What differs, each by itself and not whole tables."""
    for name in sorted({*before, *now}):
        one, other = before.get(name), now.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            for inner, *both in _changed(one, other):
                yield f"{name}.{inner}", both[0], both[1]
        elif one != other:
            yield name, one, other
