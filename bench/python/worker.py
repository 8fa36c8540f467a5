"""The measured side of the rows that need no server: one peer, measured once, in this process;
prints the sample as one JSON line."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import processes
from harness import Measure, Sample, Settings
from processes import MeasurementFailed

Runner = Callable[[float], Sample]
"""Measures for so many seconds."""


async def ns_per_operation(timed: Callable[[int], Awaitable[float]], seconds: float) -> float:
    """`timed(count)` does `count` operations and gives the seconds they took. The counts grow until
    one run is long enough; the runs before it are the warm-up."""
    count = 1000
    while True:
        took = await timed(count)
        if took >= seconds:
            return took / count * 1e9
        # Aim a little too high, so that the next run is usually the last one.
        count = max(2 * count, min(100 * count, int(count * 1.2 * seconds / max(took, 1e-9))))


def main(runners: Mapping[str, Runner]) -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--peer", required=True, choices=runners)
    parser.add_argument("--seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    print(json.dumps(runners[arguments.peer](arguments.seconds)))


@contextlib.contextmanager
def single_threaded(script: Path, settings: Settings) -> Iterator[Measure]:
    """Measure by running `script` (one that calls :func:`main`) on one CPU."""
    cpu, _ = processes.two_cpus()

    def measure(peer: str) -> Sample:
        command = processes.python(script, "--peer", peer, "--seconds", str(settings.seconds))
        return parse(processes.run(command, cpus={cpu}, seconds=60 + 20 * settings.seconds))

    yield measure


def parse(line: str) -> Sample:
    try:
        sample: Sample = json.loads(line)
    except ValueError:
        raise MeasurementFailed(f"not a sample: {line!r}") from None
    return sample
