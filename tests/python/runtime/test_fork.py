"""Forks: a child has none of its parent's shards, and says so wherever it is asked to use them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import programs
import pytest
import support

FORK = """
import os, signal, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import spargio
from spargio import net

async def work():
    await spargio.sleep(0)
    return "worked"

async def forever():
    await spargio.sleep(1000)

def in_child(*calls):
    # Each line: what the child gets from a call.
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        for call in calls:
            try:
                print("gave", call())
            except BaseException as error:
                print(type(error).__name__, error)
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print("child", status)
"""
FORKED = "SpargioError the runtime belongs to the parent of this process: start one after the fork"


def fork(source: str) -> list[str]:
    done = programs.run_program(FORK + source)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_forked_child_cannot_use_the_parents_runtime() -> None:
    lines = fork(
        """
with spargio.Runtime.builder().shards(2).build() as handle:
    coroutine = work()
    in_child(
        lambda: handle.spawn_stealable(coroutine),
        lambda: handle.spawn_pinned(1, coroutine),
        lambda: handle.spawn_native(1),
        handle.shutdown,
    )
    print(handle.spawn_stealable(coroutine).result(10))
"""
    )
    assert lines == [FORKED] * 4 + ["child 0", "worked"]


def test_a_forked_child_does_not_wait_for_the_parents_tasks() -> None:
    lines = fork(
        """
with spargio.Runtime.builder().shards(2).build() as handle:
    job = handle.spawn_stealable(forever())
    while job.shard is None:
        pass
    in_child(job.result, lambda: job.result(1), job.cancel)
    print(job.done())
"""
    )
    assert lines == [FORKED] * 3 + ["child 0", "False"]


def test_a_forked_child_may_end_while_the_parent_goes_on() -> None:
    """Through the interpreter's exit, where the parent's runtime is a leftover of the child."""
    lines = fork(
        """
runtime = spargio.Runtime.builder().shards(2).build()
job = runtime.handle().spawn_stealable(forever())
in_child(runtime.shutdown)
pid = os.fork()
if pid == 0:
    sys.exit(0)
print("child", os.waitpid(pid, 0)[1])
print(runtime.handle().spawn_stealable(work()).result(10), job.done())
runtime.shutdown()
print(job.cancelled())
"""
    )
    # In a child, shutdown() has nothing to do: so that a `with` block can be left.
    assert lines == ["gave None", "child 0", "child 0", "worked False", "True"]


def test_a_forked_child_may_leave_the_block_of_the_parents_runtime() -> None:
    lines = fork(
        """
with spargio.Runtime.builder().shards(2).build() as handle:
    pid = os.fork()
    if pid == 0:
        sys.exit(5)
    print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(handle.spawn_stealable(work()).result(10))
"""
    )
    assert lines == ["child 5", "worked"]


def test_a_forked_child_may_start_one_of_its_own() -> None:
    lines = fork(
        """
with spargio.Runtime.builder().shards(2).build() as handle:
    handle.spawn_stealable(work()).result(10)

    def background():
        with spargio.Runtime.builder().shards(2).build() as own:
            return own.spawn_stealable(work()).result(10)

    in_child(lambda: spargio.run(work, shards=2), background)
    print(handle.spawn_stealable(work()).result(10))
"""
    )
    assert lines == ["gave worked", "gave worked", "child 0", "worked"]


def test_a_fork_after_all_runtimes_have_ended() -> None:
    lines = fork(
        """
print(spargio.run(work, shards=2))
in_child(lambda: spargio.run(work, shards=2))
"""
    )
    assert lines == ["worked", "gave worked", "child 0"]


def test_a_child_that_is_forked_in_a_task_is_no_shard() -> None:
    lines = fork(
        """
async def main(handle):
    others = [handle.spawn_pinned(n % 2, work()) for n in range(8)]
    pid = os.fork()
    if pid == 0:
        for awaitable in (spargio.sleep(0), spargio.yield_now(), others[0]):
            try:
                await awaitable
            except RuntimeError as error:
                print(type(error).__name__)
        try:
            spargio.current_shard()
        except RuntimeError as error:
            print(type(error).__name__)
        sys.stdout.flush()
        sys.exit(3)
    print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print([await other for other in others] == ["worked"] * 8)

spargio.run(main, shards=2)
"""
    )
    assert lines == ["RuntimeError"] * 4 + ["child 3", "True"]


def test_a_child_that_comes_back_to_run_gets_an_error_there() -> None:
    lines = fork(
        """
async def main(handle):
    others = [handle.spawn_pinned(n % 2, work()) for n in range(8)]
    if os.fork() == 0:
        return "child"
    print("child", os.waitstatus_to_exitcode(os.wait()[1]))
    return [await other for other in others]

try:
    print(spargio.run(main, shards=2))
except spargio.SpargioError as error:
    print(type(error).__name__, error)
    sys.stdout.flush()
    os._exit(4)
"""
    )
    assert lines == [FORKED, "child 4", str(["worked"] * 8)]


def test_a_child_that_is_forked_in_a_task_may_run_its_own() -> None:
    lines = fork(
        """
import multiprocessing

def own(queue):
    queue.put(spargio.run(work, shards=2))

