"""Suites of other projects on spargio: ``python -m tests.conformance [SUITE [PATTERN...]]``.

Runs on the backend that SPARGIO_BACKEND names. Ends with 1 if anything failed."""

from __future__ import annotations

import argparse
import os
import sys

from . import anyio_backend, cpython, packages, servers
from .data_suites import run_data
from .results import Result, totals

# Those of the asyncio loop, and those of spargio's own backends and stores.
LOOP = ("cpython", *packages.SUITES, "servers")
OTHERS = {"anyio-backend": anyio_backend.run, "data": run_data}


def _run(name: str, given: argparse.Namespace) -> list[Result]:
    if name == "cpython":
        parts = cpython.run(given.patterns, given.part, given.jobs)
    elif name == "servers":
        parts = servers.run(given.patterns)
    else:
        parts = packages.run(name, given.patterns, given.part, given.jobs)
    results = []
    for result in parts:
        print(result.line(), flush=True)
        if not result.good or given.verbose:
            print(result.output[-20_000:], flush=True)
        elif noted := [line for line in result.output.splitlines() if "own loop as well" in line]:
            print("\n".join(noted), flush=True)
        results.append(result)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("suite", nargs="?", choices=(*LOOP, *OTHERS))
    parser.add_argument("patterns", nargs="*", help="parts of names of modules, or of tests")
    parser.add_argument("--part", action="store_true", help="what CI runs: some minutes")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--verbose", action="store_true", help="show what the suites print")
    given = parser.parse_args()
    if given.suite in OTHERS:
        return 0 if OTHERS[given.suite](given.patterns) else 1
    results: list[Result] = []
    for name in [given.suite] if given.suite else LOOP:
        results += _run(name, given)
    print(f"\nPython {sys.version.split()[0]}, {os.environ.get('SPARGIO_BACKEND', 'io_uring')}")
    print("\n".join(totals(results)))
    good = all(result.good for result in results)
    if not given.suite and not given.part:
        for run in OTHERS.values():
            good = run([]) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
