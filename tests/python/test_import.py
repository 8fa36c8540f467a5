"""What an import of spargio brings, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys

import pytest

import spargio

PARTS = ["boundary", "extension", "fs", "io", "net", "process", "signal", "sync", "uring"]


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    command = [sys.executable, "-c", code]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return outcome.stdout.strip()


def test_asyncio_is_left_to_those_who_use_it() -> None:
    assert fresh("import spargio, sys; print('asyncio' in sys.modules)") == "False"


def test_the_package_has_no_getattr() -> None:
    """With one, each `spargio.name` is a search: 30 ns, a sixth of a `yield_now()`."""
    assert "__getattr__" not in vars(spargio)


def test_nothing_is_left_for_later() -> None:
    """A program may give up its rights, or change its root, after the imports."""
    code = """
import sys, spargio
before = set(sys.modules)
async def main(handle):
    await spargio.spawn_blocking(len, "")
    handle.stats_snapshot()
    listener = await spargio.net.TcpListener.bind("127.0.0.1", 0)
    await listener.close()
spargio.run(main)
print(sorted(set(sys.modules) - before))
"""
    assert fresh(code) == "[]"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_there(part: str) -> None:
    assert getattr(spargio, part).__name__ == f"spargio.{part}"
    assert part in dir(spargio)
    assert fresh(f"from spargio import {part}; print({part}.__name__)") == f"spargio.{part}"


def test_all_names_are_there() -> None:
    assert fresh("from spargio import *; print(net.__name__, run.__name__)") == "spargio.net run"


def test_another_name_is_an_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'spargio' has no attribute 'nett'"):
        _ = spargio.nett  # type: ignore[attr-defined]


def test_a_second_import_of_all_of_it_is_refused() -> None:
    """Objects of the first would meet types and exceptions of the second."""
    code = """
import sys, spargio
handle = spargio.Runtime.builder().shards(1).build()
for name in [name for name in sys.modules if name.startswith("spargio")]:
    del sys.modules[name]
try:
    import spargio as again
except ImportError as error:
    print(error)
handle.shutdown()
"""
    assert "spargio was imported before in this process" in fresh(code)
