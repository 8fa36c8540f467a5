"""The C library, installed once per run (tests/builds.py)."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prefix(safe_build: Path) -> Path:
    """Where `zig build install` put the library, with its assertions in."""
    return safe_build
