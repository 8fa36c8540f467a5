"""Programs of the system as the other side: started, waited for, always ended."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import RuntimeHandle, net

MiB = 1 << 20
DATA = os.urandom(4 * MiB)


def program(name: str, *folders: str) -> str:
    """Where it is, or a skip that names it."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *folders])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextlib.contextmanager
def running(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(command, **options)
    try:
        yield child
    finally:
        child.kill()
        child.wait(support.LIMIT_S)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def output(*command: str | Path, data: bytes = b"") -> Awaitable[bytes]:
    """What the program writes when it is given `data`; it must succeed. Started at once."""
    return spargio.spawn_blocking(functools.partial(_output, *command, data=data))


def _output(*command: str | Path, data: bytes) -> bytes:
    done = subprocess.run(
        command, input=data, capture_output=True, timeout=support.LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def free_port(host: str = "127.0.0.1") -> int:
    """For TCP and UDP. Somebody may take it before it is used: see :class:`Gone`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            tcp.bind((host, 0))
            port: int = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind((host, port))
                return port


class Gone(Exception):
    """The program ended before it could be talked to."""


async def ready(
    connect: Callable[[], Awaitable[Any]], child: subprocess.Popen[bytes] | None = None
) -> Any:
    """What `connect` gives, once the other side listens."""
    with spargio.timeout(support.LIMIT_S):
        while True:
            try:
                return await connect()
            except (ConnectionRefusedError, FileNotFoundError):
                if child is not None and child.poll() is not None:
                    raise Gone(f"{child.args} ended with {child.returncode}") from None
                await spargio.sleep(0.005)
    raise AssertionError


Stream = net.TcpStream | net.UnixStream
Service = Callable[[Stream], Coroutine[Any, Any, None]]


async def echo(stream: Stream) -> None:
    async with stream:
        while data := await stream.recv(65536):
            await stream.write_all(data)


@contextlib.asynccontextmanager
async def serving(
    handle: RuntimeHandle, listener: net.TcpListener | net.UnixListener, service: Service
) -> AsyncIterator[None]:
    """Each connection is a task of its own, on one shard or the other."""

    async def accept() -> None:
        async with spargio.TaskGroup() as group:
            while True:
                stream, _ = await listener.accept()
                group.spawn(service(stream))

    async with listener:
        job = handle.spawn_pinned(spargio.current_shard(), accept())
        try:
            yield
        finally:
            job.cancel()
            with contextlib.suppress(spargio.TaskCancelled):
                await job
