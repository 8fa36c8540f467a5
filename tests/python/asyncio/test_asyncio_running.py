"""Running: threads, forks, wake-ups, signals, exceptions in a batch, timers, fairness."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

import aio
import pytest
import support

from spargio.asyncio import EventLoop, run

# ---- signals ----


def test_a_signal_handler_runs_in_the_loop_and_the_old_one_comes_back(loop: EventLoop) -> None:
    heard: list[str] = []
    before = signal.getsignal(signal.SIGUSR1)

    async def main() -> None:
        done = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, lambda: (heard.append("x"), done.set_result(None)))
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(done, aio.LIMIT_S)
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)

    loop.run_until_complete(main())
    assert heard == ["x"]
    assert signal.getsignal(signal.SIGUSR1) in (before, signal.SIG_DFL)
    assert signal.set_wakeup_fd(-1) == -1


def test_a_second_loop_does_not_take_the_signals_of_the_first(loop: EventLoop) -> None:
    """The wake-up descriptor is the process's: a loop on another thread leaves it alone."""

    async def main() -> None:
        done = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, done.set_result, None)
        await asyncio.to_thread(lambda: run(asyncio.sleep(0.001)))
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(done, aio.LIMIT_S)
        loop.remove_signal_handler(signal.SIGUSR1)

    loop.run_until_complete(main())


def test_a_handler_of_signal_signal_runs_while_the_loop_waits(loop: EventLoop) -> None:
    heard = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.set())
    try:
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()

        async def main() -> None:
            await aio.until(heard.is_set)

        loop.run_until_complete(main())
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_cancels_the_main_task_of_run() -> None:
    cleaned: list[str] = []

    async def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(aio.LIMIT_S)
        except asyncio.CancelledError:
            cleaned.append("cancelled")
            raise

    if sys.version_info < (3, 11):
        pytest.skip("asyncio.run() cancels the main task since 3.11")
    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert cleaned == ["cancelled"]


# ---- exceptions ----


def test_an_exception_in_a_batch_does_not_drop_the_rest(loop: EventLoop) -> None:
    """Several streams become ready together; the protocol of one raises."""
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    class Bad(aio.Recorder):
        def data_received(self, data: bytes) -> None:
            raise LookupError("bad")

    async def main() -> None:
        ends = [await aio.connected(Bad if n % 3 == 0 else aio.Recorder) for n in range(12)]
        for _, _, theirs in ends:
            theirs.send(b"x")
        for n, (_, protocol, _) in enumerate(ends):
            if n % 3:
                await aio.until(lambda protocol=protocol: protocol.data == b"x")
            else:
                assert isinstance(await protocol.closed, LookupError)
        for transport, _, theirs in ends:
            transport.abort()
            theirs.close()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len(told) == 4


def test_system_exit_leaves_the_rest_for_the_next_run(loop: EventLoop) -> None:
    class Leaves(aio.Recorder):
        def data_received(self, data: bytes) -> None:
            raise SystemExit(5)

    async def main() -> list[Any]:
        return [await aio.connected(Leaves if n == 0 else aio.Recorder) for n in range(3)]

    ends = loop.run_until_complete(main())
    for _, _, theirs in ends:
        theirs.send(b"x")
    with pytest.raises(SystemExit):
        loop.run_forever()

    async def rest() -> None:
        for _, protocol, _ in ends[1:]:
            await aio.until(lambda protocol=protocol: protocol.data == b"x")
        for transport, _, theirs in ends:
            transport.abort()
            theirs.close()
        await asyncio.sleep(0)

    loop.run_until_complete(rest())


# ---- timers ----


