"""What a session found: for the terminal, as code, and as an options file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spargio.latency._latencies import show_ns

from ._options import as_code
from ._rounds import NOT_SUMMED
from ._session import counters_of

if TYPE_CHECKING:
    from rich.console import Console

    from ._comparison import Verdict
    from ._rounds import Counters
    from ._session import Outcome, Trial

__all__ = ("moved", "print_report", "summary")

_MOVED = 1.25
_MOVED_RATE = 1.0
LATE = 0.01


def summary(outcome: Outcome) -> str:
    """One sentence."""
    if not outcome.kept:
        return "nothing is kept: " + _why_nothing(outcome)
    final = outcome.finals[-1].verdict
    names = ", ".join(f"{name} = {value}" for name, value in outcome.kept.items())
    return f"kept: {names}; {final.target} {_percent(final)} against the first baseline"


def _why_nothing(outcome: Outcome) -> str:
    if not outcome.trials:
        return "no rule found anything in the counters"
    if any(trial.verdict.is_kept for trial in outcome.trials):
        return "what looked better did not hold in the last check"
    kinds = [trial.verdict.kind for trial in outcome.trials]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return "of the changes that were tried " + ", ".join(
        f"{count} {'was' if count == 1 else 'were'} {kind}" for kind, count in counts.items()
    )


def warnings(outcome: Outcome) -> list[str]:
    found = []
    if outcome.late > LATE:
        found.append(
            f"the generator began {outcome.late:.1%} of its operations more than 1 ms late: these "
            "latencies have its own delay in them, on both sides alike"
        )
    wide = [name for name in ("cpu", "p50", "p95", "p99") if outcome.noise.get(name, 0.0) > 0.2]
    if wide:
        found.append(
            f"two equal processes may differ by a fifth or more in {', '.join(wide)}: smaller "
            "gains cannot be told from noise here"
        )
    return found


def print_report(outcome: Outcome, console: Console) -> None:
    """For the terminal."""
    from rich.table import Table

    console.print(f"tuned      {outcome.subject}", highlight=False)
    console.print(f"load       {outcome.rate:.1f}/s", highlight=False)
    for line in warnings(outcome):
        console.print(f"WARNING: {line}", highlight=False)
    if outcome.trials:
        table = Table("change", "verdict", "pairs", "target", "moved", "because", box=None)
        for trial in [*outcome.trials, *outcome.finals]:
            table.add_row(*_row(trial))
        console.print(table)
    if outcome.final is not None:
        console.print(_latency_table(outcome))
    console.print(summary(outcome), highlight=False)
    if outcome.kept:
        console.print(as_code(outcome.kept), markup=False, highlight=False)


def _row(trial: Trial) -> list[str]:
    found = trial.verdict
    change = ", ".join(f"{name} = {value}" for name, value in trial.change.items())
    return [change, found.kind, str(found.pairs), found.target, _percent(found), found.reason]


def _percent(verdict: Verdict) -> str:
    return f"{verdict.change:+.1%}"


def percentiles(outcome: Outcome) -> list[tuple[str, int, int]]:
    """(name, before, after) in nanoseconds."""
    assert outcome.final is not None
    before, after = outcome.final.latencies()
    names = ("p50", "p90", "p95", "p99", "p999", "max")
    return [(name, getattr(before, f"{name}_ns"), getattr(after, f"{name}_ns")) for name in names]


def _latency_table(outcome: Outcome) -> Any:
    from rich.table import Table

    table = Table("latency", "before", "after", box=None)
    for name, before, after in percentiles(outcome):
        table.add_row(name.replace("p999", "p99.9"), show_ns(before), show_ns(after))
    return table


def moved(outcome: Outcome) -> list[tuple[str, float, float]]:
    """(counter, before, after), per second, of those that moved by a quarter or more."""
    measured = outcome.final or outcome.last
    if measured is None:
        return []
    before, after = counters_of(measured.a), counters_of(measured.b)
    found = []
    for name in before.total:
        if name in NOT_SUMMED:
            continue
        a, b = _rate(before, name), _rate(after, name)
        if max(a, b) >= _MOVED_RATE and not 1 / _MOVED < (b + 1e-9) / (a + 1e-9) < _MOVED:
            found.append((name, a, b))
    return sorted(found, key=lambda one: -abs(one[2] - one[1]) / (one[1] + one[2]))


def _rate(counters: Counters, name: str) -> float:
    return counters.total.get(name, 0) / counters.seconds if counters.seconds else 0.0


def to_dict(outcome: Outcome) -> dict[str, Any]:
    """For JSON."""

    def trials(found: list[Trial]) -> list[dict[str, Any]]:
        return [
            {"change": dict(one.change), "why": one.why, "verdict": one.verdict.to_dict()}
            for one in found
        ]

    return {
        "subject": outcome.subject,
        "machine": dict(outcome.machine),
        "rate": outcome.rate,
        "noise": dict(outcome.noise),
        "trials": trials(outcome.trials),
        "finals": trials(outcome.finals),
        "kept": outcome.kept,
        "latency_ns": [list(one) for one in percentiles(outcome)] if outcome.final else [],
        "counters_moved": [list(one) for one in moved(outcome)],
        "warnings": warnings(outcome),
        "summary": summary(outcome),
    }
