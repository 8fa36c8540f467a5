"""What a signal handler raises never strikes inside a task or spargio's own code: it is kept, every
task is cancelled, and `run` raises it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import Any

import programs
import pytest
import support

import spargio

BUSY = """
import signal, sys, time
import spargio
from spargio import sync

def handler(number, frame):
    sys.exit(128 + number)

async def blocking():
    while True:
        await spargio.spawn_blocking(time.sleep, 0.0003)

async def main():
    if HOW == "inside":
        signal.signal(signal.SIGTERM, handler)
    lock = sync.Lock()

    async def locks():
        while True:
            async with lock:
                await spargio.yield_now()

    async with spargio.TaskGroup() as group:
        print("ready", flush=True)
        for _ in range(30):
            group.spawn(blocking())
            group.spawn(locks())
            await spargio.sleep(0.0003)

if HOW == "before":
    signal.signal(signal.SIGTERM, handler)
options = {"stop_signals": (signal.SIGTERM,)} if HOW == "option" else {}
spargio.run(main, shards=2, **options)
"""


@pytest.mark.parametrize("how", ["before", "inside", "option"])
def test_sigterm_at_any_moment_ends_the_program(how: str) -> None:
    """Its threads of the pool are being started then, its locks taken, its tasks made."""
    moments = random.Random(5)
    for _ in range(8):
        with programs.start_program(f"HOW = {how!r}\n{BUSY}") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(moments.random() * 0.03)  # The moment is what varies here.
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=support.LIMIT_S)
        assert (process.returncode, errors) == (128 + signal.SIGTERM, "")


def test_what_a_handler_raises_does_not_strike_the_task_that_runs() -> None:
    seen: list[str] = []

    def handler(number: int, frame: object) -> None:
        raise LookupError("from the handler")

    async def main() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        seen.append("went on")
        try:
            await spargio.sleep(1000)
        finally:
            await spargio.sleep(0)
            seen.append("cleaned up")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(LookupError, match="from the handler"):
            spargio.run(main, shards=1)
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["went on", "cleaned up"]


def test_one_that_comes_again_cancels_again() -> None:
    seen: list[str] = []

    async def main() -> None:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
            try:
                await spargio.sleep(1000)
            except spargio.CancelledError:
                seen.append("cancelled")

    with pytest.raises(SystemExit) as caught:
        spargio.run(main, shards=1, stop_signals=[signal.SIGUSR1])
    assert caught.value.code == 128 + signal.SIGUSR1
    assert seen == ["cancelled"] * 3
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_handler_set_inside_is_the_programs_own_afterwards() -> None:
    def handler(number: int, frame: object) -> None:
        raise LookupError

    async def main() -> None:
        signal.signal(signal.SIGUSR1, handler)
        await spargio.sleep(0)
        await support.until(lambda: signal.getsignal(signal.SIGUSR1) is not handler)

    before = signal.getsignal(signal.SIGUSR1)
    try:
        spargio.run(main, shards=1)
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_stream_of_signals_goes_on_beside_it() -> None:
    """Its handler is not taken away by the look at handlers that were set meanwhile."""

    async def main() -> list[signal.Signals]:
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
        got = []
        async with spargio.signal.stream(signal.SIGUSR1) as signals:
            for _ in range(3):
                await spargio.sleep(0.12)  # Two looks.
                os.kill(os.getpid(), signal.SIGUSR1)
                with spargio.timeout(support.LIMIT_S):
                    got.append(await signals.recv())
        return got

    before = signal.getsignal(signal.SIGUSR1)
    try:
        assert spargio.run(main, shards=1) == [signal.SIGUSR1] * 3
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        (15, TypeError, "stop_signals is 15: allowed is a list of signals"),
        (["TERM"], TypeError, "stop_signals is 'TERM': allowed is a list of signals"),
        ([0], ValueError, "stop_signals has 0"),
        ([signal.SIGKILL], ValueError, "stop_signals has "),
        ([signal.SIGSEGV], ValueError, "stop_signals has "),
    ],
)
def test_wrong_signals(given: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        spargio.RuntimeBuilder().stop_signals(given)
    assert str(caught.value).startswith(text)


def test_where_no_signal_can_come() -> None:
    builder = spargio.Runtime.builder().shards(1).stop_signals([signal.SIGTERM])
    with pytest.raises(ValueError, match="stop_signals for a runtime in the background"):
        builder.build()
    errors: list[BaseException] = []

    async def main() -> None:
        pass

    def run() -> None:
        try:
            spargio.run(main, stop_signals=[signal.SIGTERM])
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(support.LIMIT_S)
    assert [str(error) for error in errors] == [
        "stop_signals outside the main thread: signals reach that one only"
    ]
