"""The rules of docs/architecture.md about the sources: who imports whom, how long things are."""

from __future__ import annotations

import ast
import os
import re
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
        if not name.startswith("_cli"):
            assert not any("_cli" in one for one in imported(path)), name


# ---- Zig ----

# From the bottom up. A file may import those of its own layer and of the ones below.
LAYERS = [
    {
        "limits",
        "failure",
        "errors",
        "errno_text",
        "clock",
        "sync",
        "memory",
        "cbor",
        "fork",
        "signals",
        "seam",
        "signal_mask",
        "cpus",
        "user_data",
        "options",
        "settings",
        "self_connect",
        "build_options",
    },
    {
        "queue/chain",
        "queue/list",
        "queue/inbox",
        "queue/mutex_deque",
        "queue/lock_free",
        "queue/stealable",
        "queue/lane",
    },
    {
        "stats",
        "histogram",
        "recorders",
        "recorder_cbor",
        "doorbell",
        "handle_table",
        "timers",
        "tags",
        "probe",
    },
    {"steal", "ring", "locked_memory", "buffers", "outbox", "fixed"},
    {"task", "op", "undo", "completion", "mailbox", "listeners", "room"},
    {
        "soft/pending",
        "soft/vectors",
        "soft/users",
        "soft/blocking",
        "soft/interrupt",
        "soft/sockets",
        "soft/attempt",
        "soft/wakeup",
        "soft/worker",
        "soft/pool",
        "soft/epoll",
        "backend",
    },
    {
        "shard",
        "bells",
        "cancel",
        "crew",
        "thief",
        "idle",
        "host",
        "messages",
        "without_worker",
        "recording",
    },
    {"ops/fs", "ops/net", "ops/paths", "ops/raw", "snapshot"},
    {"runtime"},
    {"native_task", "native_waits"},
    {"c_api", "c_messages", "c_ops", "c_recorders"},
    {"python"},
    {"root", "root_python", "root_simulation", "root_fuzz"},
]
LAYER = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def zig_files() -> list[Path]:
    return sorted(path for path in ZIG.rglob("*.zig") if "testing" not in path.parts)


def module_of(path: Path) -> str:
    name = path.relative_to(ZIG).with_suffix("").as_posix()
    return "python" if name.startswith("python/") else name


def zig_imports(path: Path) -> set[str]:
    """Modules of the project that a file imports outside its tests."""
    found = set()
    for line in path.read_text().splitlines():
        for target in re.findall(r'@import\("([^"]+)"\)', line):
            if target.endswith(".zig"):
                found.add(module_of(Path(os.path.normpath(path.parent / target))))
    return found


def test_every_zig_file_has_a_layer() -> None:
    tests = {module_of(path) for path in zig_files() if path.stem.endswith("_test")}
    assert {module_of(path) for path in zig_files()} - tests - set(LAYER) == set()


@pytest.mark.parametrize("path", zig_files(), ids=lambda path: path.relative_to(ZIG).as_posix())
def test_zig_imports_go_one_way(path: Path) -> None:
    own = module_of(path)
    if path.stem.endswith("_test"):
        return
    above = {name for name in zig_imports(path) if LAYER.get(name, 0) > LAYER[own]}
    assert above == set()


def test_the_core_does_not_know_python() -> None:
    for path in zig_files():
        own = module_of(path)
        if own not in ("python", "root_python"):
            assert "python" not in zig_imports(path), own
            assert not re.search(r"\bPy[A-Z_]\w+", path.read_text()), own


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
        if start is None or line.rstrip().endswith(";") or start[2].endswith("Type"):
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
