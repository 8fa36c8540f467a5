"""What an import of spargio brings, and what it leaves for later."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import spargio
from spargio._lazy import LATER

pytestmark = pytest.mark.any_backend

PARTS = [
    "asyncio",
    "boundary",
    "extension",
    "fs",
    "io",
    "latency",
    "net",
    "process",
    "signal",
    "sync",
    "tls",
    "uring",
]


def fresh(code: str, *arguments: str) -> str:
    """What a new interpreter prints."""
    command = [sys.executable, "-c", code, *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return outcome.stdout.strip()


def test_asyncio_is_left_to_those_who_use_it() -> None:
    assert fresh("import spargio, sys; print('asyncio' in sys.modules)") == "False"


def test_the_package_has_no_getattr() -> None:
    """With one, each `spargio.name` is a search: 30 ns, a sixth of a `yield_now()`."""
    assert "__getattr__" not in vars(spargio)


def test_asyncios_loop_is_a_part_like_the_others() -> None:
    code = "import spargio\nasync def main(): return 5\nprint(spargio.asyncio.run(main()))"
    assert fresh(code) == "5"
    code = "import spargio, sys; spargio.asyncio.EventLoop; print('asyncio' in sys.modules)"
    assert fresh(code) == "True"


def brought_by(code: str, before: str = "import sys") -> set[str]:
    """Names of the modules that `code` imports, in an interpreter that knows no other package."""
    program = f"""
{before}
already = set(sys.modules)
{code}
print(" ".join(set(sys.modules) - already))
"""
    return set(fresh(program).split())


HEAVY = {
    *("asyncio", "ast", "cbor2", "concurrent", "dataclasses", "datetime", "inspect", "logging"),
    *("pathlib", "random", "rich", "secrets", "socket", "subprocess", "tempfile", "traceback"),
    *("sysconfig", "ssl", "hashlib", "selectors", "tokenize", "queue", "shutil"),
}
# All that `import spargio` may bring; what is listed stays cheap: 20 ms of CPU on a slow machine.
# Names that begin with an underscore go with one of these.
STANDARD = {
    *("abc", "collections", "contextlib", "contextvars", "copyreg", "ctypes", "enum", "errno"),
    *("functools", "itertools", "keyword", "operator", "re", "reprlib", "signal", "sre_compile"),
    *("sre_constants", "sre_parse", "struct", "threading", "time", "types", "typing", "warnings"),
    *("weakref", "annotationlib", "atexit", "string", "importlib", "os", "io", "heapq"),
    *("fcntl", "mmap", "select"),
}
OWN = {
    *(
        "_asyncgens",
        "_start",
        "_blocking",
        "_cbor",
        "_counters",
        "_validate",
        "_ffi",
        "_hints",
        "_interrupts",
        "_lazy",
        "_main",
        "_pool",
        "_records",
        "_shared",
        "_threads",
        "_wait",
        "_watchdog",
    ),
    *("cancellation", "errors", "groups", "messages", "options", "placement", "probe", "runtime"),
    *("stats", "time"),
}
"""Files of spargio that the import itself runs; of the parts it runs ``__init__.py`` only."""


def standard(modules: set[str]) -> set[str]:
    tops = {name.partition(".")[0] for name in modules}
    return {name for name in tops if not name.startswith("_")} - {"spargio", "sniffio"}


def test_the_import_brings_little_of_the_standard_library() -> None:
    brought = brought_by("import spargio")
    assert standard(brought) & HEAVY == set()
    assert standard(brought) <= STANDARD


def test_the_import_runs_only_what_every_program_needs() -> None:
    brought = {name.partition(".")[2] for name in brought_by("import spargio")}
    own = {name.partition(".")[0] for name in brought if name in own_modules()}
    assert own == OWN | set(PARTS)
    assert not {name for name in brought if name.startswith(tuple(f"{p}." for p in PARTS))}


def own_modules() -> set[str]:
    root = Path(spargio.__file__).parent
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for path in root.rglob("*.py")
    }


def test_the_first_run_brings_nothing_more() -> None:
    """Of an ordinary program: one that says more in its log, or asks for debug mode, pays."""
    run = """
async def main(handle):
    async with spargio.TaskGroup() as group:
        group.spawn(spargio.shield(child()))
    with spargio.timeout(1):
        await spargio.sleep(0)
async def child():
    await spargio.yield_now()
spargio.run(main, shards=2)
"""
    assert brought_by(run, "import sys, spargio") == set()


def test_preload_leaves_nothing_for_later() -> None:
    """A program may give up its rights, or change its root, after the imports."""
    run = """
async def main(handle):
    await spargio.spawn_blocking(len, "")
    handle.stats_snapshot()
    listener = await spargio.net.TcpListener.bind("127.0.0.1", 0)
    await spargio.net.TcpStream.connect(*listener.local_addr)
    await spargio.fs.read_to_string("/proc/self/comm")
    assert await spargio.process.Command("true").status() == 0
    async with spargio.signal.stream(10): pass
    spargio.boundary.channel(1)
    spargio.io.duplex(1), spargio.sync.channel(1)
    handle.uring_native_unbound()
