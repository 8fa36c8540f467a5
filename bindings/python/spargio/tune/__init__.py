"""The tuning loop of docs/tuning.md: measure, change one thing, measure again, and keep only what
is shown to help without hurting the tails.

    spargio tune --load 'tcp://127.0.0.1:{port}' -- python server.py
    spargio tune module:workload

In code: :class:`Subject` says what is tuned, :class:`Session` tunes it. A program offers values to
be tried by :func:`choice`, which imports nothing else of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spargio._lazy import lazy

from ._choice import choice

if TYPE_CHECKING:
    from ._comparison import Comparison, Limits, Verdict
    from ._lab import Lab, Machine
    from ._machine import NotQuiet, Refused
    from ._processes import ProcessFailed, Subject
    from ._session import Outcome, Session, Settings, Trial
    from ._statistics import Evidence

__all__ = (
    "Comparison",
    "Evidence",
    "Lab",
    "Limits",
    "Machine",
    "NotQuiet",
    "Outcome",
    "ProcessFailed",
    "Refused",
    "Session",
    "Settings",
    "Subject",
    "Trial",
    "Verdict",
    "choice",
)

_HOMES = {
    "._comparison": ("Comparison", "Limits", "Verdict"),
    "._lab": ("Lab", "Machine"),
    "._machine": ("NotQuiet", "Refused"),
    "._processes": ("ProcessFailed", "Subject"),
    "._session": ("Outcome", "Session", "Settings", "Trial"),
    "._statistics": ("Evidence",),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, _HOMES)
