"""The Markdown page of a run: a table for each row, with values and their multiples of the values
of spargio, and the targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import report
from harness import GroupResult, Metric, PeerResult


def page(
    environment: dict[str, Any], results: Sequence[GroupResult], plots: Sequence[str] = ()
) -> str:
    """`plots`: addresses of pictures, relative to the page."""
    parts = ["# Benchmark", report.environment_line(environment)]
    parts += [group(result) for result in results]
    parts += ["## Targets", targets(results)]
    parts += [f"![{address}]({address})" for address in plots]
    return "\n\n".join(parts) + "\n"


def group(result: GroupResult) -> str:
    base = report.baseline(result)
    metrics = result.group.metrics
    heads = ["peer"]
    for metric in metrics:
        heads.append(_flat(metric.title))
        if metric.ratio:
            heads.append("x")
    lines = [
        [peer.name, *_cells(peer, metrics, base), report.spread_text(peer, metrics[0])]
        for peer in result.peers
        if peer.status == "measured"
    ]
    parts = [f"## {result.group.title}", table([*heads, "spread"], lines)]
    parts += [
        f"- {peer.name}: {peer.status}: {_flat(peer.reason)}"
        for peer in result.peers
        if peer.status != "measured"
    ]
    if base:
        parts.append(f"x: multiple of {base.name}.")
    return "\n\n".join(parts)


def _cells(peer: PeerResult, metrics: Sequence[Metric], base: PeerResult | None) -> list[str]:
    cells = []
    for metric in metrics:
        cells.append(report.value_text(peer, metric))
        if metric.ratio:
            times = report.multiple(peer, metric, base)
            cells.append("-" if times is None else f"{times:.2f}")
    return cells


def targets(results: Sequence[GroupResult]) -> str:
    words = {True: "yes", False: "**no**", None: "not measured"}
    lines = []
    for line in report.target_lines(results):
        note = f" ({line.outcome.note})" if line.outcome.note else ""
        lines.append(
            [line.row, line.what + note, line.limit, line.measured, words[line.outcome.reached]]
        )
    return table(["row", "what", "target", "measured", "reached"], lines)


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """The first column is text, the others are numbers."""
    rule = ["---"] + ["--:"] * (len(heads) - 1)
    rows = [heads, rule, *lines]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _escaped(cell: str) -> str:
    return _flat(cell).replace("|", "\\|")
