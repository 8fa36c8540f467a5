"""Real measurements for `spargio tune`: an A/A control to simulate from, and planted faults.

python bench/tune_sessions.py record OUT.json [--pairs 80]
python bench/tune_sessions.py planted [FAULT ...] [--runs 5] [--folder FOLDER] [--resume]

A session that was ended early goes on with --resume; those that came to their end are kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from spargio._cli.tune import margin
from spargio.tune import Limits, Machine, Refused, Session, Settings, Subject, _report
from spargio.tune._html import page
from spargio.tune._lab import Shape
from spargio.tune._pairs import Pairs
from spargio.tune._rounds import Differences

SERVER = str(Path(__file__).resolve().parent / "python" / "tune_server.py")
SERIES = {
    "echo": ({"target": "tcp://127.0.0.1:{port}", "connections": 32}, 10_000.0),
    "fan": ({"target": "tcp://127.0.0.1:{port}", "connections": 32, "sizes": 64}, 60.0),
}


def record(out: Path, pairs: int) -> None:
    """Two equal servers, all pairs kept, disturbed ones too: the noise is what is wanted."""
    found: dict[str, Any] = {}
    for name, (spec, rate) in SERIES.items():
        command = [sys.executable, SERVER, name]
        subject = Subject({**spec, "arrivals": rate}, command)
        with tempfile.TemporaryDirectory() as folder:
            lab = Machine(subject, Path(folder))
            try:
                found[name] = _blocks(lab, Shape(rate), pairs // 2)
            finally:
                lab.close()
        print(f"{name}: {len(found[name])} blocks", file=sys.stderr)
    lines = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(one) for one in blocks) + "\n]"
        for name, blocks in found.items()
    )
    out.write_text("{\n" + lines + "\n}\n")


def _blocks(lab: Machine, shape: Shape, count: int) -> list[dict[str, Any]]:
    """The log-ratios B / A of each block, pooled ones with the block that fills the pool."""
    random, differences = Random(1), Differences()
    found = []
    for n in range(count):
        if n % 8 == 0:
            lab.start("A", {})
            lab.start("B", {})
        block = Pairs(lab, shape, redo=False).block(random, 2 * n)
        own, pooled = differences.add(block)
        found.append(
            {
                **{
                    name: [round(one, 4) for one in some]
                    for name, some in {**own, **pooled}.items()
                },
                "foreign": round(max(max(p.a.foreign, p.b.foreign) for p in block), 3),
            }
        )
    return found


FAULTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], float, str]] = {
    # server, options in its code, the load, the rate, the option that undoes it
    "margin": ("fan", {"steal_locality_margin": 1_000_000}, {}, 60.0, "steal_locality_margin"),
    "pin": ("fan", {}, {}, 60.0, "program.placement"),
    "queue": ("burst", {"stealable_queue_capacity": 4}, {}, 60.0, "stealable_queue_capacity"),
    "spin": ("echo", {"idle_strategy": "spin"}, {}, 8000.0, "idle_strategy"),
    "none": ("echo", {}, {}, 8000.0, ""),
}


class Asked(NamedTuple):
    """What all sessions have in common."""

    folder: Path
    wait_s: float
    control_pairs: int
    margins: dict[str, float]
    resume: bool


def planted(fault: str, run: int, asked: Asked) -> dict[str, Any]:
    """One session. What it is: right, missed, wrong, refused or undecided."""
    server, options, load, rate, undone_by = FAULTS[fault]
    spec = {"target": "tcp://127.0.0.1:{port}", "connections": 32, "arrivals": rate, **load}
    placement = "pinned" if fault == "pin" else "stealable"
    command = [sys.executable, SERVER, server, json.dumps(options), placement]
    subject = Subject(spec, command)
    folder = asked.folder
    journal = folder / f"{fault}-{run}.journal"
    resume = asked.resume and journal.exists()
    if not resume:
        journal.unlink(missing_ok=True)
    limits = Limits(margins={**Limits().margins, **asked.margins})
    settings = Settings(limits, rate, seed=run, control_pairs=asked.control_pairs)
    began = time.monotonic()
    session = Session(
        subject, Machine(subject, folder / "lab"), settings, journal, resume=resume,
        tell=lambda line: print(f"  {time.monotonic() - began:5.0f} s  {line}", flush=True),
    )  # fmt: skip
    try:
        outcome = session.run(asked.wait_s)
    except Refused as error:
        seconds = round(time.monotonic() - began)
        return {
            "fault": fault, "run": run, "is": "refused", "seconds": seconds, "why": str(error),
        }  # fmt: skip
    finally:
        session.close()
    found = _report.to_dict(outcome)
    (folder / f"{fault}-{run}.html").write_text(page(outcome))
    right = undone_by in outcome.kept if undone_by else not outcome.kept
    others = set(outcome.kept) - {undone_by}
    undecided = any(trial.verdict.kind == "undecided" for trial in outcome.trials)
    kind = "wrong" if others else "right" if right else "undecided" if undecided else "missed"
    seconds = round(time.monotonic() - began)
    return {"fault": fault, "run": run, "is": kind, "seconds": seconds, **found}


def sessions(faults: list[str], runs: int, asked: Asked) -> None:
    asked.folder.mkdir(parents=True, exist_ok=True)
    written = asked.folder / "results.json"
    known = json.loads(written.read_text()) if asked.resume and written.exists() else []
    results = [one for one in known if one["is"] != "refused"]
    ended = {(one["fault"], one["run"]) for one in results}
    for run in range(runs):
        for fault in faults or list(FAULTS):
            if (fault, run) in ended:
                continue
            print(f"{fault}, run {run}", flush=True)
            results.append(planted(fault, run, asked))
            print(f"{fault}, run {run}: {results[-1]['is']}", flush=True)
            if "why" in results[-1]:
                print(f"  {results[-1]['why']}", flush=True)
            written.write_text(json.dumps(results, indent=1) + "\n")
    for fault in faults or list(FAULTS):
        of = [one for one in results if one["fault"] == fault]
        kinds = [one["is"] for one in of]
        longest = max((one["seconds"] for one in of), default=0)
        print(fault, {kind: kinds.count(kind) for kind in sorted(set(kinds))}, f"{longest} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("out", type=Path)
    recording.add_argument("--pairs", type=int, default=96)
    planting = commands.add_parser("planted")
    planting.add_argument("faults", nargs="*", choices=[*FAULTS, []])
    planting.add_argument("--runs", type=int, default=5)
    planting.add_argument("--folder", type=Path, default=Path("tune-sessions"))
    planting.add_argument("--wait", type=float, default=600, help="seconds for a quiet machine")
    planting.add_argument("--control", type=int, default=40, help="pairs of two equal processes")
    planting.add_argument(
        "--margin",
        action="append",
        type=margin,
        default=[],
        metavar="METRIC=%",
        help="as of spargio tune. At 60 operations a second p999 takes three minutes a change: "
        "p999=1000 tries a session in two",
    )
    planting.add_argument("--resume", action="store_true", help="go on where it was ended")
    arguments = parser.parse_args()
    if arguments.command == "record":
        record(arguments.out, arguments.pairs)
    else:
        asked = Asked(
            arguments.folder,
            arguments.wait,
            arguments.control,
            dict(arguments.margin),
            arguments.resume,
        )
        sessions(arguments.faults, arguments.runs, asked)


if __name__ == "__main__":
    main()
