"""Compares a run of bench/run.py with bench/baseline.json, and fails where spargio fell back.

    python bench/guard.py RUN.json             # exit status 1 where a ratio fell by more than 15 %
    python bench/guard.py --update RUN.json    # make the ratios of this run the baseline

What is compared is not time but how many times better spargio is than each peer of the same run:
that hardly changes on a slower machine. Of each headline figure it takes the geometric mean over
the peers that baseline and run have in common, so that spargio's own change counts whole and one
peer's noise little. Rows that the run does not have (`--only`) are named and left out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent / "python"))

import band

BASELINE: Final = Path(__file__).resolve().parent / "baseline.json"
BAND: Final = 0.15
SCHEMAS: Final = (2,)

Ratios = dict[str, dict[str, float]]
"""By row and metric, then by peer: how many times better spargio is."""


class Unusable(Exception):
    """The run says nothing that could be compared."""


def ratios_of(run: dict[str, Any]) -> Ratios:
    if run.get("schema") not in SCHEMAS:
        raise Unusable(f"schema {run.get('schema')}, not {' or '.join(map(str, SCHEMAS))}")
    if run["settings"]["quick"]:
        raise Unusable("a --quick run has no figures")
    return {
        f"{name} {metric['key']}": dict(_ratios(group, metric))
        for name, group in run["groups"].items()
        for metric in group["metrics"]
        if metric["headline"]
    }


def _ratios(group: dict[str, Any], metric: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """None where spargio itself was not measured, or no peer was."""
    key, subject = metric["key"], group["subject"]
    ours = group["peers"].get(subject, {"median": {}})["median"].get(key)
    for name, peer in group["peers"].items():
        theirs = peer["median"].get(key)
        if name != subject and ours and theirs:
            yield name, theirs / ours if metric["better"] == "lower" else ours / theirs


def compare(baseline: Ratios, run: Ratios) -> list[band.Line]:
    old: dict[str, float] = {}
    new: dict[str, float] = {}
    for name in {**baseline, **run}:
        before, now = baseline.get(name, {}), run.get(name, {})
        common = sorted({*before} & {*now})
        if common:
            old[name] = geometric_mean(before[peer] for peer in common)
            new[name] = geometric_mean(now[peer] for peer in common)
        elif before and name in run:
            old[name] = geometric_mean(before.values())
        elif now and name not in baseline:
            new[name] = geometric_mean(now.values())
    return band.compare(old, new, BAND, "higher")


def check(baseline: Ratios, run: Ratios) -> int:
    """0, or 1: something is worse, or was not measured any more, or nothing could be compared."""
    lines = compare(baseline, run)
    if lines:
        print(band.table(lines, digits=2))
    absent = sorted({*baseline} - {*run})
    if absent:
        print(f"\nnot in this run: {', '.join(absent)}")
    bad = [line.name for line in lines if line.verdict in ("worse", "gone")]
    if bad:
        print(
            f"\nFAILED: {', '.join(bad)}: spargio fell back by more than {BAND:.0%} beside its "
            "peers, or was not measured.\nRepeat the run on an idle machine; where the drop is "
            "wanted: python bench/guard.py --update RUN.json"
        )
        return 1
    if not any(line.verdict in ("within", "better") for line in lines):
        print("\nFAILED: the run and the baseline have no row in common")
        return 1
    return 0


def update(path: Path, run: dict[str, Any]) -> None:
    """Rows that this run has not measured stay as they were."""
    stored = json.loads(path.read_text())["ratios"] if path.exists() else {}
    measured = {name: peers for name, peers in ratios_of(run).items() if peers}
    rounded = {
        name: {peer: round(ratio, 4) for peer, ratio in peers.items()}
        for name, peers in sorted((stored | measured).items())
    }
    path.write_text(json.dumps({"ratios": rounded}, indent=1) + "\n")
    print(f"written: {path.name}, {len(measured)} of {len(rounded)} rows from this run")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN.json", help="what run.py --json wrote")
    parser.add_argument("--update", action="store_true", help="write the baseline")
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE")
    arguments = parser.parse_args(words)
    try:
        run = json.loads(arguments.run.read_text())
        if arguments.update:
            update(arguments.baseline, run)
            return 0
        return check(json.loads(arguments.baseline.read_text())["ratios"], ratios_of(run))
    except (Unusable, OSError) as error:
        print(f"guard.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
