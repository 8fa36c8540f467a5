"""A session's report as one HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from spargio._plots import percentile_plot
from spargio.latency._latencies import show_ns
from spargio.workload._html import STYLE

from ._options import as_code, text_of
from ._report import moved, percentiles, summary, warnings

if TYPE_CHECKING:
    from ._session import Outcome, Trial

__all__ = ("page",)


def page(outcome: Outcome, title: str = "Tuning report") -> str:
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(summary(outcome))}</p>",
        *(f"<p class='warning'>{escape(one)}</p>" for one in warnings(outcome)),
        _facts(outcome),
        _trials(outcome),
        *_before_and_after(outcome),
        _counters(outcome),
        *_result(outcome),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return "".join(lines) + "</table>"


def _facts(outcome: Outcome) -> str:
    noise = ", ".join(f"{name} {part:.1%}" for name, part in outcome.noise.items())
    facts = {
        "tuned": outcome.subject,
        "load": f"{outcome.rate:.1f}/s",
        "equal processes differ by up to": noise,
        **{name: str(value) for name, value in outcome.machine.items()},
    }
    return _table(("", ""), facts.items())


def _trials(outcome: Outcome) -> str:
    def row(trial: Trial) -> list[str]:
        found = trial.verdict
        change = ", ".join(f"{name} = {value}" for name, value in trial.change.items())
        moved_by = f"{found.target} {found.change:+.1%}"
        return [change, trial.why, found.kind, str(found.pairs), moved_by, found.reason]

    every = [*outcome.trials, *outcome.finals]
    heads = ("change", "why it was tried", "verdict", "pairs", "target", "because")
    return "<h2>What was tried</h2>" + _table(heads, map(row, every)) if every else ""


def _before_and_after(outcome: Outcome) -> list[str]:
    """Of the last check, or of the last comparison if nothing is kept."""
    measured = outcome.final or outcome.last
    if measured is None or not measured.a:
        return []
    before, after = measured.latencies()
    names = ("before", "after") if outcome.final else ("baseline", "last candidate")
    parts = [percentile_plot(dict(zip(names, (before, after), strict=True)))]
    if outcome.final:
        rows = [(name, show_ns(a), show_ns(b)) for name, a, b in percentiles(outcome)]
        parts.append(_table(("latency", *names), rows))
    return parts


def _counters(outcome: Outcome) -> str:
    rows = [(name, f"{a:.1f}", f"{b:.1f}") for name, a, b in moved(outcome)]
    if not rows:
        return ""
    return "<h2>Counters that moved, per second</h2>" + _table(("counter", "before", "after"), rows)


def _result(outcome: Outcome) -> list[str]:
    if not outcome.kept:
        return []
    return [
        "<h2>The result</h2>",
        f"<pre>{escape(as_code(outcome.kept))}</pre>",
        f"<pre>{escape(text_of(outcome.kept))}</pre>",
    ]
