"""include/spargio.hpp by programs that use it: each proves one part and exits 0."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
NAMES = ("tasks", "scopes", "io", "channels", "trees", "foreign")
STRICT = ("-Wall", "-Wextra", "-Wshadow", "-Werror", "-pedantic")
# The second compiler is the newest clang of the machine, or one of those that Debian names.
CLANGS = ("clang++", "clang++-19", "clang++-16")
LIMIT_S = 120


def compiler(name: str) -> str:
    wanted = ("g++",) if name == "gcc" else CLANGS
    found = next(filter(None, map(shutil.which, wanted)), None)
    if found is None:
        pytest.skip(f"no {name} for C++ on this machine")
    return found


def build(source: Path, program: Path, prefix: Path, using: str, *flags: str) -> None:
    command = [compiler(using), *STRICT, *flags, f"-I{prefix}/include", str(source)]
    command += ["-o", str(program), f"-L{prefix}/lib", "-lspargio", "-pthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run(program: Path, prefix: Path, *arguments: object, **environment: str) -> None:
    done = subprocess.run(
        [str(program), *map(str, arguments)],
        cwd=program.parent,
        env={**os.environ, "LD_LIBRARY_PATH": f"{prefix}/lib", **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


USINGS = ("gcc -std=c++20", "gcc -std=c++23", "clang -std=c++20", "clang -std=c++2b")
SHORT = {("scopes", using) for using in USINGS} | {(name, USINGS[0]) for name in NAMES}


@pytest.mark.parametrize(
    ("name", "using"),
    [
        pytest.param(name, using, marks=() if (name, using) in SHORT else pytest.mark.long)
        for name in NAMES
        for using in USINGS
    ],
)
def test_behaviour(name: str, using: str, prefix: Path, tmp_path: Path) -> None:
    """With each compiler and standard; on one shard, on several, and on epoll."""
    program = tmp_path / name
    build(PROGRAMS / f"{name}.cpp", program, prefix, using.split()[0], using.split()[1], "-O1")
    for shards in (1, 2, 4):
        run(program, prefix, shards)
    run(program, prefix, 2, SPARGIO_BACKEND="epoll")


SANITIZED = [
    *((name, "gcc", "address,undefined") for name in NAMES),
    *((name, "clang", "thread") for name in NAMES),
    ("scopes", "clang", "address,undefined"),
    ("trees", "gcc", "thread"),
]
SANITIZED_SHORT = (
    ("scopes", "gcc", "address,undefined"),
    ("foreign", "gcc", "address,undefined"),
    ("channels", "clang", "thread"),
)


@pytest.mark.parametrize(
    ("name", "using", "sanitizer"),
    [
        pytest.param(*one, marks=() if one in SANITIZED_SHORT else pytest.mark.long)
        for one in SANITIZED
    ],
)
def test_under_a_sanitizer(
    name: str, using: str, sanitizer: str, prefix: Path, tmp_path: Path
) -> None:
    program = tmp_path / name
    flags = ["-std=c++20", "-g", "-O1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    if using == "clang":
        flags.append("-fno-sanitize=function")  # clang 14 cannot split a coroutine that has it.
    build(PROGRAMS / f"{name}.cpp", program, prefix, using, *flags)
    run(program, prefix, 2, TSAN_OPTIONS="halt_on_error=1")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (
            "spargio::task<> wrong() { co_await 5; }",
            "can await only what spargio offers, and awaitables that any",
        ),
        (
            """
            struct other {
                struct promise_type {
                    other get_return_object() { return {}; }
                    std::suspend_never initial_suspend() { return {}; }
                    std::suspend_never final_suspend() noexcept { return {}; }
                    void return_void() {}
                    void unhandled_exception() {}
                };
            };
            other wrong() { co_await spargio::yield_now(); }
            """,
            "only a spargio::task can await what spargio offers",
        ),
    ],
    ids=("a number in a task", "an operation in another coroutine"),
)
def test_a_wrong_await_is_refused_in_words(
    program: str, said: str, prefix: Path, tmp_path: Path
) -> None:
    source = tmp_path / "wrong.cpp"
    source.write_text(f"#include <spargio.hpp>\n{program}\n")
    command = [compiler("gcc"), "-std=c++20", "-fsyntax-only", f"-I{prefix}/include", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stderr


def test_without_exceptions(prefix: Path, tmp_path: Path) -> None:
    program = tmp_path / "without_exceptions"
    source = PROGRAMS / "without_exceptions.cpp"
    build(source, program, prefix, "gcc", "-std=c++20", "-O1", "-fno-exceptions", "-fno-rtti")
    run(program, prefix)


def test_nothing_is_allocated_but_frames(prefix: Path, tmp_path: Path) -> None:
    program = tmp_path / "frames"
    # gcc looks at the replaced operator delete and takes its free() for a mistake.
    flags = ("-std=c++20", "-O2", "-Wno-mismatched-new-delete")
    build(PROGRAMS / "frames.cpp", program, prefix, "gcc", *flags)
    run(program, prefix)


def test_the_program_of_the_header_compiles(prefix: Path, tmp_path: Path) -> None:
    text = (prefix / "include/spargio.hpp").read_text()
    comment = re.search(r"#include <spargio.hpp>\n(.*?)\n \* The parts", text, re.DOTALL)
    assert comment is not None
    lines = [line.removeprefix(" *") for line in comment[1].splitlines()]
    source = tmp_path / "header.cpp"
    source.write_text("#include <array>\n#include <spargio.hpp>\n" + "\n".join(lines))
    build(source, tmp_path / "header", prefix, "gcc", "-std=c++20")
