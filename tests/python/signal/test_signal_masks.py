"""Signals and what a shard starts: threads, children and forks have the program's mask and handlers."""

from __future__ import annotations

import programs
import pytest

HEAD = """
import multiprocessing, os, signal, subprocess, sys, threading, time, warnings
import spargio
from spargio.process import Command

warnings.simplefilter("ignore", DeprecationWarning)  # Forks of a process with threads.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
PROGRAM = 1 << (signal.SIGUSR2 - 1)

def mask(status="/proc/thread-self/status"):
    return int(open(status).read().split("SigBlk:")[1].split()[0], 16)

async def by_shard():
    return mask()

async def by_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(mask()))
    thread.start()
    thread.join()
    return seen[0]

async def by_pool():
    return await spargio.spawn_blocking(mask)

async def by_subprocess():
    return mask_of(subprocess.check_output(["grep", "SigBlk", "/proc/self/status"]))

async def by_command():
    return mask_of((await Command("grep", "SigBlk", "/proc/self/status").output()).stdout)

def mask_of(line):
    return int(line.split()[1], 16)

async def by_fork():
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.write(writer, b"%d" % mask())
        os._exit(0)
    os.waitpid(child, 0)
    found = int(os.read(reader, 100))
    os.close(reader), os.close(writer)
    return found

STARTS = [by_shard, by_thread, by_pool, by_subprocess, by_command, by_fork]

async def masks(handle, shard):
    return [await handle.spawn_pinned(shard, start()) for start in STARTS]
"""


def program(source: str) -> list[str]:
    done = programs.run_program(HEAD + source)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "run",
    [
        "found = spargio.run(lambda handle: masks(handle, 1), shards=2)",
        "found = spargio.run(lambda handle: masks(handle, 0), shards=1)",
        """
with spargio.Runtime.builder().shards(1).build() as handle:
    found = handle.spawn_pinned(0, masks(handle, 0)).result(20)
""",
    ],
    ids=["shard 1", "the caller's shard", "background"],
)
def test_what_a_shard_starts_has_the_mask_of_the_program(run: str) -> None:
    assert program(f"{run}\nprint(found == [PROGRAM] * len(STARTS), found)")[0].startswith("True")


def test_a_child_has_the_mask_of_its_own_task() -> None:
    """Not of the thread that made the thread of the pool."""
    assert program(
        """
async def main():
    return await by_command()

def masked():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    found.append(spargio.run(main, shards=1))

found = []
thread = threading.Thread(target=masked)
thread.start()
thread.join()
found.append(spargio.run(main, shards=1))
print(found == [PROGRAM | 1 << (signal.SIGTERM - 1), PROGRAM])
"""
    ) == ["True"]


def test_a_child_of_a_task_is_ended_by_sigterm() -> None:
    assert program(
        """
async def main():
    child = subprocess.Popen(["sleep", "1000"])
    child.terminate()
    async with await Command("sleep", "1000").spawn() as ours:
        ours.terminate()
        return child.wait(20), await ours.wait()

with spargio.Runtime.builder().shards(1).build() as handle:
    print(handle.spawn_pinned(0, main()).result(20))
"""
    ) == ["(-15, -15)"]


def test_a_signal_on_another_shard_wakes_run_at_once() -> None:
    """Its handler runs on the main thread, which waits in the kernel. Only a look that comes 10 times a
    second would take 2 s and more."""
    lines = program(
        """
from spargio._ffi.core import native

async def raise_it():
    signal.raise_signal(signal.SIGUSR1)  # On this thread.

async def main(handle):
    threads = set()

    def handler(number, frame):
        threads.add(threading.current_thread() is threading.main_thread())
        seen.set_result(None)

    signal.signal(signal.SIGUSR1, handler)
    began = time.monotonic()
    for _ in range(40):
        seen = native.future()
        handle.spawn_pinned(1, raise_it())
        await seen
    return threads, time.monotonic() - began

threads, took_s = spargio.run(main, shards=2)
print(threads, took_s < 1, took_s)
print(signal.set_wakeup_fd(-1))
"""
    )
    assert lines[0].startswith("{True} True"), lines
    assert lines[1] == "-1"


