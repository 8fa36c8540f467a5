"""Calls on threads: pools that do not wait for each other, what is refused, what is abandoned."""

from __future__ import annotations

import gc
import socket
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import _blocking, _pool, fs, net
from spargio.process import Command


class Silent:
    """A resolver that does not answer for names below "silent.test" until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.asked: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", self._ask)

    def _ask(self, host: str, port: int, *more: Any) -> list[Any]:
        self.asked.append(host)
        if host.endswith("silent.test"):
            assert self.go.wait(support.LIMIT_S)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Any:
    resolver = Silent(monkeypatch)
    yield resolver
    resolver.go.set()


def test_calls_of_the_program_stop_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    (tmp_path / "link").symlink_to(path)
    go = threading.Event()

    async def main() -> None:
        held = [spargio.spawn_blocking(go.wait, support.LIMIT_S) for _ in range(40)]
        assert [entry.name for entry in await fs.read_dir(tmp_path)]
        assert await fs.read_link(tmp_path / "link") == str(path)
        assert await fs.canonicalize(tmp_path / "link") == str(path.resolve())
        await fs.set_permissions(path, 0o600)
        await fs.copy(path, tmp_path / "copy")
        await fs.write(path, b"new", atomic=True)
        assert await Command("true").status() == 0
        assert await net.resolve("localhost", 1)
        assert not any(one.done() for one in held)
        go.set()
        assert all([await one for one in held])

    spargio.run(main, shards=1)


# ---- names ----


def test_abandoned_lookups_stop_no_other(silent: Silent) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_pinned(0, net.resolve(f"{n}.silent.test", 80)) for n in range(64)]
        await support.until(lambda: len(silent.asked) == 32)  # The rest waits in the queue.
        for job in reversed(jobs):
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
        assert await net.resolve("other.test", 80) == [(socket.AF_INET, ("127.0.0.1", 80))]
        silent.go.set()
        _blocking.close_pools()
        assert len(silent.asked) == 33  # What had not begun never does.

    spargio.run(main, shards=2)


def test_localhost_waits_for_no_name_that_others_ask(silent: Silent) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_pinned(0, net.resolve(f"{n}.silent.test", 80)) for n in range(40)]
        await support.until(lambda: len(silent.asked) == 32)
        for host in ("localhost", "LocalHost."):
            assert await net.resolve(host, 80)
        for job in jobs:
            job.cancel()

    spargio.run(main, shards=2)


def test_numeric_names_are_not_looked_up(silent: Silent) -> None:
    async def main() -> None:
        for host in ("127.1", "0x7f.0.0.1", "2130706433"):
            assert await net.resolve(host, 7) == [(socket.AF_INET, ("127.0.0.1", 7))]
        assert await net.resolve("::1", 7) == [(socket.AF_INET6, ("::1", 7))]
        assert silent.asked == []

    spargio.run(main, shards=1)


@pytest.mark.parametrize("host", ["a" * 70 + ".test", "two..dots.test", ".test", "\ud800.test"])
@pytest.mark.parametrize(
    "call",
    [
        lambda host: net.TcpStream.connect(host, 80),
        lambda host: net.TcpListener.bind(host, 0),
        lambda host: net.UdpSocket.bind(host, 0),
        lambda host: net.resolve(host, 80),
    ],
    ids=["connect", "bind", "datagram", "resolve"],
)
def test_a_name_that_cannot_exist_is_not_known(
    host: str, call: Callable[[str], Awaitable[object]]
) -> None:
    async def main() -> None:
        with pytest.raises(socket.gaierror, match="not known") as caught:
            await call(host)
        assert caught.value.errno == socket.EAI_NONAME
        assert repr(host)[1:-1] in str(caught.value)

    spargio.run(main, shards=1)


def test_the_end_of_the_program_waits_for_no_lookup() -> None:
    began = time.monotonic()
    done = programs.run_program(
        """
        import socket, threading, time
        import spargio
        from spargio import net

        asked = []

        def silent(*arguments):
            asked.append(arguments[0])
            time.sleep(1000)

        socket.getaddrinfo = silent

        async def gives_up(name):
            try:
                await net.TcpStream.connect(name, 80, timeout=0.1)
            except TimeoutError:
                pass

        async def main(handle):
            async with spargio.TaskGroup() as group:
                for n in range(200):
                    group.spawn(gives_up(f"{n}.test"))
            handle.spawn_pinned(0, net.resolve("left.test", 80))
            await spargio.sleep(0)

        spargio.run(main, shards=1)
        before = len(asked)
        print(before <= 128, len(asked) == before)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")
    assert time.monotonic() - began < 10


# ---- what is refused, and what is accepted ----


@pytest.fixture
def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What makes the system's limit of threads be reached."""
    _blocking.close_pools()

    def refuse(function: object, arguments: object) -> int:
        raise RuntimeError("can't start new thread")

    return lambda: monkeypatch.setattr(_pool, "start_new_thread", refuse)


