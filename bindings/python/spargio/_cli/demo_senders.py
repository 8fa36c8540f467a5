"""The process that sends the files to the demo's service, as the demo sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import IO

import spargio

from .demo_client import Result, Task

_EXIT_S = 5.0

# The same modules as here, whatever the working directory and the environment say.
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from spargio._cli.demo_client import main
main()
"""


class SenderProcess:
    """Runs from its making to the end of the block; `result` after it has ended by itself. What it
    gets and tells lies in memory: a full disk is for the service to tell of."""

    def __init__(self, task: Task) -> None:
        self._task, self._result, self._errors = (
            _in_memory(n) for n in ("task", "result", "errors")
        )
        self._task.write(json.dumps(asdict(task)).encode())
        self._task.seek(0)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-c",
                _START,
                json.dumps(sys.path),
                str(self._task.fileno()),
                str(self._result.fileno()),
            ],
            pass_fds=(self._task.fileno(), self._result.fileno()),
            stdin=subprocess.PIPE,
            stdout=self._errors,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for the demo; it ends the senders.
        )

    def running(self) -> bool:
        return self._process.poll() is None

    def result(self) -> Result:
        if self._process.returncode != 0:
            self._errors.seek(0)
            said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
            last = said[-1] if said else "nothing"
            raise spargio.SpargioError(
                f"the sending process ended with code {self._process.returncode} and said: {last}"
            )
        self._result.seek(0)
        return Result(**json.loads(self._result.read()))

    def __enter__(self) -> SenderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process, if it has not ended by itself."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for file in (self._task, self._result, self._errors):
            file.close()


def _in_memory(name: str) -> IO[bytes]:
    return open(os.memfd_create(f"spargio-demo-{name}"), "w+b", buffering=0)
