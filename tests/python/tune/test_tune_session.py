"""The loop on a machine that is a model: what it tries, keeps, takes back and refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from models import Effect, ModelLab

from spargio.tune import Limits, Outcome, Refused, Session, Settings, Subject
from spargio.tune._rounds import Counters
from spargio.tune._usage import Usage

SUBJECT = Subject({"target": "os:getpid", "arrivals": 100})


def session(lab: ModelLab, journal: Path, **asked: Any) -> Session:
    resume = asked.pop("resume", False)
    lines: list[str] = asked.pop("lines", [])
    settings = Settings(**{"rate": 8000.0, **asked})
    return Session(SUBJECT, lab, settings, journal, resume=resume, tell=lines.append)


def tuned(lab: ModelLab, folder: Path, **asked: Any) -> Outcome:
    one = session(lab, folder / "journal", **asked)
    try:
        return one.run()
    finally:
        one.close()


def plain(options: Mapping[str, Any], effect: Effect) -> None:
    """A good configuration."""


def small_queue(options: Mapping[str, Any], effect: Effect) -> None:
    """Refusals until there is room for 64 tasks."""
    if (room := int(options["stealable_queue_capacity"])) < 64:
        effect.refused = 4000 // room
        effect.p99 *= 3
        effect.p999 *= 2


def spinning(options: Mapping[str, Any], effect: Effect) -> None:
    if options["idle_strategy"] == "spin":
        effect.cpu *= 3
        effect.p50 *= 1.5
        effect.p999 *= 2
        effect.counters = {"polls": 1000, "passes": 10**6, "idle_ns": 0}
        effect.busy = [1.0, 1.0]


def stuck(options: Mapping[str, Any], effect: Effect) -> None:
    """The gate never lets a task move."""
    if options["steal_locality_margin"] > 1000:
        effect.p50 *= 1.6
        effect.p99 *= 1.6
        effect.p999 *= 1.5
        effect.busy = [0.9, 0.01]
        effect.counters |= {"steal_scans": 1000, "steal_skipped_locality": 990}


def pinned(options: Mapping[str, Any], effect: Effect) -> None:
    if options.get("program.placement", "pinned") == "pinned":
        effect.p50 *= 1.5
        effect.p99 *= 1.4
        effect.p999 *= 1.4
        effect.busy = [0.8, 0.0]


PLANTED = {
    "queue": (small_queue, {"stealable_queue_capacity": 4}, "stealable_queue_capacity"),
    "spin": (spinning, {"idle_strategy": "spin"}, "idle_strategy"),
    "margin": (stuck, {"steal_locality_margin": 1_000_000}, "steal_locality_margin"),
    "pin": (pinned, {}, "program.placement"),
}
OFFERS = {"placement": {"value": "pinned", "choices": ["pinned", "stealable"], "target": "p50"}}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_undone(fault: str, seed: int, tmp_path: Path) -> None:
    model, program, option = PLANTED[fault]
    lab = ModelLab(model, program, seed)
    if fault == "pin":
        lab.offers = OFFERS
    found = tuned(lab, tmp_path, seed=seed)
    assert list(found.kept) == [option], [one.verdict for one in found.trials]
    if fault == "queue":
        assert found.kept[option] >= 64
    elif fault == "margin":
        assert found.kept[option] <= 1
    else:
        assert found.kept[option] in ("park", "stealable")
    assert found.finals[-1].verdict.is_kept
    assert lab.closed


@pytest.mark.parametrize("seed", range(20))
def test_a_good_configuration_is_kept(seed: int, tmp_path: Path) -> None:
    """The program offers something that makes no difference, so that there is something to try."""
    lab = ModelLab(plain, seed=seed)
    lab.noise = 0.1
    lab.offers = OFFERS
    found = tuned(lab, tmp_path, seed=seed)
    assert found.kept == {}
    assert [one.verdict.is_kept for one in found.trials] == [False]


@pytest.mark.parametrize("seed", range(20))
def test_a_lower_mean_with_twice_the_p99_is_not_kept(seed: int, tmp_path: Path) -> None:
    def cached(options: Mapping[str, Any], effect: Effect) -> None:
        if options.get("program.placement") == "stealable":
            effect.p50 *= 0.7
            effect.cpu *= 0.8
            effect.p99 *= 2

    lab = ModelLab(cached, seed=seed)
    lab.offers = OFFERS
    found = tuned(lab, tmp_path, seed=seed)
    assert found.kept == {}
    assert found.trials[0].verdict.kind == "worse"
    assert found.trials[0].verdict.change < -0.25


def test_one_option_differs_between_the_sides(tmp_path: Path) -> None:
    """Several changes at once are never compared, but in the last check."""

    def both(options: Mapping[str, Any], effect: Effect) -> None:
        small_queue(options, effect)
        spinning(options, effect)

    lab = ModelLab(both, {"stealable_queue_capacity": 16, "idle_strategy": "spin"})
    found = tuned(lab, tmp_path)
    assert set(found.kept) == {"stealable_queue_capacity", "idle_strategy"}
    running: dict[str, dict[str, Any]] = {}
    compared = []
    for side, options in lab.started:
        running[side] = options
        if side == "B":
            a, b = running["A"], running["B"]
            compared.append(sum(a.get(name) != b.get(name) for name in {*a, *b}))
    finals = len(found.finals)
    assert finals == 1
    assert set(compared) == {0, 1, 2}
    assert compared.index(2) > max(n for n, count in enumerate(compared) if count == 1)


def test_what_does_not_hold_together_is_taken_back(tmp_path: Path) -> None:
    """Each change helps alone, both together hurt."""

    def model(options: Mapping[str, Any], effect: Effect) -> None:
        first = options.get("program.one") == "b"
        second = options.get("program.two") == "b"
        effect.p50 *= {(False, False): 1.0, (True, False): 0.6, (False, True): 0.9}.get(
            (first, second), 0.55
        )
        if first and second and lab.together:
            effect.p99 *= 3

    lab = ModelLab(model)
    lab.together = False  # type: ignore[attr-defined]
    lab.offers = {
        name: {"value": "a", "choices": ["a", "b"], "target": "p50"} for name in ("one", "two")
    }
    one = session(lab, tmp_path / "journal")
    check = one._check_all

    def later() -> None:
        lab.together = True  # type: ignore[attr-defined]
        check()

    one._check_all = later  # type: ignore[method-assign]
    found = one.run()
    one.close()
    assert [list(trial.change) for trial in found.trials if trial.verdict.is_kept] == [
        ["program.one"],
        ["program.two"],
    ]
    assert [trial.verdict.kind for trial in found.finals] == ["worse", "better"]
    assert found.kept == {"program.one": "b"}  # The stronger one stays.


@pytest.mark.parametrize(("cpus", "share"), [(2, 0.4), (4, 0.6)])
def test_the_load_is_a_part_of_the_knee(cpus: int, share: float, tmp_path: Path) -> None:
    lab = ModelLab(plain)
    lab.machine["affinity"] = list(range(cpus))
    found = tuned(lab, tmp_path, rate=None)
    assert 0.94 * lab.capacity * share <= found.rate <= lab.capacity * share


def test_a_program_without_a_knee_is_refused(tmp_path: Path) -> None:
    lab = ModelLab(plain)
    lab.capacity = 0.0
    with pytest.raises(Refused, match=r"no rate is served well \(completed\), from 100/s on"):
        tuned(lab, tmp_path, rate=None)


def test_a_candidate_that_does_not_run_is_not_kept(tmp_path: Path) -> None:
    lab = ModelLab(spinning, {"idle_strategy": "spin"})
    lab.broken = lambda options: "no such thing" if options.get("idle_strategy") == "park" else ""
    found = tuned(lab, tmp_path)
    assert found.kept == {}
    assert found.trials[0].verdict.kind == "failed"
    assert found.trials[0].verdict.reason == "no such thing"


def test_a_program_that_does_not_run_is_refused(tmp_path: Path) -> None:
    lab = ModelLab(plain)
    lab.broken = lambda options: "port in use"
    with pytest.raises(Refused, match="the program does not run as it is: port in use"):
        tuned(lab, tmp_path)


@pytest.mark.parametrize(
    ("usage", "said"), [((0.3, 0.0), "other processes use 30%"), ((0.0, 0.05), "the host takes 5%")]
)
def test_a_busy_machine_is_refused(usage: tuple[float, float], said: str, tmp_path: Path) -> None:
    lab = ModelLab(plain)
    lab.idle_usage = usage
    with pytest.raises(Refused, match=said):
        tuned(lab, tmp_path)
    assert lab.rounds == 0


def test_a_quiet_machine_is_waited_for(tmp_path: Path) -> None:
    lab = ModelLab(plain)
    usages = [(0.3, 0.0), (0.2, 0.0), (0.01, 0.0)]
    idle = lab.idle

    def next_idle(seconds: float) -> Usage:
        lab.idle_usage = usages.pop(0)
        return idle(seconds)

    lab.idle = next_idle  # type: ignore[method-assign]
    lines: list[str] = []
    one = session(lab, tmp_path / "journal", lines=lines)
    one.run(wait_s=30.0)
    one.close()
    assert [line[:8] for line in lines[:3]] == ["waiting:", "waiting:", "the mach"]
    assert usages == []


def test_a_program_without_a_runtime_is_refused(tmp_path: Path) -> None:
    lab = ModelLab(plain)
    one = lab._round
    lab._round = lambda *words: replace(one(*words), counters=Counters())  # type: ignore[method-assign]
    with pytest.raises(Refused, match="no runtime of spargio answers"):
        tuned(lab, tmp_path)


def test_disturbed_pairs_are_measured_again(tmp_path: Path) -> None:
    lab = ModelLab(plain)
    lab.foreign = [0.01, 0.5, 0.01, 0.01, 0.5, 0.01, 0.02]
    found = tuned(lab, tmp_path)
    assert found.trials == []
    assert lab.rounds == 2 * (40 + 2)
    journal = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    blocks = [line["value"]["pairs"] for line in journal if "control" in line["key"]]
    assert [pair["redone"] for pair in blocks[0]] == [1, 1]
    used = [
        side["foreign"] for block in blocks for pair in block for side in (pair["a"], pair["b"])
    ]
    assert max(used) == 0.02


def test_a_machine_that_becomes_busy_is_refused(tmp_path: Path) -> None:
    lab = ModelLab(plain)
    lab.foreign = [0.01] * 30 + [0.4]
    with pytest.raises(Refused, match="the machine changed: .* pairs were disturbed"):
        tuned(lab, tmp_path)


def test_settings_that_change_are_refused(tmp_path: Path) -> None:
    lab = ModelLab(spinning, {"idle_strategy": "spin"})
    one = session(lab, tmp_path / "journal")
    calibrate = one._calibrate

    def then_change() -> None:
        calibrate()
        lab.machine["governor"] = "powersave"

    one._calibrate = then_change  # type: ignore[method-assign]
    with pytest.raises(Refused, match="governor was None and is 'powersave'"):
        one.run()
    one.close()


def test_a_baseline_that_moved_is_measured_again(tmp_path: Path) -> None:
    """The machine has two speeds: the CPU time of the same work changes by half."""

    def model(options: Mapping[str, Any], effect: Effect) -> None:
        spinning(options, effect)
        if lab.rounds > 110:
            effect.cpu *= 1.6

    lab = ModelLab(model)
    lab.offers = {str(n): {"value": "a", "choices": ["a", "b"], "target": "p50"} for n in range(6)}
    lines: list[str] = []
    tuned(lab, tmp_path, lines=lines)
    assert lines.count("the baseline is not what it was: measuring the noise again") == 1


def test_the_budget_ends_the_search(tmp_path: Path) -> None:
    lab = ModelLab(plain)
    lab.offers = {str(n): {"value": "a", "choices": ["a", "b"], "target": "p50"} for n in range(30)}
    found = tuned(lab, tmp_path, comparisons=5)
    assert len(found.trials) == 4  # One is left for a last check.


def test_no_gain_below_the_noise_floor_is_claimed(tmp_path: Path) -> None:
    def model(options: Mapping[str, Any], effect: Effect) -> None:
        if options.get("program.placement") == "stealable":
            effect.p50 *= 0.9

    lab = ModelLab(model)
    lab.noise = 0.25
    lab.offers = OFFERS
    found = tuned(lab, tmp_path, limits=Limits(gain=0.01))
    assert found.noise["p50"] > 0.05
    assert found.kept == {}
