"""The report: for the terminal, as HTML and JSON, as code and as an options file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from models import ModelLab
from rich.console import Console
from test_tune_session import PLANTED, plain, tuned

import spargio
from spargio.tune import Outcome, _options
from spargio.tune._html import page
from spargio.tune._report import moved, print_report, summary, to_dict


@pytest.fixture
def found(tmp_path: Path) -> Outcome:
    model, program, _ = PLANTED["queue"]
    return tuned(ModelLab(model, program), tmp_path)


def shown(outcome: Outcome) -> str:
    text = io.StringIO()
    print_report(outcome, Console(file=text, width=200))
    return text.getvalue()


def test_the_terminal_has_what_was_tried_and_the_code(found: Outcome) -> None:
    text = shown(found)
    room = found.kept["stealable_queue_capacity"]
    for word in (
        "stealable_queue_capacity = 8",
        "better",
        "backpressure",
        "p99.9",
        "before",
        "after",
    ):
        assert word in text
    assert f".stealable_queue_capacity({room})" in text
    assert text.splitlines()[0] == "tuned      os:getpid"


def test_the_counters_that_moved(found: Outcome) -> None:
    names = [name for name, _, _ in moved(found)]
    assert names == ["stealable_backpressure"]


def test_the_page_has_both_curves_and_the_counters(found: Outcome) -> None:
    text = page(found)
    assert text.startswith("<!doctype html>")
    assert text.count("<polyline") == 2
    for word in ("\u25ac before", "\u25ac after", "Counters that moved", "stealable_backpressure"):
        assert word in text
    for trial in found.trials:
        assert trial.verdict.reason.replace(">", "&gt;") in text


def test_the_result_runs_as_code_and_as_a_file(found: Outcome, tmp_path: Path) -> None:
    builder = eval(_options.as_code(found.kept), {"spargio": spargio})

    async def in_force(handle: spargio.RuntimeHandle) -> dict[str, int]:
        return handle.stats_snapshot().options

    path = tmp_path / "tuned.conf"
    _options.write(path, found.kept, (summary(found),))
    by_code = spargio.run_with(builder, in_force)
    by_file = spargio.run(in_force, options_file=path)
    assert by_code == by_file
    for name, value in found.kept.items():
        assert by_file[name] == value
    assert _options.read(path) == {name: str(value) for name, value in found.kept.items()}


def test_what_the_program_offers_is_in_the_file_and_not_in_the_code() -> None:
    kept = {"program.placement": "stealable", "msg_ring": False}
    assert _options.text_of(kept) == "program.placement = stealable\nmsg_ring = false\n"
    assert _options.as_code(kept) == "(\n    spargio.RuntimeBuilder()\n    .msg_ring(False)\n)"


def test_nothing_was_found(tmp_path: Path) -> None:
    outcome = tuned(ModelLab(plain), tmp_path)
    assert summary(outcome) == "nothing is kept: no rule found anything in the counters"
    assert "no rule found anything" in shown(outcome)
    assert "<polyline" not in page(outcome)
    assert json.loads(json.dumps(to_dict(outcome)))["kept"] == {}


def test_what_did_not_help_is_named(tmp_path: Path) -> None:
    lab = ModelLab(plain)
    lab.offers = {"n": {"value": "a", "choices": ["a", "b"], "target": "p50"}}
    outcome = tuned(lab, tmp_path)
    assert summary(outcome).startswith("nothing is kept: of the changes that were tried 1 was ")
    assert page(outcome).count("<polyline") == 2


def test_a_noisy_machine_is_said(tmp_path: Path) -> None:
    lab = ModelLab(plain)
    lab.noise = 0.6
    outcome = tuned(lab, tmp_path)
    assert "WARNING: two equal processes may differ by a fifth or more in" in shown(outcome)
    assert len(to_dict(outcome)["warnings"]) == 1
