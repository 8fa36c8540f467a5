"""Ctrl-C, SystemExit and the program's own signal handlers, in programs of their own."""

from __future__ import annotations

import functools
import signal
import threading
import time
from typing import Any

import programs
import pytest
import support

import spargio

PROMPT_S = 2
"""Longer than any end here takes on a slow machine; what it must not wait for takes 1000 s."""

HEAD = """
import signal, sys, threading, time
import spargio

def ready():
    print("ready", flush=True)

begun = []

async def clean_up(name):
    begun.append(name)
    try:
        await spargio.sleep(1000)
    finally:
        await spargio.sleep(0.001)
        print(f"cleaned up {name}\\n", end="", flush=True)  # One write: threads print at once.

async def announce(handle, sleeping):
    # In a task of another shard: then the main thread waits in the kernel when the signal comes.
    while handle.stats_snapshot().timers_set < sleeping + 1:
        await spargio.sleep(0.001)
    ready()

def run(main, **options):
    try:
        print("result", spargio.run(main, **options), flush=True)
    except BaseException as error:
        print("raised", repr(error), flush=True)
    # Everything was closed: a new one works.
    async def again():
        await spargio.sleep(0)
    spargio.run(again, **options)
"""


def ends(source: str, number: int = signal.SIGINT, *, within_s: float = PROMPT_S) -> list[str]:
    """The lines it prints after the signal; asserts that it ends in time and says no more."""
    with programs.start_program(HEAD + source) as process:
        try:
            took_s = programs.interrupt(process, number)
            out, errors = process.communicate(timeout=support.LIMIT_S)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")
    assert took_s < within_s
    return out.splitlines()


@pytest.mark.parametrize("shards", [1, 4])
def test_ctrl_c_in_a_parked_runtime(shards: int) -> None:
    lines = ends(
        f"""
async def main(handle):
    jobs = [handle.spawn_pinned(shard, clean_up(shard)) for shard in range({shards})]
    while len(begun) < {shards}:  # One that has not begun has nothing to clean up.
        await spargio.sleep(0.001)
    ready()
    await clean_up("main")

run(main, shards={shards})
"""
    )
    assert sorted(lines[:-1]) == sorted(
        ["cleaned up main", *[f"cleaned up {n}" for n in range(shards)]]
    )
    assert lines[-1] == "raised KeyboardInterrupt()"


def test_ctrl_c_while_main_computes_and_awaits_now_and_then() -> None:
    assert ends(
        """
async def main():
    ready()
    try:
        while True:
            sum(range(1000))
            await spargio.yield_now()
    finally:
        print("finally", flush=True)

run(main, shards=2)
"""
    ) == ["finally", "raised KeyboardInterrupt()"]


def test_a_second_ctrl_c_ends_a_coroutine_that_never_awaits() -> None:
    source = """
async def main():
    ready()
    try:
        while True:
            pass
    finally:
        print("finally", flush=True)

run(main, shards=2)
"""
    with programs.start_program(HEAD + source) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + support.LIMIT_S
        while process.poll() is None:  # Two at the same moment are one.
            assert time.monotonic() < deadline
            process.send_signal(signal.SIGINT)
            try:
                process.wait(0.05)
            except Exception:
                continue
        out, errors = process.communicate()
    # More than two may have come: what they hit is not said here, only that it ends by Ctrl-C.
    assert "KeyboardInterrupt" in out + errors


def test_ctrl_c_while_another_shard_blocks() -> None:
    """Everything else ends at once; run waits for the task that cannot be cancelled."""
    assert ends(
        """
blocked = threading.Event()
released = threading.Event()

async def block():
    blocked.set()
    released.wait(1000)
    print("block ends", flush=True)

async def watch():
    try:
        await spargio.sleep(1000)
    finally:
        released.set()

async def main(handle):
    job = handle.spawn_pinned(1, block())
    handle.spawn_pinned(2, watch())
    while not blocked.is_set() or not handle.stats_snapshot().timers_set:
        await spargio.yield_now()
    ready()
    await job

run(main, shards=3)
"""
    ) == ["block ends", "raised KeyboardInterrupt()"]


def test_ctrl_c_while_main_waits_for_a_connection() -> None:
    assert ends(
        """
from spargio import net

async def main():
    async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
        ready()
        await listener.accept()

run(main, shards=2)
"""
    ) == ["raised KeyboardInterrupt()"]


def test_ctrl_c_while_a_thread_waits_for_a_result() -> None:
    assert ends(
        """
with spargio.Runtime.builder().shards(2).build() as handle:
    job = handle.spawn_stealable(clean_up("task"))
    while not handle.stats_snapshot().timers_set:
        pass
    try:
        ready()
        job.result()
    except KeyboardInterrupt:
        print("raised", flush=True)
"""
    ) == ["raised", "cleaned up task"]


