"""A load's report as one HTML file."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from spargio._plots import heat_map, line_chart, percentile_plot
from spargio.latency import Latencies
from spargio.latency._latencies import show_ns

from ._report import LoadReport, describe

__all__ = ("page",)

STYLE = """
body { font-family: sans-serif; max-width: 760px; margin: 2em auto; color: #111; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { padding: 3px 10px; border-bottom: 1px solid #e5e7eb; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.warning { background: #fef3c7; padding: 8px; border-left: 4px solid #d97706; margin: 8px 0; }
pre { background: #f3f4f6; padding: 8px; white-space: pre-wrap; }
"""


def page(report: LoadReport, title: str) -> str:
    latency = report.latency
    rows = {"all": latency, **report.by_operation}
    if len(report.by_operation) == 1:
        rows = {"all": latency}
    facts = {
        "target": report.spec["target"],
        "arrivals": describe(report.spec["arrivals"]),
        "operations": f"{latency.count} in {report.seconds:.1f} s, {report.rate:.1f}/s",
        "failed": str(latency.failed),
        "generator": f"{report.cpu_share:.0%} of its CPU, {report.late_share:.2%} begun late",
        "machine": ", ".join(f"{name} {value}" for name, value in report.machine.items()),
    }
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *(f"<p class='warning'>{escape(one)}</p>" for one in report.warnings),
        "<table>",
        *(f"<tr><td>{name}</td><td>{escape(value)}</td></tr>" for name, value in facts.items()),
        "</table>",
        _latency_table(rows),
        percentile_plot(rows),
        *_over_time(report),
        *_counters(report.counters, "generator"),
        *_counters(report.server_counters, "server"),
        f"<h2>The load</h2><pre>{escape(json.dumps(report.spec))}</pre>",
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _latency_table(rows: dict[str, Latencies]) -> str:
    heads = ("latency", "p50", "p90", "p95", "p99", "p99.9", "max", "count", "failed")
    lines = ["<table><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for name, one in rows.items():
        points = (one.p50_ns, one.p90_ns, one.p95_ns, one.p99_ns, one.p999_ns, one.max_ns)
        cells = [escape(name), *map(show_ns, points), str(one.count), str(one.failed)]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "".join(lines) + "</table>"


def _over_time(report: LoadReport) -> list[str]:
    windows = [one for one in report.windows if one.seconds > 0]
    rate = [(one.begin + one.seconds, one.rate) for one in windows]
    tails = {
        name: [
            (one.begin + one.seconds, one.latency.percentile_ns(percent) / 1e6)
            for one in windows
            if one.latency.count
        ]
        for name, percent in (("p50", 50), ("p99", 99))
    }
    cpu = {"CPU": [(one.begin + one.seconds, one.cpu_seconds / one.seconds) for one in windows]}
    return [
        line_chart({"ended": rate}, "Throughput", "/s"),
        line_chart(tails, "Latency over time", "ms", log=True),
        line_chart(cpu, "CPUs of the generator", ""),
    ]


def _counters(counters: list[tuple[float, dict[str, Any]]], whose: str) -> list[str]:
    if not counters:
        return []
    names = [name for name in counters[0][1] if name not in ("busy", "seconds")]
    series = {
        name: [(at, found[name] / found["seconds"]) for at, found in counters]
        for name in names
        if any(found[name] for _, found in counters)
    }
    shards = len(counters[0][1]["busy"])
    busy = {f"shard {n}": [(at, found["busy"][n]) for at, found in counters] for n in range(shards)}
    return [
        line_chart(series, f"Counters of the {whose}, per second", "/s", log=True),
        heat_map(busy, f"Busy time of the {whose}'s shards"),
    ]
