"""`spargio load`: a load on a target, and what it found."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from spargio import workload

DEFAULT_RATE = 1000.0
LIMITED = 3
DESCRIPTION = """Puts a load on TARGET and reports latencies from the moment at which each operation
should have begun. TARGET is module:function (your coroutine function), tcp://host:port (an echo
server), http://host:port/path, or dir:/folder (its files are read). Exit code 0: all operations
went well; 1: some failed; 3: none failed, but the report warns of what this run met: the load
itself was the limit, or arrivals found no connection; 130: Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("target", nargs="?", metavar="TARGET")
    add("--spec", type=Path, metavar="FILE", help="the load as JSON; other arguments change it")
    shape = parser.add_argument_group("arrivals")
    shape.add_argument("--rate", type=float, metavar="R", help="per second (default: 1000)")
    shape.add_argument(
        "--arrivals",
        choices=("constant", "poisson", "bursts", "closed"),
        help="default: constant. closed: each connection waits for its answer, for comparison only",
    )
    shape.add_argument("--burst", type=int, metavar="N", help="bursts: N more at once")
    shape.add_argument("--every", type=float, metavar="S", help="bursts: every S seconds")
    shape.add_argument("--replay", type=Path, metavar="FILE", help="recorded times, one per line")
    shape.add_argument("--speed", type=float, default=1.0, metavar="X", help="of the replay")
    shape.add_argument("--knee", action="store_true", help="find the highest rate that is served")
    shape.add_argument(
        "--p99-limit", type=float, metavar="MS", help="--knee: a higher p99 is too much"
    )
    add("--duration", type=float, metavar="S", help="seconds that count (default: 10)")
    add("--warmup", type=float, metavar="S", help="seconds before, that do not (default: 0)")
    add("--connections", type=int, metavar="C", help="operations under way at most (default: 64)")
    add("--timeout", type=float, metavar="S", help="limit of one operation (default: none)")
    add("--mix", metavar="NAME=W,...", help="operations by weight, as get=9,put=1")
    add("--size", metavar="BYTES", help="payload: 256, 64-4096, lognormal:MEDIAN or @FILE")
    add("--keys", metavar="N", help="keys: 1000, zipf:1000:1.1 or hot:1000:0.01:0.9")
    add("--window", type=float, metavar="S", help="interval of the report (default: 1)")
    add("--seed", type=int, metavar="N", help="the same seed makes the same load (default: 1)")
    add("--shards", type=int, metavar="N", help="shards of the generator (default: 1)")
    add(
        "--server",
        metavar="PID",
        help="the server, if it runs here with SPARGIO_MONITOR=1: the report has its counters",
    )
    add("--json", type=Path, metavar="FILE", help="write the report as JSON; - for the terminal")
    add("--html", type=Path, metavar="FILE", help="write the report with its plots")
    add("--hdr", type=Path, metavar="FILE", help="write the windows as an HdrHistogram log")
    add("--quiet", action="store_true", help="no line per window")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0, 1, 2 for arguments that cannot be, or 3 with a warning."""
    sys.path.insert(0, os.getcwd())  # For module:function, as `python -m` has it.
    try:
        load = load_of(arguments)
    except (ValueError, TypeError, OSError, ImportError, KeyError) as error:
        print(f"spargio load: {error}", file=sys.stderr)
        return 2
    try:
        if arguments.knee:
            return _knee(load, arguments)
        report = load.run(None if arguments.quiet else _live, server=arguments.server)
    except LookupError as error:
        print(f"spargio load: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"spargio load: {load.target.name}: {error}", file=sys.stderr)
        return 1
    if arguments.json == Path("-"):
        print(json.dumps(report.to_dict()))
    else:
        print(report.text())
        if arguments.json is not None:
            report.write_json(arguments.json)
    if arguments.html is not None:
        report.write_html(arguments.html)
    if arguments.hdr is not None:
        from spargio.latency import write_hdr_log

        write_hdr_log(
            arguments.hdr, ((one.begin, one.seconds, one.latency) for one in report.windows)
        )
    if report.latency.failed:
        return 1
    return LIMITED if report.limits else 0


def _live(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _knee(load: workload.Load, arguments: argparse.Namespace) -> int:
    limit = None if arguments.p99_limit is None else arguments.p99_limit / 1000
    knee = workload.find_knee(
        load,
        100.0 if arguments.rate is None else arguments.rate,
        p99_limit=limit,
        step_seconds=2.0 if arguments.duration is None else arguments.duration,
        tell=None if arguments.quiet else _live,
    )
    if arguments.json == Path("-"):
        print(json.dumps(knee.to_dict()))
    else:
        print(
            f"knee        {knee.rate:.1f}/s with a p99 of at most {knee.p99_limit_ns / 1e6:.3g} "
            f"ms; above it: {knee.limited_by}"
        )
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(knee.to_dict()))
    return int(knee.rate == 0)


def load_of(arguments: argparse.Namespace) -> workload.Load:
    """The load that the arguments mean."""
    spec: dict[str, Any] = {}
    if arguments.spec is not None:
        spec = json.loads(arguments.spec.read_text())
    if arguments.target is not None:
        spec["target"] = arguments.target
    if "target" not in spec:
        raise ValueError("a TARGET is needed, or a --spec that has one")
    if (arrivals := _arrivals(arguments)) is not None:
        spec["arrivals"] = arrivals
    spec.setdefault("arrivals", {"kind": "constant", "rate": DEFAULT_RATE})
    for name in ("duration", "warmup", "connections", "timeout", "window", "seed", "shards"):
        if (value := getattr(arguments, name)) is not None:
            spec[name] = value
    if arguments.mix is not None:
        pairs = (word.partition("=") for word in arguments.mix.split(","))
        spec["mix"] = {name: float(weight or 1) for name, _, weight in pairs}
    if arguments.size is not None:
        spec["sizes"] = _sizes(arguments.size)
    if arguments.keys is not None:
        spec["keys"] = _keys(arguments.keys)
    return workload.Load.from_spec(spec)


def _arrivals(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if arguments.replay is not None:
        return {"kind": "replay", "file": str(arguments.replay), "speed": arguments.speed}
    kind, rate = arguments.arrivals, arguments.rate
    if kind is None and rate is None:
        return None
    if kind == "closed":
        return {"kind": "closed"}
    if kind == "bursts":
        if arguments.burst is None or arguments.every is None:
            raise ValueError("bursts need --burst and --every")
        return {
            "kind": "bursts",
            "base_rate": DEFAULT_RATE if rate is None else rate,
            "size": arguments.burst,
            "every": arguments.every,
        }
    return {"kind": kind or "constant", "rate": DEFAULT_RATE if rate is None else rate}


def _sizes(text: str) -> dict[str, Any] | int:
    if text.startswith("@"):
        return {"kind": "empirical", "file": text[1:]}
    if text.startswith("lognormal:"):
        return {"kind": "lognormal", "median": int(text.partition(":")[2])}
    least, dash, most = text.partition("-")
    return {"kind": "uniform", "least": int(least), "most": int(most)} if dash else int(text)


def _keys(text: str) -> dict[str, Any] | int:
    kind, *numbers = text.split(":")
    if kind == "zipf":
        return {"kind": "zipf", **_named(numbers, ("count", int), ("exponent", float))}
    if kind == "hot":
        return {"kind": "hot", **_named(numbers, ("count", int), ("hot", float), ("share", float))}
    return int(text)


def _named(values: list[str], *names: tuple[str, Any]) -> dict[str, Any]:
    return {name: read(value) for (name, read), value in zip(names, values, strict=False)}
