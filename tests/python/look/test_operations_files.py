"""The alarms and the dashboard of docs/operations: each metric that they name exists, and each alarm has
its row in the runbook."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import spargio
from spargio import metrics
from spargio.latency import Recorder

pytestmark = pytest.mark.any_backend

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def names() -> set[str]:
    Recorder("of the alarms").record_ns(5)
    with spargio.Runtime.builder().shards(1).build() as handle:
        text = metrics.render(handle.stats_snapshot())
    return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}


@pytest.mark.parametrize("file", ["alerts.yml", "dashboard.json"])
def test_each_metric_exists(file: str, names: set[str]) -> None:
    used = set(re.findall(r"\bspargio_\w+", (DOCS / "operations" / file).read_text()))
    assert len(used) >= 8
    assert used <= names


def test_each_alarm_is_in_the_runbook() -> None:
    alarms = re.findall(r"alert: (\w+)", (DOCS / "operations/alerts.yml").read_text())
    runbook = re.findall(
        r"^\| `(Spargio\w+)` \|", (DOCS / "operations.md").read_text(), re.MULTILINE
    )
    assert sorted(alarms) == sorted(runbook)


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((DOCS / "operations/dashboard.json").read_text())
    assert all(panel["targets"] for panel in dashboard["panels"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
