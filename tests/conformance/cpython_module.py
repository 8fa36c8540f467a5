"""Runs one module of CPython's test_asyncio with our loop: ``python -m tests.conformance.cpython_module NAME``.

Mixins get a subclass whose loop is ours; everywhere else ``asyncio.new_event_loop`` is replaced. A test of
the exceptions' list is skipped with its reason. Fails as well if the tests ran on another loop than ours,
but for the modules that bring a loop of their own."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import signal
import sys
import unittest
from asyncio import base_events
from collections import Counter
from pathlib import Path
from typing import Any

import spargio.asyncio

from .cpython_exceptions import loops_of_its_own, reason_of

new_event_loop = spargio.asyncio.new_event_loop


def _create_event_loop(self: unittest.TestCase) -> asyncio.AbstractEventLoop:
    return new_event_loop()


def _new_loop(self: unittest.TestCase) -> asyncio.AbstractEventLoop:
    return new_event_loop()


def _ours(module: Any) -> list[type[unittest.TestCase]]:
    """The module's test classes, those made from a mixin with our loop in place of the selector's."""
    found: dict[str, type[unittest.TestCase]] = {}
    for name, value in vars(module).items():
        if not (isinstance(value, type) and issubclass(value, unittest.TestCase)):
            continue
        if value.__module__ != module.__name__:
            continue
        if name.startswith(("Poll", "SelectEventLoop", "Kqueue", "Proactor", "IocpEvent")):
            continue  # The same tests for another selector.
        changes: dict[str, Any] = {}
        if hasattr(value, "create_event_loop"):
            changes["create_event_loop"] = _create_event_loop
        if hasattr(value, "new_loop") and module.__name__ != "test.test_asyncio.test_runners":
            changes["new_loop"] = _new_loop
        if changes:
            value = type(name, (value,), {**changes, "__module__": value.__module__})
        found[name] = value
    return list(found.values())


def _replace(name: str) -> None:
    """asyncio's ways to a new loop give ours."""
    if name == "test_runners":  # It brings policies of its own.
        return
    asyncio.new_event_loop = new_event_loop
    asyncio.events.new_event_loop = new_event_loop
    asyncio.SelectorEventLoop = spargio.asyncio.EventLoop  # type: ignore[misc]
    if hasattr(asyncio, "EventLoop"):  # Since 3.13.
        asyncio.EventLoop = spargio.asyncio.EventLoop  # type: ignore[misc]
    policy = asyncio.DefaultEventLoopPolicy
    policy.new_event_loop = lambda self: new_event_loop()  # type: ignore[method-assign]


def _count_loops() -> Counter[str]:
    """Counts the loops that are made, by the names of their classes."""
    made: Counter[str] = Counter()
    initialise = base_events.BaseEventLoop.__init__

    def counting(self: Any, *args: Any, **keywords: Any) -> None:
        made[type(self).__name__] += 1
        initialise(self, *args, **keywords)

    base_events.BaseEventLoop.__init__ = counting  # type: ignore[method-assign]
    return made


def _suite(name: str, module: Any, wanted: list[str]) -> unittest.TestSuite:
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    for case in _ours(module):
        for test in loader.loadTestsFromTestCase(case):
            assert isinstance(test, unittest.TestCase)
            identity = f"{name}.{case.__name__}.{test._testMethodName}"
            if wanted and not any(one in identity for one in wanted):
                continue
            if (reason := reason_of(identity)) is not None:
                method = getattr(case, test._testMethodName)
                setattr(case, test._testMethodName, unittest.skip(reason)(method))
            suite.addTest(test)
    return suite


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("wanted", nargs="*", help="parts of CLASS.METHOD")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    # A program in the background may ignore it, and so do its children: the tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    made = _count_loops()
    _replace(given.name)
    told: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "problem": ""}
    try:
        module = importlib.import_module(f"test.test_asyncio.{given.name}")
    except ModuleNotFoundError as error:
        if error.name != f"test.test_asyncio.{given.name}":
            raise
        print("not in this Python")
        return _report(given.report, told)
    suite = _suite(given.name, module, given.wanted)
    result = unittest.TextTestRunner(verbosity=2 if given.verbose else 1).run(suite)
    unexpected = len(result.unexpectedSuccesses)
    told["failed"] = len(result.failures) + len(result.errors) + unexpected
    told["skipped"] = len(result.skipped)
    told["passed"] = result.testsRun - told["failed"] - told["skipped"]
    others = {name: count for name, count in made.items() if name != "EventLoop"}
    print(f"loops made: {dict(made)}")
    if foreign := sorted(set(others) - loops_of_its_own(given.name)):
        told["problem"] = f"ran on loops that are not ours: {', '.join(foreign)}"
    return _report(given.report, told)


def _report(place: Path | None, told: dict[str, Any]) -> int:
    if place is not None:
        place.write_text(json.dumps(told))
    return 1 if told["failed"] or told["problem"] else 0


if __name__ == "__main__":
    sys.exit(main())
