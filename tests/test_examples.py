"""Each Python example runs, as a user would run it; so does the example in the README."""

from __future__ import annotations

import email
import hashlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "python"
EMAIL_PACKAGE = Path(email.__file__).parent
LIMIT_S = 60


@contextmanager
def service(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program that prints the address it listens on; ended by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"(\d+)\D*$", line)
        assert found, (line, process.communicate(timeout=LIMIT_S)[1])
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def interrupt(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=LIMIT_S)


def upload(port: int, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(64):
            answer += part
        return answer


@pytest.mark.parametrize("shards", ["1", "2"])
def test_ingest(tmp_path: Path, shards: str) -> None:
    contents = [path.read_bytes() for path in sorted(EMAIL_PACKAGE.glob("*.py"))] + [
        b"",
        b"x" * 3_000_000,
    ]
    wanted = [hashlib.sha256(content).digest() for content in contents]
    arguments = (str(EXAMPLES / "ingest.py"), "--port", "0", "--out", "out", "--shards", shards)
    with service(*arguments, cwd=tmp_path) as (process, port):
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda content: upload(port, content), contents))
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in contents]
        out, err = interrupt(process)
    assert answers == wanted
    stored = [path.read_bytes() for path in (tmp_path / "out").iterdir()]
    assert sorted(stored) == sorted(contents)
    assert (out, err, process.returncode) == ("", "", 0)
    sizes = [int(re.fullmatch(r".*: (\d+) bytes on shard [01]\n", line)[1]) for line in told]
    assert sorted(sizes) == sorted(map(len, contents))


def test_ingest_goes_on_after_a_bad_connection(tmp_path: Path) -> None:
    arguments = (str(EXAMPLES / "ingest.py"), "--port", "0", "--shards", "2")
    with service(*arguments, cwd=tmp_path) as (process, port):
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
            linger = b"\1\0\0\0\0\0\0\0"  # On, 0 s: the close is a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(b"half")
        assert upload(port, b"whole") == hashlib.sha256(b"whole").digest()
        interrupt(process)


# ---- what clients do to a server ----

README_SERVER = re.search(
    r"## A server\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
)
assert README_SERVER is not None
SERVERS = {
    "README.md": ("-c", README_SERVER[1].replace("7001", "0")),
    "ingest.py": (str(EXAMPLES / "ingest.py"), "--port", "0"),
    "line_server.py": (str(EXAMPLES / "line_server.py"),),
}
FILES_MAX = 40
FEW_FILES = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES_MAX},) * 2)"
"""A whole process has so many descriptors at most: its own and those of its clients."""


def connect(port: int) -> socket.socket:
    return socket.create_connection(("localhost", port), LIMIT_S)


def served(name: str, port: int) -> bool:
    if name == "ingest.py":
        return upload(port, b"whole") == hashlib.sha256(b"whole").digest()
    with connect(port) as one, connect(port) as other:
        if name == "line_server.py":
            _until_heard(one, other, b"hello\n")
            return True
        one.sendall(b"hello")
        return one.recv(100) == b"hello"


