"""A load's report has the counters of the server too, asked of its monitor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import programs
import pytest

from spargio import workload
from spargio.workload import LoadReport

SERVER = """
import spargio
from spargio import net

async def echo(stream):
    async with stream:
        while data := await stream.recv(65536):
            await stream.write_all(data)

async def main(handle):
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    print(listener.local_addr[1], flush=True)
    turn = 0
    while True:
        stream, _ = await listener.accept()
        turn += 1
        handle.spawn_pinned(turn % 2, echo(stream))

spargio.run(main, shards=2, monitor=True)
"""


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """Its PID and port."""
    process = programs.start_program(SERVER)
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def check(report: LoadReport) -> None:
    assert report.server_counters
    assert all(len(found["busy"]) == 2 for _, found in report.server_counters)
    assert all(0 <= share <= 1.1 for _, found in report.server_counters for share in found["busy"])
    assert sum(found["polls"] for _, found in report.server_counters) >= report.latency.count
    instants = [at for at, _ in report.server_counters]
    assert instants == sorted(instants) and instants[-1] >= report.seconds


def test_the_report_has_the_servers_counters(server: tuple[int, int], tmp_path: Path) -> None:
    pid, port = server
    load = workload.Load(f"tcp://127.0.0.1:{port}", 300, duration=1.2, connections=4)
    report = load.run(server=pid)
    assert report.latency.count == 360
    check(report)
    report.write_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Counters of the server, per second" in page
    assert "Busy time of the server&#x27;s shards" in page
    check(LoadReport.from_dict(json.loads(json.dumps(report.to_dict()))))


def test_by_the_command(server: tuple[int, int], tmp_path: Path) -> None:
    pid, port = server
    words = ["load", f"tcp://127.0.0.1:{port}", "--rate", "200", "--duration", "0.5"]
    words += ["--quiet", "--server", str(pid), "--json", "-"]
    command = [sys.executable, "-m", "spargio", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    check(LoadReport.from_dict(json.loads(done.stdout)))


def test_a_server_that_cannot_be_asked(tmp_path: Path) -> None:
    load = workload.Load("dir:/proc/self/fdinfo", 10, duration=0.1)
    with pytest.raises(LookupError, match="monitor=True"):
        load.run(server=os.getpid())
    command = [sys.executable, "-m", "spargio", "load", "dir:/etc", "--server", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no runtime of process 1 can be asked" in done.stderr
