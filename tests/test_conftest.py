"""How the tests share the machine (conftest.py): alone means alone, and a build has its own limit."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import builds
import pytest

HERE = Path(__file__).resolve().parent


def suite(folder: Path, source: str, *arguments: str) -> str:
    """What pytest says about a suite of one file, with our conftest."""
    (folder / "conftest.py").write_text((HERE / "conftest.py").read_text() + CONFTEST)
    (folder / "test_it.py").write_text(textwrap.dedent(source))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -n auto\n")
    inside = {name: value for name, value in os.environ.items() if name != builds.FOLDER}
    own = {name: value for name, value in inside.items() if not name.startswith("PYTEST_")}
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=folder,
        env={**own, "PYTHONPATH": path, "TOLD": str(folder / "told")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    ).stdout


CONFTEST = """
import time

def slow(folder):
    time.sleep(2)
    with open(os.environ["TOLD"], "a") as told:
        told.write("built\\n")

def broken(folder):
    raise builds.Failed("the compiler said no")

builds.BUILDS |= {"slow_build": slow, "broken_build": broken}
slow_build = _built("slow_build")
broken_build = _built("broken_build")
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: one process")
def test_alone_is_alone(tmp_path: Path) -> None:
    said = suite(
        tmp_path,
        """
        import os, time, pytest

        def tell(what):
            with open(os.environ["TOLD"], "a") as told:
                told.write(f"{what}\\n")

        @pytest.mark.alone
        @pytest.mark.parametrize("n", range(3))
        def test_alone(n):
            tell("(")
            time.sleep(0.1)
            tell(")")

        @pytest.mark.parametrize("n", range(12))
        def test_other(n):
            tell("[")
            time.sleep(0.03)
            tell("]")
        """,
    )
    assert "15 passed" in said, said
    told = "".join((tmp_path / "told").read_text().split())
    assert told.count("()") == 3
    assert told.count("[") == told.count("]") == 12


def test_a_build_is_made_once_and_outside_the_limit(tmp_path: Path) -> None:
    said = suite(
        tmp_path,
        """
        import pytest

        @pytest.mark.timeout(1)
        @pytest.mark.parametrize("n", range(4))
        def test_it(n, slow_build):
            assert slow_build.is_dir()
        """,
    )
    assert "4 passed" in said, said
    assert (tmp_path / "told").read_text() == "built\n"


def test_a_failed_build_is_the_failure_of_each_who_needs_it(tmp_path: Path) -> None:
    said = suite(tmp_path, "def test_it(broken_build): pass\ndef test_other(): pass\n")
    assert "1 passed, 1 error" in said, said
    assert "the compiler said no" in said


def test_single_files_need_no_other_process(tmp_path: Path) -> None:
    said = suite(tmp_path, "def test_it(): pass\n", "test_it.py")
    assert "1 passed" in said
    assert "nodes" not in said