def reset_all(port: int) -> None:
    for _ in range(20):
        with connect(port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(b"half")


def too_many(port: int) -> None:
    clients = [connect(port) for _ in range(2 * FILES_MAX)]
    for client in clients:
        client.close()


def one_long_line(port: int) -> None:
    with connect(port) as client, suppress(OSError):
        client.settimeout(5)
        client.sendall(b"x" * 1_000_000)


def flood_beside_a_slow_reader(port: int) -> None:
    with connect(port), connect(port) as talker:
        talker.setblocking(False)
        sent, until = 0, time.monotonic() + LIMIT_S
        while sent < 20_000_000 and time.monotonic() < until:
            readable, writable, _ = select.select([talker], [talker], [], 1)
            try:
                if readable and not talker.recv(1 << 20):
                    return
                if writable:
                    sent += talker.send(b"y" * 9_999 + b"\n")
                if not readable and not writable:
                    return  # It takes no more: it waits for those who do not read.
            except OSError:
                return


@pytest.mark.parametrize("attack", [reset_all, too_many, one_long_line, flood_beside_a_slow_reader])
@pytest.mark.parametrize("name", list(SERVERS))
def test_no_client_ends_a_server_for_the_others(
    name: str, attack: Callable[[int], None], tmp_path: Path
) -> None:
    arguments = SERVERS[name]
    if attack is too_many:
        start = FEW_FILES + "; import runpy, sys; "
        if arguments[0] == "-c":
            arguments = ("-c", f"{FEW_FILES}\n{arguments[1]}")
        else:
            argv = list(arguments)
            run = f"sys.argv = {argv!r}; runpy.run_path({argv[0]!r}, run_name='__main__')"
            arguments = ("-c", start + run)
    with service("-u", *arguments, cwd=tmp_path) as (process, port):
        attack(port)
        assert served(name, port)
        assert process.poll() is None
        _, err = interrupt(process)
    assert err.count("Traceback") == (name == "README.md"), err  # That of Ctrl-C.


@pytest.mark.parametrize(
    "arguments", [(), ("--workers", "1"), ("--workers", "500", "--shards", "2")]
)
def test_checksum_tree(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "checksum_tree.py", EMAIL_PACKAGE, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    files = sorted(str(path) for path in EMAIL_PACKAGE.rglob("*") if path.is_file())
    wanted = [f"{hashlib.sha256(Path(path).read_bytes()).hexdigest()}  {path}" for path in files]
    assert done.stdout.splitlines() == wanted
    size = sum(Path(path).stat().st_size for path in files)
    assert done.stderr.startswith(f"{len(files)} files, {size} bytes in ")


def test_checksum_tree_names_what_it_cannot_read(tmp_path: Path) -> None:
    """A file that is gone by the time its turn comes; a permission would not stop root."""
    (tmp_path / "good").write_bytes(b"good")
    (tmp_path / "gone").write_bytes(b"gone")
    script = (
        "import os, runpy, sys; sys.argv[0] = sys.argv[1]; del sys.argv[1]\n"
        "import spargio; from spargio import fs; real = fs.File.open\n"
        "def lose(path, *rest):\n"
        "    if path.endswith('gone'): os.unlink(path)\n"
        "    return real(path, *rest)\n"
        "fs.File.open = staticmethod(lose)\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, EXAMPLES / "checksum_tree.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 1
    assert f"{tmp_path}/gone: {os.strerror(2)}" in done.stderr
    assert "1 not readable" in done.stderr
    assert done.stdout == f"{hashlib.sha256(b'good').hexdigest()}  {tmp_path}/good\n"


@pytest.mark.parametrize("shards", ["1", "2", "4"])
def test_crawl_group(shards: str) -> None:
    def crawl(*arguments: str) -> dict[str, int]:
        script = [EXAMPLES / "crawl_group.py", "--shards", shards, *arguments]
        done = subprocess.run(
            [sys.executable, "-W", "error", *script],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"\d+\.\d\d s\n", done.stderr)
        lines = (line.split(": ") for line in done.stdout.splitlines())
        return {outcome: int(count) for outcome, count in lines}

    # Page 50 never answers, and stands before pages 101 and 102; page 100 is behind page 49.
    assert crawl("--pages", "100") == {"200": 99, "404": 1, "TimeoutError": 1}
    cut_short = crawl("--pages", "300", "--at-once", "8", "--stop-after", "20")
    # A page that was under way when the 20th came may have been read to its end.
    assert 20 <= cut_short["200"] <= 28
    assert cut_short["queued"] > 0


def readme_example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    [program] = [block for block in blocks if "spargio.run(" in block]
    return program


def test_readme_example(tmp_path: Path) -> None:
    program = readme_example()
    assert len([line for line in program.splitlines() if line.strip()]) <= 16
    path = tmp_path / "example.py"
    path.write_text(program.replace("7001", "0"))
    with service("-u", str(path), cwd=tmp_path) as (process, port):
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
            for data in (b"hello", b"x" * 1000):
                connection.sendall(data)
                assert connection.recv(len(data), socket.MSG_WAITALL) == data
        interrupt(process)


# Those of anyio.md run one by one, some until they are told to end: test_anyio_docs.py.
PAGES = [
    page
    for page in sorted((ROOT / "docs").glob("*.md"))
    if "```python" in page.read_text() and page.stem != "anyio"
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_python_in_the_documentation(page: Path, tmp_path: Path) -> None:
    """The blocks of a page, one after the other, as one program; each warning is an error."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    path = tmp_path / "page.py"
    path.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error", path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert path.name in text, f"{path.name} has no test"


def run_example(name: str, *arguments: object) -> str:
    """What it prints; it must end well and say nothing else."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_find_duplicates(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, content in (("a", "same"), ("deep/b", "same"), ("c", "othr"), ("d", "alone")):
        (tmp_path / name).write_text(content)
    assert run_example("find_duplicates.py", tmp_path) == f"{tmp_path}/a = {tmp_path}/deep/b\n"


def test_epoch(tmp_path: Path) -> None:
    for n in range(70):
        (tmp_path / f"{n}").write_bytes(b"%02d" % n)
    lines = run_example("epoch.py", tmp_path).splitlines()
    told = "  70 of 70 files, 140 bytes"
    assert lines == [told, "epoch 0: 3 batches", told, "epoch 1: 3 batches"]


def test_find_headers(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed: spargio[fsspec]")
    for n in range(5):
        (tmp_path / f"{n}.gz").write_bytes(b"\x1f\x8b\x08\x00more")
    (tmp_path / "x.gz").write_bytes(b"no")
    lines = run_example("find_headers.py", f"{tmp_path}/*.gz").splitlines()
    assert lines == ["     5 1f 8b 08 00", "     1 6e 6f"]


def test_hash_cluster(tmp_path: Path) -> None:
    """With a killed worker: tests/conformance/data/test_dask.py."""
    pytest.importorskip("distributed", reason="dask is not installed: spargio[dask]")
    (tmp_path / "file").write_bytes(b"data")
    assert run_example("hash_cluster.py", tmp_path).startswith("1 files by 1 processes: ")


def test_worker_pool() -> None:
    lines = run_example("worker_pool.py").splitlines()
    assert lines == [f"{n} {'took too long' if n % 7 == 0 else 'done'}" for n in range(1, 15)]


def test_mixed_mode_service(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}" for n in range(20)]
    for n, file in enumerate(files):
        file.write_bytes(bytes([n]) * n)
    lines = run_example("mixed_mode_service.py", *files).splitlines()
    assert lines == [f"{hashlib.sha256(f.read_bytes()).hexdigest()} {f}" for f in files]


def test_run_commands() -> None:
    found = set(run_example("run_commands.py", "echo hello", "exit 3", "echo e >&2").splitlines())
    assert found == {
        "echo hello: exit 0, 6 bytes",
        "exit 3: exit 3, 0 bytes",
        "echo e >&2: exit 0, 2 bytes",
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_line_server(number: int, tmp_path: Path) -> None:
    with service(str(EXAMPLES / "line_server.py"), cwd=tmp_path) as (process, port):
        with ExitStack() as people:
            sockets = [
                people.enter_context(socket.create_connection(("localhost", port), LIMIT_S))
                for _ in range(3)
            ]
            for place, speaker in enumerate(sockets):
                for other in sockets:
                    if other is not speaker:
                        _until_heard(speaker, other, b"hello from %d\n" % place)
        process.send_signal(number)
        assert process.communicate(timeout=LIMIT_S)[1] == ""
        assert process.returncode == 0


def _until_heard(speaker: socket.socket, listener: socket.socket, line: bytes) -> None:
    """Who has just come may not listen yet: said again until it is heard."""
    heard = b""
    while line not in heard:
        speaker.sendall(line)
        if select.select([listener], [], [], 0.1)[0]:
            heard += listener.recv(4096)


def test_asyncio_files_serves_and_hashes(tmp_path: Path) -> None:
    """asyncio_files.py without a server: asked as ASGI asks. tests/conformance runs it under uvicorn."""
    script = """
import asyncio, hashlib, json, os, sys
from pathlib import Path
import spargio.asyncio
from asyncio_files import app

async def get(path):
    sent = []
    async def send(message):
        sent.append(message)
    await app({"type": "http", "path": path}, None, send)
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:])

async def main():
    data = {name: Path(os.environ["FOLDER"], name).read_bytes() for name in ("small", "large", "empty")}
    wanted = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
    for name, content in data.items():
        assert await get(f"/file/{name}") == (200, content)
        assert await get(f"/hash/{name}") == (200, wanted[name].encode())
    assert json.loads((await get("/hashes"))[1]) == wanted
    for path in ("/file/none", "/nothing", "/file/a/b", "/hash/"):
        assert (await get(path))[0] == 404, path

spargio.asyncio.run(main())
"""
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "large").write_bytes(os.urandom(700_000))
    (tmp_path / "empty").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=EXAMPLES,
        env={**os.environ, "FOLDER": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
