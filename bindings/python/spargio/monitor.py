"""Asks a runtime of another process how it is, as ``spargio top`` and ``spargio ps`` do. The other
one runs with ``monitor=True`` or ``SPARGIO_MONITOR=1``, by the same user or asked by root."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from typing import Any

from .stats import RuntimeStats

__all__ = ("ask", "find", "read_stats", "read_tasks")


def find() -> list[str]:
    """Names of the runtimes on this machine that can be asked: ``"PID"``, or ``"PID.N"`` for a
    further one of the same process. From /proc/net/unix; another's are among them."""
    found = set()
    with open("/proc/net/unix") as lines:
        for line in lines:
            name = line.split()[-1]
            if name.startswith("@spargio."):
                found.add(name.removeprefix("@spargio."))
    return sorted(found, key=lambda name: [int(part) for part in name.split(".")])


def ask(name: str | int, request: str, timeout: float = 5.0) -> bytes:
    """The answer to ``"stats"`` (CBOR, docs/stats.cddl) or ``"tasks"`` (JSON). ``LookupError``:
    nothing of that name can be asked; ``PermissionError``: it is another user's;
    ``TimeoutError``."""
    data = b""
    with connect(name, timeout) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(request.encode() + b"\n")
        data = read_all(sock)
    if not data:
        raise no_answer(name)
    return data


def connect(name: str | int, timeout: float = 5.0) -> socket.socket:
    """To its monitor. ``LookupError`` if there is none; ``ValueError``: `name` is not a number."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", str(name)):
        raise ValueError(f"PID must be a process's number, or PID.N, got {str(name)!r}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect(f"\0spargio.{name}")
    except BaseException as error:
        sock.close()
        if not isinstance(error, ConnectionRefusedError):
            raise
        raise LookupError(_missing(str(name))) from None
    return sock


def _missing(name: str) -> str:
    """Why nothing of that name answers, and who does."""
    pid = name.partition(".")[0]
    others = find()
    if not os.path.exists(f"/proc/{pid}"):
        why = f"there is no process {pid}"
    elif any(one.partition(".")[0] == pid for one in others):
        why = f"process {pid} has no runtime {name}"
    else:
        why = (
            f"no runtime of process {pid} can be asked: start it with monitor=True or "
            "SPARGIO_MONITOR=1"
        )
    return why + (f" (these can be asked: {', '.join(others)})" if others else "")


def read_all(sock: socket.socket) -> bytes:
    """To the end of the answer."""
    parts: list[bytes] = []
    while data := sock.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def no_answer(name: str | int) -> PermissionError:
    return PermissionError(
        f"process {name} gave no answer: it is another user's (this is user {os.geteuid()}), "
        "or it just ended"
    )


def read_stats(name: str | int, timeout: float = 5.0) -> RuntimeStats:
    """A snapshot of it. Raises as :func:`ask` does."""
    return RuntimeStats.from_cbor(ask(name, "stats", timeout))


def read_tasks(name: str | int, timeout: float = 5.0) -> list[dict[str, Any]]:
    """Its tasks, with the fields of ``TaskInfo`` (:meth:`RuntimeHandle.tasks`). A C program has
    none to show. Raises as :func:`ask` does."""
    answer = json.loads(ask(name, "tasks", timeout))
    found: list[dict[str, Any]] = answer["tasks"]
    return found
