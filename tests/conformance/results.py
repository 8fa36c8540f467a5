"""What a part of a suite came to, and the table of all of them."""

from __future__ import annotations

from typing import NamedTuple


class Result(NamedTuple):
    """One module of CPython's, or one suite of a package."""

    suite: str
    name: str
    passed: int
    failed: int
    skipped: int
    """Skipped by the suite itself, or as one of our exceptions."""
    seconds: float
    problem: str = ""
    """Why there is no count, or what else is wrong."""
    output: str = ""
    """Shown if something failed."""

    @property
    def good(self) -> bool:
        return not self.failed and not self.problem

    def line(self) -> str:
        state = "ok" if self.good else "FAILED"
        counts = f"{self.passed:6} passed {self.failed:4} failed {self.skipped:4} skipped"
        problem = f"  {self.problem}" if self.problem else ""
        return f"{self.suite:9} {self.name:24} {counts} {self.seconds:7.1f} s  {state}{problem}"


def totals(results: list[Result]) -> list[str]:
    """A line for each suite."""
    lines = []
    for suite in dict.fromkeys(result.suite for result in results):
        those = [result for result in results if result.suite == suite]
        whole = Result(
            suite,
            "all",
            sum(result.passed for result in those),
            sum(result.failed for result in those),
            sum(result.skipped for result in those),
            sum(result.seconds for result in those),
            "" if all(result.good for result in those) else "see above",
        )
        lines.append(whole.line())
    return lines
