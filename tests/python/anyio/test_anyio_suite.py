"""A part of anyio's own suite on the backend; ``python -m tests.conformance anyio-backend`` runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.early
@pytest.mark.timeout(180)
def test_a_part_of_the_suite_of_anyio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from tests.conformance import anyio_backend as suite

    try:
        suite.prepare()
    except suite.Unavailable as error:
        pytest.skip(f"anyio's suite cannot be fetched: {error}")
    status, output = suite.run_files(suite.PART)
    counts = suite.counts_of(output)
    assert status == 0, output[-6000:]
    assert counts["passed"] > 150, counts
    assert "failed" not in counts and "error" not in counts, counts
