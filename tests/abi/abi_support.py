"""Places and names that the tests of the C ABI share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from build_library import install_c as install_c  # noqa: E402

PROGRAMS = Path(__file__).parent / "programs"
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def compiler(language: str) -> str:
    name = {"c": "cc", "c++": "c++"}[language]
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found
