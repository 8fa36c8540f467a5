"""The models of the park and of the wake, explored exhaustively by spin; and that each of their
mutants, the protocol with one step wrong, is found."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODELS = Path(__file__).parent / "models"
LIMIT_S = 600  # Of a slow machine: the states are the bound.

pytestmark = [pytest.mark.timeout(LIMIT_S), pytest.mark.early]

PARK_MUTANTS = {
    "NO_RECHECK": (),
    "LOOK_FIRST": (),
    "FORGET_STOP": (),
    "FORGET_ROUNDS": (),
    "FORGET_TIMER": (),
    "NOTIFY_FIRST": (),
    "COMMIT_BY_STORE": (),
    "CLAIM_BY_STORE": (),
    "RING_PARKING": (),
    "COUNTED_LATE": (),
    "NO_REARM": ("REFUSALS",),
    "RESULT_IGNORED": ("REFUSALS",),
}
WAKE_MUTANTS = {
    "NO_NOTE": (),
    "CLAIM_BY_STORE": (),
    "IDLE_BY_STORE": (),
    "RELAXED_RUNNING": (),
    "WAKE_FIRST": (),
    "LOOK_ONLY": (),
    "ANY_SHARD": (),
}
BACKSTOP = ("REFUSALS", "NO_EVENTFD", "BACKSTOP", "NO_TIMER")
MUTANTS = [("park", *item) for item in PARK_MUTANTS.items()] + [
    ("wake", *item) for item in WAKE_MUTANTS.items()
]


def explore(
    folder: Path, model: str, switches: tuple[str, ...] = (), claim: str | None = None
) -> str:
    """All that the checker says: about assertions and stuck states, or about one claim on fair runs."""
    for tool, package in (("spin", "spin"), ("cc", "gcc")):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on this machine (package {package})")
    defined = [f"-D{name}" for name in switches]
    source = MODELS / f"{model}.pml"
    run = {"cwd": folder, "check": True, "timeout": LIMIT_S, "capture_output": True, "text": True}
    subprocess.run(["spin", *defined, "-a", source], **run)
    # -w: the generated code is not ours to mend. Three more bits of fairness: up to 6 processes.
    kind = ["-DSAFETY", "-DNOCLAIM"] if claim is None else ["-DNFAIR=3"]
    level = "-O0" if any("MUTANT" in name for name in switches) else "-O1"  # One is found soon.
    subprocess.run(["cc", level, "-w", *kind, "-o", "pan", "pan.c"], **run)
    what = [] if claim is None else ["-a", "-f", "-N", claim]
    said = subprocess.run(["./pan", "-m100000", *what], **run).stdout
    assert "Search not completed" not in said or "errors: 1" in said, said
    assert "too small" not in said, said
    return said


def errors(said: str) -> int:
    found = re.search(r"errors: (\d+)", said)
    assert found, said
    return int(found[1])


@pytest.mark.parametrize(
    ("model", "switches"),
    [("park", ("PAYLOADS=2",)), ("park", ("REFUSALS",)), ("wake", ())],
    ids=["park", "park, bells refused", "wake"],
)
def test_nobody_sleeps_on_something(model: str, switches: tuple[str, ...], tmp_path: Path) -> None:
    said = explore(tmp_path, model, switches)
    assert errors(said) == 0, said
    states = re.search(r"(\d+) states, stored", said)
    assert states, said
    assert int(states[1]) > 10_000  # The whole of it, not one that ended early.


@pytest.mark.parametrize(
    ("model", "switches", "claim"),
    [
        ("park", (), "rounds_are_seen"),
        ("park", (), "timers_fire"),
        ("park", BACKSTOP, "work_is_taken"),
        ("park", BACKSTOP, "stop_is_seen"),
        ("wake", (), "it_ends"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_comes_to_pass_on_each_fair_run(
    model: str, switches: tuple[str, ...], claim: str, tmp_path: Path
) -> None:
    said = explore(tmp_path, model, switches, claim)
    assert errors(said) == 0, said


def test_without_an_eventfd_a_refused_bell_needs_the_backstop(tmp_path: Path) -> None:
    """What the backstop is for: the same search as above finds a sleeper once it is taken away."""
    said = explore(tmp_path, "park", ("REFUSALS", "NO_EVENTFD"))
    assert errors(said) == 1, said


@pytest.mark.parametrize(
    ("model", "mutant", "switches"), MUTANTS, ids=[f"{m[0]} {m[1].lower()}" for m in MUTANTS]
)
def test_a_wrong_step_is_found(
    model: str, mutant: str, switches: tuple[str, ...], tmp_path: Path
) -> None:
    said = explore(tmp_path, model, (f"MUTANT_{mutant}", *switches))
    assert errors(said) == 1, f"{mutant} was not found: {said}"
    assert "assertion violated" in said, said


@pytest.mark.parametrize("model", ["park", "wake"])
def test_each_mutant_of_a_model_is_tried(model: str) -> None:
    text = (MODELS / f"{model}.pml").read_text()
    tried = {mutant for name, mutant, _ in MUTANTS if name == model}
    assert set(re.findall(r"\bMUTANT_(\w+)", text)) == tried
