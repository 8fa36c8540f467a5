"""Options from a file: whose value holds, and what is said of a wrong one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import spargio


async def in_force(handle: spargio.RuntimeHandle) -> dict[str, int]:
    return handle.stats_snapshot().options


def written(folder: Path, text: str, name: str = "options.conf") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_sets_what_it_has(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "# tuned\nshards = 1\nsteal_budget = 7\nidle_strategy = yield\n"
        "stealable_queue_backend = lock_free\nprogram.placement = pinned\n",
    )
    options = spargio.run(in_force, options_file=path)
    assert options["shards"] == 1
    assert options["steal_budget"] == 7
    assert options["idle_strategy"] == 2
    assert options["stealable_queue_backend"] == 1
    assert options["steal_batch_size"] == 4


def test_keywords_stand_above_the_file_in_any_order(tmp_path: Path) -> None:
    path = written(tmp_path, "shards = 1\nsteal_budget = 7\nsteal_batch_size = 8\n")
    options = spargio.run(in_force, steal_budget=9, options_file=path)
    assert (options["steal_budget"], options["steal_batch_size"]) == (9, 8)


def test_the_environment_stands_above_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = written(tmp_path, "steal_budget = 7\nsteal_batch_size = 8\n", "mine.conf")
    theirs = written(tmp_path, "steal_budget = 11\n", "theirs.conf")
    monkeypatch.setenv("SPARGIO_OPTIONS_FILE", str(theirs))
    options = spargio.run(in_force, shards=1, steal_budget=9, options_file=mine)
    assert (options["steal_budget"], options["steal_batch_size"]) == (11, 8)
    with spargio.RuntimeBuilder().shards(1).steal_budget(9).build() as handle:
        assert handle.stats_snapshot().options["steal_budget"] == 11


def test_the_environment_is_not_looked_at_if_python_does_not(tmp_path: Path) -> None:
    path = written(tmp_path, "shards = 0\n")
    folder = Path(spargio.__file__).parent.parent
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); import spargio\n" + (
        "async def main(): print('ran')\nspargio.run(main, shards=1)\n"
    )
    for words, said in (([], "shards must be between 1 and 256, got 0"), (["-E"], "ran")):
        done = subprocess.run(
            [sys.executable, *words, "-c", program],
            env={"SPARGIO_OPTIONS_FILE": str(path)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert said in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steal_budget", "line 1: a line must be name = value"),
        (
            "\nsteal_budget = x",
            'line 2: steal_budget must be a whole number between 1 and 65536, got "x"',
        ),
        ("thread_prefix = x", '"thread_prefix" is no option that a file may have'),
        ("#\nsteal_budget = 0", "line 2: steal_budget must be between 1 and 65536, got 0"),
        ("steal_budgets = 2", "is no option that a file may have, maybe steal_budget is meant"),
        ("steal_backoff_min = 64", "line 1: steal_backoff_max"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError) as caught:
        spargio.RuntimeBuilder().options_file(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_oserror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "nothing.conf"
    with pytest.raises(FileNotFoundError, match="options file cannot be read: No such") as caught:
        spargio.RuntimeBuilder().options_file(missing)
    assert caught.value.filename == str(missing)
    with pytest.raises(IsADirectoryError):
        spargio.RuntimeBuilder().options_file(tmp_path)
    monkeypatch.setenv("SPARGIO_OPTIONS_FILE", str(missing))
    with pytest.raises(FileNotFoundError, match="SPARGIO_OPTIONS_FILE"):
        spargio.Runtime(shards=1)
