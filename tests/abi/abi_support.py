"""Places and names that the tests of the C ABI share."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def compiler(language: str) -> str:
    name = {"c": "cc", "c++": "c++"}[language]
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found
