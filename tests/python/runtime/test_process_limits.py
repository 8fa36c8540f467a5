"""Limits of the process: locked memory, descriptors, threads, memory. Each in a program of its own, as
a user without privileges: root has no limit of locked memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
import support

pytestmark = pytest.mark.any_backend

needs_root = pytest.mark.skipif(
    os.getuid() != 0, reason="not root: cannot become a user without rings"
)

# Locked memory is counted per user: each program is one that nobody else is.
_first_user = random.SystemRandom().randrange(100_000, 2_000_000_000)
_users = iter(range(_first_user, _first_user + 1000))

HEAD = """
import errno, logging, os, resource, sys, threading, time
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout, level=logging.INFO)
import spargio

def become(user, name=None, value=0):
    if name is not None:
        resource.setrlimit(getattr(resource, name), (value, value))
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)

async def work(handle):
    async def one(n):
        await spargio.sleep(0.0001)
        return n
    jobs = [handle.spawn_pinned(n % handle.shard_count(), one(n)) for n in range(100)]
    assert [await job for job in jobs] == list(range(100))
    stats = handle.stats_snapshot()
    return handle.backend(), stats.options["ring_entries"]

def held():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

def attempt(**options):
    # What a start gives; it leaves nothing where it fails.
    before = held()
    try:
        print(*spargio.run(work, **options))
    except OSError as error:
        print(errno.errorcode[error.errno], error)
    except MemoryError as error:
        print("MemoryError", error)
    back_to(before)

def back_to(before):
    # The kernel lists a thread, and holds a ring, until a moment after it was joined or closed.
    deadline = time.monotonic() + 10
    while (now := held()) != before:
        assert time.monotonic() < deadline, (before, now)
        time.sleep(0.001)
"""


def program(source: str, **environment: str) -> list[str]:
    known = {name: value for name, value in os.environ.items() if name != "SPARGIO_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", HEAD + source],
        env=known | environment,
        capture_output=True,
        text=True,
        timeout=support.LIMIT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def as_user(limit: str, value: int, source: str) -> list[str]:
    return program(f"become({next(_users)}, {limit!r}, {value})\n{source}")


def memlock(kib: int, source: str = "attempt(shards=2)") -> list[str]:
    return as_user("RLIMIT_MEMLOCK", kib << 10, source)


@pytest.fixture(autouse=True, scope="module")
def rings() -> None:
    """These are about io_uring's needs, whatever backend the others run on."""
    if program("print(spargio.probe().setup_errno)") != ["0"]:
        pytest.skip("no io_uring here")


# ---- locked memory ----

ADVICE = ("`ulimit -l`", "/etc/security/limits.d", "LimitMEMLOCK=")


@needs_root
def test_without_locked_memory_it_runs_on_epoll_and_says_so_once() -> None:
    line, told = memlock(0)
    assert line.startswith("WARNING io_uring is not available (ENOMEM")
    assert "limit of locked memory" in line and " 0 KiB" in line
    assert all(words in line for words in ADVICE)
    assert told == "epoll 256"


@needs_root
def test_without_locked_memory_rings_that_are_demanded_are_an_error() -> None:
    (line,) = memlock(0, "attempt(shards=2, backend='io_uring')")
    assert line.startswith("ENOMEM ")
    assert "limit of locked memory" in line and " 0 KiB" in line
    assert all(words in line for words in ADVICE)


@needs_root
@pytest.mark.parametrize(
    ("shards", "entries"), [(1, 256), (2, 128), (3, 128), (4, 64), (5, 64), (8, 32)]
)
def test_with_64_kib_rings_are_smaller(shards: int, entries: int) -> None:
    lines = memlock(64, f"attempt(shards={shards})")
    assert lines[-1] == f"io_uring {entries}"
    if entries < 256:
        (line,) = lines[:-1]
        assert line.startswith(f"INFO rings have {entries} entries.") and " 64 KiB" in line
    else:
        assert lines[:-1] == []


@needs_root
def test_with_64_kib_more_shards_than_rings_fit_run_on_epoll() -> None:
    line, told = memlock(64, "attempt(shards=9)")
    assert line.startswith("WARNING io_uring is not available (ENOMEM")
    assert told == "epoll 256"


@needs_root
def test_with_8_mib_rings_have_the_size_that_was_asked() -> None:
    assert memlock(8192, "attempt(shards=2, ring_entries=4096)") == ["io_uring 4096"]
    smaller = memlock(8192, "attempt(shards=3, ring_entries=32768)")
    assert smaller[-1] == "io_uring 16384"


