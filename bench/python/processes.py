"""The processes that are measured: pinned, watched, and asked line by line."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final

SKIPPED: Final = 77
"""Exit status of a program that cannot run on this machine (the custom of test programs)."""

ANSWER_SECONDS: Final = 20.0


class Missing(Exception):
    """A peer that is not on this machine, or that cannot run on it. Not a failure."""


class MeasurementFailed(Exception):
    """A process that crashed, hung, or gave a wrong answer."""


@contextlib.contextmanager
def pinned(cpus: Iterable[int] | None) -> Iterator[None]:
    """What is started inside inherits these CPUs, all of its threads included, from its first
    instruction on (which a later sched_setaffinity(2) from outside could not promise)."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def two_cpus() -> tuple[int, int]:
    """A CPU for what is measured and one for its load, on different cores if there are two. The
    first CPU goes to the load: it is the one that also serves most interrupts."""
    usable = sorted(os.sched_getaffinity(0))
    load = usable[0]
    siblings = _siblings(load)
    others = [cpu for cpu in usable if cpu not in siblings] or usable[1:] or usable
    return others[0], load


def _siblings(cpu: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        ranges = path.read_text().strip().split(",")
    except OSError:
        return {cpu}
    bounds = [tuple(map(int, part.split("-"))) for part in ranges]
    return {sibling for ends in bounds for sibling in range(ends[0], ends[-1] + 1)}


def run(
    arguments: Sequence[str | Path], *, cpus: Iterable[int] | None = None, seconds: float
) -> str:
    """Run to the end, give stdout. Raises as its exit status says, and after `seconds`."""
    with pinned(cpus):
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise MeasurementFailed(f"no end after {seconds:.0f} s") from None
    _check(process.returncode, errors.decode(errors="replace").strip()[-2000:])
    return output.decode()


def python(script: Path, *arguments: str) -> list[str | Path]:
    """The command line of a script in this very Python."""
    return [sys.executable, script, *arguments]


def _check(status: int, errors: str) -> None:
    if status == SKIPPED:
        raise Missing(errors.rpartition("\n")[2])
    if status != 0:
        raise MeasurementFailed(f"exit status {status}: {errors or 'no message'}")


class LineProcess:
    """A process that is spoken to in lines. Ends it when left."""

    def __init__(self, name: str, arguments: Sequence[str | Path], cpus: Iterable[int]) -> None:
        self._name = name
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        with pinned(cpus):
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )

    def __enter__(self) -> LineProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._errors, self._process.stdout:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            hung = False
            try:
                self._process.wait(ANSWER_SECONDS if kind is None else 1)
            except subprocess.TimeoutExpired:
                hung = True
                self._process.kill()
                self._process.wait()
            said = self._said()
            if kind is None and hung:
                raise MeasurementFailed(
                    f"the {self._name} did not exit at the end of stdin; {said}"
                )
            # The failure is often seen by the load first, while the server knows the reason.
            if isinstance(error, MeasurementFailed) and said and said not in str(error):
                raise MeasurementFailed(f"{error}\nThe {self._name} said: {said}") from error

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-1000:]

    def read_line(self, seconds: float = ANSWER_SECONDS) -> str:
        """The next line, or the failure that stands in its place."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise MeasurementFailed(f"the {self._name} gave no answer for {seconds:.0f} s")
        line = self._process.stdout.readline().decode()
        if not line:
            self._raise_its_end()
        return line

    def write_line(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
        except BrokenPipeError:
            self._raise_its_end()

    def _raise_its_end(self) -> None:
        _check(self._process.wait(ANSWER_SECONDS), self._said())
        raise MeasurementFailed(f"the {self._name} ended before its time")
