"""What the tuner would do over noise that was recorded on a machine with busy neighbours. The command
of simulation.py does the same with more sessions."""

from __future__ import annotations

import math
from random import Random

import pytest
import simulation

SESSIONS = {"cpu": 2000, "p50": 300, "p99": 300}
SERIES = simulation.recorded()


@pytest.mark.any_backend
@pytest.mark.timeout(180)
@pytest.mark.parametrize("target", SESSIONS)
@pytest.mark.parametrize("series", SERIES)
def test_false_gains_of_a_session_are_below_5_percent(series: str, target: str) -> None:
    """Sessions of 20 candidates that change nothing, at most 120 pairs each."""
    blocks, random = SERIES[series], Random(f"{series} {target}")
    scale = simulation.scales_of(blocks)[target]
    sessions = SESSIONS[target]
    wrong = sum(simulation.false_gain(blocks, scale, target, random) for _ in range(sessions))
    assert wrong < 0.05 * sessions


@pytest.mark.any_backend
@pytest.mark.parametrize("series", SERIES)
def test_a_lower_mean_with_twice_the_p99_is_never_accepted(series: str) -> None:
    """20 of 20, on the noise as it was recorded and on a quiet machine's."""
    effect = {name: math.log(0.85) for name in ("cpu", "p50")} | {
        name: math.log(2) for name in ("p99", "p999")
    }
    for part in (1.0, 0.2, 0.05):
        random = Random(f"{series} {part}")
        blocks = simulation.quiet(SERIES[series], part)
        kinds = [simulation.verdict(blocks, effect, random) for _ in range(20)]
        assert "better" not in kinds


@pytest.mark.any_backend
@pytest.mark.parametrize("part", [1.0, 0.2, 0.05])
@pytest.mark.parametrize("series", SERIES)
def test_a_p99_30_percent_higher_is_accepted_in_at_most_2_percent(series: str, part: float) -> None:
    effect = {"cpu": math.log(0.85), "p50": math.log(0.85), "p99": math.log(1.3)}
    random = Random(f"{series} {part} 30")
    blocks = simulation.quiet(SERIES[series], part)
    kinds = [simulation.verdict(blocks, effect, random) for _ in range(150)]
    assert kinds.count("better") <= 3


@pytest.mark.any_backend
@pytest.mark.parametrize("series", SERIES)
def test_gains_are_found_where_the_machine_is_quiet(series: str) -> None:
    """Without this the tests above would pass for a tuner that always says no."""
    effect = {"cpu": math.log(0.8)}
    blocks = simulation.quiet(SERIES[series], 0.05)
    random = Random(series)
    kinds = [simulation.verdict(blocks, effect, random) for _ in range(40)]
    assert kinds.count("better") >= 30