def test_the_programs_own_descriptor_for_wake_ups_is_left_alone() -> None:
    assert program(
        """
reader, writer = os.pipe2(os.O_NONBLOCK)
inside, other = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(writer)

async def main():
    found = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(found)
    return found

async def sets_one():
    signal.set_wakeup_fd(other)

print(spargio.run(main, shards=1) == writer, signal.set_wakeup_fd(-1) == writer)
spargio.run(sets_one, shards=1)
print(signal.set_wakeup_fd(-1) == other)
"""
    ) == ["True True", "True"]


# ---- forks ----


def test_a_forked_child_has_the_handlers_of_before() -> None:
    assert program(
        """
def handler(number, frame):
    raise SystemExit(42)

signal.signal(signal.SIGUSR1, handler)

def work(number):
    os.kill(os.getpid(), number)
    time.sleep(100)

def state():
    ok = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    sys.exit(0 if ok and signal.set_wakeup_fd(-1) == -1 else 1)

def run(function, *arguments):
    child = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    child.start()
    child.join()
    return child.exitcode

async def forks():
    async with spargio.signal.stream(signal.SIGTERM, signal.SIGUSR1) as signals:
        found = [run(work, signal.SIGTERM), run(work, signal.SIGUSR1), run(state)]
        os.kill(os.getpid(), signal.SIGTERM)  # The parent's stream goes on.
        found.append(int(await signals.recv()))
    return found

async def main(handle):
    return [await handle.spawn_pinned(shard, forks()) for shard in range(2)]

print(spargio.run(main, shards=2))
"""
    ) == ["[[-15, 42, 0, 15], [-15, 42, 0, 15]]"]


def test_a_child_has_streams_of_its_own() -> None:
    """One that it inherited is its parent's: it takes nothing, and gives nothing back."""
    assert program(
        """
import gc

async def listen(inherited):
    async with spargio.signal.stream(signal.SIGTERM) as signals:
        del inherited[:]  # Its place is the one of the new stream.
        gc.collect()
        os.kill(os.getpid(), signal.SIGTERM)
        return await signals.recv() is signal.SIGTERM

async def ask(stream):
    try:
        return await stream.recv()
    except spargio.SpargioError as error:
        return str(error)

warnings.simplefilter("ignore", ResourceWarning)
streams = [spargio.signal.stream(signal.SIGTERM)]
child = os.fork()
if not child:
    told = spargio.run(lambda: ask(streams[0]), shards=1)
    print(told, spargio.run(lambda: listen(streams), shards=1), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    ) == ["the runtime belongs to the parent of this process: start one after the fork True"]


# ---- what `threading` knows ----


def test_threading_knows_the_shards_by_name_as_long_as_they_run() -> None:
    assert program(
        """
async def name():
    return threading.current_thread().name

def others():
    found = (one.name for one in threading.enumerate() if one is not threading.main_thread())
    return sorted(name for name in found if not name.startswith("spargio-blocking"))

with spargio.Runtime.builder().shards(2).thread_prefix("mine").build() as handle:
    print(handle.spawn_pinned(1, name()).result(20), others())
print(others())

async def main(handle):
    return [await handle.spawn_pinned(shard, name()) for shard in range(2)]

print(spargio.run(main, shards=2), others())
"""
    ) == ["mine-1 ['mine-0', 'mine-1']", "[]", "['MainThread', 'spargio-1'] []"]


def test_a_child_that_is_forked_on_a_shard_ends_as_any() -> None:
    """Its only thread is the main thread; the parent's shard keeps its name."""
    assert program(
        """
def work():
    print(threading.current_thread() is threading.main_thread(), threading.active_count(), flush=True)

async def main():
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    print(child.exitcode, threading.current_thread().name)

with spargio.Runtime.builder().shards(1).build() as handle:
    handle.spawn_pinned(0, main()).result(20)
"""
    ) == ["True 1", "0 spargio-0"]


@pytest.mark.parametrize("hook", ["trace", "profile"])
def test_hooks_for_new_threads_reach_the_shards(hook: str) -> None:
    assert program(
        f"""
seen = {{}}

def watch(frame, event, argument):
    if event == "call":
        seen.setdefault(frame.f_code.co_name, set()).add(threading.get_ident())

async def work():
    return threading.get_ident()

threading.set{hook}(watch)
with spargio.Runtime.builder().shards(2).build() as handle:
    there = {{handle.spawn_pinned(shard, work()).result(20) for shard in range(2)}}
threading.set{hook}(None)
with spargio.Runtime.builder().shards(1).build() as handle:
    handle.spawn_pinned(0, work()).result(20)
print(len(there), seen["work"] == there)
"""
    ) == ["2 True"]
