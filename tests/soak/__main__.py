"""All workloads at once on one runtime, with faults, for as long as told. Not part of pytest's runs:

    python -m tests.soak --minutes 30 [--shards 4] [--backend epoll] [--seed N] [--only NAME] [--inject EAGAIN]

Each workload checks every byte, sum and order of its own; any doubt ends the run. Faults: peers that reset, cancellations and
time limits at random moments, children that are killed, a full disk (/dev/full), 100 SIGALRM a second, short-lived runtimes
and forks beside it; with --inject, under strace, io_uring_enter fails with EAGAIN, EBUSY or EINTR now and then. Memory,
descriptors and threads are sampled; they must be steady, and each workload must move within a minute. Exit status 1 and the
reason otherwise.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import spargio

from . import files, net, outside, tasks, tls
from .common import Soak
from .watch import Watch

WORKLOADS = {
    **net.WORKLOADS,
    **files.WORKLOADS,
    **tasks.WORKLOADS,
    **outside.WORKLOADS,
    **tls.WORKLOADS,
}
UNDER_STRACE = "SPARGIO_SOAK_UNDER_STRACE"
INJECTED = ("EAGAIN", "EBUSY", "EINTR")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--backend", choices=("auto", "io_uring", "epoll"), default="auto")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--only", action="append", choices=WORKLOADS, metavar="NAME")
    parser.add_argument(
        "--inject", choices=INJECTED, help="one io_uring_enter in 61 fails, by strace"
    )
    return parser.parse_args()


def under_strace(errno: str) -> None:
    """Becomes strace, which runs this program again with the faults injected."""
    strace = shutil.which("strace")
    if strace is None:
        sys.exit("--inject needs strace: apt-get install strace")
    quietly = ["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=io_uring_enter"]
    fault = f"--inject=io_uring_enter:error={errno}:when=40+61"
    program = [sys.executable, "-m", "tests.soak", *sys.argv[1:]]
    os.environ[UNDER_STRACE] = "1"
    os.execv(strace, [strace, *quietly, fault, *program])


async def main(handle: spargio.RuntimeHandle, soak: Soak, watch: Watch, names: list[str]) -> None:
    jobs = {name: handle.spawn_stealable(WORKLOADS[name](soak), name=name) for name in names}
    while not soak.over and not any(job.done() for job in jobs.values()):
        await spargio.sleep(watch.period_s)
        watch.sample(soak, handle.stats_snapshot())
    soak.stop()
    for job in jobs.values():
        await job
    snapshot = handle.stats_snapshot()
    assert snapshot.stale_completions == 0, snapshot.stale_completions


def run() -> int:
    given = arguments()
    if given.inject and UNDER_STRACE not in os.environ:
        under_strace(given.inject)
    names = given.only or list(WORKLOADS)
    print(
        f"seed {given.seed}, {given.minutes} minutes, {given.shards} shards, Python {sys.version.split()[0]}"
    )
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    with tempfile.TemporaryDirectory(prefix="spargio-soak-") as folder:
        soak = Soak(given.seed, time.monotonic() + given.minutes * 60, Path(folder))
        watch = Watch(names, given.minutes * 60)
        options = {"shards": given.shards, "backend": given.backend, **tasks.OPTIONS}
        spargio.run(lambda handle: main(handle, soak, watch, names), **options)
    return watch.report(soak)


if __name__ == "__main__":
    sys.exit(run())
