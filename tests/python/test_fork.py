"""Forks: a child has none of its parent's shards, and says so wherever it is asked to use them."""

from __future__ import annotations

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
    done = support.run_program(FORK + source)
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
