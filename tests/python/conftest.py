"""Leak equality after every test, no unraisable exception unless the test asks for them, and the
options under which the core set runs."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import support

LEAK_LIMIT_S = 5


def descriptors() -> dict[str, str]:
    """Open descriptors and what they are; the one that lists them is left out."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if not target.startswith("/proc/"):
            found[name] = target
    return found


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


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Descriptors and threads are back to what they were. Rings are taken down by the kernel a
    moment after their last reference went, so this waits, but it wants equality."""
    before = descriptors(), threads()
    yield
    deadline = time.monotonic() + LEAK_LIMIT_S
    while True:
        gc.collect()
        after = descriptors(), threads()
        if after == before:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.001)
    for kind, was, now in zip(("descriptors", "threads"), before, after, strict=True):
        more = {key: value for key, value in now.items() if was.get(key) != value}
        fewer = {key: value for key, value in was.items() if now.get(key) != value}
        assert not more, f"{kind} left over: {more}"
        assert not fewer, f"{kind} that the test did not make are gone: {fewer}"


@dataclass(frozen=True)
class Unraisable:
    kind: type[BaseException]
    text: str
    object: Any


class Unraisables(list[Unraisable]):
    """What went to ``sys.unraisablehook``; a test that expects some takes them out."""

    def hook(self, args: sys.UnraisableHookArgs) -> None:
        # Not the exception itself: it may be part of garbage that is being cleared.
        where = args.object if isinstance(args.object, str) else repr(args.object)
        self.append(Unraisable(args.exc_type, str(args.exc_value), where))

    def take(self) -> list[Unraisable]:
        gc.collect()
        taken = list(self)
        self.clear()
        return taken


@pytest.fixture(autouse=True)
def unraisables(no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Unraisables]:
    seen = Unraisables()
    monkeypatch.setattr(sys, "unraisablehook", seen.hook)
    yield seen
    left = seen.take()
    assert not left, f"unraisable exceptions: {left}"


@pytest.fixture(params=support.BUILDER_OPTIONS.values(), ids=support.BUILDER_OPTIONS.keys())
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The core set runs with each of these."""
    return dict(request.param)
