"""The sides as processes: the options reach them, the idle one is stopped, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spargio.tune import Machine, ProcessFailed, Subject, choice
from spargio.tune._lab import Shape
from spargio.tune._usage import tree_of

SERVER = """
import os, spargio
from spargio.tune import choice

async def echo(stream):
    async with stream:
        while data := await stream.recv(4096):
            await stream.write_all(data)

async def main(handle: spargio.RuntimeHandle):
    choice("placement", "pinned", ("pinned", "stealable"), target="p99")
    listener = await spargio.net.TcpListener.bind("127.0.0.1", int(os.environ["PORT"]))
    await spargio.net.serve(listener, echo)

spargio.run(main, shards=1, steal_budget=5)
"""
FUNCTION = """
import spargio

async def nothing():
    await spargio.yield_now()

async def work():
    handle = spargio.current_handle()
    await handle.spawn_stealable(nothing())
"""
SHAPE = Shape(200.0)
SHAPE.seconds = 0.2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "server.py").write_text(SERVER)
    command = [sys.executable, str(tmp_path / "server.py")]
    subject = Subject(
        {"target": "tcp://127.0.0.1:{port}", "arrivals": 100, "connections": 4}, command
    )
    before = tree_of(os.getpid())
    machine = Machine(subject, tmp_path / "lab")
    yield machine
    machine.close()
    assert set(tree_of(os.getpid())) <= set(before)


def states(pids: list[int]) -> set[str]:
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}


@pytest.mark.timeout(120)
def test_a_server_is_measured_with_the_options_of_its_side(server: Machine) -> None:
    server.start("A", {})
    server.start("B", {"steal_budget": 9, "program.placement": "stealable"})
    for side, budget in (("A", 5), ("B", 9)):
        found = server.round(side, SHAPE, 1)
        assert found.counters.options["steal_budget"] == budget
        assert found.latency.ok == found.latency.count == found.operations - 4  # The warm-up's.
        assert found.latency.count in (40, 41)
        assert found.completed == 1.0
        assert found.cpu_ns > 0
        assert found.counters.total["polls"] > 0
        assert len(found.counters.shards) == 1
    assert server.choices() == {
        "placement": {"value": "pinned", "choices": ["pinned", "stealable"], "target": "p99"}
    }


@pytest.mark.timeout(120)
def test_the_idle_side_is_stopped(server: Machine) -> None:
    server.start("A", {})
    server.start("B", {})
    sides = server._sides
    assert states(sides["A"].pids()) == states(sides["B"].pids()) == {"T"}
    sides["A"].resume()
    assert "T" not in states(sides["A"].pids())
    sides["A"].pause()
    server.round("B", SHAPE, 1)
    assert states(sides["B"].pids()) == {"T"}


@pytest.mark.timeout(120)
def test_a_function_is_measured_in_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_to_tune.py").write_text(FUNCTION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    machine = Machine(Subject({"target": "mine_to_tune:work", "arrivals": 100}), tmp_path / "lab")
    try:
        machine.start("A", {"shards": 2, "steal_batch_size": 3})
        found = machine.round("A", SHAPE, 1)
    finally:
        machine.close()
    assert found.counters.options["steal_batch_size"] == 3
    assert found.operations == found.latency.count
    assert found.counters.total["stealable_executed"] >= 40
    assert found.cpu_ns > 0


@pytest.mark.timeout(120)
def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    before = tree_of(os.getpid())
    command = [sys.executable, "-c", "raise SystemExit('no room for a server')"]
    machine = Machine(
        Subject({"target": "tcp://127.0.0.1:{port}", "arrivals": 9}, command), tmp_path
    )
    with pytest.raises(ProcessFailed, match="exit code 1; its last line was 'no room"):
        machine.start("A", {})
    machine.close()
    missing = Machine(
        Subject({"target": "tcp://127.0.0.1:{port}", "arrivals": 9}, ["/no/such/program"]), tmp_path
    )
    with pytest.raises(ProcessFailed, match="/no/such/program did not start"):
        missing.start("A", {})
    missing.close()
    assert set(tree_of(os.getpid())) <= set(before)


@pytest.mark.timeout(120)
def test_an_option_that_cannot_be_ends_the_side(server: Machine) -> None:
    with pytest.raises(ProcessFailed, match="steal_budget"):
        server.start("A", {"steal_budget": 0})


@pytest.mark.timeout(120)
@pytest.mark.parametrize("resumed", [False, True])
def test_nothing_outlives_a_tuner_that_is_killed(tmp_path: Path, resumed: bool) -> None:
    """Neither what is stopped nor what runs."""
    (tmp_path / "server.py").write_text(SERVER)
    program = (
        "import sys, time, pathlib\nfrom spargio.tune import Machine, Subject\n"
        "spec = {'target': 'tcp://127.0.0.1:{port}', 'arrivals': 9, 'connections': 1}\n"
        f"machine = Machine(Subject(spec, [sys.executable, {str(tmp_path / 'server.py')!r}]), "
        f"pathlib.Path({str(tmp_path / 'lab')!r}))\n"
        "machine.start('A', {})\n"
        + ("machine._sides['A'].resume()\n" if resumed else "")
        + "print(*machine._sides['A'].pids(), flush=True)\ntime.sleep(100)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as tuner:
        assert tuner.stdout is not None
        pids = [int(word) for word in tuner.stdout.readline().split()]
        assert len(pids) == 2
        tuner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("spec", "command", "said"),
    [
        ({"target": "tcp://127.0.0.1:80", "arrivals": 1}, ["x"], r"target must have \{port\}"),
        ({"target": "tcp://127.0.0.1:80", "arrivals": 1}, [], "target must be module:function"),
        ({"target": "dir", "arrivals": 1}, [], "target must be module:function"),
        ({"target": "os:getpid", "arrivals": {"kind": "closed"}}, [], "arrivals must be open"),
        ({"target": "os:getpid"}, [], "a load needs arrivals"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    spec: dict[str, object], command: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Subject(spec, command)


def test_a_choice_is_the_files_or_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARGIO_OPTIONS_FILE", raising=False)
    monkeypatch.delenv("SPARGIO_TUNE_CHOICES", raising=False)
    assert choice("size", "small", ("small", "large")) == "small"
    path = tmp_path / "options.conf"
    path.write_text("shards = 2\nprogram.size = large # tried\n")
    monkeypatch.setenv("SPARGIO_OPTIONS_FILE", str(path))
    assert choice("size", "small", ("small", "large")) == "large"
    assert choice("other", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r"program\.size must be one of small, tiny, got 'large'"):
        choice("size", "small", ("small", "tiny"))
    with pytest.raises(ValueError, match="default must be one of a, b, got 'c'"):
        choice("other", "c", ("a", "b"))
