"""The flight recorder: a trace that writes itself when something went wrong."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import support
from test_trace import check, of_phase

import spargio
from spargio import latency


def reasons(folder: Path) -> list[str]:
    return [path.stem.split("-")[-1] for path in sorted(folder.glob("spargio-*.json"))]


def test_a_blocked_shard_writes_its_trace(tmp_path: Path) -> None:
    async def blocks() -> None:
        support.eventually(lambda: reasons(tmp_path), "the file")

    async def main(handle: spargio.RuntimeHandle) -> list[Path]:
        with handle.flight_recorder(tmp_path, blocked=0.05) as recorder:
            await handle.spawn_pinned(1, blocks(), name="culprit")
            await spargio.sleep(0.1)
            return recorder.files()

    (path,) = spargio.run(main, shards=2)
    assert reasons(tmp_path) == ["blocked"]
    found = json.loads(path.read_text())
    check(found, 2)
    (culprit,) = of_phase(found, "X", "culprit")
    assert culprit["args"]["ends"] == "running" and culprit["dur"] >= 49_000


def test_a_signal_writes_a_trace(tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        with handle.flight_recorder(tmp_path, blocked=None, signal=signal.SIGUSR2, files=2) as one:
            for number in (1, 2):
                os.kill(os.getpid(), signal.SIGUSR2)
                await support.until(lambda number=number: len(one.files()) == number)
            with pytest.raises(spargio.Overloaded):
                handle.flight_recorder(tmp_path)
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL

    spargio.run(main, shards=1)
    assert reasons(tmp_path) == ["signal", "signal"]


def test_a_p99_above_its_limit_writes_a_trace(tmp_path: Path) -> None:
    recorder = latency.Recorder("flight test")
    for _ in range(1000):
        recorder.record_ns(10_000_000_000)  # Before: counts for nothing.

    async def main(handle: spargio.RuntimeHandle) -> None:
        with handle.flight_recorder(tmp_path, blocked=None, recorder="flight test", p99=0.1) as one:
            await spargio.sleep(0.3)
            for n in range(200):
                recorder.record_ns(200_000_000 if n % 100 == 0 else 1000)  # 1 %, no more.
            await spargio.sleep(1.2)
            assert one.files() == []
            for n in range(200):
                recorder.record_ns(200_000_000 if n % 40 == 0 else 1000)
            await support.until(one.files)

    spargio.run(main, shards=1)
    assert reasons(tmp_path) == ["p99"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"blocked": None}, "must have a reason"),
        ({"recorder": "one"}, "recorder and p99 must be given together"),
        ({"signal": 99}, "signal must be between 1 and 64, got 99"),
        ({"files": 0}, "files must be between 1 and 10000, got 0"),
    ],
)
def test_a_wrong_flight_recorder(given: dict[str, Any], text: str, tmp_path: Path) -> None:
    with spargio.Runtime(shards=1) as handle:
        with pytest.raises(ValueError, match=text):
            handle.flight_recorder(tmp_path, **given)
        with pytest.raises(NotADirectoryError, match="got '/nowhere'"):
            handle.flight_recorder("/nowhere")


def test_a_flight_recorder_that_is_forgotten_ends_with_its_runtime(tmp_path: Path) -> None:
    with spargio.Runtime(shards=1) as handle:
        handle.flight_recorder(tmp_path)
    assert reasons(tmp_path) == []
