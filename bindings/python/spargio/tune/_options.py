"""Options as a file: a line ``name = value`` each, as SPARGIO_OPTIONS_FILE and
``spargio.run(..., options_file=...)`` read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ("PROGRAM", "as_code", "read", "settings_of", "text_of", "write")

PROGRAM = "program."
"""The prefix of what only the program reads."""


def text_of(options: Mapping[str, Any], comments: tuple[str, ...] = ()) -> str:
    """The file's text."""
    lines = [f"# {comment}" for comment in comments]
    lines += [f"{name} = {_value(value)}" for name, value in options.items()]
    return "\n".join(lines) + "\n" if lines else ""


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def write(path: Path, options: Mapping[str, Any], comments: tuple[str, ...] = ()) -> None:
    path.write_text(text_of(options, comments))


def as_code(options: Mapping[str, Any]) -> str:
    """A chain of :class:`spargio.RuntimeBuilder`, to paste."""
    own = {name: value for name, value in options.items() if not name.startswith(PROGRAM)}
    lines = ["spargio.RuntimeBuilder()"]
    lines += [f".{name}({value!r})" for name, value in own.items()]
    if len(lines) == 1:
        return lines[0]
    return "(\n    " + "\n    ".join(lines) + "\n)"


def settings_of(text: str) -> dict[str, str]:
    """What a file's text sets. Says nothing of whether a runtime takes it."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("#")[0].partition("=")
        if equals:
            found[name.strip()] = value.strip()
    return found


def read(path: Path) -> dict[str, str]:
    """What a file sets, as text; ``ValueError`` names file and line if a runtime would refuse
    it."""
    import spargio

    spargio.RuntimeBuilder().options_file(path)
    return settings_of(path.read_text())
