"""How the tests share the machine: by one process per CPU, but for those that need it for themselves,
and what they need built is built before their time limits begin."""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import builds
import pytest

MARKS = {
    "alone": "measures time or CPU, or counts what is the machine's: no other test runs beside it",
    "any_backend": "says nothing about the backend, or chooses it: not run again on the other one",
    "early": "takes long: is among the first, so that no process is left with it at the end",
    "long": "repeats for another compiler or target what a shorter test shows: only with --long",
}
_folder = pytest.StashKey[Path | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests marked `long` too")


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    config.stash[_folder] = builds.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(_folder, None)
    if folder is not None:
        builds.end(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Folders are run by a process per CPU; single files in this one, which begins at once."""
    if all(Path(word.partition("::")[0]).is_file() for word in config.args):
        return 0
    cpus = len(os.sched_getaffinity(0))
    if cpus == 1:
        return 0
    config.option.dist = "loadgroup"
    return min(cpus, 8)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("long"):
        skip = pytest.mark.skip(reason="takes long: pytest --long")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def pytest_collection_finish() -> None:
    """Each test here ends with a full collection. It looks at what tests make, not at the hundred
    thousand objects of pytest, its items and all modules, which took most of the time."""
    gc.collect()
    gc.freeze()


def _turn(item: pytest.Item) -> int:
    return 2 if item.get_closest_marker("alone") else 0 if item.get_closest_marker("early") else 1


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Around the time limits of pytest-timeout: neither a build nor a wait for others counts."""
    builds.prepare(set(getattr(item, "fixturenames", ())))
    alone = item.get_closest_marker("alone")
    # A test that waits to be alone holds the gate, so that no test begins before it.
    with builds.lock("gate"):
        room = builds.lock("room", fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    with room:
        return (yield)


def _built(name: str) -> Callable[[], Path]:
    @pytest.fixture(scope="session", name=name)
    def fixture() -> Path:
        try:
            return builds.get(name)
        except builds.Failed as error:
            pytest.fail(f"{name}: {error}", pytrace=False)

    return fixture


safe_build = _built("safe_build")
checking_build = _built("checking_build")
release_build = _built("release_build")
dist_build = _built("dist_build")
