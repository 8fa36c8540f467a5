"""The HTTP responder of http_row in C: a task per connection on spargio, a loop on epoll(7) by
hand, one on liburing, and nginx. What counts is the server's CPU time per request."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import http_row
import native_tools
import processes
from harness import Group, Measure, Peer, Sample, Settings, Target

SUBJECT: Final = "c-spargio"
EPOLL: Final = "c-epoll"
LIBURING: Final = "c-liburing"
NGINX: Final = "nginx"
BODY: Final = b"Hello, world!"


def server_command(peer: str, folder: Path) -> list[str | Path]:
    if peer == NGINX:
        return processes.python(http_row.SERVERS / "nginx_http.py")
    options = ["-std=gnu11"]
    if peer == SUBJECT:
        options += native_tools.library_options()
    if peer == LIBURING:
        if not Path("/usr/include/liburing.h").exists():
            raise processes.Missing("no liburing (Debian: liburing-dev)")
        options.append("-luring")
    name = f"http_{peer.removeprefix('c-')}"
    return [native_tools.build_linked(f"http/{name}.c", folder, *options)]


@contextlib.contextmanager
def prepare(settings: Settings) -> Iterator[Measure]:
    wrk = http_row.wrk_program()
    with tempfile.TemporaryDirectory(prefix="spargio-bench-") as folder:

        def measure(peer: str) -> Sample:
            command = server_command(peer, Path(folder))
            return http_row.measure_server(command, wrk, settings.seconds, body=BODY)

        yield measure


GROUP = Group(
    name="native_http",
    title=f"HTTP/1.1 responder in C, {http_row.CONNECTIONS} connections, per request",
    peers=(Peer(SUBJECT, "spargio"), Peer(EPOLL), Peer(LIBURING), Peer(NGINX)),
    metrics=http_row.METRICS,
    targets=(
        Target("CPU, against epoll by hand", "cpu_us", EPOLL, "spargio/peer", "<=", 1.0),
        Target("CPU, against nginx", "cpu_us", NGINX, "spargio/peer", "<=", 1.0),
    ),
    prepare=prepare,
    subject=SUBJECT,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--peer", required=True, choices=[peer.name for peer in GROUP.peers])
    parser.add_argument("--seconds", type=float, default=1, help="wrk takes whole seconds")
    arguments = parser.parse_args()
    with prepare(Settings(rounds=1, seconds=arguments.seconds)) as measure:
        print(json.dumps(measure(arguments.peer)))


if __name__ == "__main__":
    main()
