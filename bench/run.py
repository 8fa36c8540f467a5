"""Measures spargio beside its peers. See bench/README.md."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent / "python"))

import echo
import environment
import harness
import native
import read_4k
import report
import small_files
import spawn_join
import yield_now
from processes import MeasurementFailed, Missing
from rich.console import Console

GROUPS: Final = {
    group.name: group
    for group in (
        yield_now.GROUP,
        spawn_join.GROUP,
        echo.GROUP,
        read_4k.GROUP,
        small_files.GROUP,
        *native.GROUPS,
    )
}
FULL: Final = harness.Settings(rounds=5, seconds=0.75)
QUICK: Final = harness.Settings(rounds=1, seconds=0.1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=[*GROUPS, "native"],
        metavar="GROUP",
        help=f"native, or one of {list(GROUPS)}",
    )
    parser.add_argument("--peers", metavar="NAME,NAME", help="only these peers of each group")
    parser.add_argument("--rounds", type=int, help=f"default: {FULL.rounds}")
    parser.add_argument(
        "--quick", action="store_true", help="1 short round: does it run? Not for figures"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples here")
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    return arguments


def settings_of(arguments: argparse.Namespace) -> harness.Settings:
    base = QUICK if arguments.quick else FULL
    return harness.Settings(
        rounds=arguments.rounds or base.rounds,
        seconds=base.seconds,
        peers=frozenset(arguments.peers.split(",")) if arguments.peers else None,
    )


def wanted(only: list[str] | None) -> list[str]:
    """Names of groups; "native" stands for all of its rows."""
    names = only or list(GROUPS)
    return [
        group
        for name in names
        for group in ([g.name for g in native.GROUPS] if name == "native" else [name])
    ]


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
    for name in wanted(arguments.only):
        with Console(stderr=True).status("") as status:
            try:
                result = harness.measure_group(GROUPS[name], settings, status.update)
            except (Missing, MeasurementFailed) as error:
                console.print(f"\n{name}: not measured: {error}", style="red", markup=False)
                failed |= isinstance(error, MeasurementFailed)
                continue
        results.append(result)
        failed |= any(peer.status == "failed" for peer in result.peers)
        report.show_group(console, result)
    report.show_targets(console, results)
    if arguments.json:
        document = report.document(found, settings, results)
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
