"""Measures spargio beside its peers. See bench/README.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent / "python"))

import asyncio_calls
import asyncio_echo
import asyncio_more
import asyncio_threads
import asyncio_web
import channel
import echo
import environment
import harness
import http_row
import idle
import markdown
import memory
import native
import native_http
import plots
import read_4k
import report
import seq_write
import shards
import small_files
import spawn_join
import startup
import timers
import tls_rows
import yield_now
from processes import MeasurementFailed, Missing
from rich.console import Console

GROUPS: Final[Sequence[harness.Group]] = (
    yield_now.GROUP,
    spawn_join.GROUP,
    channel.GROUP,
    timers.GROUP,
    *echo.GROUPS,
    http_row.GROUP,
    *read_4k.GROUPS,
    small_files.GROUP,
    seq_write.GROUP,
    startup.GROUP,
    *memory.GROUPS,
    *tls_rows.GROUPS,
    idle.GROUP,
    *shards.GROUPS,
    *asyncio_calls.GROUPS,
    *asyncio_echo.GROUPS,
    *asyncio_web.GROUPS,
    *asyncio_more.GROUPS,
    *asyncio_threads.GROUPS,
    *native.GROUPS,
    native_http.GROUP,
)
FAMILIES: Final = tuple(dict.fromkeys(group.family_name for group in GROUPS))
RESULTS: Final = Path(__file__).resolve().parent / "results"
FULL: Final = harness.Settings(rounds=7, seconds=0.75)
QUICK: Final = harness.Settings(rounds=1, seconds=0.02, quick=True)


def parse_arguments() -> argparse.Namespace:
    names = sorted({*FAMILIES, *(group.name for group in GROUPS)})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="GROUP",
        help=f"one of {', '.join(FAMILIES)}, or one row of them; may be repeated",
    )
    parser.add_argument("--peers", metavar="NAME,NAME", help="only these peers of each row")
    parser.add_argument("--rounds", type=int, help=f"default: {FULL.rounds}")
    parser.add_argument(
        "--seconds", type=float, help=f"of one measurement; default: {FULL.seconds}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="1 short round: does it run? Not for figures"
    )
    parser.add_argument(
        "--free-threaded",
        metavar="PATH",
        help=f"a Python without GIL that has spargio, for two rows of shards "
        f"(default: ${shards.VARIABLE})",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=RESULTS / "latest.json",
        help="write all samples here (default: bench/results/latest.json)",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="the tables (default: beside the JSON, .md)"
    )
    parser.add_argument(
        "--plots",
        type=Path,
        metavar="FOLDER",
        default=RESULTS / "plots",
        help="PNG and SVG (default: bench/results/plots)",
    )
    arguments = parser.parse_args()
    if arguments.seconds is not None and arguments.seconds <= 0:
        parser.error(f"--seconds must be above 0, not {arguments.seconds}")
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {arguments.rounds}")
    return arguments


def chosen(arguments: argparse.Namespace) -> list[harness.Group]:
    only = set(arguments.only or ())
    if only:
        return [group for group in GROUPS if {group.name, group.family_name} & only]
    return [group for group in GROUPS if group.quick or not arguments.quick]


def settings_of(arguments: argparse.Namespace) -> harness.Settings:
    base = QUICK if arguments.quick else FULL
    return harness.Settings(
        rounds=arguments.rounds or base.rounds,
        seconds=arguments.seconds or base.seconds,
        peers=frozenset(arguments.peers.split(",")) if arguments.peers else None,
        quick=base.quick,
        free_threaded=arguments.free_threaded,
    )


def write_files(
    arguments: argparse.Namespace,
    found: dict[str, Any],
    settings: harness.Settings,
    results: Sequence[harness.GroupResult],
) -> list[Path]:
    """The JSON first: whatever becomes of the rest, the samples are kept."""
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    document = report.document(found, settings, results)
    arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    pictures = [] if plots.missing() else plots.draw(results, arguments.plots)
    page: Path = arguments.markdown or arguments.json.with_suffix(".md")
    page.parent.mkdir(parents=True, exist_ok=True)
    addresses = [os.path.relpath(picture, page.parent) for picture in pictures]
    page.write_text(markdown.page(found, results, addresses))
    return [arguments.json, page, *pictures]


def main() -> int:
    """0, or 1 when a measurement failed. A target that is not reached is a result, no failure."""
    arguments = parse_arguments()
    settings = settings_of(arguments)
    # Where nobody looks, rich assumes 80 columns, and the tables would lose some.
    console = Console(width=None if sys.stdout.isatty() else 150)
    found = environment.describe()
    report.show_environment(console, found)

    results: list[harness.GroupResult] = []
    failed = False
    for group in chosen(arguments):
        with Console(stderr=True).status("") as status:
            try:
                result = harness.measure_group(group, settings, status.update)
            except (Missing, MeasurementFailed) as error:
                result = harness.not_measured(
                    group,
                    settings,
                    "missing" if isinstance(error, Missing) else "failed",
                    str(error),
                )
        results.append(result)
        failed |= any(peer.status == "failed" for peer in result.peers)
        report.show_group(console, result)
    report.show_targets(console, results)
    if reason_without := plots.missing():
        console.print(f"no plots: {reason_without}", style="yellow", markup=False)
    for path in write_files(arguments, found, settings, results):
        console.print(f"written: {os.path.relpath(path)}", highlight=False, markup=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
