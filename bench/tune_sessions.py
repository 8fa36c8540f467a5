"""Real measurements for `spargio tune`: an A/A control to simulate from, and planted faults.

python bench/tune_sessions.py record OUT.json [--pairs 80]
python bench/tune_sessions.py planted [FAULT ...] [--runs 5] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from spargio.tune import Machine, Refused, Session, Settings, Subject, _report
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


def planted(fault: str, run: int, folder: Path, wait_s: float) -> dict[str, Any]:
    """One session. What it is: found, missed, wrong, refused or undecided."""
    server, options, load, rate, undone_by = FAULTS[fault]
    spec = {"target": "tcp://127.0.0.1:{port}", "connections": 32, "arrivals": rate, **load}
    placement = "pinned" if fault == "pin" else "stealable"
    command = [sys.executable, SERVER, server, json.dumps(options), placement]
    subject = Subject(spec, command)
    journal = folder / f"{fault}-{run}.journal"
    journal.unlink(missing_ok=True)
    settings = Settings(rate=rate, seed=run)
    began = time.monotonic()
    session = Session(
        subject, Machine(subject, folder / "lab"), settings, journal,
        tell=lambda line: print(f"  {line}", flush=True),
    )  # fmt: skip
    try:
        outcome = session.run(wait_s)
    except Refused as error:
        return {"fault": fault, "run": run, "is": "refused", "why": str(error)}
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


def sessions(faults: list[str], runs: int, folder: Path, wait_s: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for run in range(runs):
        for fault in faults or list(FAULTS):
            print(f"{fault}, run {run}", flush=True)
            results.append(planted(fault, run, folder, wait_s))
            print(f"{fault}, run {run}: {results[-1]['is']}", flush=True)
            (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for fault in faults or list(FAULTS):
        kinds = [one["is"] for one in results if one["fault"] == fault]
        print(fault, {kind: kinds.count(kind) for kind in sorted(set(kinds))})


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
    arguments = parser.parse_args()
    if arguments.command == "record":
        record(arguments.out, arguments.pairs)
    else:
        sessions(arguments.faults, arguments.runs, arguments.folder, arguments.wait)


if __name__ == "__main__":
    main()
