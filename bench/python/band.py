"""Figures of a run against committed ones: what has left the band around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["worse", "better", "new", "gone", "within"]


@dataclass(frozen=True)
class Line:
    name: str
    baseline: float | None
    """None: it has no committed figure yet."""
    measured: float | None
    """None: this run does not have it."""
    verdict: Verdict

    @property
    def change(self) -> float | None:
        """0.07: seven per cent more than the baseline."""
        if self.baseline is None or self.measured is None:
            return None
        return self.measured / self.baseline - 1


def compare(
    baseline: Mapping[str, float],
    measured: Mapping[str, float],
    band: float,
    better: Literal["lower", "higher"],
) -> list[Line]:
    """One line for each name of either. A figure exactly at the end of the band is within."""
    return [
        Line(name, old, new, _verdict(old, new, band, better))
        for name in sorted({*baseline, *measured})
        for old, new in [(baseline.get(name), measured.get(name))]
    ]


def _verdict(
    old: float | None, new: float | None, band: float, better: Literal["lower", "higher"]
) -> Verdict:
    if old is None:
        return "new"
    if new is None:
        return "gone"
    # Compared as quotients would be: 1.05 times 100 is not 105 to the last bit.
    margin = old * band * (1 + 1e-9)
    if abs(new - old) <= margin:
        return "within"
    return "better" if (new > old) == (better == "higher") else "worse"


def table(lines: list[Line], digits: int) -> str:
    def figure(value: float | None) -> str:
        return "-" if value is None else f"{value:,.{digits}f}"

    rows = [("", "baseline", "this run", "change", "")]
    for line in lines:
        change = "" if line.change is None else f"{line.change:+.1%}"
        verdict = "" if line.verdict == "within" else line.verdict
        rows.append((line.name, figure(line.baseline), figure(line.measured), change, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:4], widths[1:4], strict=True)),
                row[4],
            ]
        ).rstrip()
        for row in rows
    )
