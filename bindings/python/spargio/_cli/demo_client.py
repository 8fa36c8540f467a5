"""The demo's senders: threads with blocking sockets, in a process of their own so that they share
no interpreter lock with the service. Started by demo_senders.py with two descriptors: reads what to
do as JSON from one, writes what happened to the other, and ends at once when its standard input
closes, which is when the demo has gone."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

from .demo_corpus import Entry
from .demo_wire import CHUNK_BYTES, DIGEST_BYTES, HEADER

_SOCKET_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Task:
    """What to send, and where to."""

    host: str
    port: int
    connections: int
    seconds: float | None
    root: str
    entries: list[tuple[int, str, int]]


@dataclass
class Result:
    """What happened: per acknowledged file its index, its size and how long it took; per failed one
    its index and why."""

    seconds: float = 0.0
    acknowledged: list[tuple[int, int, int]] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)


class Senders:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._result = Result()
        self._next = iter(task.entries)
        self._lock = threading.Lock()
        self._began = 0.0

    def run(self) -> Result:
        """Sends each file once, or as many as the time allows."""
        count = max(1, min(self._task.connections, len(self._task.entries)))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        self._began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._result.seconds = time.monotonic() - self._began
        return self._result

    def _take(self) -> Entry | None:
        limit = self._task.seconds
        if limit is not None and time.monotonic() - self._began >= limit:
            return None
        with self._lock:
            item = next(self._next, None)
        return None if item is None else Entry(*item)

    def _work(self) -> None:
        while (entry := self._take()) is not None:
            try:
                size, elapsed_ns = self._send(entry)
                self._result.acknowledged.append((entry.index, size, elapsed_ns))
            except Exception as error:  # Whatever it was: this file was not delivered.
                self._result.failed.append((entry.index, f"{type(error).__name__}: {error}"))

    def _send(self, entry: Entry) -> tuple[int, int]:
        """Returns size and time from the connect to the answer, ns."""
        digest = hashlib.sha256()
        name = entry.wire_name
        with open(os.path.join(self._task.root, entry.path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            chunk = file.read(min(size, CHUNK_BYTES))
            began = time.monotonic_ns()
            address = (self._task.host, self._task.port)
            with socket.create_connection(address, _SOCKET_TIMEOUT_S) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(HEADER.pack(size, len(name)) + name + chunk)
                digest.update(chunk)
                left = size - len(chunk)
                while left > 0:
                    chunk = file.read(min(left, CHUNK_BYTES))
                    if not chunk:
                        raise EOFError("the source became shorter while it was sent")
                    connection.sendall(chunk)
                    digest.update(chunk)
                    left -= len(chunk)
                answer = _receive(connection)
        elapsed_ns = time.monotonic_ns() - began
        if answer != digest.digest():
            raise ValueError(f"the service answered {answer.hex()}, sent was {digest.hexdigest()}")
        return size, elapsed_ns


def _receive(connection: socket.socket) -> bytes:
    answer = b""
    while len(answer) < DIGEST_BYTES:
        part = connection.recv(DIGEST_BYTES - len(answer))
        if not part:
            raise EOFError("the service closed the connection without an answer")
        answer += part
    return answer


def _leave_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> None:
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    task, result = (int(argument) for argument in sys.argv[1:])
    with open(task) as file:
        senders = Senders(Task(**json.load(file)))
    told = asdict(senders.run())
    with open(result, "w") as file:
        json.dump(told, file)
