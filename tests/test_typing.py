"""What a type checker says to users' code: tests/typing/mistakes.py has a mistake on each line that ends in
`# wrong`, and nothing else is to be reported; tests/typing/right.py is right."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = ROOT / "tests" / "typing"
LIMIT_S = 150

# In one process, because what a checker said is kept.
pytestmark = [pytest.mark.timeout(LIMIT_S + 10), pytest.mark.xdist_group("typing")]


def lines_marked() -> set[int]:
    text = (FILES / "mistakes.py").read_text().splitlines()
    return {number for number, line in enumerate(text, 1) if line.endswith("# wrong")}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(
        filter(None, (str(ROOT / "bindings/python"), os.environ.get("PYTHONPATH")))
    )
    return subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=FILES,
        timeout=LIMIT_S,
        env=os.environ | {"PYTHONPATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )


@functools.cache
def both_by_mypy(*options: str) -> str:
    """Most of its time goes into the package, whatever uses it."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("no mypy here")
    outcome = run("mypy", "--strict", "--config-file=", *options, "mistakes.py", "right.py")
    assert outcome.returncode in (0, 1), outcome.stdout + outcome.stderr
    return outcome.stdout


def mypy(name: str, *options: str) -> tuple[set[int], str]:
    said = both_by_mypy(*options)
    found = re.findall(rf"^{name}:(\d+): error", said, flags=re.MULTILINE)
    return set(map(int, found)), said


def pyright(name: str) -> tuple[set[int], str]:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("no pyright here")
    outcome = run("pyright", "--outputjson", "--pythonpath", sys.executable, name)
    try:
        report = json.loads(outcome.stdout)["generalDiagnostics"]
    except ValueError:
        pytest.skip(f"pyright cannot be started here: {outcome.stderr[-200:]}")
    errors = [one for one in report if one["severity"] == "error"]
    return {one["range"]["start"]["line"] + 1 for one in errors}, json.dumps(errors, indent=1)


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_each_mistake_is_reported_and_nothing_else(checker: object) -> None:
    assert callable(checker)
    found, text = checker("mistakes.py")
    marked = lines_marked()
    assert len(marked) > 80
    assert found == marked, f"missed {marked - found}, more {found - marked}: {text}"


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_nothing_is_reported_of_what_is_right(checker: object) -> None:
    assert callable(checker)
    assert checker("right.py")[0] == set(), checker("right.py")[1]


def test_the_types_are_those_of_the_oldest_python_too() -> None:
    assert mypy("right.py", "--python-version=3.10")[0] == set()
