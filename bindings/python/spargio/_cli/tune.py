"""`spargio tune`: the tuning loop on a server or a function."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from spargio import tune
from spargio.tune import _options, _report
from spargio.tune._comparison import HARM_ONLY, MARGINS, METRICS
from spargio.workload import Load
from spargio.workload._load import CONNECTIONS_MAX

from ._arguments import Whole

REFUSED = 3
DESCRIPTION = """Measures a program under a load, changes one option at a time as its counters
suggest, and keeps a change only if it is shown to help without hurting p95, p99, p99.9, errors,
refusals or CPU. The program is module:workload (a coroutine function, or a spargio.workload.Load of
one), or COMMAND, a server that reads its port from the environment's PORT or has {port} among its
arguments. It is not changed: candidates reach it by the environment's SPARGIO_OPTIONS_FILE. Exit
code 0: it came to its end; 1: the program failed; 3: refused, because no honest answer is possible
here; 130: Ctrl-C, go on with --resume."""
RATE = "per second, above 0 (default: found, 40 or 60 %% of the knee)"
_PERCENT = 100
_MARGIN_MOST = 1000
_PAIRS_MIN = tune.Limits().pairs_min
_TARGETS = tuple(name for name in METRICS if name not in HARM_ONLY)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("words", nargs="+", metavar="module:workload | -- COMMAND")
    add(
        "--load",
        metavar="SPEC",
        help="for COMMAND: the load as a JSON file (as of `spargio load --spec`), or its target, "
        "such as tcp://127.0.0.1:{port}",
    )
    add("--rate", type=_Number(0, 10_000_000), metavar="R", help=RATE)
    add(
        "--connections",
        type=Whole(1, CONNECTIONS_MAX),
        metavar="C",
        help=f"operations under way at most, 1 to {CONNECTIONS_MAX} (default: 64)",
    )
    add(
        "--target",
        choices=_TARGETS,
        metavar="METRIC",
        help=f"what every change must lower: {', '.join(_TARGETS)} (default: its rule's)",
    )
    add(
        "--gain",
        type=_Number(0, 100),
        default=3.0,
        metavar="%",
        help="least gain, between 0 and 100 %% (default: %(default)s)",
    )
    add(
        "--margin",
        action="append",
        type=margin,
        default=[],
        metavar="METRIC=%",
        help="by how much a metric may rise, more than 0 and at most 1000 %%, as p99=25; widen it "
        "only if you can afford it (default: "
        + ", ".join(f"{name}={part * 100:.0f}" for name, part in MARGINS.items())
        + ")",
    )
    add(
        "--pairs",
        type=Whole(_PAIRS_MIN, 10_000),
        default=120,
        metavar="N",
        help=f"pairs of a comparison at most, {_PAIRS_MIN} to 10000 (default: %(default)s)",
    )
    add(
        "--control",
        type=Whole(20, 1000),
        default=40,
        metavar="N",
        help="pairs of two equal processes, 20 to 1000 (default: %(default)s)",
    )
    add(
        "--comparisons",
        type=Whole(1, 1000),
        default=20,
        metavar="N",
        help="at most, 1 to 1000; more of them need more pairs each (default: %(default)s)",
    )
    add("--options", type=Path, metavar="FILE", help="options of the baseline")
    add(
        "--journal",
        type=Path,
        default=Path("spargio-tune.journal"),
        metavar="FILE",
        help="what was measured, for --resume (default: %(default)s)",
    )
    add(
        "--wait",
        type=_Number(0, 86_400, least_too=True),
        default=0.0,
        metavar="S",
        help="wait so long for a quiet machine, 0 to 86400 seconds (default: %(default)s)",
    )
    add("--resume", action="store_true", help="go on where the journal ends")
    add(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="of arrivals and of the order of rounds (default: %(default)s)",
    )
    add("--out", type=Path, metavar="FILE", help="write what is kept as an options file")
    add("--html", type=Path, metavar="FILE", help="write the report with its plots")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON; - for the terminal")
    add("--quiet", action="store_true", help="only the report")


class _Number:
    """An argument type: a number above `least` (or that itself), and at most, or below, `most`."""

    def __init__(self, least: float, most: float, *, least_too: bool = False) -> None:
        self.least, self.most, self.least_too = least, most, least_too

    def __call__(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if self.least < value < self.most or (self.least_too and value in (self.least, self.most)):
            return value
        words = (
            f"from {self.least} to {self.most}"
            if self.least_too
            else (f"between {self.least} and {self.most}")
        )
        raise argparse.ArgumentTypeError(f"must be a number {words}, got {text!r}")


def margin(text: str) -> tuple[str, float]:
    """An argument type: a metric, and by which part it may rise."""
    name, _, percent = text.partition("=")
    if name not in METRICS:
        raise argparse.ArgumentTypeError(
            f"must be METRIC=% with one of {', '.join(METRICS)}, got {text!r}"
        )
    try:
        value = float(percent)
    except ValueError:
        value = math.nan
    if not 0 < value <= _MARGIN_MOST:
        raise argparse.ArgumentTypeError(
            f"must be {name}=% with a number above 0 and at most {_MARGIN_MOST}, as {name}=25, "
            f"got {text!r}"
        )
    return name, value / _PERCENT


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0, 1, 2 for arguments that cannot be, or 3."""
    sys.path.insert(0, os.getcwd())  # For module:workload, as `python -m` has it.
    try:
        subject, settings = _subject(arguments), _settings(arguments)
        with tempfile.TemporaryDirectory(prefix="spargio-tune-") as folder:
            return _run(arguments, subject, settings, Path(folder))
    except KeyboardInterrupt:
        print(f"spargio tune: --resume --journal {arguments.journal} goes on", file=sys.stderr)
        raise
    except tune.NotQuiet as error:
        print(
            f"spargio tune: refused: {error}. Or `--resume --wait 600` goes on here, and waits up "
            "to 600 s for a quiet machine",
            file=sys.stderr,
        )
        return REFUSED
    except tune.Refused as error:
        print(f"spargio tune: refused: {error}", file=sys.stderr)
        return REFUSED
    except tune.ProcessFailed as error:
        print(f"spargio tune: {error}", file=sys.stderr)
        return 1
    except FileExistsError as error:
        print(
            f"spargio tune: {error.filename} is there: --resume goes on with it, --journal FILE "
            "names another",
            file=sys.stderr,
        )
        return 2
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"spargio tune: {error}", file=sys.stderr)
        return 2


