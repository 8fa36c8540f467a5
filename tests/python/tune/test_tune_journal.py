"""A session that was interrupted goes on, and comes to what it would have come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from models import ModelLab
from test_tune_session import PLANTED, session

from spargio.tune import Refused
from spargio.tune._journal import Journal

MODEL, PROGRAM, OPTION = PLANTED["queue"]
HEAD: dict[str, Any] = {"settings": {"cpu": "one"}, "subject": {"command": "x"}, "asked": {}}


def lab(seed: int = 1) -> ModelLab:
    return ModelLab(MODEL, PROGRAM, seed)


@pytest.mark.parametrize("rounds", [3, 50, 90, 130])
def test_a_session_goes_on_after_ctrl_c(rounds: int, tmp_path: Path) -> None:
    whole = session(lab(), tmp_path / "whole")
    expected = whole.run()
    whole.close()
    path = tmp_path / "journal"
    first = lab()
    first.interrupt_at = rounds
    one = session(first, path)
    with pytest.raises(KeyboardInterrupt):
        one.run()
    one.close()
    lines = path.read_text().splitlines()
    second = lab(seed=2)
    again = session(second, path, resume=True)
    found = again.run()
    again.close()
    assert path.read_text().splitlines()[: len(lines)] == lines
    assert 0 < second.rounds <= 2 * (40 + 8 * 120) - rounds
    assert list(found.kept) == list(expected.kept) == [OPTION]
    assert found.finals[-1].verdict.is_kept


def test_a_session_that_ended_measures_nothing_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    one = session(lab(), path)
    expected = one.run()
    one.close()
    second = lab()
    again = session(second, path, resume=True)
    found = again.run()
    again.close()
    assert second.rounds == 0
    assert second.started == []
    assert found.trials == expected.trials
    assert found.kept == expected.kept


def test_a_line_that_was_cut_off_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    one = Journal(path, HEAD)
    assert one.once("a", lambda: {"n": 1}) == {"n": 1}
    one.once("b", lambda: 2)
    one.close()
    path.write_bytes(path.read_bytes()[:-3])
    again = Journal(path, HEAD, resume=True)
    assert again.once("a", lambda: 1 / 0) == {"n": 1}
    assert not again.is_replaying
    assert again.once("b", lambda: 3) == 3
    again.close()
    assert [json.loads(line)["value"] for line in path.read_text().splitlines()[1:]] == [
        {"n": 1},
        3,
    ]


def test_another_session_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, HEAD).close()
    with pytest.raises(Refused, match="cpu was 'one' and is 'two'"):
        Journal(path, {**HEAD, "settings": {"cpu": "two"}}, resume=True)
    with pytest.raises(
        Refused, match="of another session: command was 'x' and is 'y'. Runs under different loads"
    ):
        Journal(path, {**HEAD, "subject": {"command": "y"}}, resume=True)
    with pytest.raises(FileExistsError):
        Journal(path, HEAD)
    one = Journal(path, HEAD, resume=True)
    one.once("a", lambda: 1)
    one.close()
    again = Journal(path, HEAD, resume=True)
    with pytest.raises(Refused, match="has 'a' where this session has 'b'"):
        again.once("b", lambda: 1)
    again.close()
    (tmp_path / "other").write_text("{}\n")
    with pytest.raises(Refused, match="is not the journal of a session"):
        Journal(tmp_path / "other", HEAD, resume=True)


def test_a_load_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    one = session(lab(), path)
    one.close()
    with pytest.raises(Refused, match="another session: rate was .* and is 9000.0"):
        session(lab(), path, resume=True, rate=9000.0)
