"""The programs of docs/c: each block is compiled without a warning and run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import builds
import pytest
from abi_support import ROOT, STRICT, compiler

PAGES = ROOT / "docs/c"
LIMIT_S = 120
Block = tuple[str, str, str]
"""Page, language, text."""


def blocks() -> list[Block]:
    found = []
    for page in sorted(PAGES.glob("*.md")):
        for language, text in re.findall(
            r"^```(\w+)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            found.append((page.stem, language, text))
    return found


PROGRAMS = [block for block in blocks() if block[1] in ("c", "cpp") and block[0] != "languages"]
OTHERS = {block[1]: block[2] for block in blocks() if block[0] == "languages"}
STANDARDS = {"c": ("-std=gnu11",), "cpp": ("-std=c++20",)}


def build(language: str, text: str, prefix: Path, *flags: str) -> Path:
    using = compiler("c" if language == "c" else "c++")
    return builds.program(
        "program",
        text,
        *(using, *STANDARDS[language], *STRICT, *flags, "-O1", "-pthread", f"-I{prefix}/include"),
        *(f"-L{prefix}/lib", "-lspargio", f"-Wl,-rpath,{prefix}/lib"),
        suffix=f".{language}",
    )


def said(*command: str | Path, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(len(PROGRAMS)), ids=lambda n: f"{PROGRAMS[n][0]}-{n}")
@pytest.mark.parametrize("backend", ["auto", "epoll"])
def test_program(
    number: int, backend: str, prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARGIO_BACKEND", backend)
    _, language, text = PROGRAMS[number]
    program = build(language, text, prefix)
    if "listening on port" in text:
        check_server(program)
    else:
        assert said(program, folder=tmp_path)


def check_server(program: Path) -> None:
    """Clients that talk, one that does not, then a signal; what it counted."""
    server = subprocess.Popen([str(program)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"listening on port (\d+)", server.stdout.readline())
        assert found is not None
        clients = [socket.create_connection(("127.0.0.1", int(found[1])), 20) for _ in range(50)]
        for client in clients[1:]:
            client.sendall(b"hello")
            assert client.recv(5, socket.MSG_WAITALL) == b"hello"
        assert clients[0].recv(1) == b""  # too slow
        for client in clients[2:]:
            client.close()
        server.send_signal(signal.SIGTERM)
        output, _ = server.communicate(timeout=LIMIT_S)
    finally:
        server.kill()
        server.wait()
    for client in clients[:2]:
        client.close()
    assert server.returncode == 0
    assert "50 accepted" in output
    assert re.search(r"[1-9]\d* too slow, 245 bytes echoed", output), output
    assert " 0 open" in output or "open" not in output


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_page(sanitizer: str, prefix: Path, tmp_path: Path) -> None:
    ((_, language, text),) = [block for block in PROGRAMS if block[0] == "sanitizers"]
    flags = ("-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all")
    program = build(language, text, prefix, *flags)
    assert said(program, folder=tmp_path, TSAN_OPTIONS="halt_on_error=1") == "10 rounds\n"


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


SAYS = "the task says 42\n"


def test_go(prefix: Path, tmp_path: Path) -> None:
    go = tool("go")
    tool("pkg-config")
    (tmp_path / "main.go").write_text(OTHERS["go"])
    (tmp_path / "go.mod").write_text("module example\n\ngo 1.20\n")
    (tmp_path / "spargio.pc").write_text(
        f"Name: spargio\nDescription: spargio\nVersion: 0\nCflags: -I{prefix}/include\n"
        f"Libs: -L{prefix}/lib -lspargio\n"
    )
    environment = {
        "PKG_CONFIG_PATH": str(tmp_path),
        "LD_LIBRARY_PATH": f"{prefix}/lib",
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": "local",
    }
    said(go, "vet", ".", folder=tmp_path, **environment)
    assert said(go, "run", ".", folder=tmp_path, **environment) == SAYS


def test_rust(prefix: Path, tmp_path: Path) -> None:
    rustc = tool("rustc")
    (tmp_path / "main.rs").write_text(OTHERS["rust"])
    flags = ("--edition", "2021", "-D", "warnings", "-L", f"{prefix}/lib", "-l", "spargio")
    said(rustc, *flags, "main.rs", folder=tmp_path)
    assert said(tmp_path / "main", folder=tmp_path, LD_LIBRARY_PATH=f"{prefix}/lib") == SAYS


def test_node(prefix: Path, tmp_path: Path) -> None:
    node = tool("node")
    headers = Path(node).resolve().parent.parent / "include/node"
    if not (headers / "node_api.h").is_file():
        pytest.skip("no node_api.h beside node (Debian: libnode-dev)")
    (tmp_path / "addon.c").write_text(OTHERS["c"])
    (tmp_path / "main.js").write_text(OTHERS["js"])
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{headers}"]
    flags += [f"-I{prefix}/include", f"-L{prefix}/lib", "-lspargio", f"-Wl,-rpath,{prefix}/lib"]
    said(compiler("c"), "addon.c", *flags, "-o", "spargio.node", folder=tmp_path)
    wanted = f"the tasks say {', '.join(['done'] * 3)}\n"
    assert said(node, "main.js", folder=tmp_path) == wanted


def test_zig(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "main.zig").write_text(OTHERS["zig"])
    command = [sys.executable, "-m", "ziglang", "build-exe", "main.zig", "-lc", "-lspargio"]
    said(*command, f"-L{prefix}/lib", "-rpath", f"{prefix}/lib", folder=tmp_path)
    assert said(tmp_path / "main", folder=tmp_path) == SAYS


def test_no_block_is_left_out() -> None:
    languages = {(page, language) for page, language, _ in blocks()}
    known = {("languages", name) for name in ("go", "rust", "c", "js", "zig")}
    known |= {("linking", "cmake")}  # tests/test_packaging.py
    known |= {(page, language) for page, language, _ in PROGRAMS}
    assert languages == known
