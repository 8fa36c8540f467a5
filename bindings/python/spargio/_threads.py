"""Shards' threads as `threading` knows threads of its own: by their names, as long as they run, and
with the trace and profile functions that the program set for new threads."""

from __future__ import annotations

import os
import sys
import threading

idents: dict[tuple[int, int], int] = {}
"""(id of the runtime, shard) to ``threading.get_ident()`` of its thread, while that runs."""

_local = threading.local()
"""``_local.thread`` on a thread of a shard: what stands for it in `threading`."""


def enter(name: str) -> None:
    """On a shard's thread, at its start."""
    _local.thread = thread = threading.current_thread()  # Made for a thread that it does not know.
    thread.name = name
    if (profile := threading.getprofile()) is not None:
        sys.setprofile(profile)
    if (trace := threading.gettrace()) is not None:
        sys.settrace(trace)


def leave() -> None:
    """At its end: up to Python 3.11 it would stay in ``threading.enumerate()``."""
    if getattr(_local, "thread", None) is not None:
        _hide()
        del _local.thread


def _hide() -> None:
    thread: threading.Thread | None = getattr(_local, "thread", None)
    known: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
    if thread is not None and known.get(threading.get_ident()) is thread:
        thread._delete()  # type: ignore[attr-defined]


def _show() -> None:
    thread: threading.Thread | None = getattr(_local, "thread", None)
    if thread is not None:
        with threading._active_limbo_lock:  # type: ignore[attr-defined]
            threading._active[thread.ident] = thread  # type: ignore[attr-defined]


def _forget() -> None:
    _local.__dict__.clear()


# A child that is forked on a shard's thread gets a main thread as any other: one that stands for a
# thread that `threading` does not know fails at its exit (CPython's issue 102512, up to 3.11).
os.register_at_fork(before=_hide, after_in_parent=_show, after_in_child=_forget)
