"""`spargio profile -- COMMAND`: runs it under the samplers that are there (py-spy for lines of
Python, perf for symbols), asks its monitor meanwhile, and prints what each shard does: busy, by its
hottest lines and symbols, and apart from that where its tasks wait."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from spargio import RuntimeStats, monitor

MOST = 10
"""Lines and symbols shown of each shard."""
ASK_EVERY_S = 0.2
NO_SYMBOL = "(no symbol)"
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
NO_SYMBOLS = (
    "The runtime's library has no symbols. With them: SPARGIO_SYMBOLS=1 pip install "
    "--force-reinstall --no-deps --no-binary spargio spargio"
)


class Samplers:
    """What is available here, and the command with it around."""

    def __init__(self, folder: Path, rate: int) -> None:
        self.lines = folder / "lines"
        self.symbols = folder / "symbols"
        self.rate = rate
        self.py_spy = _found("py-spy")
        self.perf = _found("perf")
        if self.perf and not _allowed(self.perf):
            self.perf = None

    def around(self, command: Sequence[str]) -> list[str]:
        words = list(command)
        if self.py_spy:
            spy = [self.py_spy, "record", "--threads", "--format", "raw", "--nonblocking"]
            words = [*spy, "--rate", str(self.rate), "--output", str(self.lines), "--", *words]
        if self.perf:
            record = [self.perf, "record", "-q", "-e", "cpu-clock:u", "-F", str(self.rate)]
            words = [*record, "-o", str(self.symbols), "--", *words]
        return words


def _found(name: str) -> str | None:
    """On the PATH, or beside the interpreter, as pip puts it."""
    beside = Path(sysconfig.get_path("scripts"), name)
    return shutil.which(name) or (str(beside) if beside.is_file() else None)


def _allowed(perf: str) -> bool:
    """perf_event_open may be forbidden (kernel.perf_event_paranoid, seccomp)."""
    words = [perf, "record", "-q", "-e", "cpu-clock:u", "-o", os.devnull, "true"]
    return subprocess.run(words, capture_output=True).returncode == 0


class Watcher(threading.Thread):
    """Asks the runtime, as soon as there is one, how its shards and tasks are, until the end."""

    def __init__(self, known: set[str]) -> None:
        super().__init__(name="spargio-profile", daemon=True)
        self.known = known
        self.name_found: str | None = None
        self.first: RuntimeStats | None = None
        self.last: RuntimeStats | None = None
        self.looks = 0
        self.waits: dict[int, Counter[str]] = {}
        self.ending = threading.Event()

    def run(self) -> None:
        while not self.ending.wait(ASK_EVERY_S):
            try:
                self._look()
            except (LookupError, OSError):
                continue  # Not yet, or no more.

    def _look(self) -> None:
        if self.name_found is None:
            new = [name for name in monitor.find() if name not in self.known]
            if not new:
                return
            self.name_found = new[0]
        self.last = monitor.read_stats(self.name_found)
        self.first = self.first or self.last
        tasks = monitor.read_tasks(self.name_found)
        self.looks += 1
        for task in tasks:
            if task["state"] == "waiting":
                where = f"{_place(task['stack'])}  {_kind(task['waits_for'])}".rstrip()
                self.waits.setdefault(task["shard"], Counter())[where] += 1


def _kind(waits_for: str) -> str:
    """Without the time that is left and without numbers: tasks that wait alike are one row."""
    return re.sub(r"( |^)\d+\b", "", re.sub(r",? -?[\d.]+ s left", "", waits_for))


def _place(stack: Iterable[str]) -> str:
    """The innermost line of the program's own in the stack of a task's awaits."""
    place = "?"
    for line in stack:
        found = re.match(r'\s*File "(.+)", line (\d+), in (.+)', line)
        if found and not found[1].startswith(_PACKAGE):
            place = f"{os.path.basename(found[1])}:{found[2]} in {found[3].splitlines()[0]}"
    return place


def lines_of(path: Path) -> dict[str, Counter[str]]:
    """Of py-spy's raw format: by thread, the lines on top of the stack, with their samples."""
    found: dict[str, Counter[str]] = {}
    for text in path.read_text(errors="replace").splitlines():
        stack, _, count = text.rpartition(" ")
        frames = stack.split(";")
        thread = re.match(r"thread \(\w+\)(?:: (.*))?$", frames[0])
        if thread is None or len(frames) < 2 or not count.isdigit():
            continue
        name = thread[1] or "MainThread"  # Nameless until the program imports threading.
        top = re.match(r"(.+) \((.+):(\d+)\)$", frames[-1])
        place = frames[-1] if top is None else f"{os.path.basename(top[2])}:{top[3]} in {top[1]}"
        found.setdefault(name, Counter())[place] += int(count)
    return found