def _run(
    arguments: argparse.Namespace, subject: tune.Subject, settings: tune.Settings, folder: Path
) -> int:
    session = tune.Session(
        subject,
        tune.Machine(subject, folder),
        settings,
        arguments.journal,
        resume=arguments.resume,
        tell=(lambda line: None) if arguments.quiet else _tell,
    )
    try:
        outcome = session.run(arguments.wait)
    finally:
        session.close()
    _show(arguments, outcome)
    return 0


def _show(arguments: argparse.Namespace, outcome: tune.Outcome) -> None:
    if arguments.json == Path("-"):
        print(json.dumps(_report.to_dict(outcome)))
    else:
        from rich.console import Console

        _report.print_report(outcome, Console())
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(_report.to_dict(outcome)) + "\n")
    if arguments.out is not None:
        _options.write(arguments.out, outcome.kept, (_report.summary(outcome),))
    if arguments.html is not None:
        from spargio.tune._html import page

        arguments.html.write_text(page(outcome))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _subject(arguments: argparse.Namespace) -> tune.Subject:
    if arguments.load is not None:
        spec, command = _spec(arguments.load), arguments.words
    elif len(arguments.words) == 1:
        spec, command = _workload(arguments.words[0]), []
    else:
        raise ValueError("a COMMAND needs --load, which says what is asked of it")
    if arguments.rate is not None:
        spec = Load.from_spec({**spec, "target": "dir:/proc/self/fdinfo"}).changed(
            arrivals=arguments.rate
        ).spec() | {"target": spec["target"]}
    if arguments.connections is not None:
        spec["connections"] = arguments.connections
    return tune.Subject(spec, command)


def _spec(text: str) -> dict[str, Any]:
    if "://" in text or not Path(text).exists():
        return {"target": text, "arrivals": 100.0}
    spec: dict[str, Any] = json.loads(Path(text).read_text())
    return {"arrivals": 100.0, **spec}


def _workload(name: str) -> dict[str, Any]:
    """A function, or a load of one. ``ValueError`` for another thing."""
    from importlib import import_module

    module, colon, path = name.partition(":")
    if not colon:
        raise ValueError(f"workload must be module:workload, got {name!r}")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Load):
        return found.spec()
    if not callable(found):
        raise ValueError(f"workload must name a function or a Load of {module}, got {path!r}")
    return {"target": name, "arrivals": 100.0}


def _settings(arguments: argparse.Namespace) -> tune.Settings:
    margins = dict(tune.Limits().margins)
    margins |= dict(arguments.margin)
    limits = tune.Limits(gain=arguments.gain / _PERCENT, margins=margins, pairs_max=arguments.pairs)
    baseline = {} if arguments.options is None else _options.read(arguments.options)
    return tune.Settings(
        limits=limits,
        rate=arguments.rate,
        target=arguments.target,
        baseline=baseline,
        control_pairs=arguments.control,
        comparisons=arguments.comparisons,
        seed=arguments.seed,
    )
