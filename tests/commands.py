"""Commands of the package, for the tests of them."""

from __future__ import annotations

import sys

import pytest

from spargio._cli import main


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spargio", *arguments]


class Run:
    """One call of `main` in this process, with what it printed."""

    def __init__(self, capfd: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.code = main(arguments)
        self.out, self.err = capfd.readouterr()
