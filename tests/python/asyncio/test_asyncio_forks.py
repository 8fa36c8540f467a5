"""Threads, forks and wake-ups: who may run an asyncio loop, and what reaches one from outside."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading

import aio
import pytest

from spargio.asyncio import EventLoop, new_event_loop, run

# ---- threads and forks ----


def finished(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        timeout=aio.LIMIT_S,
        capture_output=True,
        text=True,
        check=False,
    )


def test_several_threads_run_one_loop_in_turn(loop: EventLoop) -> None:
    """The ring is bound to no thread: each one may run it, and wait in it."""

    async def talk() -> int:
        transport, protocol, theirs = await aio.connected()
        with theirs:
            theirs.send(b"x")
            await aio.until(lambda: protocol.data)
        transport.close()
        await protocol.closed
        return threading.get_ident()

    seen: list[int] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: seen.append(loop.run_until_complete(talk())))
        thread.start()
        thread.join(aio.LIMIT_S)
    seen.append(loop.run_until_complete(talk()))
    assert len(seen) == 4 and seen[-1] == threading.get_ident()


def test_a_loop_that_runs_is_not_run_again(loop: EventLoop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        other = new_event_loop()
        with pytest.raises(RuntimeError, match="another loop is running"):
            other.run_forever()
        other.close()

    loop.run_until_complete(main())


def test_a_forked_child_may_run_a_loop_of_its_own() -> None:
    """And the parent's goes on."""
    program = """
        import asyncio, os, sys
        from spargio.asyncio import new_event_loop, run

        async def main():
            child = os.fork()
            if child == 0:
                asyncio._set_running_loop(None)
                code = run(asyncio.sleep(0.001, 7))
                os._exit(code)
            while True:
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    return os.waitstatus_to_exitcode(status)
                await asyncio.sleep(0.001)

        sys.exit(run(main()) - 7)
    """
    done = finished(program)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_has_no_handlers_of_the_loop() -> None:
    """A signal ends it, and does not reach the parent's loop by the wake-up descriptor."""
    program = """
        import asyncio, os, signal, sys
        from spargio.asyncio import run

        async def main():
            loop = asyncio.get_running_loop()
            seen = []
            for number in (signal.SIGTERM, signal.SIGUSR1):
                loop.add_signal_handler(number, seen.append, number)
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(writer, b"x")
                while True:
                    signal.pause()
            os.read(reader, 1)
            os.kill(child, signal.SIGTERM)
            while not (ended := os.waitpid(child, os.WNOHANG))[0]:
                await asyncio.sleep(0.001)
            os.kill(os.getpid(), signal.SIGUSR1)
            while not seen:
                await asyncio.sleep(0.001)
            print(ended[1], seen == [signal.SIGUSR1])

        run(main())
    """
    done = finished(program)
    assert (done.stdout, done.stderr) == ("15 True\n", "")


def test_a_thread_that_calls_a_closed_loop_gets_an_error() -> None:
    """While it closes as well: an error or a callback, no crash."""
    for _ in range(20):
        loop = new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        begun = threading.Event()
        errors: list[str] = []

        def call(
            loop: EventLoop = loop, begun: threading.Event = begun, errors: list[str] = errors
        ) -> None:
            try:
                while True:
                    loop.call_soon_threadsafe(int)
                    begun.set()
            except RuntimeError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=call) for _ in range(2)]
        for one in threads:
            one.start()
        begun.wait(aio.LIMIT_S)
        loop.close()
        for one in threads:
            one.join(aio.LIMIT_S)
        assert errors == ["Event loop is closed"] * 2


def test_a_loop_per_thread() -> None:
    """They share nothing: each has its own clients, timers and tasks."""
    failed: list[BaseException] = []

    async def main() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(100))
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for n in range(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bytes([n]) * 100)
            assert await reader.readexactly(100) == bytes([n]) * 100
            writer.close()
            await writer.wait_closed()
            await asyncio.gather(*(asyncio.sleep(0.0001 * i) for i in range(5)))
        server.close()
        await server.wait_closed()

    def other() -> None:
        try:
            run(main())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=other) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(aio.LIMIT_S)
        assert not one.is_alive()
    assert not failed


def test_a_handle_is_cancelled_from_another_thread(loop: EventLoop) -> None:
    """It runs, or it does not: never half emptied. On builds without a GIL the two race."""
    count = 2000
    handles: list[asyncio.Handle] = []
    ran: list[int] = []
    ready, stop = threading.Semaphore(0), threading.Event()

    def cancel() -> None:
        while not stop.is_set():
            if ready.acquire(timeout=0.01):
                handles.pop().cancel()

    async def main() -> None:
        for n in range(count):
            handle = loop.call_soon(ran.append, n) if n % 2 else loop.call_later(0, ran.append, n)
            handles.append(handle)
            ready.release()
            repr(handle)
            if n % 10 == 0:
                await asyncio.sleep(0)

    threads = [threading.Thread(target=cancel) for _ in range(2)]
    for one in threads:
        one.start()
    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0.01))
    stop.set()
    for one in threads:
        one.join(aio.LIMIT_S)
    assert len(ran) == len(set(ran)) <= count


# ---- wake-ups ----


def test_a_call_from_a_thread_wakes_a_loop_that_waits(loop: EventLoop) -> None:
    for _ in range(200):
        woken = loop.create_future()

        def wake(woken: asyncio.Future[None] = woken) -> None:
            loop.call_soon_threadsafe(woken.set_result, None)

        thread = threading.Thread(target=wake)
        loop.call_soon(thread.start)
        loop.run_until_complete(asyncio.wait_for(woken, aio.LIMIT_S))
        thread.join()


def test_stop_from_a_thread_ends_a_loop_that_waits(loop: EventLoop) -> None:
    for _ in range(20):
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(loop.stop))
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()


def test_stop_before_the_run_lets_one_turn_pass(loop: EventLoop) -> None:
    ran: list[int] = []

    def again(n: int) -> None:
        ran.append(n)
        loop.call_soon(again, n + 1)

    again(0)
    loop.stop()
    loop.run_forever()
    assert ran == [0, 1]
    loop.stop()
    loop.run_forever()
    assert ran == [0, 1, 2]
