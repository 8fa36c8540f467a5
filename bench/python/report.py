"""Tables on a terminal, and the JSON document for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness import GroupResult, Metric, Outcome, PeerResult, Settings, Target
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SCHEMA = 2


def show_environment(console: Console, environment: dict[str, Any]) -> None:
    console.print(environment_line(environment), highlight=False, markup=False)
    if environment["load_average"] > 0.5:
        console.print(
            f"[yellow]The machine is not idle (load average {environment['load_average']:.1f}): "
            "expect noise, most of all in latencies and throughput."
        )


def environment_line(environment: dict[str, Any]) -> str:
    packages = ", ".join(
        f"{name} {found or 'missing'}" for name, found in environment["packages"].items()
    )
    gil = "" if environment["python_gil"] else " without GIL"
    modified = " (modified)" if environment["git_modified"] else ""
    return (
        f"{environment['cpu']}, {environment['cpus_usable']} CPUs, Linux {environment['kernel']}; "
        f"Python {environment['python']}{gil}; {packages}; "
        f"commit {(environment['git_commit'] or 'unknown')[:12]}{modified}; "
        f"load average {environment['load_average']:.2f}"
    )


def show_group(console: Console, result: GroupResult) -> None:
    base = baseline(result)
    table = Table(title=result.group.title, title_justify="left", title_style="bold")
    table.add_column("peer", no_wrap=True)
    for metric in result.group.metrics:
        table.add_column(metric.title, justify="right", no_wrap=True)
    table.add_column("spread", justify="right", no_wrap=True)
    for peer in result.peers:
        if peer.status == "measured":
            cells = [_cell(peer, metric, base) for metric in result.group.metrics]
            table.add_row(peer.name, *cells, spread_text(peer, result.group.metrics[0]))
    console.print()
    console.print(table)
    for peer in result.peers:
        if peer.status != "measured":
            colour = "red" if peer.status == "failed" else "yellow"
            console.print(f"[{colour}]{peer.name}: {peer.status}: {escape(peer.reason)}")
    if base:
        console.print(f"(x: multiple of {base.name})", style="dim", highlight=False)


def show_targets(console: Console, results: Sequence[GroupResult]) -> None:
    table = Table(title="Targets", title_justify="left", title_style="bold")
    table.add_column("row", no_wrap=True)
    table.add_column("what")
    table.add_column("target", justify="right", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("reached", no_wrap=True)
    colours = {True: "[green]yes", False: "[bold red]NO", None: "[yellow]not measured"}
    for line in target_lines(results):
        what = line.what + (f" ({line.outcome.note})" if line.outcome.note else "")
        reached = colours[line.outcome.reached]
        table.add_row(line.row, escape(what), line.limit, line.measured, reached)
    console.print()
    console.print(table)


class TargetLine:
    """A line of the table of targets, in words."""

    def __init__(self, result: GroupResult, target: Target) -> None:
        metric = next(metric for metric in result.group.metrics if metric.key == target.metric)
        unit = f" {metric.unit}".rstrip() if target.ratio == "value" else "x"
        self.row = result.group.name
        self.outcome: Outcome = result.outcome(target)
        self.limit = f"{target.relation} {target.limit:g}{unit}"
        self.what = target.text
        if len(target.peers) > 1 and self.outcome.against:
            self.what += f": {self.outcome.against}"
        self.measured = "-"
        if self.outcome.measured is not None:
            self.measured = f"{self.outcome.measured:.2f}{unit}"


def target_lines(results: Sequence[GroupResult]) -> list[TargetLine]:
    return [TargetLine(result, target) for result in results for target in result.group.targets]


def document(
    environment: dict[str, Any], settings: Settings, results: Sequence[GroupResult]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "environment": environment,
        "settings": {
            "rounds": settings.rounds,
            "seconds": settings.seconds,
            "quick": settings.quick,
        },
        "groups": {result.group.name: _group_document(result) for result in results},
    }


def _group_document(result: GroupResult) -> dict[str, Any]:
    headlines = {metric.key for metric in result.group.headlines}
    return {
        "title": result.group.title,
        "family": result.group.family_name,
        "subject": result.group.subject,
        "metrics": [
            {
                "key": metric.key,
                "title": metric.title,
                "unit": metric.unit,
                "better": metric.better,
                "headline": metric.key in headlines,
            }
            for metric in result.group.metrics
        ],
        "peers": {peer.name: _peer_document(peer) for peer in result.peers},
        "targets": [_target_document(result, target) for target in result.group.targets],
    }


def _target_document(result: GroupResult, target: Target) -> dict[str, Any]:
    outcome = result.outcome(target)
    return {
        "text": target.text,
        "metric": target.metric,
        "peers": list(target.peers),
        "ratio": target.ratio,
        "relation": target.relation,
        "limit": target.limit,
        "measured": outcome.measured,
        "against": outcome.against,
        "note": outcome.note,
        "reached": outcome.reached,
    }


def _peer_document(peer: PeerResult) -> dict[str, Any]:
    keys = peer.samples[0] if peer.samples else ()
    return {
        "status": peer.status,
        "reason": peer.reason,
        "median": {key: peer.median(key) for key in keys},
        "samples": peer.samples,
    }


def baseline(result: GroupResult) -> PeerResult | None:
    """What the others are a multiple of: the subject, or the first where it was not measured."""
    measured = [peer for peer in result.peers if peer.status == "measured"]
    subject = result.group.subject
    return next((peer for peer in measured if peer.name == subject), next(iter(measured), None))


def value_text(peer: PeerResult, metric: Metric) -> str:
    value = peer.median(metric.key)
    assert value is not None
    return f"{value:,.{metric.digits}f}"


def multiple(peer: PeerResult, metric: Metric, base: PeerResult | None) -> float | None:
    """None if there is nothing to divide by: the user time of a short run can fall between the
    kernel's ticks."""
    value = peer.median(metric.key)
    divisor = base.median(metric.key) if base and metric.ratio else None
    return value / divisor if divisor and value is not None else None


def spread_text(peer: PeerResult, metric: Metric) -> str:
    spread = peer.spread(metric.key)
    return "-" if spread is None else f"±{spread:.0%}"


def _cell(peer: PeerResult, metric: Metric, base: PeerResult | None) -> str:
    times = multiple(peer, metric, base)
    text = value_text(peer, metric)
    return text if times is None else f"{text} [dim]{times:.2f}x[/dim]"
