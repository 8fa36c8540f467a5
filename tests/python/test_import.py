"""What an import of spargio brings, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys

import pytest

import spargio

PARTS = ["boundary", "extension", "fs", "io", "net", "process", "signal", "sync", "uring"]
LATER = ["asyncio", "cbor2", "concurrent.futures", "ssl", "subprocess"]


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    command = [sys.executable, "-c", code]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return outcome.stdout.strip()


def test_what_takes_long_is_imported_where_it_is_used() -> None:
    code = f"import spargio, sys; print([name for name in {LATER} if name in sys.modules])"
    assert fresh(code) == "[]"


def test_an_attribute_imports_its_part() -> None:
    assert fresh("import spargio; print(spargio.net.__name__)") == "spargio.net"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_there(part: str) -> None:
    assert getattr(spargio, part).__name__ == f"spargio.{part}"
    assert part in dir(spargio)
    assert fresh(f"from spargio import {part}; print({part}.__name__)") == f"spargio.{part}"


def test_all_names_are_there() -> None:
    assert fresh("from spargio import *; print(net.__name__, run.__name__)") == "spargio.net run"


def test_another_name_is_an_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'spargio' has no attribute 'nett'"):
        _ = spargio.nett  # type: ignore[attr-defined]
