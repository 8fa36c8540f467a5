"""Tables for a person, and the JSON document for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness import SPARGIO, GroupResult, Metric, PeerResult, Settings
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show_environment(console: Console, environment: dict[str, Any]) -> None:
    packages = ", ".join(f"{name} {found}" for name, found in environment["packages"].items())
    console.print(
        f"{environment['cpu']}, {environment['cpus_usable']} CPUs, Linux {environment['kernel']}; "
        f"Python {environment['python']}; {packages}; "
        f"commit {(environment['git_commit'] or 'unknown')[:12]}"
        f"{' (modified)' if environment['git_modified'] else ''}",
        highlight=False,
    )
    if environment["load_average"] > 0.5:
        console.print(
            f"[yellow]The machine is not idle (load average {environment['load_average']:.1f}): "
            "expect noise, most of all in latencies and throughput."
        )


def show_group(console: Console, result: GroupResult) -> None:
    baseline = _baseline(result)
    table = Table(title=result.group.title, title_justify="left", title_style="bold")
    table.add_column("peer", no_wrap=True)
    for metric in result.group.metrics:
        table.add_column(metric.title, justify="right", no_wrap=True)
    table.add_column("spread", justify="right", no_wrap=True)
    for peer in result.peers:
        if peer.status == "measured":
            cells = [_cell(peer, metric, baseline) for metric in result.group.metrics]
            table.add_row(peer.name, *cells, _spread(peer, result.group.metrics[0]))
    console.print()
    console.print(table)
    for peer in result.peers:
        if peer.status != "measured":
            colour = "red" if peer.status == "failed" else "yellow"
            console.print(f"[{colour}]{peer.name}: {peer.status}: {escape(peer.reason)}")
    if baseline:
        console.print(f"(x: multiple of {baseline.name})", style="dim", highlight=False)


def show_targets(console: Console, results: Sequence[GroupResult]) -> None:
    table = Table(title="Targets", title_justify="left", title_style="bold")
    table.add_column("row", no_wrap=True)
    table.add_column("what")
    table.add_column("target", justify="right", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("reached", no_wrap=True)
    for result in results:
        for target in result.group.targets:
            ratio = result.ratio(target)
            measured, reached = "-", "[yellow]not measured"
            if ratio is not None:
                measured = f"{ratio:.2f}x"
                reached = "[green]yes" if target.reached(ratio) else "[bold red]NO"
            limit = f"{target.relation} {target.limit:g}x"
            table.add_row(result.group.name, target.text, limit, measured, reached)
    console.print()
    console.print(table)


def document(
    environment: dict[str, Any], settings: Settings, results: Sequence[GroupResult]
) -> dict[str, Any]:
    return {
        "schema": 1,
        "environment": environment,
        "settings": {"rounds": settings.rounds, "seconds": settings.seconds},
        "groups": {result.group.name: _group_document(result) for result in results},
    }


def _group_document(result: GroupResult) -> dict[str, Any]:
    return {
        "title": result.group.title,
        "peers": {peer.name: _peer_document(peer) for peer in result.peers},
        "targets": [
            {
                "text": target.text,
                "metric": target.metric,
                "peer": target.peer,
                "ratio": target.ratio,
                "relation": target.relation,
                "limit": target.limit,
                "measured": (ratio := result.ratio(target)),
                "reached": None if ratio is None else target.reached(ratio),
            }
            for target in result.group.targets
        ],
    }


def _peer_document(peer: PeerResult) -> dict[str, Any]:
    keys = peer.samples[0] if peer.samples else ()
    return {
        "status": peer.status,
        "reason": peer.reason,
        "median": {key: peer.median(key) for key in keys},
        "samples": peer.samples,
    }


def _baseline(result: GroupResult) -> PeerResult | None:
    measured = [peer for peer in result.peers if peer.status == "measured"]
    return next((peer for peer in measured if peer.name == SPARGIO), next(iter(measured), None))


def _cell(peer: PeerResult, metric: Metric, baseline: PeerResult | None) -> str:
    value = peer.median(metric.key)
    assert value is not None
    cell = f"{value:,.{metric.digits}f}"
    base = baseline.median(metric.key) if baseline and metric.ratio else None
    # base can be 0: the user time of a short run can fall between the kernel's ticks.
    return f"{cell} [dim]{value / base:.2f}x[/dim]" if base else cell


def _spread(peer: PeerResult, metric: Metric) -> str:
    """Half of the distance between the lowest and the highest round, of the first metric."""
    values = peer.values(metric.key)
    median = peer.median(metric.key)
    return f"±{(max(values) - min(values)) / 2 / median:.0%}" if median else "-"
