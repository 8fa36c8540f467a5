"""The rules of docs/architecture.md about the sources: who imports whom, how long things are."""

from __future__ import annotations

import ast
import os
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bindings" / "python" / "spargio"
ZIG = ROOT / "zig-src"

LINE_LIMIT = 120
FUNCTION_LIMIT = 70

# ---- Python ----


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(path: Path) -> set[str]:
    """Names of all modules that a file imports, relative ones with their dots."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found.add(base)
            if node.module is None or node.level:
                found |= {f"{base.rstrip('.')}.{alias.name}" for alias in node.names}
    return found


def test_only_ffi_imports_ctypes() -> None:
    users = {
        name
        for name, path in modules().items()
        if any(one.split(".")[0] in ("ctypes", "_ctypes", "cffi") for one in imported(path))
    }
    assert {name.split(".")[0] for name in users} == {"_ffi"}


def test_ffi_uses_nothing_above_it_but_the_exceptions() -> None:
    allowed = {"..errors", "..", ".errors"}
    for name, path in modules().items():
        if name.startswith("_ffi."):
            above = {one for one in imported(path) if one.startswith("..")}
            assert above <= allowed, name


def test_nothing_in_the_package_uses_the_command_line() -> None:
    for name, path in modules().items():
        if not name.startswith(("_cli", "__main__")):
            assert not any("_cli" in one for one in imported(path)), name


# Imports back, which wait for a call or are for type checkers only: who makes what from whom.
BACK = {
    ("workload._load", "workload._report"): "a type, for what `Load.run` returns",
    ("workload._load", "workload._server"): "`Load.run` loads what asks the server",
    ("workload._load", "workload._runner"): "`Load.run` loads what carries it out",
    ("workload._report", "workload._html"): "a report loads what draws it when it is asked to",
    ("_main", "runtime"): "the type of the handle that main gets",
    ("options", "runtime"): "builder.build() makes the runtime that takes a builder",
    ("fs._cursor", "fs._file"): "the type of the file that has the cursor",
    ("fs._file", "fs._direct"): "File.from_fd() of a descriptor with O_DIRECT",
    ("net._bind", "net._tcp"): "the type of the listeners it binds",
    ("asyncio._stream", "asyncio._loop"): "the type of the loop that made the transport",
    ("asyncio._datagram", "asyncio._loop"): "the same",
    ("asyncio._transport", "asyncio._loop"): "the same",
    ("asyncio._streams", "asyncio._stream"): "the type of the transport that a reader is of",
}


def edges(name: str, path: Path, names: set[str]) -> dict[str, bool]:
    """The modules of the package that a file imports, late ones too: whether at once."""
    tree = ast.parse(path.read_text())
    package = name.removesuffix("__init__").rstrip(".").split(".")
    if not name.endswith("__init__"):
        package = package[:-1]
    at_once = {id(node) for node in tree.body}
    found: dict[str, bool] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = [part for part in package if part][: len(package) - node.level + 1]
        base += node.module.split(".") if node.module else []
        for alias in node.names:
            for parts in ([*base, alias.name], base):
                target = next(
                    (
                        one
                        for one in (".".join(parts), ".".join([*parts, "__init__"]))
                        if one in names
                    ),
                    None,
                )
                if target is not None:
                    found[target] = found.get(target, False) or id(node) in at_once
                    break
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: edges(name, path, set(modules())) for name, path in modules().items()}
    for back, why in BACK.items():
        source, target = back
        assert not graph[source].pop(target), f"{back} is at once: {why}"
    order = TopologicalSorter(graph)
    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(f"modules that import each other: {' <- '.join(error.args[1])}")


def test_errors_of_arguments_have_one_form() -> None:
    """``NAME must be ..., got VALUE``, in Python and in Zig."""
    texts = [*PACKAGE.parent.rglob("*.py"), *ZIG.rglob("*.zig")]
    assert [
        path.name for path in texts if re.search(r"\ballowed (is|are)\b", path.read_text())
    ] == []


# ---- C ----


@pytest.mark.parametrize("path", sorted((ROOT / "include").glob("*.h")), ids=lambda path: path.name)
def test_the_headers_have_at_most_100_columns(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [n for n, line in enumerate(lines, 1) if len(line) > 100] == []


# ---- tests ----

TEST_FILE_LIMIT = 500


def test_no_file_of_tests_is_long() -> None:
    long = [
        f"{path.relative_to(ROOT)} has {lines}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (lines := len(path.read_text().splitlines())) > TEST_FILE_LIMIT
    ]
    assert long == []


# ---- the voice ----

# CONTRIBUTING.md, Voice: what readers from elsewhere stumble over. In its place stands what is meant.
PHRASES = {
    r"\bbe had\b": "is available, can be made",
    r"\bof ours\b": "our",
    r"\bof yours\b": "your",
    r"\bof spargio's(?=[,.;:]| ?$)": "spargio's, a spargio ...",
    r"\ba \w+ of (Python|asyncio)'s\b": "a Python ..., an asyncio ...",
    r"\bfor ever\b": "forever",
    r"\bwhere there (is|are)\b": "if there is",
    r"\b(that|which|what) (is|are) none\b": "invalid, not a ...",
    r"\b[Ww]ho(ever)? (awaits|waits|asks|reads|looks)\b": "the task that ..., the reader",
}
SPEAKS = ("*.md", "*.zig", "*.py", "*.h", "*.hpp", "*.c", "*.cpp", "*.cddl", "*.pml")
QUOTES = {"CONTRIBUTING.md", "test_layers.py"}


def speaking() -> list[Path]:
    """All files of the project that a reader reads."""
    folders = [ROOT / name for name in ("docs", "include", "zig-src", "bindings", "bench", "tests")]
    folders += [ROOT / name for name in ("examples", "tools")]
    found = [path for folder in folders for kind in SPEAKS for path in folder.rglob(kind)]
    return sorted(path for path in [*ROOT.glob("*.md"), *found] if path.name not in QUOTES)


@pytest.mark.parametrize("phrase", PHRASES)
def test_nobody_says(phrase: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in speaking()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if re.search(phrase, line)
    ]
    assert found == [], f"say: {PHRASES[phrase]}"


# ---- where things are ----

PLACES = (ROOT, ZIG, PACKAGE)
SOURCE = r"[\w./-]+\.(?:zig|py|h|hpp|md|pml|cddl|c)"


@pytest.mark.parametrize("page", ["map", "glossary", "architecture"])
def test_files_that_the_docs_name_are_there(page: str) -> None:
    """With a folder before it, at that place; and what stands in brackets behind it is in the file."""
    text = (ROOT / f"docs/{page}.md").read_text()
    known = {path.name for path in speaking()} | QUOTES
    for name in re.findall(rf"`({SOURCE})`", text):
        there = any((top / name).exists() for top in PLACES)
        assert there or ("/" not in name and name in known), name
    for name, words in re.findall(rf"`({SOURCE})` \(((?:`\w+`(?:, )?)+)\)", text):
        file = next((top / name for top in PLACES if (top / name).exists()), None)
        for word in re.findall(r"`(\w+)`", words) if file is not None else ():
            assert re.search(rf"\b{word}\b", file.read_text()), f"{name} has no {word}"


# ---- Zig ----

# Folders, from the ground up. A file may import those of its own folder and of the ones before it.
# "python" and "." are the files directly there; a folder of the bridge is a room of its own.
FOLDERS = [
    "base",
    "queue",
    "ring",
    "epoll",
    "task",
    "message",
    "scheduler",
    "ops",
    "runtime",
    "c",
    "python/cpython",
    "python/task",
    "python/sync",
    "python/io",
    "python/files",
    "python/tls",
    "python/loop",
    "python",
    "simulation",
    "tests",
    ".",
]
# Beside each other above the runtime: neither knows the other. A test of the core may use the C ABI.
SIBLINGS = {"c": {"python"}, "python": {"c"}, "epoll": {"task"}, "task": {"epoll"}}


def zig_files() -> list[Path]:
    return sorted(ZIG.rglob("*.zig"))


def folder_of(path: Path) -> str:
    return path.relative_to(ZIG).parent.as_posix()


def zig_imports(path: Path) -> set[Path]:
    """Files of the project that a file imports, its tests' imports too."""
    targets = re.findall(r'@import\("([^"]+\.zig)"\)', path.read_text())
    return {Path(os.path.normpath(path.parent / target)) for target in targets}


def test_every_zig_folder_has_a_floor() -> None:
    assert {folder_of(path) for path in zig_files()} == set(FOLDERS)
    assert {path.stem.split("_")[0] for path in ZIG.glob("*.zig")} == {"root"}


@pytest.mark.parametrize("path", zig_files(), ids=lambda path: path.relative_to(ZIG).as_posix())
def test_zig_imports_go_down(path: Path) -> None:
    own = folder_of(path)
    used = {folder_of(target) for target in zig_imports(path)}
    assert {name for name in used if FOLDERS.index(name) > FOLDERS.index(own)} == set()
    beside = SIBLINGS.get(own.split("/")[0], set())
    assert {name for name in used if name.split("/")[0] in beside} == set()


def test_no_folder_is_in_a_circle() -> None:
    """By the imports alone, so that the order above cannot be wrong unseen."""
    used: dict[str, set[str]] = {name: set() for name in FOLDERS}
    for path in zig_files():
        used[folder_of(path)] |= {folder_of(target) for target in zig_imports(path)}
    left = {name: others - {name} for name, others in used.items()}
    while ground := {name for name, others in left.items() if not others & set(left)}:
        left = {name: others for name, others in left.items() if name not in ground}
    assert left == {}


def test_the_core_does_not_know_python() -> None:
    for path in zig_files():
        if folder_of(path).split("/")[0] != "python":
            assert not re.search(r"\bPy[A-Z_]\w+", path.read_text()), path


@pytest.mark.parametrize("path", zig_files(), ids=lambda path: path.relative_to(ZIG).as_posix())
def test_zig_lines_are_at_most_120_characters(path: Path) -> None:
    long = [
        f"{path.relative_to(ROOT)}:{number} has {len(line)}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LINE_LIMIT
    ]
    assert long == []


@pytest.mark.parametrize("path", zig_files(), ids=lambda path: path.relative_to(ZIG).as_posix())
def test_zig_functions_are_at_most_70_lines(path: Path) -> None:
    """Longer ones are one flat switch. The formatter indents, so a function ends at its own depth."""
    long = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        start = re.match(r"( *)(?:pub |export |inline |extern \"c\" )*fn (\w+)\(", line)
        makes_type = line.endswith(") type {") or (start is not None and start[2].endswith("Type"))
        if start is None or line.rstrip().endswith((";", "{}")) or makes_type:
            continue  # A type function is a container; its functions are looked at one by one.
        end = next(n for n in range(number, len(lines)) if lines[n] == f"{start[1]}}}")
        body = lines[number + 1 : end]
        if len(body) > FUNCTION_LIMIT and not is_flat_switch(body):
            long.append(f"{path.relative_to(ROOT)}:{number + 1} {start[2]} has {len(body)}")
    assert long == []


def is_flat_switch(body: list[str]) -> bool:
    """One switch that makes up nearly all of the function, with one line per case."""
    code = [line for line in body if line.strip()]
    starts = [n for n, line in enumerate(code) if re.search(r"\bswitch \(", line)]
    if len(starts) != 1:
        return False
    depth = len(code[starts[0]]) - len(code[starts[0]].lstrip()) + 4
    cases = [line for line in code[starts[0] + 1 :] if len(line) - len(line.lstrip()) == depth]
    return len(cases) > 0.8 * len(code)
