#!/usr/bin/env python3
"""Fuzzing: searches for inputs that break something, led by coverage, or replays those in corpus/.

    python tests/fuzz/run.py --seconds 600 [TARGET...]    search, one target after the other
    python tests/fuzz/run.py --replay [TARGET...]         each entry of the corpus, once
    python tests/fuzz/run.py --distill [TARGET...]        after a search: its best into corpus/

A search needs clang with libFuzzer (Debian: clang-19 libclang-rt-19-dev) for the targets in C, and
`pip install atheris` for those in Python; a replay needs cc only. Everything is built into
.zig-cache/fuzz, where the searches keep what they found: TARGET/ is the corpus, TARGET-crash-... an
input that broke something. `base64 -w0` of it, as a line of corpus/TARGET.txt, keeps it.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / ".zig-cache" / "fuzz"

NATIVE = ("abi_check", "abi_tasks")
PYTHON = ("core", "frames", "parsers", "tasks")
LONGEST = {"abi_check": 600, "frames": 4000, "core": 2000}
DISTILLED_BYTES = 12_000

# Zig's threads have a signal stack of their own, which the sanitizer would take for its own.
SANITIZER = "use_sigaltstack=0:quarantine_size_mb=16"


def say(text: str) -> None:
    print(f"fuzz: {text}", flush=True)


def clang() -> str | None:
    names = ["clang", *(f"clang-{version}" for version in range(25, 12, -1))]
    return next((path for name in names if (path := shutil.which(name))), None)


# ---- building ----


def build_library(folder: Path, *, coverage: bool) -> Path:
    """libspargio_fuzz.so, and in `package` the Python package with it inside."""
    zig = [sys.executable, "-m", "ziglang", "build", "fuzz", "--prefix", str(folder)]
    mode = [] if coverage else ["-Dcoverage=false", "-Doptimize=debug"]
    subprocess.run([*zig, *mode], cwd=ROOT, check=True)
    library = folder / "lib"
    cc = ["cc", "-shared", "-fPIC", f"-L{library}", "-Wl,-rpath,$ORIGIN", "-pthread"]
    unused = library / "libspargio_fuzz_unused.so"
    subprocess.run([*cc, str(HERE / "unused.c"), "-o", str(unused)], check=True)
    archive = ["-Wl,--whole-archive", str(library / "libspargio_fuzz.a"), "-Wl,--no-whole-archive"]
    shared = library / "libspargio_fuzz.so"
    subprocess.run([*cc, *archive, "-lspargio_fuzz_unused", "-o", str(shared)], check=True)
    package = folder / "package" / "spargio"
    shutil.rmtree(package, ignore_errors=True)
    ignored = shutil.ignore_patterns("_lib", "__pycache__")
    shutil.copytree(ROOT / "bindings" / "python" / "spargio", package, ignore=ignored)
    (package / "_lib").mkdir()
    shutil.copy(shared, package / "_lib" / "libspargio_python.so")
    shutil.copy(unused, package / "_lib")
    return folder


def build_native(folder: Path, target: str, *, search: bool) -> Path:
    program = folder / f"{target}-{'search' if search else 'replay'}"
    command = ["-g", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}"]
    command += [str(HERE / f"{target}.c"), "-o", str(program), f"-L{folder / 'lib'}"]
    command += ["-lspargio_fuzz", "-lspargio_fuzz_unused", f"-Wl,-rpath,{folder / 'lib'}"]
    if search:
        compiler = clang()
        if compiler is None:
            raise SystemExit("fuzz: no clang: Debian has it as clang-19, with libclang-rt-19-dev")
        # The harness itself is not counted: its counters would be among the library's.
        flags = ["-fsanitize=fuzzer,address", "-fsanitize-coverage=0", str(HERE / "coverage.c")]
        subprocess.run([compiler, *flags, *command], check=True)
    else:
        subprocess.run(["cc", str(HERE / "replay.c"), *command, "-pthread"], check=True)
    return program


def environment(folder: Path) -> dict[str, str]:
    paths = [str(folder / "package"), str(HERE / "targets")]
    path = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "ASAN_OPTIONS": SANITIZER}


# ---- the corpus ----


def entries(target: str) -> list[bytes]:
    lines = (HERE / "corpus" / f"{target}.txt").read_text().splitlines()
    return [base64.b64decode(line) for line in lines if not line.startswith("#")]


def unpack(target: str, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, data in enumerate(entries(target)):
        paths.append(folder / f"corpus-{number:03}")
        paths[-1].write_bytes(data)
    return paths


def command(folder: Path, target: str) -> list[str]:
    if target in NATIVE:
        return [str(build_native(folder, target, search=True))]
    return [sys.executable, str(HERE / "guided.py"), "search", target]


def search(targets: list[str], seconds: int) -> int:
    folder = build_library(BUILD, coverage=True)
    broken = []
    for target in targets:
        say(f"{target}: {seconds} s")
        corpus = folder / target
        unpack(target, corpus)
        options = [f"-max_total_time={seconds}", f"-max_len={LONGEST.get(target, 1000)}"]
        options += ["-timeout=60", "-rss_limit_mb=4096", "-len_control=20", "-print_final_stats=1"]
        options += [f"-artifact_prefix={folder}/{target}-", str(corpus)]
        done = subprocess.run(
            [*command(folder, target), *options], env=environment(folder), cwd=folder
        )
        if done.returncode != 0:
            broken.append(target)
    say(f"broken: {', '.join(broken)}, see {folder}" if broken else "nothing broke")
    return int(bool(broken))


def replay(targets: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="spargio-fuzz-") as name:
        folder = build_library(Path(name), coverage=False)
        for target in targets:
            paths = [str(path) for path in unpack(target, folder / target)]
            if target in NATIVE:
                program = [str(build_native(folder, target, search=False))]
            else:
                program = [sys.executable, str(HERE / "guided.py"), "replay", target]
            done = subprocess.run(
                [*program, *paths],
                env=environment(folder),
                cwd=folder,
                capture_output=True,
                text=True,
            )
            if done.returncode != 0 or f"replayed {len(paths)}" not in done.stdout:
                say(f"{target} broke:\n{done.stderr[-8000:]}")
                return 1
            say(f"{target}: {len(paths)} inputs")
    return 0


def distill(targets: list[str]) -> int:
    """A part of the found corpus, short inputs and long ones, up to a size. What stands under a comment
    stays. The targets in C are first reduced to what reaches as much; atheris cannot do that."""
    folder = build_library(BUILD, coverage=True)
    for target in targets:
        path = HERE / "corpus" / f"{target}.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [
            line
            for n, line in enumerate(lines)
            if line[:1] == "#" or (n and lines[n - 1][:1] == "#")
        ]
        with tempfile.TemporaryDirectory(prefix="spargio-fuzz-") as best:
            source = folder / target
            if target in NATIVE:
                merge = [*command(folder, target), "-merge=1", "-timeout=60", best, str(source)]
                subprocess.run(merge, env=environment(folder), cwd=folder, check=True)
                source = Path(best)
            found = {base64.b64encode(one.read_bytes()).decode() for one in source.iterdir()}
        ordered = sorted(found - {*kept, ""}, key=lambda line: (len(line), line))
        step = 1
        while sum(map(len, ordered[::step])) > DISTILLED_BYTES:
            step += 1
        kept += ordered[::step]
        path.write_text("\n".join(kept) + "\n")
        say(f"{target}: {len(kept)} of {len(found)} inputs, {path.stat().st_size} bytes")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--seconds", type=int, help="search, so long for each target")
    how.add_argument("--replay", action="store_true", help="each entry of the corpus, once")
    how.add_argument("--distill", action="store_true", help="what searches found into corpus/")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NATIVE + PYTHON))
    given = parser.parse_args()
    unknown = set(given.targets) - set(NATIVE + PYTHON)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    targets = given.targets or [*NATIVE, *PYTHON]
    if given.replay:
        return replay(targets)
    return distill(targets) if given.distill else search(targets, given.seconds)


if __name__ == "__main__":
    sys.exit(main())
