"""Each program of docs/anyio.md runs."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import support

for _name in ("anyio", "sniffio", "anycorn", "fastapi", "httpx"):
    pytest.importorskip(_name, reason=f"{_name} is not installed")

PAGE = (Path(__file__).parents[3] / "docs" / "anyio.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
FIRST, SERVER, ON_ALL_CORES, KEYS, PAGES, HTTPS, TESTS = BLOCKS


def program(text: str, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text, *words],
        capture_output=True,
        text=True,
        timeout=support.LIMIT_S,
        check=False,
    )


def test_the_first_program() -> None:
    done = program(FIRST)
    assert (done.stdout, done.stderr) == ("all done\n", "")


def test_the_keys_of_h11() -> None:
    done = program(KEYS + "\nprint(sum(type(key) is tuple for key in keys_of_h11()) > 15)")
    assert (done.stdout, done.stderr) == ("True\n", "")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("text", [SERVER, ON_ALL_CORES], ids=["one shard", "all cores"])
def test_a_server(text: str) -> None:
    port = free_port()
    assert "8000" in text
    process = subprocess.Popen(
        [sys.executable, "-c", text.replace("8000", str(port))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        while "Running on" not in process.stdout.readline():
            assert process.poll() is None
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert answer.status == 200
            assert answer.read().startswith(b"{")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=support.LIMIT_S)
        assert process.returncode == 0, rest
    finally:
        process.kill()
        process.communicate()


@contextmanager
def answering(context: ssl.SSLContext | None) -> Iterator[int]:
    """A server that answers each request with 10 bytes, each on a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def answer(peer: socket.socket) -> None:
        with peer if context is None else context.wrap_socket(peer, server_side=True) as stream:
            while b"\r\n\r\n" not in (data := stream.recv(65536)):
                if not data:
                    return
            stream.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n0123456789")
            if isinstance(stream, ssl.SSLSocket):
                stream.unwrap()

    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=answer, args=(peer,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def test_a_hundred_pages() -> None:
    with answering(None) as port:
        done = program(PAGES, f"http://127.0.0.1:{port}")
    assert (done.stdout, done.stderr) == ("100 pages, 1000 bytes\n", "")


def test_an_https_client(tmp_path: Path) -> None:
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True)
    except FileNotFoundError:
        pytest.skip("the program openssl is not installed")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with answering(context) as port:
        done = program(HTTPS, "localhost", str(port), certificate)
    assert (done.stdout, done.stderr) == ("HTTP/1.0 200 OK\n", "")


def test_a_test_of_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=support.LIMIT_S,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout
