"""Each test is a coroutine function, run by ``asyncio.run`` on our loop; servers are the system's."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import inspect
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spargio.asyncio

LIMIT_S = 50.0


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    names = inspect.signature(function).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def main() -> None:
        assert isinstance(asyncio.get_running_loop(), spargio.asyncio.EventLoop)
        await asyncio.wait_for(function(**arguments), LIMIT_S)

    spargio.asyncio.run(main())
    return True


def program(name: str, *folders: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *folders])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextlib.contextmanager
def folder(owner: tuple[int, int] | None = None) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="spargio-smoke-"))
    try:
        if owner is not None:
            os.chown(place, *owner)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def running(
    command: list[Any], ready: Callable[[], bool], log: Path, **options: Any
) -> Iterator[None]:
    """The program, once it is ready."""
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        until = time.monotonic() + LIMIT_S
        while not ready():
            if child.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{command[0]} does not start: {log.read_text()}")
            time.sleep(0.02)
        yield
    finally:
        child.terminate()
        child.wait(LIMIT_S)


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """The folder of the server's socket; the user `test` needs no password."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    initdb, server = (program(name, *folders) for name in ("initdb", "postgres"))
    options: dict[str, Any] = {}
    owner = None
    if os.getuid() == 0:  # The server does not run as root.
        user = pwd.getpwnam("nobody")
        owner = (user.pw_uid, user.pw_gid)
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    with folder(owner) as place:
        environment = {**os.environ, "LC_ALL": "C", "HOME": str(place)}
        subprocess.run(
            [initdb, "-D", place / "data", "-A", "trust", "-U", "test", "-N"],
            check=True,
            capture_output=True,
            cwd=place,
            env=environment,
            timeout=LIMIT_S,
            **options,
        )
        command = [server, "-D", place / "data", "-k", place, "-c", "listen_addresses="]
        command += ["-c", "fsync=off", "-c", "logging_collector=off"]
        asks = [program("pg_isready", *folders), "-q", "-h", str(place), "-U", "test"]
        with running(
            command,
            lambda: subprocess.call(asks) == 0,
            place / "log",
            cwd=place,
            env=environment,
            **options,
        ):
            yield place


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    server = program("redis-server")
    with folder() as place:
        ready = place / "redis"
        command = [server, "--port", "0", "--unixsocket", ready, "--save", "", "--dir", place]
        with running(command, lambda: accepts(ready), place / "log"):
            yield ready


@pytest.fixture(scope="session")
def nginx() -> Iterator[int]:
    """A port that serves `data`, 3 MB, over TCP."""
    server = program("nginx")
    with folder() as place:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        os.chmod(place, 0o755)  # Its workers may have another user.
        (place / "data").write_bytes(bytes(range(256)) * 12_000)
        ready = place / "socket"
        (place / "conf").write_text(
            f"daemon off; pid {place}/pid; error_log {place}/error;\n"
            "events { worker_connections 128; }\n"
            f"http {{ access_log off; client_body_temp_path {place}/1; proxy_temp_path {place}/2;\n"
            f"fastcgi_temp_path {place}/3; uwsgi_temp_path {place}/4; scgi_temp_path {place}/5;\n"
            f"server {{ listen 127.0.0.1:{port}; listen unix:{ready}; root {place}; }} }}\n"
        )
        command = [server, "-p", place, "-c", place / "conf", "-e", place / "error"]
        with running(command, lambda: accepts(ready), place / "log"):
            yield port