def test_a_task_that_catches_its_cancellation_decides() -> None:
    assert ends(
        """
async def main():
    ready()
    try:
        await spargio.sleep(1000)
    except spargio.CancelledError:
        await spargio.sleep(0.001)
        return "went on"

run(main, shards=1)
"""
    ) == ["raised KeyboardInterrupt()"]


def test_a_handler_of_the_program_runs_while_the_runtime_is_parked() -> None:
    assert ends(
        """
seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))

async def main():
    ready()
    while not seen:
        await spargio.sleep(0.3)
    return seen == [signal.SIGUSR1]

run(main, shards=2)
""",
        signal.SIGUSR1,
    ) == ["result True"]


def test_a_handler_that_raises_ends_run_with_what_it_raised() -> None:
    assert ends(
        """
def handler(number, frame):
    raise LookupError("from the handler")

signal.signal(signal.SIGTERM, handler)

async def main(handle):
    handle.spawn_pinned(1, clean_up("other"))
    handle.spawn_pinned(1, announce(handle, 2))
    await spargio.sleep(1000)

run(main, shards=2)
""",
        signal.SIGTERM,
    ) == ["cleaned up other", "raised LookupError('from the handler')"]


def test_sigterm_as_the_documentation_says() -> None:
    source = """
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

async def main(handle):
    handle.spawn_pinned(1, clean_up("other"))
    handle.spawn_pinned(1, announce(handle, 2))
    await clean_up("main")

spargio.run(main, shards=2)
"""
    with programs.start_program(HEAD + source) as process:
        took_s = programs.interrupt(process, signal.SIGTERM)
        out, errors = process.communicate()
    assert (process.returncode, errors) == (128 + signal.SIGTERM, "")
    assert sorted(out.splitlines()) == ["cleaned up main", "cleaned up other"]
    assert took_s < PROMPT_S


def test_a_sigint_handler_of_the_program_is_left_alone() -> None:
    assert ends(
        """
seen = []

def handler(number, frame):
    seen.append(number)

signal.signal(signal.SIGINT, handler)

async def main():
    ready()
    while not seen:
        await spargio.sleep(0.05)
    return "went on"

run(main, shards=2)
print(signal.getsignal(signal.SIGINT) is handler)
"""
    ) == ["result went on", "True"]


def test_ctrl_c_is_as_before_after_run() -> None:
    async def main() -> object:
        return signal.getsignal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    spargio.run(main, shards=1)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_that_the_program_sets_in_run_stays() -> None:
    def mine(number: int, frame: object) -> None:
        pass

    async def install(handler: Any) -> None:
        signal.signal(signal.SIGINT, handler)

    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (mine, signal.SIG_IGN, signal.default_int_handler):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            spargio.run(functools.partial(install, handler), shards=1)
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("shard", [0, 1])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_one_that_a_task_raises_ends_run(kind: type[BaseException], shard: int) -> None:
    cleaned: list[str] = []

    async def left() -> None:
        try:
            await spargio.sleep(1000)
        finally:
            cleaned.append("left")

    async def raises() -> None:
        await spargio.sleep(0.001)
        raise kind(3)

    async def main(handle: spargio.RuntimeHandle) -> None:
        handle.spawn_pinned(1 - shard, left())
        await support.until(lambda: handle.stats_snapshot().timers_set >= 3)
        handle.spawn_pinned(shard, raises())
        await spargio.sleep(1000)

    with pytest.raises(kind) as caught:
        spargio.run(main, shards=2)
    assert caught.value.args == (3,)
    assert cleaned == ["left"]


def test_system_exit_of_main_ends_the_program_with_its_code() -> None:
    done = programs.run_program(
        """
        import sys, spargio

        async def main():
            sys.exit(7)

        spargio.run(main)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_system_exit_in_a_background_runtime_is_not_swallowed(unraisables: Any) -> None:
    """Nobody runs that runtime, so it is told where the program asks, or reported."""

    async def exits() -> None:
        raise SystemExit(3)

    with spargio.Runtime.builder().shards(2).build() as handle:
        asked = handle.spawn_stealable(exits())
        with pytest.raises(SystemExit):
            asked.result(support.LIMIT_S)
    assert unraisables.take() == []

    with spargio.Runtime.builder().shards(2).build() as handle:
        handle.spawn_stealable(exits(), name="exits")
        support.eventually(lambda: handle.stats_snapshot().tasks_ended == 1)
    assert [(one.kind, one.object) for one in unraisables.take()] == [(SystemExit, "exits")]


def test_run_in_another_thread_leaves_signals_alone() -> None:
    async def main() -> object:
        await spargio.sleep(0)
        return signal.getsignal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(spargio.run(main, shards=1)))
    thread.start()
    thread.join(support.LIMIT_S)
    assert results == [before]
