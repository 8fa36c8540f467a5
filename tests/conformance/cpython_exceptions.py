"""Tests of CPython that do not fit our loop, each with its reason."""

from __future__ import annotations

import re

_EXCEPTIONS: list[tuple[str, str]] = [
    (
        r"test_events\..*\.test_internal_fds",
        "white box: counts the descriptors of the self-pipe, which is made when a signal handler needs it",
    ),
    (
        r"test_ssl\..*\.test_remote_shutdown_receives_trailing_data_on_slow_socket",
        "white box: puts a socket of its own into the selector's transport, by _read_ready_cb and _sock",
    ),
    (
        r"test_subprocess\..*\.test_create_subprocess_fails_with_inactive_watcher",
        "white box: asks asyncio's child watcher, which a loop that waits by pidfd has no use for",
    ),
]

# Classes of loops that a module makes itself, to test asyncio's classes rather than a loop.
_LOOPS = {
    "test_base_events": {"BaseEventLoop", "BaseSelectorEventLoop", "Loop", "TestLoop"},
    "test_futures": {"EvilEventLoop", "SimpleEvilEventLoop", "TestLoop"},
    "test_pep492": {"BaseEventLoop"},
    "test_runners": {"BaseEventLoop", "_UnixSelectorEventLoop"},
    "test_selector_events": {"TestBaseSelectorEventLoop", "TestLoop"},
    "test_subprocess": {"TestLoop"},
    "test_tasks": {"TestLoop"},
    "test_unix_events": {"TestLoop"},
}


def reason_of(identity: str) -> str | None:
    """Why the test MODULE.CLASS.METHOD is not run, or None."""
    for pattern, reason in _EXCEPTIONS:
        if re.fullmatch(pattern, identity):
            return reason
    return None


def loops_of_its_own(module: str) -> set[str]:
    """Names of classes of loops that `module` may make."""
    return _LOOPS.get(module, set())