class Main:
    async def __call__(self, handle): await main(handle)
spargio.run(Main(), debug=True)
"""
    assert brought_by(run, "import sys, spargio; spargio.preload()") == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its root")
def test_after_a_change_of_the_root() -> None:
    """What was loaded works; what was not says what to do."""
    code = """
import os, sys, tempfile, spargio
if "preload" in sys.argv:
    spargio.preload()
os.chroot(tempfile.mkdtemp())
async def main():
    async with await spargio.net.UnixListener.bind("/here") as listener:
        async with await spargio.net.UnixStream.connect("/here"):
            await spargio.fs.write("/file", b"x")
            print(await spargio.fs.read("/file"))
try:
    spargio.run(main, shards=1)
except ImportError as error:
    print(error)
"""
    assert fresh(code, "preload") == "b'x'"
    assert "spargio.net.UnixListener loads when it is first used" in fresh(code)
    assert "call spargio.preload() before" in fresh(code)


@pytest.mark.timeout(300)
def imports_in_functions(path: Path) -> set[str]:
    """Modules of others that functions of a file import."""
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    found = set()
    for node in (node for function in functions for node in ast.walk(function)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
    return found


def test_preload_knows_what_functions_import() -> None:
    root = Path(spargio.__file__).parent
    files = [p for p in root.rglob("*.py") if not {"_cli", "testing", "anyio", "tune"} & {*p.parts}]
    found = set().union(*map(imports_in_functions, files))
    later = {*LATER, *(name.rpartition(".")[0] for name in LATER)}
    # Who has a loop has asyncio, who has ssl has _ssl; who wants arrays or tensors has these.
    assert found - {"asyncio", "numpy", "pytest", "torch", "_ssl"} <= later


def names_for_checkers(part: str) -> set[str]:
    """What a part's ``if TYPE_CHECKING`` block imports."""
    tree = ast.parse((Path(spargio.__file__).parent / part / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_loads_each_of_its_names(part: str) -> None:
    """Those that it says it has, that a type checker sees, and that load are the same."""
    module = importlib.import_module(f"spargio.{part}")
    assert names_for_checkers(part) == set(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    code = f"""
import spargio.{part} as part
for name in part.__all__:
    assert getattr(part, name) is vars(part)[name], name
from spargio.{part} import *
print({part} is spargio.{part}) if "{part}" in globals() else print(True)
"""
    assert fresh(code) == "True"
    with pytest.raises(AttributeError, match=f"module 'spargio.{part}' has no attribute 'nope'"):
        _ = module.nope


def test_files_of_a_part_are_reached_by_their_names() -> None:
    """Also those that a part takes none of its names from."""
    names = sorted(name for name in own_modules() if name.partition(".")[0] in PARTS)
    assert "net._addresses" in names
    program = """
import os, sys
import spargio
for name in sys.argv[1:]:
    if os.fork() == 0:  # Nothing of spargio's parts is there yet.
        code = eval(f"spargio.{name}.__name__") != f"spargio.{name}"
        os._exit(code)
    _, status = os.wait()
    if status:
        print(name)
"""
    assert fresh(program, *(name for name in names if "." in name)) == ""


def test_names_that_a_part_does_not_list() -> None:
    """Of the parts that are one file."""
    code = "import spargio; print(spargio.process.PipeReader.__name__, spargio.boundary.Future)"
    assert fresh(code).startswith("PipeReader ")


def test_threads_that_use_a_part_first_at_once() -> None:
    code = """
import spargio, threading
go, seen = threading.Barrier(8), []
def first(n):
    go.wait()
    seen.append((spargio.net.TcpStream, spargio.fs.File, spargio.process.Command)[:: 1 if n % 2 else -1])
threads = [threading.Thread(target=first, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len({frozenset(s) for s in seen}), len(seen))
"""
    assert fresh(code) == "1 8"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_there(part: str) -> None:
    assert getattr(spargio, part).__name__ == f"spargio.{part}"
    assert part in dir(spargio)
    assert fresh(f"from spargio import {part}; print({part}.__name__)") == f"spargio.{part}"


def test_all_names_are_there() -> None:
    assert fresh("from spargio import *; print(net.__name__, run.__name__)") == "spargio.net run"


def test_another_name_is_an_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'spargio' has no attribute 'nett'"):
        _ = spargio.nett  # type: ignore[attr-defined]


def test_a_second_import_of_all_of_it_is_refused() -> None:
    """Objects of the first would meet types and exceptions of the second."""
    code = """
import sys, spargio
handle = spargio.Runtime.builder().shards(1).build()
for name in [name for name in sys.modules if name.startswith("spargio")]:
    del sys.modules[name]
try:
    import spargio as again
except ImportError as error:
    print(error)
handle.shutdown()
"""
    assert "spargio was imported before in this process" in fresh(code)
