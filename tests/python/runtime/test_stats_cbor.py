"""The decoder of snapshots against cbor2, and what it refuses."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest

import spargio
from spargio import _cbor

pytestmark = pytest.mark.any_backend

VALUES = [0, 23, 24, 255, 256, 65536, (1 << 64) - 1, "", "x" * 30, "\u00e4" * 300, [], {}]
NESTED = {"a": VALUES, "b": {n: {"c": [n]} for n in range(300)}, "d": [[[]]]}


@pytest.mark.parametrize("value", [*VALUES, NESTED], ids=lambda value: repr(value)[:20])
def test_the_same_as_cbor2(value: Any) -> None:
    assert _cbor.loads(cbor2.dumps(value)) == value


def test_a_real_snapshot() -> None:
    with spargio.Runtime.builder().shards(3).build() as handle:
        data = handle._runtime.stats()
    assert _cbor.loads(data) == cbor2.loads(data)


@pytest.mark.parametrize("value", [-1, b"x", 1.5, None, True])
def test_another_kind_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="allowed is 0, 3 to 5"):
        _cbor.loads(cbor2.dumps(value))


def test_each_cut_is_refused() -> None:
    data = cbor2.dumps(NESTED)[:700]
    for end in range(len(data)):
        with pytest.raises(ValueError, match="cut short"):
            _cbor.loads(data[:end])


def test_more_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="followed by 1 others"):
        _cbor.loads(cbor2.dumps(1) + b"x")
    with pytest.raises(ValueError, match="a length without an end"):
        _cbor.loads(b"\x9f\xff")


def test_the_last_value_may_stay_undecoded() -> None:
    data = cbor2.dumps({"a": 1, "b": [1, 2], "recorders": [{"x": 5}]})
    found, rest = _cbor.split_last(data, "recorders")
    assert (found, _cbor.loads(rest)) == ({"a": 1, "b": [1, 2]}, [{"x": 5}])
    with pytest.raises(ValueError, match="the last key of a snapshot must be 'a', got 'recorders'"):
        _cbor.split_last(data, "a")
    with pytest.raises(ValueError, match="must be a map"):
        _cbor.split_last(cbor2.dumps([1]), "a")
    for end in range(1, data.index(b"recorders")):
        with pytest.raises(ValueError, match="cut short"):
            _cbor.split_last(data[:end], "recorders")