def test_odd_delays(loop: EventLoop) -> None:
    ran: list[str] = []
    with pytest.raises(ValueError, match="nan"):
        loop.call_later(math.nan, ran.append, "nan")
    with pytest.raises(ValueError, match="nan"):
        loop.call_at(math.nan, ran.append, "nan")
    with pytest.raises(TypeError):
        loop.call_later(None, ran.append, "none")
    never = [loop.call_later(delay, ran.append, "never") for delay in (math.inf, 1e300, 1e12)]
    loop.call_later(-5, ran.append, "negative")
    loop.call_later(-math.inf, ran.append, "endless")
    loop.call_at(0, ran.append, "past")
    loop.call_later(10**400 // 10**400, ran.append, "integer").cancel()
    loop.run_until_complete(asyncio.sleep(0.02))
    assert sorted(ran) == ["endless", "negative", "past"]
    assert never[0].when() == math.inf
    for one in never:
        one.cancel()


def test_timers_of_one_deadline_run_in_their_order(loop: EventLoop) -> None:
    ran: list[int] = []
    when = loop.time() + 0.01
    for n in range(300):
        loop.call_at(when, ran.append, n)
    loop.call_at(when, loop.stop)
    loop.run_forever()
    assert ran == list(range(300))


def test_a_timer_is_never_early_and_hardly_late(loop: EventLoop) -> None:
    """No rounding of deadlines: 60 ms are not 64."""
    late: list[float] = []

    async def main() -> None:
        for delay in (0.001, 0.01, 0.06):
            began = loop.time()
            await asyncio.sleep(delay)
            late.append(loop.time() - began - delay)

    loop.run_until_complete(main())
    assert min(late) >= 0
    # A busy machine may delay any of them, not each: the rounding would, by 3.75 ms of 60.
    assert min(late) < 0.003


def test_cancelled_timers_do_not_pile_up(loop: EventLoop) -> None:
    class Target:
        pass

    import weakref

    kept: list[weakref.ref[Target]] = []
    for _ in range(5000):
        target = Target()
        kept.append(weakref.ref(target))
        loop.call_later(3600, print, target).cancel()
    del target
    assert not [one for one in kept if one() is not None]


# ---- fairness ----


def test_what_a_callback_schedules_runs_in_the_next_turn(loop: EventLoop) -> None:
    """A stream that has data meanwhile is served between two turns."""
    order: list[str] = []

    def first() -> None:
        order.append("first")
        loop.call_soon(order.append, "later")

    loop.call_soon(first)
    loop.call_soon(order.append, "second")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert order == ["first", "second"]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert order == ["first", "second", "later"]


def test_callbacks_that_reschedule_themselves_starve_nobody(loop: EventLoop) -> None:
    async def main() -> None:
        _, protocol, theirs = await aio.connected()
        busy = True

        def spin() -> None:
            if busy:
                loop.call_soon(spin)

        spin()
        theirs.send(b"x")
        await aio.until(lambda: protocol.data)
        threading.Timer(0.01, loop.call_soon_threadsafe, (protocol.calls.append, "thread")).start()
        await aio.until(lambda: "thread" in protocol.calls)
        busy = False
        theirs.close()
        await protocol.closed

    loop.run_until_complete(asyncio.wait_for(main(), aio.LIMIT_S))


def test_what_comes_is_seen_between_two_turns(loop: EventLoop) -> None:
    """As in asyncio, which asks the kernel in every turn: a peer's data does not wait until the
    callbacks that are ready have none after them."""

    async def main() -> None:
        _, protocol, theirs = await aio.connected()
        for expected in range(1, 20):
            theirs.send(b"x")
            turns = 0
            while len(protocol.data) < expected:
                await asyncio.sleep(0)
                turns += 1
            assert turns <= 4, expected
        theirs.close()
        await protocol.closed

    loop.run_until_complete(asyncio.wait_for(main(), aio.LIMIT_S))


def test_a_stream_that_floods_starves_nobody(loop: EventLoop) -> None:
    """One read per turn: a task gets its turns while data comes faster than it is taken."""

    async def main() -> None:
        transport, protocol, theirs = await aio.connected()
        over = threading.Event()

        def flood() -> None:
            theirs.setblocking(True)
            block = bytes(1 << 18)
            while not over.is_set():
                try:
                    theirs.send(block)
                except OSError:
                    return

        thread = threading.Thread(target=flood)
        thread.start()
        await aio.until(lambda: len(protocol.data) > 1 << 20)
        turns = 0
        began = len(protocol.data)
        while turns < 200:
            await asyncio.sleep(0)
            turns += 1
        assert len(protocol.data) - began < 200 * (1 << 19)
        over.set()
        transport.abort()
        await protocol.closed
        theirs.shutdown(socket.SHUT_RDWR)
        thread.join()
        theirs.close()

    loop.run_until_complete(asyncio.wait_for(main(), aio.LIMIT_S))


def test_a_busy_loop_lets_other_threads_run(loop: EventLoop) -> None:
    """With a GIL: callbacks without an end do not keep it for themselves."""
    ran = threading.Event()
    thread = threading.Thread(target=ran.set)

    def spin() -> None:
        if ran.is_set():
            loop.stop()
        else:
            loop.call_soon(spin)

    loop.call_soon(thread.start)
    loop.call_soon(spin)
    began = time.monotonic()
    loop.run_forever()
    thread.join()
    assert time.monotonic() - began < support.LIMIT_S


# ---- runs within a run ----


def test_a_loop_does_not_run_within_itself(loop: EventLoop) -> None:
    """Nor does nest_asyncio patch it, which asks for this mark first."""
    assert loop._nest_patched

    async def main() -> str:
        with pytest.raises(RuntimeError, match="already running, and cannot run within itself"):
            loop.run_forever()
        with pytest.raises(RuntimeError, match="already running, and cannot run within itself"):
            loop.run_until_complete(loop.create_future())
        return "done"

    assert loop.run_until_complete(main()) == "done"


def test_a_stock_loop_class_that_was_patched_changes_nothing(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def patched(*_: Any) -> None:
        pytest.fail("not ours")

    stock: Any = asyncio.SelectorEventLoop
    for name in ("run_forever", "run_until_complete", "_check_running", "_run_once"):
        monkeypatch.setattr(stock, name, patched)
    assert loop.run_until_complete(asyncio.sleep(0.001, "done")) == "done"
