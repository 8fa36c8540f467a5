"""Leak equality after every test, no unraisable exception unless the test asks for them, and the
options under which the core set runs."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import support

from spargio import Runtime, RuntimeBuilder, RuntimeHandle, _blocking

LEAK_LIMIT_S = 20


def pytest_configure() -> None:
    """``SPARGIO_TEST_OPTIONS``, a JSON object, changes the defaults of all runtimes that tests make:
    the modes of tests/modes.py."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in a shell's background. What the tests start would inherit it, and ignore Ctrl-C too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not (defaults := json.loads(os.environ.get("SPARGIO_TEST_OPTIONS", "{}"))):
        return
    plain = RuntimeBuilder.__init__

    def changed(self: RuntimeBuilder) -> None:
        plain(self)
        self.apply(**defaults)

    RuntimeBuilder.__init__ = changed  # type: ignore[method-assign]


def threads() -> dict[str, str]:
    """Threads of the process, as the kernel has them, less its own workers for io_uring."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not name.startswith("iou-"):
            found[task.name] = name
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the other backend: not those that would do the same again."""
    if not support.ON_EPOLL:
        return
    again, left = [], []
    for item in items:
        (again if item.get_closest_marker("any_backend") or _chooses(item) else left).append(item)
    config.hook.pytest_deselected(items=again)
    items[:] = left


def _chooses(item: pytest.Item) -> bool:
    """It is parametrized by the backend."""
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("backend") in ("auto", "io_uring", "epoll")


_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[_failed] = call.excinfo is not None
    return report


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Descriptors and threads are back to what they were. The kernel takes a ring down a moment
    after its last reference went, so this waits, but it wants equality. Nothing is said after a
    failure: its traceback holds all that the test had."""
    before = support.descriptors(), threads()
    yield
    _blocking.close_pools()  # Their threads are the process's, no leak of a test.
    deadline = time.monotonic() + LEAK_LIMIT_S
    while not request.node.stash.get(_failed, True):
        gc.collect()
        after = support.descriptors(), threads()
        more = [
            {key: value for key, value in now.items() if was.get(key) != value}
            for was, now in zip(before, after, strict=True)
        ]
        if more == [{}, {}]:
            break
        assert time.monotonic() < deadline, f"left over: descriptors {more[0]}, threads {more[1]}"
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def unraisables(no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[support.Unraisables]:
    seen = support.Unraisables()
    monkeypatch.setattr(sys, "unraisablehook", seen.hook)
    yield seen
    left = seen.take()
    assert not left, f"unraisable exceptions: {left}"


@pytest.fixture(params=support.BUILDER_OPTIONS.values(), ids=support.BUILDER_OPTIONS.keys())
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The core set runs with each of these."""
    return dict(request.param)


# ---- descriptors to work on by their number, and a runtime to do it from outside ----


@pytest.fixture
def pair() -> Iterator[support.Pair]:
    left, right = socket.socketpair()
    right.settimeout(support.LIMIT_S)
    with left, right:
        yield left, right


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 16)
    number = os.open(path, os.O_RDWR)
    yield number
    os.close(number)


@pytest.fixture
def two() -> Iterator[RuntimeHandle]:
    """A runtime of two shards, used from this thread."""
    with Runtime.builder().shards(2).build() as handle:
        yield handle
