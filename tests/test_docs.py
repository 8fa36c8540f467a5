"""What the documents say: the test files of the page on testing pass, names and links exist. That the
other code runs is a test of test_examples.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import spargio

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PACKAGE = Path(spargio.__file__).parent.parent
LIMIT_S = 50
COLUMNS = 100


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


@pytest.mark.parametrize("number", range(len(blocks("testing-your-code.md"))))
def test_each_test_file_of_the_page_on_testing_passes(number: int, tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text(blocks("testing-your-code.md")[number])
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p pytest_spargio\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        timeout=LIMIT_S,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


NAMED = re.compile(r"`(?:await |async with |with )?(spargio|net|sync|io|fs|process)\.([\w.]+)")


@pytest.mark.parametrize("page", ["coming-from.md", "testing-your-code.md", "tutorial.md"])
def test_names_in_the_text_exist(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    found = NAMED.findall(text)
    for top, rest in found:
        thing = spargio if top == "spargio" else getattr(spargio, top)
        for name in rest.strip(".").split("."):
            if name == "testing":
                from spargio import testing as thing
            else:
                thing = getattr(thing, name)
    assert found


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_glossary_is_sorted_and_names_files_that_exist() -> None:
    text = (DOCS / "glossary.md").read_text()
    terms = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
    keys = [re.sub(r"[^a-z0-9 ]", "", term.lower()) for term in terms]
    assert keys == sorted(keys)
    assert len(keys) == len(set(terms))
    for group in re.findall(r"\[(`[^\]]+`)\]", text):
        for name in re.findall(r"`([^`]+)`", group):
            assert (ROOT / "zig-src" / name).exists() or (ROOT / name).exists(), name


def test_the_tables_of_signatures_are_fresh() -> None:
    command = [sys.executable, ROOT / "tools" / "generate_signatures.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr


PAGES = [*DOCS.rglob("*.md"), *(ROOT / "bench").rglob("*.md"), *ROOT.glob("*.md")]


def can_be_wrapped(line: str) -> bool:
    """Whether it is prose of several words: no row of a table, not one long name or link."""
    return not line.lstrip().startswith("|") and " " in re.sub(r"`[^`]+`", "", line).strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_prose_has_at_most_100_columns(page: Path) -> None:
    code = False
    long = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        code ^= line.lstrip().startswith("```")
        if not code and len(line) > COLUMNS and can_be_wrapped(line):
            long.append(f"{page.name}:{number} has {len(line)}")
    assert long == []
