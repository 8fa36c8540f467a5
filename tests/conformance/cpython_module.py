"""Runs one module of CPython's test_asyncio with our loop: ``python -m tests.conformance.cpython_module NAME``.

Mixins get a subclass whose loop is ours; everywhere else ``asyncio.new_event_loop`` is replaced. Prints
unittest's closing lines. A test of the exceptions' list is skipped with its reason."""

from __future__ import annotations

import asyncio
import importlib
import sys
import unittest
from typing import Any

import spargio.asyncio

from .cpython_exceptions import reason_of

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
        if name.startswith(("Poll", "Select", "Kqueue", "Proactor", "IocpEvent")):
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


def main(name: str, arguments: list[str]) -> int:
    if name != "test_runners":  # It brings policies of its own.
        asyncio.new_event_loop = new_event_loop
        asyncio.events.new_event_loop = new_event_loop
    if sys.version_info < (3, 12):
        policy = asyncio.DefaultEventLoopPolicy
        policy.new_event_loop = lambda self: new_event_loop()  # type: ignore[method-assign]
    module = importlib.import_module(f"test.test_asyncio.{name}")
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    for case in _ours(module):
        for test in loader.loadTestsFromTestCase(case):
            assert isinstance(test, unittest.TestCase)
            identity = f"{name}.{case.__name__}.{test._testMethodName}"
            if arguments and not any(wanted in identity for wanted in arguments):
                continue
            if (reason := reason_of(identity)) is not None:
                method = getattr(case, test._testMethodName)
                setattr(case, test._testMethodName, unittest.skip(reason)(method))
            suite.addTest(test)
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
