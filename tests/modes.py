"""Runs the Python tests once under each mode of the runtime. A long run, not part of pytest's:

    python tests/modes.py [--only MODE] [pytest's arguments]

A mode changes the defaults (conftest.py); what a test asks for by itself stays as it asks. Exit status 1
where a mode failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parent.parent

MODES: Final[dict[str, dict[str, Any]]] = {
    "defaults": {},
    "1-shard": {"shards": 1},
    "4-shards": {"shards": 4},
    "lock-free": {"stealable_queue_backend": "lock_free"},
    "msg-ring-off": {"msg_ring": False},
    "epoll": {"backend": "epoll"},
}


def environment(options: dict[str, Any]) -> dict[str, str]:
    """The backend by the variable that users have, which programs started by tests see as well."""
    given = dict(options)
    found = {**os.environ, "SPARGIO_BACKEND": given.pop("backend", "io_uring")}
    return {**found, "SPARGIO_TEST_OPTIONS": json.dumps(given)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=MODES, metavar="MODE")
    arguments, further = parser.parse_known_args()
    table = Table("mode", "seconds", "result")
    failed = False
    for name in arguments.only or MODES:
        print(f"\n== {name}: {MODES[name] or 'nothing changed'}", flush=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "pytest", "tests/python", "-q", *further]
        if set(MODES[name]) - {"backend"}:
            command += [
                "--ignore",
                "tests/python/runtime/test_options.py",
            ]  # It is about the defaults.
        code = subprocess.run(command, cwd=ROOT, env=environment(MODES[name])).returncode
        failed |= code != 0
        table.add_row(name, f"{time.monotonic() - began:.0f}", "passed" if code == 0 else "FAILED")
    Console().print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