def test_a_call_that_is_refused_is_never_made(
    no_more_threads: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []
    mark = tmp_path / "mark"

    async def main() -> None:
        no_more_threads()
        for call in (
            lambda: spargio.spawn_blocking(made.append, "made"),
            lambda: fs.read_dir(tmp_path),
            lambda: Command("touch", mark).status(),
            lambda: net.resolve("any.test", 80),
        ):
            with pytest.raises(BlockingIOError, match="RLIMIT_NPROC"):
                await call()
        monkeypatch.undo()
        await spargio.spawn_blocking(int)
        assert await Command("true").status() == 0

    spargio.run(main, shards=1)
    _blocking.close_pools()
    assert made == []
    assert not mark.exists()


def test_where_there_is_a_thread_a_call_waits_its_turn(
    no_more_threads: Callable[[], None],
) -> None:
    go = threading.Event()

    async def main() -> None:
        busy = spargio.spawn_blocking(go.wait, support.LIMIT_S)
        no_more_threads()
        made: list[int] = []
        turns = [spargio.spawn_blocking(made.append, n) for n in range(3)]
        await spargio.yield_now()
        assert made == []
        go.set()
        assert await busy
        for one in turns:
            await one
        assert made == [0, 1, 2]

    spargio.run(main, shards=1)


def test_a_shard_does_not_wait_for_a_thread_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    _blocking.close_pools()
    begun = _pool.start_new_thread
    waiting: list[tuple[Any, Any]] = []
    names: list[str] = []

    def put_off(function: Any, arguments: Any) -> int:
        waiting.append((function, arguments))
        return 0

    async def main() -> None:
        monkeypatch.setattr(_pool, "start_new_thread", put_off)
        call = spargio.spawn_blocking(lambda: names.append(threading.current_thread().name))
        await spargio.yield_now()
        assert len(waiting) == 1 and not call.done()
        monkeypatch.undo()
        begun(*waiting.pop())
        await call

    spargio.run(main, shards=1)
    assert names == ["spargio-blocking_0"]
    _blocking.close_pools()
    assert not any(one.name.startswith("spargio-blocking") for one in threading.enumerate())


def test_a_thread_has_the_hooks_that_the_program_set() -> None:
    _blocking.close_pools()
    seen: list[str] = []

    def call() -> None:
        pass

    def hook(frame: Any, event: str, argument: object) -> None:
        if frame.f_code is call.__code__:
            seen.append(event)

    async def main() -> None:
        await spargio.spawn_blocking(call)

    before = threading.gettrace()
    threading.settrace(hook)
    try:
        spargio.run(main, shards=1)
        _blocking.close_pools()
    finally:
        threading.settrace(before)  # type: ignore[arg-type]
    assert seen == ["call"]


def test_what_was_accepted_is_done_before_the_program_ends() -> None:
    done = programs.run_program(
        """
        import time
        import spargio

        done = []

        def call(n):
            time.sleep(0.02)
            print(f"{n}\\n", end="", flush=True)  # One write: threads print at once.

        async def main():
            for n in range(50):
                spargio.spawn_blocking(call, n)

        spargio.run(main, shards=1)
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(map(int, done.stdout.split())) == list(range(50))


def test_a_call_that_begins_while_the_pool_is_closed_is_made() -> None:
    """Each call once: by the threads of before, or by new ones."""
    over = threading.Event()
    made: list[int] = []

    def close() -> None:
        while not over.is_set():
            _blocking.close_pools()

    with support.in_thread(close):
        answers = [spargio.spawn_blocking(made.append, n) for n in range(500)]
        for answer in answers:
            answer.result(support.LIMIT_S)
        over.set()
    assert sorted(made) == list(range(500))


def test_a_finalizer_may_begin_a_call_at_any_moment() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            answers.append(spargio.spawn_blocking(int))

    answers: list[Any] = []
    before = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(300):
            Cycle()
            answers.append(spargio.spawn_blocking(int))
    finally:
        gc.set_threshold(*before)
    # Another thread may be collecting just now, and then a call here returns at once.
    support.eventually(lambda: gc.collect() >= 0 and len(answers) == 600)
    for answer in answers:
        answer.result(support.LIMIT_S)


def test_the_error_of_a_call_is_in_no_cycle() -> None:
    class Told(Exception):
        pass

    def fail() -> None:
        raise Told

    seen: list[weakref.ref[Told]] = []

    async def main() -> None:
        for call in (lambda: spargio.spawn_blocking(fail), lambda: _blocking.files.call(fail)):
            try:
                await call()
            except Told as error:
                seen.append(weakref.ref(error))

    gc.collect()
    gc.disable()
    try:
        spargio.run(main, shards=1)
        _blocking.close_pools()
        assert [one() for one in seen] == [None, None]
    finally:
        gc.enable()


def test_a_forked_child_has_pools_of_its_own() -> None:
    done = programs.run_program(
        """
        import os, threading, warnings
        import spargio

        warnings.simplefilter("ignore", DeprecationWarning)
        go = threading.Event()

        async def main():
            held = [spargio.spawn_blocking(go.wait, 20) for _ in range(40)]
            if not (child := os.fork()):
                print(spargio.spawn_blocking(int).result(10), flush=True)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            go.set()
            for one in held:
                await one
            return status

        print(spargio.run(main, shards=1))
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n0\n", "")
