"""The pytest plugin of the run: which tests are ours, and which are left out, each with its reason."""

from __future__ import annotations

import socket
from functools import cache
from typing import Any

import pytest

WHOLE_FILES = ("test_pytest_plugin.py",)
"""Their tests have no backend of their own: they run pytest with all there are."""

EXCEPTIONS: dict[str, str] = {
    "test_pytest_plugin.py::test_plugin_loads_with_filterwarnings_error": (
        "of the harness: the backend is registered before pytest starts, which warns of modules that "
        "it can no longer rewrite"
    ),
}
"""Part of a test's id: why it cannot pass."""


@cache
def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return any(one[0] == socket.AF_INET6 for one in socket.getaddrinfo("localhost", 0))


@cache
def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, 0)
    except OSError:
        return False
    return True


NEED_IPV6 = (
    "ipv6",
    "dualstack",
    "test_connection_refused[spargio-multi]",
    "test_tcp_listener_same_port[spargio-localhost-0-2",
    "test_tcp_listener_retry_after_partial_failure",
    "test_tcp_listener_total_bind_failure",
)
NEED_NAMES = ("test_sockets.py::test_getaddrinfo[spargio]",)


def reason_of(identity: str) -> str | None:
    for part, reason in EXCEPTIONS.items():
        if part in identity:
            return reason
    if any(part in identity for part in NEED_IPV6) and not _has_ipv6():
        return "this machine has no IPv6"
    if any(part in identity for part in NEED_NAMES) and not _resolves("xn--fa-hia.de"):
        return "this machine resolves no names of the Internet"
    return None


def pytest_configure() -> None:
    """Processes that the suite gives 3 s to import all of pytest get more: the machine may be busy."""
    plain = pytest.Pytester.run

    def run(self: pytest.Pytester, *words: Any, timeout: float | None = None, **more: Any) -> Any:
        return plain(self, *words, timeout=timeout and 20 * timeout, **more)

    pytest.Pytester.run = run  # type: ignore[method-assign]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours, others = [], []
    for item in items:
        mine = "spargio" in item.nodeid or item.nodeid.split("::")[0].endswith(WHOLE_FILES)
        (ours if mine else others).append(item)
    for item in ours:
        if (reason := reason_of(item.nodeid)) is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
    items[:] = ours
    if others:
        config.hook.pytest_deselected(items=others)
