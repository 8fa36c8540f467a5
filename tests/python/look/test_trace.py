"""The trace: what shards did, in order, with arrows; nothing lost within the size, the rest counted."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import net, trace
from spargio._cli import main as command

Events = list[dict[str, Any]]


def of_phase(found: dict[str, Any], phase: str, name: str | None = None) -> Events:
    return [
        one
        for one in found["traceEvents"]
        if one["ph"] == phase and (name is None or one["name"] == name)
    ]


def check(found: dict[str, Any], shards: int) -> None:
    """What holds of every trace: slices of a track do not cut each other, arrows have a beginning."""
    tracks = {one["tid"] for one in of_phase(found, "M", "thread_name")}
    assert tracks == set(range(shards + 1))
    last: dict[int, float] = {}
    for one in found["traceEvents"]:
        if one["ph"] == "M":
            continue
        assert one["tid"] in tracks and one["ts"] >= 0
        if one["ph"] == "X" and "ends" in one["args"]:
            assert one["ts"] >= last.get(one["tid"], 0.0), (
                "a poll began before the one before ended"
            )
            last[one["tid"]] = one["ts"] + one["dur"] - 0.002
    begun = {one["id"]: one for one in of_phase(found, "s")}
    for end in of_phase(found, "f") + of_phase(found, "t"):
        assert end["ts"] >= begun[end["id"]]["ts"] and end["cat"] == begun[end["id"]]["cat"]


async def child(n: int) -> int:
    await spargio.yield_now()
    return n


def test_each_spawn_and_poll_is_there_in_order() -> None:
    async def main(handle: spargio.RuntimeHandle) -> dict[str, Any]:
        with handle.trace() as trace:
            jobs = [handle.spawn_pinned(n % 2, child(n), name=f"child {n}") for n in range(50)]
            for job in jobs:
                await job
        return trace.read()

    found = spargio.run(main, shards=2)
    check(found, 2)
    assert found["otherData"]["overwritten"] == [0, 0, 0]
    polls = Counter(one["name"] for one in of_phase(found, "X") if one["name"].startswith("child "))
    assert polls == {f"child {n}": 2 for n in range(50)}
    ends = Counter(one["args"]["ends"] for one in of_phase(found, "X") if "ends" in one["args"])
    assert ends["ended"] == 50
    spawns = [one for one in of_phase(found, "X", "spawn") if one["tid"] == 0]
    assert len(spawns) == 50
    first = {one["id"]: one for one in of_phase(found, "f") if one["cat"] == "spawn"}
    assert len(first) == 50
    assert Counter(one["tid"] for one in first.values()) == {0: 25, 1: 25}


def test_tasks_older_than_the_trace_have_their_names() -> None:
    """Also once the event that names one was overwritten, and in the trace of a second time."""

    async def ticks(go: spargio.sync.Semaphore) -> None:
        while True:
            await go.acquire()

    async def main(handle: spargio.RuntimeHandle) -> list[dict[str, Any]]:
        go = spargio.sync.Semaphore(0, most=1000)
        job = handle.spawn_pinned(0, ticks(go), name="an old task")
        await support.started(job)
        found = []
        for events, count in ((1024, 5), (1024, 1), (64, 200), (4096, 5)):
            with handle.trace(events=events) as trace:
                for _ in range(count):
                    go.release()
                    await spargio.yield_now()
                    await spargio.yield_now()
            found.append(trace.read())
        job.cancel()
        return found

    for found in spargio.run(main, shards=1):
        check(found, 1)
        polls = Counter(one["name"] for one in of_phase(found, "X") if "ends" in one["args"])
        assert polls["an old task"] >= 1
        assert polls["task"] == 0


def test_operations_and_wake_ups() -> None:
    async def main(handle: spargio.RuntimeHandle) -> dict[str, Any]:
        listener = await net.TcpListener.bind("127.0.0.1", 0)
        async with listener:
            stream = await net.TcpStream.connect(*listener.local_addr[:2])
            other, _ = await listener.accept()
            async with stream, other:
                with handle.trace() as trace:
                    receive = handle.spawn_pinned(0, other.read_exactly(5))
                    await support.started(receive)
                    await stream.write_all(b"hello")
                    assert await receive == b"hello"
                    await spargio.sleep(0.001)
        return trace.read()

    found = spargio.run(main, shards=1)
    check(found, 1)
    begun = {one["id"]: one for one in of_phase(found, "b")}
    ended = {one["id"]: one for one in of_phase(found, "e")}
    names = Counter(one["name"] for one in begun.values())
    assert names["RECV"] >= 1 and names["TIMER"] >= 1
    (receive,) = [one for one in begun.values() if one["name"] == "RECV"][-1:]
    assert ended[receive["id"]]["args"]["result"] == 5
    assert ended[receive["id"]]["ts"] >= receive["ts"]
    # A viewer pairs by category and number, and by name where the end has one.
    assert all(
        one["cat"] == begun[one["id"]]["cat"] for one in ended.values() if one["id"] in begun
    )
    assert not any("name" in one for one in ended.values())
    assert of_phase(found, "X", "parked")
    wakes = {one["id"] for one in of_phase(found, "s") if one["cat"] == "wake"}
    assert wakes & {one["id"] for one in of_phase(found, "f")}


def test_arrows_go_from_the_spawn_by_the_steal_to_the_first_poll() -> None:
    def holds_a_shard() -> bool:
        time.sleep(0.005)
        return True

    async def stolen() -> int:
        return spargio.current_shard()

    async def main(handle: spargio.RuntimeHandle) -> dict[str, Any]:
        with handle.trace() as trace:
            for _ in range(200):
                jobs = [handle.spawn_stealable_on(0, stolen(), name="moved") for _ in range(8)]
                holds_a_shard()  # What is queued here waits, and the other shard takes it.
                if 1 in [await job for job in jobs]:
                    return trace.read()
        raise AssertionError("nothing was stolen")

    found = spargio.run(main, shards=2)
    check(found, 2)
    steals = {one["id"]: one for one in of_phase(found, "t")}
    assert steals and all(one["tid"] == 1 for one in steals.values())
    ends = {one["id"]: one for one in of_phase(found, "f") if one["cat"] == "spawn"}
    begins = {one["id"]: one for one in of_phase(found, "s")}
    for number, steal in steals.items():
        assert begins[number]["tid"] == 0 and begins[number]["ts"] <= steal["ts"]
        assert ends[number]["tid"] == 1 and ends[number]["ts"] >= steal["ts"]


def test_what_is_overwritten_is_counted() -> None:
    async def main(handle: spargio.RuntimeHandle) -> dict[str, Any]:
        with handle.trace(events=100) as trace:  # 128.
            for _ in range(300):
                await spargio.yield_now()
        return trace.read()

    found = spargio.run(main, shards=1)
    check(found, 1)
    lost, outside = found["otherData"]["overwritten"]
    assert outside == 0
    # The name of the task is there twice: three pieces each time.
    assert 127 - 6 <= found["otherData"]["events"] <= 127
    # 300 yields are 600 events, and the few around them; the name stands among each 64 of them.
    assert 590 - 127 <= lost <= 700 - 127


def test_two_traces_at_once_and_one_after_the_other() -> None:
    async def main(handle: spargio.RuntimeHandle) -> list[int]:
        counts = []
        with handle.trace() as first:
            await handle.spawn_pinned(0, child(1), name="one")
            with handle.trace(events=4_000_000) as second:
                await handle.spawn_pinned(0, child(2), name="two")
            for one in (first, second):
                names = [event.get("name") for event in one.read()["traceEvents"]]
                counts += [names.count("one"), names.count("two")]
            first.stop()
        first.stop()
        with handle.trace(events=200_000) as third:
            await handle.spawn_pinned(0, child(3), name="three")
        names = [event.get("name") for event in third.read()["traceEvents"]]
        return [*counts, names.count("one"), names.count("three")]

    assert spargio.run(main, shards=1) == [2, 2, 0, 2, 0, 2]


def test_a_trace_is_read_while_shards_run() -> None:
    runtime = spargio.Runtime(shards=2)

    async def busy() -> None:
        while True:
            await spargio.yield_now()

    with runtime as handle:
        jobs = [handle.spawn_pinned(n, busy()) for n in range(2)]
        with handle.trace(events=512) as trace:
            support.eventually(lambda: sum(trace.read()["otherData"]["overwritten"]) > 2000)
            for _ in range(20):
                check(trace.read(), 2)
        for job in jobs:
            job.cancel()


@pytest.mark.parametrize(
    ("events", "text"),
    [(63, "events must be between 64 and 4194304, got 63"), (1 << 23, "got 8388608")],
)
def test_a_wrong_size(events: int, text: str) -> None:
    with spargio.Runtime(shards=1) as handle, pytest.raises(ValueError, match=text):
        handle.trace(events=events)


@contextmanager
def running(source: str, *lines: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has written these lines."""
    process = programs.start_program(source)
    try:
        assert process.stdout is not None
        for line in lines:
            assert process.stdout.readline() == line + "\n"
        yield process
    finally:
        process.kill()
        process.communicate()


