"""What a program offers to be tried: a value that it reads from the options file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spargio._validate import wrong

from ._options import PROGRAM, settings_of

__all__ = ("choice", "declared")

FILE = "SPARGIO_OPTIONS_FILE"
DECLARED = "SPARGIO_TUNE_CHOICES"


def choice(name: str, default: str, choices: Sequence[str], *, target: str = "p50") -> str:
    """The value of ``program.NAME`` in the file that the environment's SPARGIO_OPTIONS_FILE names,
    else `default`. Under ``spargio tune`` each of `choices` is tried, to lower `target`. So a
    program lets the tuner choose where its tasks run, or how many it starts at once. Read when it
    is called; any thread. ``ValueError`` if the file has another value."""
    given = tuple(choices)
    if default not in given:
        raise ValueError(wrong("default", f"one of {', '.join(given)}", default))
    value = _read(name, default)
    if value not in given:
        raise ValueError(wrong(PROGRAM + name, f"one of {', '.join(given)}", value))
    path = os.environ.get(DECLARED)
    if path:
        line = json.dumps({"name": name, "value": value, "choices": given, "target": target})
        with open(path, "a") as file:
            file.write(line + "\n")
    return value


def _read(name: str, default: str) -> str:
    path = os.environ.get(FILE)
    if not path:
        return default
    return settings_of(Path(path).read_text()).get(PROGRAM + name, default)


def declared(path: Path) -> dict[str, Mapping[str, Any]]:
    """What the process that was started last offers, by name."""
    if not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return {one.pop("name"): one for one in lines}
