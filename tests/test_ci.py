"""The script of all checks (.ci/run), with programs in place of Python, pip and pytest."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PROGRAMS = {
    "python": """#!/bin/sh
[ "$1 $2" != "-m venv" ] || { mkdir -p "$3" && cp -r "$(dirname "$0")" "$3/bin"; }
[ "$1" != -c ] || exit "${FOREIGN:-0}"
""",
    "pip": "#!/bin/sh\n",
    "mypy": "#!/bin/sh\n",
    "ruff": "#!/bin/sh\nexit 3\n",
    "pytest": """#!/bin/sh
echo "$0 on ${SPARGIO_BACKEND:-default} with $*"
echo "=== ${SPARGIO_BACKEND:-default} closing line ==="
[ "${SPARGIO_BACKEND:-default}" != "$FAILS_ON" ]
""",
}


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    programs = tmp_path / "venv/bin"
    programs.mkdir(parents=True)
    for name, text in PROGRAMS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "scratch").mkdir()
    return programs.parent


def ci(venv: Path, *steps: str, **environment: str) -> tuple[int, list[str]]:
    """The exit code and the lines; nothing temporary may be left."""
    scratch = venv.parent / "scratch"
    kept = {"PATH": os.environ["PATH"], "TMPDIR": str(scratch), "VIRTUAL_ENV": str(venv)}
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", ROOT / ".ci/run", *steps],
        env=kept | {"PYTHON": str(venv / "bin/python")} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not list(scratch.iterdir())
    return result.returncode, result.stdout.splitlines()


def rows(lines: list[str]) -> list[str]:
    """The table: the name of each step, and "failed" if it says so."""
    table = lines[lines.index("== times") + 1 :]
    found = [re.fullmatch(r"(\w+) +\d+ s( +failed)?", line) for line in table]
    return [match[1] + (" failed" if match[2] else "") for match in found if match]


def test_closing_line_of_pytest_comes_last(venv: Path) -> None:
    code, lines = ci(venv, "epoll", "python")
    assert code == 0
    assert rows(lines) == ["epoll", "python", "total"]
    assert lines.index("=== epoll closing line ===") < lines.index("== python")
    assert lines[-1] == "=== default closing line ==="
    assert next(line for line in lines if " on epoll with " in line).endswith(" tests/python")


def test_failure_of_pytest_ends_the_run(venv: Path) -> None:
    code, lines = ci(venv, "epoll", "python", FAILS_ON="epoll")
    assert code == 1
    assert rows(lines) == ["epoll failed", "total"]
    assert lines[-1] == "=== epoll closing line ==="


def test_failure_of_another_step_ends_the_run(venv: Path) -> None:
    code, lines = ci(venv, "types", "lint", "python")
    assert code == 3
    assert rows(lines) == ["types", "lint failed", "total"]
    assert "closing" not in lines[-1]


def test_environment_in_use(venv: Path) -> None:
    code, lines = ci(venv, "python")
    assert (code, rows(lines)) == (0, ["python", "total"])
    assert f"{venv}/bin/pytest on default with --color=auto" in lines


@pytest.mark.parametrize("why", [{"FOREIGN": "1"}, {"VIRTUAL_ENV": ""}])
def test_fresh_environment(why: dict[str, str], venv: Path) -> None:
    code, lines = ci(venv, "epoll", "python", **why)
    assert (code, rows(lines)) == (0, ["install", "epoll", "python", "total"])
    assert f"{venv}/bin/pytest on default with --color=auto" not in lines


def test_unknown_step(venv: Path) -> None:
    code, lines = ci(venv, "python", "lnt")
    assert code == 2
    (line,) = lines
    assert line.startswith('unknown step "lnt"; the steps are: packages install ')


def test_page_names_each_step() -> None:
    script, page = (ROOT / ".ci/run").read_text(), (ROOT / "docs/testing.md").read_text()
    (steps,) = re.findall(r"^all_steps=\((.+)\)$", script, re.MULTILINE)
    assert set(re.findall(r"^step_(\w+)\(\)", script, re.MULTILINE)) == set(steps.split())
    (table,) = re.findall(r"\| step \|.*?\n\n", page, re.DOTALL)
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == steps.split()
