"""The processes of one side: the server with the options of the side, and the generator that
asks it. Both are in a process group of their own, so that they can be stopped while the other
side runs. If the tuner dies, or its thread that started them ends, the kernel kills both. What
they have started goes with them if it is stopped: a stopped group that is orphaned gets SIGHUP
and SIGCONT."""

from __future__ import annotations

import json
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from spargio import RuntimeStats, monitor
from spargio._ffi import schedule

from . import _usage

__all__ = ("ProcessFailed", "Side", "Subject")

_END_S = 5.0
_ANSWER_S = 60.0
_LOOK_S = 0.25


class ProcessFailed(Exception):
    """A side did not start, ended, or gave no answer; the text says what it said."""


class Subject:
    """What is tuned. `spec` is the load (:meth:`Load.spec`, or a part of one). `command` starts the
    server; without one the load's target is a function, and its process is tuned. Two servers run
    at once: each has a port of its own, which stands for ``{port}`` in the target and in the
    command, and is the environment's ``PORT``."""

    def __init__(self, spec: Mapping[str, Any], command: Sequence[str] = ()) -> None:
        from spargio.workload import Closed, Load

        self.spec = dict(spec)
        self.command = tuple(command)
        target = str(self.spec.get("target", ""))
        if self.command and "://" in target and "{port}" not in target:
            raise ValueError(
                "target must have {port} for its port, because a baseline and a candidate run at "
                f"once, as tcp://127.0.0.1:{{port}}, got {target!r}"
            )
        if not self.command and ("://" in target or ":" not in target):
            raise ValueError(
                f"target must be module:function if no command starts the server, got {target!r}"
            )
        self.load = Load.from_spec(self.spec_at(1) if "://" in target else self.spec)
        if isinstance(self.load.arrivals, Closed):
            raise ValueError(
                "arrivals must be open: a closed loop does not see what users wait for while the "
                "server stalls"
            )

    @property
    def hosts(self) -> bool:
        """The generator's process is the tuned one."""
        return not self.command

    def spec_at(self, port: int) -> dict[str, Any]:
        return {**self.spec, "target": str(self.spec["target"]).replace("{port}", str(port))}

    def command_at(self, port: int) -> list[str]:
        return [word.replace("{port}", str(port)) for word in self.command]

    def to_dict(self) -> dict[str, Any]:
        return {"load": self.spec, "command": list(self.command)}

    def __str__(self) -> str:
        return shlex.join(self.command) if self.command else str(self.spec["target"])


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        number: int = sock.getsockname()[1]
        return number


def _begin(parent: int) -> None:
    """In the child, before its program."""
    os.setpgrp()  # Popen's process_group= is of 3.11.
    schedule.die_with_parent(parent)


class Side:
    """`environment` is for the tuned process. Running from the start to :meth:`close`, but for the
    time between :meth:`pause` and :meth:`resume`."""

    def __init__(self, subject: Subject, environment: Mapping[str, str], log: Path) -> None:
        self._subject = subject
        self._log_path = log
        self._log = open(log, "ab")  # noqa: SIM115
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._driver: subprocess.Popen[bytes] | None = None
        self._paused = False
        tuned = {**environment, "SPARGIO_MONITOR": "1"}
        plain = {name: os.environ[name] for name in os.environ if name not in tuned}
        plain["PORT"] = str(self._port)
        try:
            if not subject.hosts:
                self._server = self._start(subject.command_at(self._port), {**plain, **tuned})
            words = [sys.executable, "-m", "spargio.tune._driver"]
            self._driver = self._start(words, {**plain, **(tuned if subject.hosts else {})}, True)
            first = {"load": subject.spec_at(self._port), "hosts": subject.hosts}
            self._ask(first, _ANSWER_S)
        except BaseException:
            self.close()
            raise

    def _start(
        self, words: list[str], environment: dict[str, str], piped: bool = False
    ) -> subprocess.Popen[bytes]:
        kind = subprocess.PIPE if piped else subprocess.DEVNULL
        output: int | IO[bytes] = subprocess.PIPE if piped else self._log
        try:
            return subprocess.Popen(
                words,
                stdin=kind,
                stdout=output,
                stderr=self._log,
                env=environment,
                preexec_fn=partial(_begin, os.getpid()),
            )
        except OSError as error:
            raise ProcessFailed(f"{words[0]} did not start: {error}") from None

    def pids(self) -> list[int]:
        """All of its processes."""
        return [pid for one in self._processes() for pid in _usage.tree_of(one.pid)]

    def tuned_pids(self) -> list[int]:
        """Those whose CPU time counts."""
        one = self._driver if self._server is None else self._server
        return [] if one is None else _usage.tree_of(one.pid)

    def _processes(self) -> list[subprocess.Popen[bytes]]:
        return [one for one in (self._server, self._driver) if one is not None]

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False

    def _signal(self, number: int) -> None:
        for one in self._processes():
            with suppress(ProcessLookupError):
                os.killpg(one.pid, number)

    def ask(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """A round with `changes` to the load."""
        seconds = changes.get("duration", 10.0) + changes.get("warmup", 0.0)
        return self._ask(changes, seconds + self._subject.load.drain + _ANSWER_S)

    def _ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        driver = self._driver
        assert driver is not None
        assert driver.stdin is not None and driver.stdout is not None
        try:
            driver.stdin.write(json.dumps(request).encode() + b"\n")
            driver.stdin.flush()
        except BrokenPipeError:
            pass  # It said why before it ended.
        self._await(driver.stdout, limit_s)
        line = driver.stdout.readline()
        if not line:
            raise ProcessFailed(f"the generator ended{self._said()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ProcessFailed(f"{answer['error']}{self._said()}")
        return answer

    def _await(self, answers: IO[bytes], limit_s: float) -> None:
        """Until there is an answer; a server that ends is noticed at once."""
        deadline = time.monotonic() + limit_s
        with selectors.DefaultSelector() as waiting:
            waiting.register(answers, selectors.EVENT_READ)
            while not waiting.select(_LOOK_S):
                if self._server is not None and (code := self._server.poll()) is not None:
                    raise ProcessFailed(f"the server ended with exit code {code}{self._said()}")
                if time.monotonic() >= deadline:
                    raise ProcessFailed(f"no answer within {limit_s:.0f} s{self._said()}")

    def _said(self) -> str:
        self._log.flush()
        lines = self._log_path.read_text(errors="replace").strip().splitlines()
        return f"; its last line was {lines[-1].strip()!r}" if lines else ""

    def stats(self) -> RuntimeStats | None:
        """Of the server's runtime; None if no process of it answers."""
        own = set(self.tuned_pids())
        for name in monitor.find():
            if int(name.partition(".")[0]) in own:
                with suppress(OSError, LookupError, ValueError):
                    return monitor.read_stats(name)
        return None

    def close(self) -> None:
        """Ends all of its processes. Can be called again."""
        self.resume()
        if self._driver is not None and self._driver.stdin is not None:
            with suppress(BrokenPipeError):
                self._driver.stdin.close()
        if self._server is not None:
            self._signal(signal.SIGTERM)
        for one in self._processes():
            with suppress(subprocess.TimeoutExpired):
                one.wait(_END_S)
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()
            if one.stdout is not None:
                one.stdout.close()
        self._server = self._driver = None
        self._log.close()
