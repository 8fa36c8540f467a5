"""The pictures of the docs come from a program that runs, by tools/screenshots.py."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

import screenshots  # noqa: E402

SIZE_MAX = 120_000
WORDS = {
    "top.svg": ("shard", "busy", "requests", "polls/s"),
    "ps.svg": ("TASK", "connection", "report", "__aenter__", "waiting"),
    "report.svg": ("Latency by percentile", "Latency over time", "shard 1", "server"),
    "trace.svg": ("shard 0", "shard 1", "hash_payload", "marker-end"),
}


def check(folder: Path) -> None:
    for name in screenshots.NAMES:
        text = (folder / name).read_text().replace("&#160;", " ")
        ElementTree.fromstring(text)
        assert len(text) < SIZE_MAX, name
        assert "http://" not in text.replace("http://www.w3.org/", ""), name
        assert "https://" not in text, name
        for word in WORDS[name]:
            assert word in text, (name, word)


@pytest.mark.any_backend
def test_they_are_made_by_a_run(tmp_path: Path) -> None:
    screenshots.make(tmp_path, seconds=4.0)
    check(tmp_path)


def test_those_of_the_docs() -> None:
    check(ROOT / "docs/images")
    shown = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    for name in screenshots.NAMES:
        assert f"(images/{name})" in shown
