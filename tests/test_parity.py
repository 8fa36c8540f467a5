"""docs/reference-parity.md: each row names tests that are there, and names of the package that
exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import spargio

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference-parity.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| there", "|---"))
]


def named_files(cell: str) -> list[Path]:
    """Names without a folder are in that of the one before."""
    folder, found = Path(), []
    for name in cell.split(","):
        path = Path(name.strip())
        folder = path.parent if path.parent != Path() else folder
        found.append(ROOT / "tests" / folder / path.name)
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_each_row_names_its_tests(row: list[str]) -> None:
    there, here, tests = row
    assert there
    assert here
    assert "not yet" not in here
    for path in named_files(tests):
        assert path.is_file(), path
        assert "def test_" in path.read_text(), path


def test_there_are_rows() -> None:
    assert len(ROWS) > 25


def reachable(name: str) -> bool:
    """`name` as a dotted path from the package, or of one of its classes."""
    value: object = spargio
    for part in name.split("."):
        value = getattr(value, part, None)
        if value is None:
            return False
    return True


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            name
            for row in ROWS
            for name in re.findall(r"`((?:fs|net|io|sync|boundary|process|signal)\.\w+)`", row[1])
        }
    ),
)
def test_what_is_named_exists(name: str) -> None:
    assert reachable(name)
