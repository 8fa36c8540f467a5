"""Counts the instructions of fixed native workloads under callgrind, and compares them with
bench/instructions.json: wall time moves with the machine, these counts by less than 0.1 %.

    python bench/instructions.py             # the counts beside the baseline
    python bench/instructions.py --check     # exit status 1 where one is 5 % off, either way
    python bench/instructions.py --update    # make these counts the baseline
    python bench/instructions.py --profile timers_10k

A count has what runs between two marks of bench/native/instructions/main.c: spargio, the C of the
workload, libc; not the kernel. The library is built as for users: fast, for a baseline x86_64.
--check also looks at what `import spargio` costs: bench/python/import_cost.py, and at the
asyncio loop: bench/python/loop_instructions.py, whose baseline --update writes too."""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent / "python"))

import band
import import_cost
import loop_instructions

ROOT: Final = Path(__file__).resolve().parent.parent
NO_RUNTIME: Final = 3
NATIVE: Final = ROOT / "bench/native"
BASELINE: Final = ROOT / "bench/instructions.json"
HEADER: Final = Path("/usr/include/valgrind/callgrind.h")
ZIG: Final = [sys.executable, "-m", "ziglang"]
BAND: Final = 0.05
BUILD_LIMIT_S: Final = 600
RUN_LIMIT_S: Final = 120


def reason_without() -> str:
    """Why nothing can be counted here; empty where it can."""
    if platform.machine() != "x86_64":
        return f"the baseline is for x86_64, this is {platform.machine()}"
    if shutil.which("valgrind") is None or not HEADER.exists():
        return "no valgrind"
    return ""


def run(command: list[str | Path], limit_s: float) -> str:
    outcome = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=limit_s,
    )
    if outcome.returncode != 0:
        words = " ".join(map(str, command))
        raise SystemExit(f"instructions.py: {words}: {outcome.stderr.strip()[-2000:]}")
    return outcome.stdout


def build(folder: Path, debug_info: bool) -> Path:
    """Everything by Zig's compilers: another cc would give other counts."""
    symbols = [f"-Ddebug-info={str(debug_info).lower()}"]
    run([*ZIG, "build", "static", "--prefix", folder, *symbols], BUILD_LIMIT_S)
    program = folder / "instructions"
    sources = [NATIVE / "instructions/main.c", NATIVE / "spargio/runtime.c"]
    sources += sorted((NATIVE / "common").glob("*.c"))
    target = ["-target", "x86_64-linux-gnu.2.17", "-mcpu=baseline"]
    # After the compiler's own headers: only valgrind's come from there.
    headers = ["-I", ROOT / "include", "-idirafter", "/usr/include"]
    options = ["-O2", "-std=gnu11", "-fno-sanitize=undefined", "-pthread"]
    library = folder / "lib/libspargio.a"
    command = [*ZIG, "cc", *target, *options, *headers, *sources, library, "-o", program]
    run(command, BUILD_LIMIT_S)
    return program


def counted(program: Path, workload: str) -> Path:
    """Callgrind's file of the second repetition; the first one warms up."""
    out = program.parent / f"callgrind.{workload}"
    valgrind = ["valgrind", "--tool=callgrind", "--compress-strings=no"]
    valgrind += [f"--callgrind-out-file={out}"]
    run([*valgrind, program, workload, "--repeat", "1"], RUN_LIMIT_S)
    return out.with_name(f"{out.name}.2")


def count(program: Path, workload: str) -> int:
    found = re.search(r"^totals: (\d+)$", counted(program, workload).read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"instructions.py: {workload}: callgrind wrote no total")
    return int(found[1])


def functions(file: Path) -> Counter[str]:
    """Instructions of each function itself. (callgrind_annotate of valgrind 3.19 gives all of them
    to the frame that was there before the counting began.)"""
    found: Counter[str] = Counter()
    name, after_call = "", False
    for line in file.read_text().splitlines():
        if line.startswith("fn="):
            name = line[3:]
        elif line.startswith("calls="):
            after_call = True
        elif re.match(r"[+\-*\d]", line):
            if not after_call:  # what the callee cost is in its own lines
                found[name] += int(line.split()[1])
            after_call = False
    return found


def show(counts: dict[str, int], check: bool) -> int:
    lines = band.compare(json.loads(BASELINE.read_text()), counts, BAND, "lower")
    if loop_instructions.is_measurable():
        lines += loop_instructions.compared(loop_instructions.counts())
    print(band.table(lines, digits=0))
    if not check or all(line.verdict == "within" for line in lines):
        return 0
    print(
        f"\nMore than {BAND:.0%} off the baseline, or not in it. Where that is wanted, say why in "
        "the commit and\nmake these counts the baseline: python bench/instructions.py --update\n"
        "To see where they come from: python bench/instructions.py --profile NAME"
    )
    return 1


def skipped(reason: str, check: bool) -> int:
    """A check that cannot be made here fails nobody; who asked for figures gets none."""
    print(f"instructions.py: SKIPPED: {reason}")
    return 0 if check else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="fail outside of the band")
    what.add_argument("--update", action="store_true", help="write the baseline")
    what.add_argument("--profile", metavar="NAME", help="the functions of one workload")
    arguments = parser.parse_args()
    reason = reason_without()
    if reason:
        return skipped(reason, arguments.check)
    with tempfile.TemporaryDirectory(prefix="spargio-instructions-") as name:
        program = build(Path(name), debug_info=arguments.profile is not None)
        tried = subprocess.run([program, "yield_20k"], capture_output=True, text=True, check=False)
        if tried.returncode == NO_RUNTIME:
            return skipped(tried.stderr.strip(), arguments.check)
        if arguments.profile:
            found = functions(counted(program, arguments.profile))
            for function, own in found.most_common(25):
                print(f"{own:>12,}  {own / found.total():6.1%}  {function}")
            return 0
        workloads = run([program, "list"], RUN_LIMIT_S).split()
        counts = {workload: count(program, workload) for workload in workloads}
    if arguments.update:
        BASELINE.write_text(json.dumps(counts, indent=1) + "\n")
        print(f"written: {BASELINE.relative_to(ROOT)}")
        if loop_instructions.is_measurable():
            written = json.dumps(loop_instructions.counts(), indent=1) + "\n"
            loop_instructions.BASELINE.write_text(written)
            print(f"written: {loop_instructions.BASELINE.relative_to(ROOT)}")
        return 0
    outside = show(counts, arguments.check)
    return import_cost.check() or outside if arguments.check else outside


if __name__ == "__main__":
    sys.exit(main())
