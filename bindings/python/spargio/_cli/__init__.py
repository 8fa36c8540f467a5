"""The `spargio` command. Reads the arguments here; each subcommand is a module of its own, imported
when it is asked for, so that `import spargio` pays nothing for it."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path

from spargio import __version__

from ._arguments import Whole, seconds

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells report it."""
UNREAD = 141
"""As of a command that SIGPIPE ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C, 141
    nobody reads what it prints."""
    parser = _parser(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(argv)
    if arguments.command in ("demo", "doctor", "load"):
        # It is for the program that is measured, and would stand above these commands' own options.
        os.environ.pop("SPARGIO_OPTIONS_FILE", None)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        if not _is_unread():
            raise
        return UNREAD
    return code


def _is_unread() -> bool:
    """Nobody reads our output, and it was no socket's error. As Python's documentation of SIGPIPE
    has it, the rest goes nowhere: the interpreter flushes once more at its end."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "doctor":
        from . import doctor

        return doctor.run(as_json=arguments.json)
    if arguments.command == "top":
        from . import top

        return top.run(
            arguments.pid,
            interval=arguments.interval,
            once=arguments.once,
            as_json=arguments.json,
        )
    if arguments.command in ("ps", "tree"):
        from . import ps

        return ps.run(arguments.pid, stacks=arguments.command == "tree", as_json=arguments.json)
    if arguments.command == "profile":
        from . import profile

        return profile.run(arguments.words, rate=arguments.rate)
    if arguments.command == "trace":
        from . import trace

        return trace.run(
            arguments.pid,
            seconds=0.0 if arguments.last else arguments.seconds,
            output=arguments.output,
            events=arguments.events,
        )
    if arguments.command == "load":
        from . import load

        return load.run(arguments)
    if arguments.command == "tune":
        from . import tune

        return tune.run(arguments)
    from . import demo

    return demo.run(
        demo.Settings(
            corpus=arguments.corpus,
            files=arguments.files,
            shards=arguments.shards,
            seconds=arguments.seconds,
            connections=arguments.connections,
            queue=arguments.queue,
            port=arguments.port,
            asyncio=arguments.asyncio,
        ),
        as_json=arguments.json,
    )


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Arguments of commands that bring much are added only if `words` name the command."""
    parser = argparse.ArgumentParser(
        prog="spargio", description="A work-stealing async runtime for Linux on io_uring."
    )
    parser.add_argument("--version", action="version", version=f"spargio {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="send real files through an ingest service on this machine and check each one",
        description="Starts a service on a loopback port that stores, fsyncs and acknowledges each "
        "file it receives, sends it the files of a folder from another process, and compares every "
        "stored file with its source.",
    )
    demo.add_argument(
        "--corpus",
        type=_folder,
        metavar="DIR",
        help="folder to send (default: Python's own library)",
    )
    demo.add_argument(
        "--files",
        type=Whole(0, 10_000_000),
        metavar="N",
        help="send the first N files only; 0: all (default: all of --corpus, else 3000)",
    )
    demo.add_argument(
        "--shards", type=Whole(1, 256), metavar="N", help="default: one per usable CPU"
    )
    demo.add_argument(
        "--seconds", type=seconds, metavar="S", help="repeat the files until S seconds are over"
    )
    demo.add_argument(
        "--connections",
        type=Whole(1, 1024),
        default=32,
        metavar="C",
        help="files under way at once (default: %(default)s)",
    )
    demo.add_argument(
        "--queue",
        choices=("mutex", "lock_free"),
        default="mutex",
        help="kind of the stealable queues (default: %(default)s)",
    )
    demo.add_argument(
        "--port",
        type=Whole(0, 65535),
        default=0,
        metavar="P",
        help="loopback port of the service (default: any free one)",
    )
    demo.add_argument(
        "--asyncio",
        action="store_true",
        help="run the service on spargio's asyncio loop, on one shard: asyncio's streams, "
        "spargio's files",
    )
    demo.add_argument("--json", action="store_true", help="print the result as one JSON object")

    doctor = commands.add_parser(
        "doctor",
        help="say whether spargio can run here, and what to do if it cannot",
        description="Looks at the kernel, the limits of this process and the Python build. "
        "Exit code 0: spargio runs here.",
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as one JSON object")

    top = commands.add_parser("top", help="what the shards of a process do, refreshed in place")
    ps = commands.add_parser("ps", help="the tasks of a process, and what they wait for")
    tree = commands.add_parser("tree", help="the same with the stack of each task's awaits")
    for one in (top, ps, tree):
        one.add_argument(
            "pid",
            nargs="?",
            metavar="PID",
            help="a process that runs with monitor=True or SPARGIO_MONITOR=1 (default: the only "
            "one); PID.N is a further runtime of the same",
        )
        one.add_argument("--json", action="store_true", help="print it as JSON")
    top.add_argument("--once", action="store_true", help="print one second, and end")
    top.add_argument(
        "--interval", type=seconds, default=1.0, metavar="S", help="default: %(default)s"
    )

    trace = commands.add_parser(
        "trace", help="what the shards of a process do, event by event, as a file for Perfetto"
    )
    trace.add_argument("pid", nargs="?", metavar="PID", help="as of top")
    trace.add_argument(
        "--seconds", type=seconds, default=1.0, metavar="S", help="default: %(default)s"
    )
    trace.add_argument(
        "--last",
        action="store_true",
        help="what a trace that is on there (a flight recorder's) has, without a wait",
    )
    trace.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="default: spargio-PID.json; open it at https://ui.perfetto.dev",
    )
    trace.add_argument(
        "--events",
        type=Whole(64, 4_194_304),
        default=65_536,
        metavar="N",
        help="kept of each shard, the last ones (default: %(default)s)",
    )

    profile = commands.add_parser(
        "profile", help="run a command, and say where its shards spend their time and wait"
    )
    profile.add_argument(
        "--rate",
        type=Whole(1, 10_000),
        default=199,
        metavar="N",
        help="samples a second (default: %(default)s)",
    )
    profile.add_argument("words", nargs="+", metavar="-- COMMAND", help="with its arguments")

    load_parser = commands.add_parser(
        "load",
        help="put a load on a function, a server or a folder, and report latencies",
    )
    if "load" in words[:1]:
        from . import load

        load_parser.description = load.DESCRIPTION
        load.add_arguments(load_parser)
    tune_parser = commands.add_parser(
        "tune",
        help="measure a program, change one option at a time, and keep what helps",
    )
    if "tune" in words[:1]:
        from . import tune

        tune_parser.description = tune.DESCRIPTION
        tune.add_arguments(tune_parser)
    return parser


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path