def symbols_of(perf: str, path: Path, pid: int) -> dict[str, Counter[str]]:
    """Of perf's file: by thread of that process, the symbols with their samples."""
    words = [perf, "report", "-i", str(path), "--stdio", "-q", "-t", "\t", "-F"]
    words += ["sample,pid,dso,sym", "--percent-limit", "0", f"--pid={pid}"]
    said = subprocess.run(words, capture_output=True, text=True).stdout
    found: dict[str, Counter[str]] = {}
    for line in said.splitlines():
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) < 4 or not parts[0].isdigit():
            continue
        thread, _, name = parts[1].partition(":")  # What perf calls pid is the thread's number.
        name = "MainThread" if thread == str(pid) else name
        symbol = parts[3].partition("] ")[2] or parts[3]
        if re.fullmatch(r"(0x)?[0-9a-f]{8,}", symbol):
            symbol = NO_SYMBOL
        found.setdefault(name, Counter())[f"{symbol}  [{parts[2]}]"] += int(parts[0])
    return found


def threads_of_shards(names: Iterable[str], shards: int) -> dict[int, str]:
    """Shard to thread. The main thread drives shard 0, unless shard 0 has one of its own."""
    found: dict[int, str] = {}
    for name in names:
        numbered = re.fullmatch(r".+-(\d+)", name)
        if numbered and int(numbered[1]) < shards:
            found.setdefault(int(numbered[1]), name)
    if shards:
        found.setdefault(0, "MainThread")
    return found


def _hottest(title: str, counted: Counter[str] | None, of: float) -> list[str]:
    if not counted:
        return []
    rows = [f"  {title}"]
    for place, count in counted.most_common(MOST):
        rows.append(f"    {count / max(of, 1):6.1%}  {place}")
    return rows


def report(
    watcher: Watcher, lines: dict[str, Counter[str]], symbols: dict[str, Counter[str]]
) -> list[str]:
    """A part for each shard, and one for each thread that is no shard."""
    shards = len(watcher.last.shards) if watcher.last else 0
    threads = threads_of_shards({*lines, *symbols}, shards)
    rows: list[str] = []
    for shard in range(shards):
        assert watcher.first is not None and watcher.last is not None
        then, now = watcher.first.shards[shard], watcher.last.shards[shard]
        spent = max(now.busy_ns - then.busy_ns + now.idle_ns - then.idle_ns, 1)
        busy = (now.busy_ns - then.busy_ns) / spent
        name = threads.get(shard, "")
        rows.append(
            f"shard {shard} ({name or 'never seen busy'}): busy {busy:.0%}, waiting {1 - busy:.0%}"
        )
        for title, found in (("busy: lines of Python", lines), ("busy: symbols", symbols)):
            counted = found.get(name)
            rows += _hottest(title, counted, sum(counted.values()) if counted else 0)
        if watcher.looks:
            waits = watcher.waits.get(shard)
            rows += [] if not waits else ["  waiting: tasks at a time, and where"]
            for place, count in (waits or Counter()).most_common(MOST):
                rows.append(f"    {count / watcher.looks:6.1f}  {place}")
    for name in sorted({*lines, *symbols} - {*threads.values(), "spargio-monitor"}):
        rows.append(f"thread {name}: no shard")
        for title, found in (("busy: lines of Python", lines), ("busy: symbols", symbols)):
            counted = found.get(name)
            rows += _hottest(title, counted, sum(counted.values()) if counted else 0)
    return rows


def run(command: Sequence[str], *, rate: int) -> int:
    """Exit code of the sampler (0 of py-spy, whatever the command's; perf's is the command's); 2
    without one; 127 or 126, as of a shell, for a command that is not there or cannot be run."""
    if shutil.which(command[0]) is None:
        there = os.path.exists(command[0])
        why = "is not a program that can be run" if there else "is not there, or not on the PATH"
        print(f"spargio profile: {command[0]!r} {why}", file=sys.stderr)
        return 126 if there else 127
    with tempfile.TemporaryDirectory(prefix="spargio-profile-") as name:
        samplers = Samplers(Path(name), rate)
        if not (samplers.py_spy or samplers.perf):
            print(
                "spargio: no sampler here: pip install py-spy, or install perf (linux-perf, "
                "linux-tools) and allow it (sysctl kernel.perf_event_paranoid=2)",
                file=sys.stderr,
            )
            return 2
        watcher = Watcher(set(monitor.find()))
        watcher.start()
        environment = {**os.environ, "SPARGIO_MONITOR": "1"}
        try:
            code = subprocess.run(samplers.around(command), env=environment).returncode
        except KeyboardInterrupt:
            code = 130
        watcher.ending.set()
        watcher.join()
        lines = lines_of(samplers.lines) if samplers.lines.exists() else {}
        pid = int(watcher.name_found.split(".")[0]) if watcher.name_found else None
        symbols = {}
        if samplers.perf and samplers.symbols.exists() and pid is not None:
            symbols = symbols_of(samplers.perf, samplers.symbols, pid)
    used = [word for word, there in (("py-spy", samplers.py_spy), ("perf", samplers.perf)) if there]
    print(f"spargio profile, by {' and '.join(used)}, {rate} samples a second")
    if watcher.last is None:
        print("no runtime was seen: the command ended too early, or has none")
    print("\n".join(report(watcher, lines, symbols)))
    bare = any(
        f"{NO_SYMBOL}  [libspargio" in place for found in symbols.values() for place in found
    )
    if bare:
        print(NO_SYMBOLS)
    return code
