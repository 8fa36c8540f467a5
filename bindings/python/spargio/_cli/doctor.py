"""`spargio doctor`: whether spargio can run here, and what to do if it cannot."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import spargio

from .doctor_checks import Finding, diagnose
from .doctor_facts import Facts, gather

_STYLES = {"ok": "green", "note": "yellow", "missing": "bold red"}


def run(*, as_json: bool) -> int:
    """Returns the exit code: 0 if spargio can run, else 1."""
    info, facts = spargio.probe(), gather()
    findings = diagnose(info, facts)
    findings.append(look_at_tls(info))
    findings.append(try_runtime())
    works = all(finding.state != "missing" for finding in findings)
    if as_json:
        print(json.dumps(_as_dict(works, info, facts, findings), indent=2))
    else:
        _show(works, findings)
    return 0 if works else 1


def try_runtime() -> Finding:
    """The proof: starts the runtime with its defaults, runs a task on each shard, stops it."""

    async def shard() -> int:
        return spargio.current_shard()

    async def main(handle: spargio.RuntimeHandle) -> tuple[int, str]:
        jobs = [handle.spawn_pinned(number, shard()) for number in range(handle.shard_count())]
        for number, job in enumerate(jobs):
            assert await job == number
        return len(jobs), handle.backend()

    log = logging.getLogger("spargio")
    level = log.level
    log.setLevel(logging.ERROR)  # What it warns of is in the findings.
    try:
        count, backend = spargio.run(main)
    except (OSError, spargio.SpargioError) as error:
        advice = "Do what is said above; if nothing is, report this with the output of --json."
        return Finding("runtime", "missing", f"does not start: {error}", advice)
    finally:
        log.setLevel(level)
    text = f"started {count} shards on {backend}, ran a task on each, stopped"
    if backend == "epoll":
        return Finding(
            "runtime", "note", text, "It is slower than io_uring: see docs/operations.md."
        )
    return Finding("runtime", "ok", text)


def look_at_tls(info: spargio.ProbeInfo) -> Finding:
    """Which engine the connections of ``spargio.tls`` get."""
    try:
        engine = info.tls
    except (ImportError, RuntimeError, ValueError) as error:
        return Finding("TLS", "note", f"is not available: {error}", "")
    if engine.reason is None:
        return Finding("TLS", "ok", "the native engine, by the OpenSSL of Python's ssl", "")
    advice = "It works, and costs more CPU: see docs/tls.md."
    return Finding("TLS", "note", f"the memory engine: {engine.reason}", advice)


def _as_dict(
    works: bool, info: spargio.ProbeInfo, facts: Facts, findings: list[Finding]
) -> dict[str, object]:
    return {
        "ok": works,
        "findings": [asdict(finding) for finding in findings],
        "probe": {**asdict(info), "opcodes": sorted(info.opcodes)},
        "facts": asdict(facts),
    }


def _show(works: bool, findings: list[Finding]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        state = Text(finding.state, style=_STYLES[finding.state])
        table.add_row(Text(finding.topic), state, Text(finding.text))
        if finding.advice:
            table.add_row(
                "", "", Padding(Text(f"-> {finding.advice}", style="italic"), (0, 0, 0, 2))
            )
    console.print(table)
    verdict = "spargio can run here." if works else "spargio cannot run here."
    console.print(Text(verdict, style="bold"))
