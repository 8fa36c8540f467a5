"""Verdicts: the target must be better and every gate must be shown; what is not shown counts as no."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random

import pytest

from spargio.tune import Comparison, Limits, Verdict

NAMES = ("cpu", "p50", "p95", "p99", "p999", "max", "errors", "backpressure")


def compare(
    effect: Mapping[str, float] | None = None,
    target: str = "cpu",
    noise: Mapping[str, float] | None = None,
    limits: Limits | None = None,
    counts: tuple[int, int] = (0, 0),
    seed: int = 1,
) -> Verdict:
    """`effect` is by how much B differs, as a part; noise 2 % unless said otherwise."""
    random = Random(seed)
    sizes = dict.fromkeys(NAMES, 0.02) | dict(noise or {})
    comparison = Comparison(target, limits or Limits(), {name: sizes[name] for name in NAMES})
    while (found := comparison.verdict()) is None:
        block = {
            name: [
                math.log1p((effect or {}).get(name, 0.0)) + random.gauss(0, sizes[name])
                for _ in range(1 if name in ("p999", "max") else 2)
            ]
            for name in NAMES
        }
        comparison.add(block)
        comparison.count("errors", *counts)
    return found


def test_a_gain_is_better() -> None:
    found = compare({"cpu": -0.2})
    assert found.kind == "better"
    assert found.is_kept
    assert found.pairs < 40
    assert found.change == pytest.approx(-0.2, abs=0.02)
    assert min(value for name, value in found.gates.items() if name != "max") >= 20


def test_nothing_is_no_gain_and_harm_is_worse() -> None:
    assert compare({}).kind == "no gain"
    worse = compare({"cpu": 0.3})
    assert worse.kind == "worse"
    assert "cpu rose by more than 5%" in worse.reason


@pytest.mark.parametrize("name", ["p50", "p95", "p99", "p999", "max"])
def test_a_tail_that_doubles_is_worse_whatever_is_gained(name: str) -> None:
    found = compare({"cpu": -0.3, name: 2.0})
    assert found.kind == "worse"
    assert name in found.reason


def test_what_is_not_shown_counts_as_no() -> None:
    """The tail is too noisy to say anything; the margin is not widened for it."""
    found = compare({"cpu": -0.3}, noise={"p99": 5.0})
    assert found.kind == "undecided"
    assert found.pairs == 120
    assert found.reason == "cpu fell, but p99 was not shown to stay within 10%"
    wide = Limits(margins={"p99": 10.0})
    assert compare({"cpu": -0.3}, noise={"p99": 5.0}, limits=wide).kind in ("better", "undecided")


def test_a_target_that_is_too_noisy_is_undecided() -> None:
    found = compare({"cpu": -0.05}, noise={"cpu": 3.0})
    assert found.kind == "undecided"
    assert "was not shown to fall by more than 3.0%" in found.reason


def test_errors_are_not_outvoted() -> None:
    assert compare({"cpu": -0.3}, counts=(0, 3)).reason == "errors rose from 0 to 18"
    assert compare({"cpu": -0.3}, counts=(5, 5)).kind == "better"


def test_no_verdict_before_the_least_number_of_pairs() -> None:
    limits = Limits(pairs_min=40)
    assert compare({"cpu": 1.0}, limits=limits).pairs == 40


def test_the_mean_is_no_target() -> None:
    scales = dict.fromkeys(NAMES, 0.1)
    with pytest.raises(ValueError, match="target must be one of cpu, p50, p95, p99, p999, errors"):
        Comparison("mean", Limits(), scales)
    with pytest.raises(ValueError, match="got 'max'"):
        Comparison("max", Limits(), scales)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"gain": 0.0}, "gain must be between 0 and 1"),
        ({"margins": {"mean": 0.1}}, r"margins must be of cpu, p50.*got \['mean'\]"),
        ({"margins": {"p99": 0.0}}, "margin of p99 must be between 0 and 10"),
        ({"pairs_min": 200}, r"pairs_min must be between 2 and pairs_max \(120\), got 200"),
    ],
)
def test_limits_are_checked(limits: Mapping[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Limits(**limits)  # type: ignore[arg-type]
