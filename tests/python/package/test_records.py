"""Records behave as the standard library's dataclasses."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, ClassVar

import pytest

import spargio
from spargio import _records
from spargio.fs import DuOptions, DuSummary, OpenOptions

pytestmark = pytest.mark.any_backend


def pair(decorator: Any) -> Any:
    class Point:
        """A point."""

        x: int
        y: int = 2
        zero: ClassVar[int] = 0

        def sum(self) -> int:
            return self.x + self.y

    return decorator(frozen=True)(Point)


OURS = pair(_records.dataclass)
THEIRS = pair(dataclasses.dataclass)


@pytest.mark.parametrize(
    "look",
    [
        lambda kind: repr(kind(1)),
        lambda kind: repr(kind(x=1, y=3)),
        lambda kind: kind(1) == kind(1, 2),
        lambda kind: kind(1) == kind(2),
        lambda kind: kind(1) == (1, 2),
        lambda kind: hash(kind(1)) == hash(kind(1)),
        lambda kind: len({kind(1), kind(1), kind(2)}),
        lambda kind: kind.__match_args__,
        lambda kind: str(inspect.signature(kind)),
        lambda kind: dataclasses.is_dataclass(kind),
        lambda kind: dataclasses.asdict(kind(1)),
        lambda kind: [(f.name, f.default) for f in dataclasses.fields(kind) if f.name == "y"],
        lambda kind: repr(dataclasses.replace(kind(1), y=9)),
        lambda kind: repr(copy.copy(kind(1))),
        lambda kind: repr(copy.deepcopy(kind(1))),
        lambda kind: kind(1).sum(),
        lambda kind: kind(1).zero,
    ],
)
def test_the_same_as_a_dataclass(look: Any) -> None:
    assert look(OURS) == look(THEIRS)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda kind: setattr(kind(1), "x", 2),
        lambda kind: setattr(kind(1), "other", 2),
        lambda kind: delattr(kind(1), "x"),
        lambda kind: kind(),
        lambda kind: kind(1, 2, 3),
        lambda kind: kind(1, z=3),
        lambda kind: dataclasses.replace(kind(1), z=3),
    ],
)
def test_the_same_errors(wrong: Any) -> None:
    with pytest.raises((TypeError, AttributeError)) as ours:
        wrong(OURS)
    with pytest.raises(type(ours.value)) as theirs:
        wrong(THEIRS)
    assert str(ours.value) == str(theirs.value)


def test_replace() -> None:
    assert _records.replace(OURS(1), y=7) == OURS(1, 7)


def test_one_that_may_change() -> None:
    summary = DuSummary()
    summary.files += 1
    assert summary == DuSummary(files=1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(summary)


def test_a_match_statement() -> None:
    match spargio.TaskPlacement.Pinned(3):
        case spargio.TaskPlacement(_, shard):
            assert shard == 3


@pytest.mark.parametrize(
    "record",
    [spargio.IdleStrategy.sleep(0.5), DuOptions(True), OpenOptions().write(True)],
    ids=repr,
)
def test_public_records_travel(record: Any) -> None:
    assert pickle.loads(pickle.dumps(record)) == record
    assert {**dataclasses.asdict(record)} == vars(record)