async def main():
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=own, args=(queue,))
    child.start()
    print(queue.get())
    child.join()
    return child.exitcode

print(spargio.run(main, shards=2))
"""
    )
    assert lines == ["worked", "0"]


# ---- what a child gets of the rings ----


RINGS = """
# How many descriptors and mappings of rings this process has.
def rings():
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink("/proc/self/fd/" + number))
        except FileNotFoundError:
            pass  # What listed them.
    with open("/proc/self/maps") as maps:
        mapped = [line for line in maps if "io_uring" in line]
    return sum("io_uring" in one for one in found), len(mapped)
"""


@support.needs_io_uring
def test_a_child_has_no_memory_of_the_parents_rings_and_a_program_not_even_the_descriptors() -> (
    None
):
    lines = fork(
        RINGS
        + f"""
import subprocess
program = "import os\\n" + {RINGS!r} + "print(*rings())"
with spargio.Runtime.builder().shards(2).build() as handle:
    descriptors, mapped = rings()
    print(descriptors, mapped > 0)
    in_child(lambda: rings()[1])
    for close in (True, False):
        done = subprocess.run([sys.executable, "-c", program], close_fds=close, capture_output=True)
        print(done.stdout.decode().strip())
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    print("child", os.waitpid(pid, 0)[1])
"""
    )
    assert lines == ["2 True", "gave 0", "child 0", "0 0", "0 0", "0 0", "child 0"]


def test_the_parent_sees_nothing_of_what_a_child_tries() -> None:
    """On each shard operations are under way while children try to use everything: each of them ends
    once, with its own result, and no completion comes that nobody waits for."""
    lines = fork(
        """
import socket
pairs = [socket.socketpair() for _ in range(8)]
streams = [net.UnixStream.from_socket(left) for left, _ in pairs]

async def echo(stream):
    return await stream.read_exactly(1000)

def attempts(handle, jobs):
    for number in (0, 1):
        for call in (
            lambda: handle.spawn_pinned(number, work()),
            lambda: handle.remote(number).send_raw_nowait(1, 2),
            lambda: handle.remote(number).send_raw_direct_nowait(1, 2),
            jobs[number].cancel,
            jobs[number].result,
            handle.shutdown,
        ):
            try:
                call()
            except spargio.SpargioError:
                continue
            except RuntimeError:
                continue
            return "nothing was raised by", call
    return "all refused"

with spargio.Runtime.builder().shards(2).build() as handle:
    jobs = [handle.spawn_pinned(n % 2, echo(stream)) for n, stream in enumerate(streams)]
    while handle.stats_snapshot().ops_in_flight < 8:
        pass
    before = handle.stats_snapshot()
    warnings.simplefilter("ignore", RuntimeWarning)  # Coroutines that are refused.
    for _ in range(5):
        in_child(lambda: attempts(handle, jobs))
    for n, (_, right) in enumerate(pairs):
        right.sendall(bytes([n]) * 1000)
    print([job.result(10)[:1] for job in jobs] == [bytes([n]) for n in range(8)])
    after = handle.stats_snapshot()
    print(after.stale_completions, after.tasks_ended - before.tasks_ended)
    print(after.messages_received - before.messages_received)
    for _ in range(1000):
        assert handle.spawn_stealable(work()).result(10) == "worked"
for stream in streams:
    spargio.run(stream.close, shards=1)
"""
    )
    assert lines == ["gave all refused", "child 0"] * 5 + ["True", "0 8", "0"]


# ---- multiprocessing ----

POOL = """
import multiprocessing, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import spargio

async def work():
    await spargio.sleep(0)
    return "worked"

def child(queue):
    # A runtime of its own, in both ways; what it has of the parent's is refused.
    found = [spargio.run(work, shards=2)]
    with spargio.Runtime.builder().shards(2).build() as handle:
        found.append(handle.spawn_stealable(work()).result(10))
    inherited = globals().get("parents")
    if inherited is not None:
        coroutine = work()
        try:
            inherited.spawn_stealable(coroutine)
        except spargio.SpargioError as error:
            coroutine.close()
            found.append(str(error)[:36])
    queue.put(found)

def square(n):
    async def main():
        await spargio.sleep(0.001)
        return n * n
    return spargio.run(main, shards=1)

if __name__ == "__main__":
    context = multiprocessing.get_context(METHOD)
    with spargio.Runtime.builder().shards(2).build() as parents:
        queue = context.SimpleQueue()
        processes = [context.Process(target=child, args=(queue,)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            print(queue.get())
        for process in processes:
            process.join(20)
            print(process.exitcode)
        with context.Pool(2) as pool:
            print(pool.map(square, range(10)))
        print(parents.spawn_stealable(work()).result(10))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"  # The others import it.
    program.write_text(POOL.replace("METHOD", repr(method)))
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=support.LIMIT_S
    )
    assert (done.returncode, done.stderr) == (0, "")
    refused = ["the runtime belongs to the parent of"] if method == "fork" else []
    assert done.stdout.splitlines() == [
        *[str(["worked", "worked", *refused])] * 2,
        *["0"] * 2,
        str([n * n for n in range(10)]),
        "worked",
    ]