BLOCKED = """
import os
import spargio

async def compute():
    os.write(1, b"blocked\\n")
    while True:
        pass

async def main(handle):
    handle.spawn_pinned(1, compute())
    await spargio.yield_now()
    await compute()

spargio.run(main, shards=2, monitor=True)
"""


def test_another_process_while_all_its_shards_are_blocked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(BLOCKED, "blocked", "blocked") as process:
        path = tmp_path / "trace.json"
        words = ["trace", str(process.pid), "--seconds", "0.05", "-o", str(path)]
        assert command(words) == 0
        assert f"{path}: " in capsys.readouterr().out
        check(json.loads(path.read_text()), 2)
        slices = of_phase(json.loads(path.read_text()), "X")
        assert [
            one for one in slices if "ends" in one["args"]
        ] == []  # They began before the trace: nothing of them is known.


BUSY = """
import spargio

async def tick():
    while True:
        await spargio.sleep(0.001)

async def main(handle):
    handle.spawn_pinned(1, tick(), name="ticker")
    print("ready", flush=True)
    await spargio.sleep(3600)

spargio.run(main, shards=2, monitor=True)
"""


def test_another_process_that_runs() -> None:
    with running(BUSY, "ready") as process:
        with pytest.raises(RuntimeError, match="it is not traced"):
            trace.of_process(process.pid, 0.0)
        found = json.loads(trace.of_process(process.pid, 0.1))
        check(found, 2)
        assert len([one for one in of_phase(found, "b", "TIMER") if one["tid"] == 1]) >= 5
        last = json.loads(trace.of_process(process.pid, 0.0))
        assert last["otherData"]["events"] >= found["otherData"]["events"] - 1


def test_nobody_to_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["trace", str(os.getpid())]) == 1
    assert "monitor=True" in capsys.readouterr().err
