"""The monitor's socket: who is answered, when, and with what; the commands that ask it."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cbor2
import pytest
import support
from rich.console import Console

import spargio
from spargio import monitor
from spargio._cli import top
from spargio.latency import Recorder

PID = os.getpid()


@contextmanager
def child(code: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code`, and has written a line by now."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def command(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "spargio", *words], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_off_by_default() -> None:
    with spargio.Runtime.builder().shards(1).build():
        with pytest.raises(LookupError, match=f"process {PID} can be asked.*monitor=True"):
            monitor.read_stats(PID)


def test_it_answers_with_a_snapshot() -> None:
    with spargio.Runtime(shards=2, monitor=True) as handle:
        assert str(PID) in monitor.find()
        found = monitor.read_stats(PID)
        assert len(found.shards) == 2
        before = handle.stats_snapshot()
        assert before.time_ns > found.time_ns
        # Any language: no request at all, and plain CBOR.
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"\0spargio.{PID}")
            sock.shutdown(socket.SHUT_WR)
            data = b""
            while part := sock.recv(4096):
                data += part
        assert cbor2.loads(data)["options"]["shards"] == 2
    with pytest.raises(LookupError):
        monitor.ask(PID, "stats")


def test_several_runtimes_of_a_process() -> None:
    with spargio.Runtime(shards=1, monitor=True), spargio.Runtime(shards=3, monitor=True):
        assert len(monitor.read_stats(PID).shards) == 1
        assert len(monitor.read_stats(f"{PID}.1").shards) == 3


def test_a_client_that_says_nothing_does_not_keep_the_others() -> None:
    with spargio.Runtime(shards=1, monitor=True):
        silent = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for sock in silent:
            sock.connect(f"\0spargio.{PID}")
        assert monitor.read_stats(PID, timeout=30)
        for sock in silent:
            sock.close()


def test_an_unknown_request() -> None:
    with spargio.Runtime(shards=1, monitor=True):
        answer = json.loads(monitor.ask(PID, "nonsense"))
        assert answer == {"error": "a request must be stats or tasks, got 'nonsense'"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_gets_no_answer() -> None:
    with spargio.Runtime(shards=1, monitor=True):
        code = f"""
        import os
        from spargio import monitor
        os.setuid(65534)
        try:
            monitor.ask({PID}, "stats")
        except PermissionError as error:
            print("ready")
        """
        with child(code):
            pass


BUSY = """
import spargio, threading
async def spin():
    while True:
        pass
async def main(handle):
    for shard in range(1, handle.shard_count()):
        handle.spawn_pinned(shard, spin(), name="spin")
    print("ready", flush=True)
    while True:
        pass
spargio.run(main, shards=2)
"""


def test_it_answers_while_every_shard_is_blocked() -> None:
    with child(BUSY, SPARGIO_MONITOR="1") as process:
        began = time.monotonic()
        found = monitor.read_stats(process.pid, timeout=30)
        took = time.monotonic() - began
        assert len(found.shards) == 2
        assert took < 5
        tasks = monitor.read_tasks(process.pid, timeout=30)
        blocked = {one["shard"]: one for one in tasks if one["state"] == "blocked"}
        assert set(blocked) == {0, 1}
        assert any("in main" in line for line in blocked[0]["stack"])
        assert any("in spin" in line for line in blocked[1]["stack"])
        shown = command("ps", str(process.pid))
        assert "blocked" in shown
        assert "in spin" in shown


WAITING = """
import spargio, sys
from spargio.latency import Recorder
recorder = Recorder("requests")
async def inner():
    await spargio.sleep(1000)
async def outer():
    await inner()
async def main(handle):
    handle.spawn_pinned(1, outer(), name="the sleeper")
    print("ready", flush=True)
    while True:
        with recorder.time():
            await spargio.sleep(0.001)
spargio.run(main, shards=2)
"""


def test_the_commands() -> None:
    with child(WAITING, SPARGIO_MONITOR="1") as process:
        pid = str(process.pid)
        listed = command("ps", pid)
        assert "the sleeper" in listed
        assert "s left" in listed
        assert "in inner" not in listed
        tree = command("tree", pid)
        assert tree.index("in outer") < tree.index("in inner")
        found = json.loads(command("ps", pid, "--json"))
        assert {one["name"] for one in found} == {"the sleeper", "main"}
        shown = command("top", pid, "--once")
        assert "requests" in shown
        assert max(len(line) for line in shown.splitlines()) <= 80
        figures = json.loads(command("top", pid, "--json"))
        assert figures["recorders"]["requests"]["rate"] > 1
        assert len(figures["shards"]) == 2
        assert figures["tasks"] == 2
        # Spawned within a moment of each other, and each shard reads the clock for its own.
        assert {one["name"] for one in figures["oldest_tasks"]} == {"main", "the sleeper"}
        ages = [one["age"] for one in figures["oldest_tasks"]]
        assert ages == sorted(ages, reverse=True)
        assert all(
            shown.index("oldest tasks") < shown.index(one) for one in ("main ", "the sleeper")
        )
        assert "looks skipped/s" in shown


def test_a_process_that_cannot_be_asked() -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    for word, said in (
        ("1", "no runtime of process 1 can be asked: start it with monitor=True"),
        (str(gone.pid), f"there is no process {gone.pid}"),
        ("server", "PID must be a process's number, or PID.N, got 'server'"),
    ):
        for command in ("top", "ps", "tree", "trace"):
            done = subprocess.run(
                [sys.executable, "-m", "spargio", command, word], capture_output=True, text=True
            )
            assert done.returncode == 1
            assert said in done.stderr
            assert done.stdout == ""


def test_a_wrong_number_says_which_are_right() -> None:
    with spargio.Runtime(shards=1, monitor=True):
        with pytest.raises(LookupError, match=rf"no process 4194305 \(these .*{PID}"):
            monitor.ask(4194305, "stats")
        with pytest.raises(LookupError, match=rf"process {PID} has no runtime {PID}.77"):
            monitor.ask(f"{PID}.77", "stats")


def test_all_headings_fit_into_80_columns_with_the_widest_figures() -> None:
    shards = [
        {
            **dict.fromkeys(("polls", "stolen", "parks", "doorbells", "queued"), 999_994.0),
            **{f"skipped_{name}": 333_331.0 for name in ("locality", "backoff", "empty")},
            "shard": 255,
            "busy": 1.0,
            "ops_in_flight": 999_994,
            "timers": 999_994,
            "blocked_passes": 999_994,
        }
    ]
    written = io.StringIO()
    Console(width=80, file=written).print(top._shards(shards))
    head, row = written.getvalue().splitlines()
    assert "skip" in head and "timers" in head and head.rstrip().endswith("blocked")
    assert "…" not in head + row
    assert row.split()[0] == "255"


def test_many_ask_at_once() -> None:
    Recorder("monitored").record_ns(5)
    with spargio.Runtime(shards=2, monitor=True) as handle:

        def look() -> None:
            for _ in range(20):
                assert "monitored" in monitor.read_stats(PID, timeout=30).recorders

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(support.LIMIT_S)
        assert handle.stats_snapshot().shards
