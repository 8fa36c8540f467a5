"""The process that sends the files to the demo's service, as the demo sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

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
    """Runs from its making to the end of the block; `result` after it has ended by itself."""

    def __init__(self, task: Task, folder: Path) -> None:
        self._result_path = folder / "result.json"
        self._result_path.unlink(missing_ok=True)
        task_path = folder / "task.json"
        task_path.write_text(json.dumps(asdict(task)))
        self._errors = open(folder / "errors.txt", "w+b")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-c",
                _START,
                json.dumps(sys.path),
                task_path,
                self._result_path,
            ],
            stdin=subprocess.PIPE,
            stdout=self._errors,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for the demo; it ends the senders.
        )

    def running(self) -> bool:
        return self._process.poll() is None

    def result(self) -> Result:
        if self._process.returncode != 0 or not self._result_path.exists():
            self._errors.seek(0)
            said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
            last = said[-1] if said else "nothing"
            raise spargio.SpargioError(
                f"the sending process ended with code {self._process.returncode} and said: {last}"
            )
        return Result(**json.loads(self._result_path.read_text()))

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
        self._errors.close()
