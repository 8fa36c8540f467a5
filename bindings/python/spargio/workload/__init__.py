"""A representative load on a server, a function or a folder: open arrivals that do not wait for
answers, and latencies from the moment at which an operation should have begun.

    from spargio import workload

    load = workload.Load("tcp://127.0.0.1:7000", workload.Poisson(2000), duration=5)
    report = load.run()
    print(report.text())
    report.write_html("report.html")

``spargio load`` is the same as a command."""

from __future__ import annotations

from ._arrivals import Arrivals, Bursts, Closed, Constant, Poisson, Ramp, Replay
from ._choices import (
    Empirical,
    Fixed,
    HotSet,
    Keys,
    LogNormal,
    Mix,
    Sizes,
    UniformKeys,
    UniformSizes,
    Zipf,
)
from ._knee import Knee, find_knee
from ._load import Load
from ._report import LoadReport, Window
from ._runner import Generator
from ._targets import Failed, Files, Function, Http, Operation, Session, Target, TcpEcho

__all__ = (
    "Arrivals",
    "Bursts",
    "Closed",
    "Constant",
    "Empirical",
    "Failed",
    "Files",
    "Fixed",
    "Function",
    "Generator",
    "HotSet",
    "Http",
    "Keys",
    "Knee",
    "Load",
    "LoadReport",
    "LogNormal",
    "Mix",
    "Operation",
    "Poisson",
    "Ramp",
    "Replay",
    "Session",
    "Sizes",
    "Target",
    "TcpEcho",
    "UniformKeys",
    "UniformSizes",
    "Window",
    "Zipf",
    "find_knee",
)