@needs_root
def test_what_another_process_of_the_user_holds_makes_rings_smaller() -> None:
    """The limit alone would allow them: after a wait in vain they are made smaller."""
    lines = memlock(
        192,
        """
async def hold(handle):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        attempt(shards=4)
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

import warnings
warnings.simplefilter("ignore", DeprecationWarning)
spargio.run(hold, shards=1, ring_entries=512)  # 68 KiB
""",
    )
    assert lines[-1] == "io_uring 64"


@needs_root
def test_300_runtimes_in_a_row_as_a_user_with_8_mib() -> None:
    """The kernel gives the memory of a ring back a moment later: without a wait for it, the tenth
    start or so fails."""
    lines = memlock(
        8192,
        """
before = held()
found = set()
for _ in range(300):
    found.add(spargio.run(work, shards=2, ring_entries=4096))  # 1 MiB
back_to(before)
print(*found)
""",
    )
    assert lines == ["('io_uring', 4096)"]


def test_300_runtimes_in_a_row_in_the_background() -> None:
    lines = program(
        """
before = held()
async def one():
    return 1
for _ in range(300):
    with spargio.Runtime.builder().shards(3).build() as handle:
        assert handle.spawn_stealable(one()).result(20) == 1
back_to(before)
print("done")
"""
    )
    assert lines == ["done"]


# ---- descriptors and threads ----


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_nofile_8_is_enough_for_some_and_named_by_the_error(backend: str) -> None:
    lines = program(
        f"""
resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
import warnings
for shards in (1, 2, 3, 6, 16):
    attempt(shards=shards, backend={backend!r})
attempt(shards=1, backend={backend!r})
"""
    )
    worked = [line for line in lines if line == f"{backend} 256"]
    refused = [line for line in lines if line.startswith("EMFILE ")]
    assert len(worked) >= 2 and len(refused) >= 2 and len(worked) + len(refused) == len(lines)
    assert lines[0] == lines[-1] == f"{backend} 256"
    for line in refused:
        assert "limit of open files is 8" in line and "`ulimit -n`" in line


def test_nofile_8_with_the_backend_left_open_is_the_same_error() -> None:
    (line,) = program("resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))\nattempt(shards=16)")
    assert line.startswith("EMFILE ") and "limit of open files is 8" in line


@needs_root
@pytest.mark.parametrize("backend", ["auto", "io_uring", "epoll"])
def test_a_thread_that_cannot_be_made_is_an_error_that_names_the_limit(backend: str) -> None:
    lines = as_user(
        "RLIMIT_NPROC",
        3,
        f"attempt(shards=8, backend={backend!r})\nattempt(shards=2, backend={backend!r})",
    )
    refused, worked = lines
    assert refused.startswith("EAGAIN ")
    assert "limit of processes and threads of this user is 3" in refused
    assert "`ulimit -u`" in refused
    assert worked == f"{backend.replace('auto', 'io_uring')} 256"


# ---- memory of Python ----


def test_a_spawn_without_memory_raises_and_leaves_the_coroutine() -> None:
    """Starts are tried in Zig: if one of our threads finds no memory to attach to it, CPython ends
    the process by itself."""
    lines = program(
        """
import contextvars
try:
    import _testcapi
except ImportError:
    print("no _testcapi")
    raise SystemExit
contextvars.copy_context()  # CPython itself crashes where a thread's first one finds no memory.

def at_each_point(function):
    # Every allocation of the interpreter fails in turn, until 20 points in a row are beyond the end.
    told, well = 0, 0
    for point in range(1000):
        _testcapi.set_nomemory(point, point + 1)
        try:
            function(point)
        except MemoryError:
            told, well = told + 1, 0
        else:
            well += 1
        finally:
            _testcapi.remove_mem_hooks()
        if well == 20:
            return told
    raise AssertionError("there is no end")

async def one():
    return 1

with spargio.Runtime.builder().shards(2).build() as handle:
    coroutines = [one() for _ in range(1000)]
    jobs = [None] * 1000
    def spawn(point):
        jobs[point] = handle.spawn_pinned(point % 2, coroutines[point])
    print("told", at_each_point(spawn) > 0)
    print({job.result(20) for job in jobs if job is not None})
    # What was refused can be spawned now.
    again = [handle.spawn_stealable(coroutines[n]) for n in range(1000) if jobs[n] is None]
    print({job.result(20) for job in again})
stats = handle.stats_snapshot()
print(stats.spawn_accepted - stats.tasks_ended)
"""
    )
    if lines == ["no _testcapi"]:
        pytest.skip("this Python has no _testcapi")
    assert lines == ["told True", "{1}", "{1}", "0"]
