"""On the path of anyio's suite, and of the processes that it starts: wherever pytest runs, anyio has one
more backend, from the first line on."""

from __future__ import annotations

import sys

if any(word == "pytest" or word.endswith("pytest/__main__.py") for word in sys.orig_argv) or (
    "-mpytest" in sys.orig_argv
):
    import anyio._core._eventloop as _eventloop

    import spargio.anyio  # noqa: F401

    _eventloop.BACKENDS = (*_eventloop.BACKENDS, "spargio")
