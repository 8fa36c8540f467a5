"""The suites of packages that are written for asyncio, with its loops replaced by ours."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from .environment import interpreter, source_of, variables, version_of
from .package_exceptions import EXCEPTIONS
from .results import Result


class Suite(NamedTuple):
    package: str
    words: tuple[str, ...]
    """What pytest is called with, but for the paths."""
    whole: tuple[str, ...]
    """Paths of the whole suite."""
    part: tuple[str, ...]
    """Paths, or words of pytest, of the part that CI runs."""
    prepare: Callable[[Path], None] | None = None
    limit_s: float = 900
    chosen: str = ""
    """An expression for pytest's -k."""


def _prepare_anyio(tests: Path) -> None:
    """Another set of parameters for each test, beside those for asyncio's own loop."""
    file = tests / "conftest.py"
    text = file.read_text()
    mark = "backend_params = asyncio_params.copy()\n"
    if text.count(mark) != 1:
        raise RuntimeError(f"{file} has changed: no line {mark!r}")
    ours = (
        "import spargio.asyncio\n"
        "asyncio_params[1:] = [\n"
        "    pytest.param(\n"
        '        ("asyncio", {"debug": True, "loop_factory": spargio.asyncio.new_event_loop}),\n'
        '        id="spargio",\n'
        "    )\n"
        "]\n"
    )
    file.write_text(text.replace(mark, ours + mark))


SUITES = {
    "uvicorn": Suite(
        "uvicorn",
        (
            *("-p", "xdist", "-p", "anyio", "-p", "pytest_mock", "-o", "addopts=", "-n", "2"),
            "--ignore=tests/benchmarks",  # They measure, with a plugin of their own.
        ),
        ("tests",),
        ("tests/protocols", "tests/test_server.py", "tests/test_lifespan.py"),
    ),
    "aiohttp": Suite(
        "aiohttp",
        (
            *("-p", "xdist", "-p", "pytest_mock", "-p", "timeout", "-o", "addopts="),
            *("-n", "2", "--aiohttp-loop=pyloop", "--timeout=60"),
            *("-m", "not dev_mode and not autobahn"),
        ),
        ("tests",),
        ("tests/test_client_ws_functional.py", "tests/test_web_sendfile_functional.py"),
        limit_s=3600,
    ),
    "anyio": Suite(
        "anyio",
        ("--timeout=60",),
        ("tests",),
        ("tests/test_sockets.py", "tests/test_taskgroups.py", "tests/test_subprocesses.py"),
        _prepare_anyio,
        chosen="spargio",
    ),
    "aioquic": Suite("aioquic", (), ("tests/test_asyncio.py",), ("tests/test_asyncio.py",)),
}


def run(name: str, patterns: list[str], part: bool, jobs: int) -> Iterator[Result]:
    suite = SUITES[name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        place = Path(folder, name)
        shutil.copytree(source_of(suite.package), place)
        if suite.prepare is not None:
            suite.prepare(place / "tests")
        report = Path(folder, "report.xml")
        words = [*_command(suite, patterns, part, jobs), f"--junitxml={report}"]
        output, problem = _pytest(words, place, variables(Path(folder)), suite.limit_s)
        passed, failed, skipped = counts(report)
        if failed and not problem:
            also = _control(suite, failures(output), place, Path(folder))
            failed, skipped = failed - len(also), skipped + len(also)
            output += "".join(f"fails on asyncio's own loop as well: {name}\n" for name in also)
    if not passed and not problem:
        problem = "no test ran"
    seconds = time.monotonic() - began
    yield Result(name, version_line(suite), passed, failed, skipped, seconds, problem, output)


def version_line(suite: Suite) -> str:
    return f"{suite.package} {version_of(suite.package)}"


def _pytest(
    words: list[str], place: Path, environment: dict[str, str], limit_s: float
) -> tuple[str, str]:
    """Its output, and what is wrong besides tests that fail."""
    try:
        done = subprocess.run(
            words,
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode(errors="replace"), f"no end after {limit_s:.0f} s"
    problem = "" if done.returncode in (0, 1) else f"pytest ended with {done.returncode}"
    return done.stdout, problem


def failures(output: str) -> list[str]:
    """What pytest's summary calls the tests that failed."""
    found = re.findall(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - .*)?$", output, re.MULTILINE)
    return list(dict.fromkeys(found))


def _control(suite: Suite, failed: list[str], place: Path, folder: Path) -> list[str]:
    """Those that fail on asyncio's own loop too: what is missing is the machine's, such as IPv6."""
    names = {name.replace("spargio", "asyncio"): name for name in failed}
    command = [str(interpreter()), "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider"]
    environment = variables(folder, replaced=False)
    output, _ = _pytest([*command, *suite.words, *names], place, environment, suite.limit_s)
    return [names[name] for name in failures(output) if name in names]


def _command(suite: Suite, patterns: list[str], part: bool, jobs: int) -> list[str]:
    words = list(suite.words)
    if "-n" in words:
        words[words.index("-n") + 1] = str(jobs)
    terms = [suite.chosen] if suite.chosen else []
    if not _has_ipv6():  # Those tests fail, and what they leave behind disturbs others.
        terms.append("not ipv6")
    if patterns:
        terms.append("(" + " or ".join(patterns) + ")")
    if terms:
        words += ["-k", " and ".join(terms)]
    for identity in EXCEPTIONS.get(suite.package, {}):
        words += ["--deselect", identity]
    base = [str(interpreter()), "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider"]
    return [*base, *words, *(suite.part if part else suite.whole)]


def _has_ipv6() -> bool:
    """An address, and a name that has it."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        socket.getaddrinfo("localhost", 80, socket.AF_INET6)
    except OSError:
        return False
    return True


def counts(report: Path) -> tuple[int, int, int]:
    if not report.exists():
        return 0, 0, 0
    passed = failed = skipped = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        left_out = int(suite.get("skipped", 0))
        failed += bad
        skipped += left_out
        passed += int(suite.get("tests", 0)) - bad - left_out
    return passed, failed, skipped
