"""The recipes of docs/profiling.md, each where its tool is installed, and `spargio profile`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

import spargio
from spargio._cli import profile

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/profiling.md").read_text()
LIMIT_S = 200
pytestmark = [pytest.mark.any_backend, pytest.mark.timeout(LIMIT_S + 20)]

PROGRAM = """
import time
import spargio

def hot(until):
    total = 0
    while time.monotonic() < until:
        total += 1
    return total

async def compute(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        hot(time.monotonic() + 0.002)
        await spargio.yield_now()

async def idle(lock):
    async with lock:
        pass

async def main(handle):
    lock = spargio.sync.Lock()
    async with lock:
        waits = handle.spawn_pinned(0, idle(lock), name="waits")
        jobs = [handle.spawn_pinned(n, compute(SECONDS)) for n in range(handle.shard_count())]
        for job in jobs:
            await job
    await waits
    print("done", handle.shard_count())

spargio.run(main, shards=2)
"""


def tool(name: str) -> str:
    beside = Path(sysconfig.get_path("scripts"), name)
    found = shutil.which(name) or (str(beside) if beside.is_file() else None)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def perf(event: str = "cpu-clock:u") -> str:
    found = tool("perf")
    words = [found, "record", "-q", "-e", event, "-o", os.devnull, "true"]
    if subprocess.run(words, capture_output=True).returncode != 0:
        pytest.skip("perf may not count here (kernel.perf_event_paranoid, seccomp)")
    return found


def program(folder: Path, seconds: float) -> Path:
    path = folder / "program.py"
    path.write_text(PROGRAM.replace("SECONDS", str(seconds)))
    return path


def run(words: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def recipe(start: str, folder: Path, **places: str) -> subprocess.CompletedProcess[str]:
    """The line of the page that begins so, with its programs put in."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(start)]
    words = line.split()
    for name, value in places.items():
        words = [value if word == name else word for word in words]
    return run(list(words), folder)


C_PROGRAM = """
#include <spargio.h>
static int64_t __attribute__((noinline)) burn(int64_t n) {
    for (volatile int64_t i = 0; i < n; i++) continue;
    return 7;
}
static int32_t one(void *ctx, int64_t *result) { (void)ctx; *result = burn(LOOPS); return 0; }
int main(void) {
    spargio_runtime rt; spargio_join join; int64_t sum = 0, got;
    spargio_runtime_options options;
    spargio_runtime_options_init(&options);
    options.shards = 4;
    if (spargio_runtime_start(&options, &rt)) return 1;
    for (int i = 0; i < 100; i++) {
        if (spargio_spawn(rt, 0, one, 0, &join)) return 2;
        if (spargio_join_wait(join, SPARGIO_FOREVER, &got)) return 3;
        sum += got;
        spargio_join_release(join);
    }
    return spargio_runtime_shutdown(rt, SPARGIO_FOREVER) || sum != 700;
}
"""


def c_program(release: Path, folder: Path, loops: int) -> None:
    """`program`, which spawns a hundred tasks of so many loops each."""
    source = folder / "program.c"
    source.write_text(C_PROGRAM)
    compiler = shutil.which("cc") or pytest.skip("no cc on this machine")
    words: list[str | Path] = [compiler, "-O2", "-g", "-fno-omit-frame-pointer"]
    words += [f"-DLOOPS={loops}", f"-I{release}/include", source, f"-L{release}/lib", "-lspargio"]
    run([*words, f"-Wl,-rpath,{release}/lib", "-o", folder / "program"], folder)


def test_cachegrind_of_a_python_program(tmp_path: Path) -> None:
    tool("valgrind")
    path = str(program(tmp_path, 0.0))
    done = recipe(
        "valgrind --tool=cachegrind", tmp_path, python=sys.executable, **{"program.py": path}
    )
    assert "done 2" in done.stdout
    assert "I   refs:" in done.stderr or "I refs:" in done.stderr
    said = run([tool("cg_annotate"), "cachegrind.out"], tmp_path).stdout
    assert "PROGRAM TOTALS" in said


def test_callgrind_of_a_c_program(release_build: Path, tmp_path: Path) -> None:
    tool("valgrind")
    c_program(release_build, tmp_path, 10)
    done = recipe("valgrind --tool=callgrind", tmp_path)
    lines = [line for line in done.stderr.splitlines() if line.startswith("spargio: ")]
    assert len(lines) == 1 and "valgrind keeps its lock" in lines[0]
    assert "spargio_spawn" in run([tool("callgrind_annotate"), "callgrind.out"], tmp_path).stdout


def test_perf_stat(tmp_path: Path) -> None:
    perf()
    path = str(program(tmp_path, 0.2))
    done = recipe("perf stat", tmp_path, python=sys.executable, **{"program.py": path})
    assert "done 2" in done.stdout and "context-switches" in done.stderr


def test_perf_record_of_a_c_program(release_build: Path, tmp_path: Path) -> None:
    perf()
    c_program(release_build, tmp_path, 2_000_000)
    recipe("perf record -e cpu-clock:u -F 499 --call-graph fp -o perf.data -- ./program", tmp_path)
    words: list[str | Path] = ["perf", "report", "-i", "perf.data", "--stdio", "--sort"]
    said = run([*words, "comm,symbol"], tmp_path)
    assert re.search(r"spargio-[01].*burn", said.stdout)


def test_perf_record_of_a_python_program(tmp_path: Path) -> None:
    perf()
    if sys.version_info < (3, 12):
        pytest.skip("the perf trampoline is of Python 3.12 and newer")
    if not sysconfig.get_config_var("PY_HAVE_PERF_TRAMPOLINE"):
        pytest.skip("this Python was built without the perf trampoline")
    path = str(program(tmp_path, 0.5))
    recipe(
        "perf record -e cpu-clock:u -F 499 --call-graph fp -o perf.data -- python",
        tmp_path,
        python=sys.executable,
        **{"program.py": path},
    )
    words: list[str | Path] = ["perf", "report", "-i", "perf.data", "--stdio", "--sort"]
    assert "py::hot" in run([*words, "comm,symbol"], tmp_path).stdout


def test_py_spy(tmp_path: Path) -> None:
    path = str(program(tmp_path, 1.0))
    spy = {"py-spy": tool("py-spy"), "python": sys.executable, "program.py": path}
    recipe("py-spy record", tmp_path, **spy)
    found = profile.lines_of(tmp_path / "lines")
    assert {"MainThread", "spargio-1"} <= set(found)
    assert " in hot" in found["spargio-1"].most_common(1)[0][0]


@pytest.mark.parametrize("optimize", ["debug", pytest.param("fast", marks=pytest.mark.long)])
def test_the_build_with_symbols(optimize: str, tmp_path: Path) -> None:
    """By what the build hook calls. The flags are the same however it is optimized, and the fast
    one takes forty seconds."""
    if shutil.which("nm") is None:
        pytest.skip("no nm on this machine")
    library = tmp_path / "libspargio_python.so"
    call = "import pathlib, sys, build_library as b; b.shared(pathlib.Path(sys.argv[1]), "
    call += f"'root_python', 'spargio_python', optimize={optimize!r})"
    environment = {**os.environ, "SPARGIO_SYMBOLS": "1", "PYTHONPATH": str(ROOT / "tools")}
    build = [sys.executable, "-c", call, str(library)]
    subprocess.run(build, env=environment, check=True, timeout=LIMIT_S)
    names = run(["nm", library], tmp_path).stdout
    assert "scheduler.shard.Shard.pass" in names
    sections = run(["readelf", "-S", library], tmp_path).stdout
    assert ".debug_line" in sections


@pytest.mark.parametrize("sampler", ["py-spy", "perf"])
def test_the_command_says_where_shards_are_busy_and_wait(
    sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tool(sampler) if sampler == "py-spy" else perf()
    found = profile._found
    monkeypatch.setattr(profile, "_found", lambda name: found(name) if name == sampler else None)
    path = program(tmp_path, 2.0)
    assert profile.run([sys.executable, str(path)], rate=199) == 0
    said = capfd.readouterr().out
    assert "done 2" in said and f"by {sampler}" in said
    parts = dict(
        re.findall(r"^shard (\d) (.+?)(?=^shard|^thread|\Z)", said, re.MULTILINE | re.DOTALL)
    )
    assert set(parts) == {"0", "1"}
    for part in parts.values():
        assert re.match(r"\(.+\): busy \d+%, waiting \d+%", part)
        if sampler == "py-spy":
            first = part[part.index("lines of Python") :].splitlines()[1]
            assert re.search(r"program.py:\d+ in hot$", first)
        else:
            assert "busy: symbols" in part
    waits = parts["0"][parts["0"].index("waiting: tasks") :]
    assert re.search(r"1\.0  program.py:\d+ in idle  \w+", waits)


def test_a_command_that_fails_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    perf()
    found = profile._found
    monkeypatch.setattr(profile, "_found", lambda name: found(name) if name == "perf" else None)
    assert profile.run([sys.executable, "-c", "exit(3)"], rate=99) == 3


def test_a_command_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert profile.run(["no-such-command-at-all", "x"], rate=99) == 127
    assert profile.run([str(tmp_path)], rate=99) == 126
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "spargio profile: 'no-such-command-at-all' is not there, or not on the PATH",
        f"spargio profile: {str(tmp_path)!r} is not a program that can be run",
    ]


def test_without_a_sampler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile, "_found", lambda name: None)
    assert profile.run(["true"], rate=99) == 2
    assert "pip install py-spy" in capsys.readouterr().err


