"""The sequential test: what it is by hand, and that it keeps its promise under any noise."""

from __future__ import annotations

import math
from random import Random

import pytest

from spargio.tune import Evidence
from spargio.tune._statistics import BETS, evidence_of, floor_of, log_ratio, scale_of


def test_evidence_by_hand() -> None:
    evidence = Evidence(0.0, 1.0, above=True)
    assert evidence.value == 1.0
    # One difference: the bet pays 1 + b x.
    assert evidence.add([0.5]) == pytest.approx(sum(1 + b * 0.5 for b in BETS) / len(BETS))
    # Two of one coin: divided by the mean of both sides of the coin.
    pair = Evidence(0.0, 1.0, above=True)
    expected = [(1 + b * 0.5) * (1 + b * 0.25) / (1 + b * b * 0.125) for b in BETS]
    assert pair.add([0.5, 0.25]) == pytest.approx(sum(expected) / len(BETS))


def test_a_stall_counts_for_one_scale() -> None:
    values = {evidence_of([[size]], 0.0, 0.1, above=True) for size in (0.1, 1.0, 1e9)}
    assert len(values) == 1
    assert evidence_of([[1e9, 1e9]], 0.0, 0.1, above=True) < 2.0  # One coin is worth one bit.


def test_below_is_the_mirror_of_above() -> None:
    series = [[0.3, -0.1], [0.2], [0.4, 0.1, -0.2]]
    mirrored = [[-one for one in block] for block in series]
    above = evidence_of(series, 0.05, 0.2, above=True)
    assert above == pytest.approx(evidence_of(mirrored, -0.05, 0.2, above=False))


@pytest.mark.parametrize("block", [[0.7], [0.9, 0.4], [0.9, -0.8], [0.3, 0.2, -0.9, 0.8]])
def test_the_mean_over_the_coin_is_one(block: list[float]) -> None:
    """For every block, whatever its differences are: this is why no assumption on noise is needed."""
    heads = evidence_of([block], 0.0, 1.0, above=True)
    tails = evidence_of([[-one for one in block]], 0.0, 1.0, above=True)
    assert (heads + tails) / 2 == pytest.approx(1.0)


@pytest.mark.parametrize("noise", ["drift", "bursts", "equal pairs"])
def test_noise_that_is_not_independent_does_not_fool_it(noise: str) -> None:
    """At most 1 in 20 series may ever reach 20. A bet per pair, without the division, is fooled by
    pairs of a block that move together."""
    random = Random(noise)
    wrong = 0
    for _ in range(400):
        evidence = Evidence(0.0, 0.1, above=True)
        level = 0.0
        for n in range(60):
            if noise == "drift":
                level = math.sin(n / 9)
                block = [level, -level]
            elif noise == "bursts":
                level = 3.0 if n % 20 < 10 else 0.01
                block = [level * random.random(), level * random.random()]
            else:
                block = [0.1, 0.1]
            sign = random.choice((1, -1))
            evidence.add([sign * one for one in block])
        wrong += evidence.best >= 20
    assert wrong <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


def test_a_true_difference_is_found_soon() -> None:
    random = Random(3)
    evidence = Evidence(math.log(0.97), 0.05, above=False)
    blocks = 0
    while evidence.value < 400:
        evidence.add([math.log(0.9) + random.gauss(0, 0.05) for _ in range(2)])
        blocks += 1
    assert 9 <= blocks <= 25


def test_the_scale_is_the_median_distance_from_nothing() -> None:
    assert scale_of([[0.1, -0.2], [0.3]]) == 0.2
    assert scale_of([[0.0, 0.0]]) == 0.005
    assert scale_of([]) == 1.0


def test_the_floor_is_what_equal_processes_may_differ_by() -> None:
    random = Random(4)
    quiet = [[random.gauss(0, 0.01), random.gauss(0, 0.01)] for _ in range(20)]
    noisy = [[random.gauss(0, 0.5), random.gauss(0, 0.5)] for _ in range(20)]
    uneven = [[one + 0.1 for one in block] for block in quiet]
    assert floor_of(quiet, scale_of(quiet)) < 0.02
    assert floor_of(noisy, scale_of(noisy)) > 0.1
    assert 0.1 < floor_of(uneven, 0.01) < 0.13
    assert floor_of(quiet[:3], 0.01) == 5.0  # Three blocks rule out nothing.


def test_a_ratio_of_nothing() -> None:
    assert log_ratio(0, 0) == 0
    assert log_ratio(2, 1) == pytest.approx(math.log(2))
