"""The control protocol of every echo server, on stdin and stdout: it prints its port, answers each
line "usage" with a JSON line of the kernel's accounting of this process, and exits at the end of
stdin. A thread of its own answers, so that no event loop has to know about it; between the
questions it is blocked in read(2) and costs nothing."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import threading
from typing import Final

RECV_BYTES: Final = 65536
"""The most that a server asks for in one read, where its API lets it say so."""

BACKLOG: Final = 1024


def announce(port: int | str) -> None:
    """Print the port, or the path of a Unix socket, and answer from now on."""
    threading.Thread(target=_answer, name="control", daemon=True).start()
    print(port, flush=True)


def listening() -> tuple[socket.socket, int]:
    """A socket for the loops that take one, and its port. Linux hands TCP_NODELAY down to the
    connections, so that it needs no word from a loop about its sockets."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener, listener.getsockname()[1]


def private_kib() -> int:
    """What this process has in memory that is not a file's."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


def _answer() -> None:
    for line in sys.stdin:
        if line == "usage\n":
            usage = resource.getrusage(resource.RUSAGE_SELF)
            answer = {
                "user_us": round(usage.ru_utime * 1e6),
                "system_us": round(usage.ru_stime * 1e6),
                "waits": usage.ru_nvcsw,
                "max_rss_kib": usage.ru_maxrss,
                "private_kib": private_kib(),
            }
            print(json.dumps(answer), flush=True)
    os._exit(0)  # the loop in the main thread is not asked: it may be blocked in the kernel