def test_threads_of_shards() -> None:
    names = ["MainThread", "spargio-1", "ThreadPoolExecutor-0_0", "other-7"]
    assert profile.threads_of_shards(names, 2) == {0: "MainThread", 1: "spargio-1"}
    assert profile.threads_of_shards(["mine-0", "MainThread"], 1) == {0: "mine-0"}
    assert profile.threads_of_shards(names, 0) == {}


def test_lines_of_py_spy(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_text(
        "thread (5187): MainThread;main (a/b.py:3);hot (/x/c.py:7) 5\n"
        "thread (0x7F02): spargio-1;hot (/x/c.py:7) 2\nbroken\nthread (5187);<module> (x.py:1) 1\n"
    )
    assert profile.lines_of(path) == {
        "MainThread": Counter({"c.py:7 in hot": 5, "x.py:1 in <module>": 1}),
        "spargio-1": Counter({"c.py:7 in hot": 2}),
    }
    assert spargio.current_task() is None


def test_waits_that_differ_by_their_numbers_are_one_row() -> None:
    kinds = {profile._kind(f"sleep, {left} s left") for left in ("0.003", "11.5")}
    assert kinds == {"sleep"}
    assert profile._kind("RECV on descriptor 7") == profile._kind("RECV on descriptor 12")
