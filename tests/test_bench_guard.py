"""bench/guard.py and bench/instructions.py: what fails, what does not, and what they say."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


def peer(value: float | None) -> dict[str, Any]:
    median = {} if value is None else {"ms": value, "other": 1.0}
    return {"status": "missing" if value is None else "measured", "median": median}


def metric(key: str, better: str, headline: bool) -> dict[str, Any]:
    return {"key": key, "better": better, "headline": headline}


RUN: dict[str, Any] = {
    "schema": 2,
    "settings": {"quick": False},
    "groups": {
        "read": {
            "subject": "spargio",
            "metrics": [metric("ms", "lower", True), metric("other", "lower", False)],
            "peers": {"spargio": peer(10.0), "a": peer(20.0), "b": peer(80.0), "c": peer(None)},
        },
        "serve": {
            "subject": "spargio",
            "metrics": [metric("ms", "higher", True)],
            "peers": {"spargio": peer(90.0), "a": peer(30.0)},
        },
    },
}


@dataclass
class Outcome:
    returncode: int
    stdout: str


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def guard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    import guard as module

    def call(run: dict[str, Any], *options: str) -> Outcome:
        (tmp_path / "run.json").write_text(json.dumps(run))
        words = [
            str(tmp_path / "run.json"),
            *options,
            "--baseline",
            str(tmp_path / "baseline.json"),
        ]
        return Outcome(module.main(words), capsys.readouterr().out)

    assert call(RUN, "--update").returncode == 0
    return call


def changed(group: str, name: str, value: float | None) -> dict[str, Any]:
    run = copy.deepcopy(RUN)
    run["groups"][group]["peers"][name] = peer(value)
    return run


def test_the_same_run_passes(guard: Any, tmp_path: Path) -> None:
    outcome = guard(RUN)
    assert outcome.returncode == 0, outcome.stdout
    ratios = json.loads((tmp_path / "baseline.json").read_text())["ratios"]
    assert ratios == {"read ms": {"a": 2.0, "b": 8.0}, "serve ms": {"a": 3.0}}
    assert outcome.stdout.splitlines()[1].split() == ["read", "ms", "4.00", "4.00", "+0.0%"]


# 10 ms are 15 % of the ratio away at 10 / 0.85 ms; of what is better when it is more, 90 at 76.5.
@pytest.mark.parametrize(
    ("group", "value", "status"),
    [
        ("read", 11.76, 0),
        ("read", 11.77, 1),
        ("read", 1.0, 0),
        ("serve", 76.6, 0),
        ("serve", 76.4, 1),
        ("serve", 900.0, 0),
    ],
)
def test_a_drop_of_more_than_15_per_cent_fails(
    guard: Any, group: str, value: float, status: int
) -> None:
    outcome = guard(changed(group, "spargio", value))
    assert outcome.returncode == status, outcome.stdout
    assert ("FAILED" in outcome.stdout) == (status == 1)
    if status:
        line = next(line for line in outcome.stdout.splitlines() if line.startswith(group))
        assert line.endswith("worse")


def test_a_slower_machine_changes_nothing(guard: Any) -> None:
    run = copy.deepcopy(RUN)
    for group in run["groups"].values():
        for one in group["peers"].values():
            one["median"] = {key: value * 3 for key, value in one["median"].items()}
    assert guard(run).returncode == 0


def test_a_peer_that_is_missing_now_does_not_count(guard: Any) -> None:
    assert guard(changed("read", "b", None)).returncode == 0
    assert guard(changed("read", "c", 1.0)).returncode == 0


def test_a_row_that_is_not_in_the_run_is_named(guard: Any) -> None:
    run = copy.deepcopy(RUN)
    del run["groups"]["serve"]
    outcome = guard(run)
    assert outcome.returncode == 0
    assert "not in this run: serve ms" in outcome.stdout


def test_spargio_not_measured_any_more_fails(guard: Any) -> None:
    outcome = guard(changed("read", "spargio", None))
    assert outcome.returncode == 1
    assert "gone" in outcome.stdout


def test_a_run_with_nothing_in_common_fails(guard: Any) -> None:
    run = copy.deepcopy(RUN)
    run["groups"] = {"other": run["groups"]["read"]}
    outcome = guard(run)
    assert outcome.returncode == 1
    assert "no row in common" in outcome.stdout


def test_an_update_by_a_part_keeps_the_other_rows(guard: Any, tmp_path: Path) -> None:
    run = changed("read", "spargio", 5.0)
    del run["groups"]["serve"]
    assert guard(run, "--update").returncode == 0
    ratios = json.loads((tmp_path / "baseline.json").read_text())["ratios"]
    assert ratios == {"read ms": {"a": 4.0, "b": 16.0}, "serve ms": {"a": 3.0}}


def test_a_quick_run_and_another_schema_are_refused(guard: Any) -> None:
    for change in ({"settings": {"quick": True}}, {"schema": 1}):
        outcome = guard(RUN | change)
        assert outcome.returncode == 2
        assert outcome.stdout == ""


def test_the_band_of_instruction_counts_has_two_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import instructions

    monkeypatch.setattr(instructions, "BASELINE", tmp_path / "counts.json")
    monkeypatch.setattr(instructions.loop_instructions, "is_measurable", lambda: False)
    instructions.BASELINE.write_text(json.dumps({"a": 100, "b": 1000}))
    for counts, status in [
        ({"a": 105, "b": 950}, 0),
        ({"a": 106, "b": 1000}, 1),
        ({"a": 100, "b": 949}, 1),
        ({"a": 100}, 1),
        ({"a": 100, "b": 1000, "c": 1}, 1),
    ]:
        assert instructions.show(counts, check=True) == status, counts
        assert ("--update" in capsys.readouterr().out) == (status == 1)
        assert instructions.show(counts, check=False) == 0
        capsys.readouterr()


def test_a_profile_has_each_functions_own_instructions(tmp_path: Path) -> None:
    import instructions

    file = tmp_path / "callgrind.1"
    file.write_text(
        "events: Ir\nfn=outer\n10 5\n+2 7\ncfn=inner\ncalls=2 30\n+1 100\n* 1\nfn=inner\n30 100\n\n"
        "totals: 113\n"
    )
    assert instructions.functions(file) == {"outer": 13, "inner": 100}
