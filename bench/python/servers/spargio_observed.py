"""The echo server of spargio_echo.py, on one shard, while something looks at it: the first argument
says what. The second one is a folder for files."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import spargio_echo
from control import RECV_BYTES

import spargio
from spargio import net
from spargio.latency import Recorder

requests = Recorder("echo")


async def timed_echo(stream: net.TcpStream) -> None:
    stream.set_nodelay(True)
    try:
        while data := await stream.recv(RECV_BYTES):
            with requests.time():
                await stream.write_all(data)
    finally:
        await stream.close()


async def main(way: str, folder: str, handle: spargio.RuntimeHandle) -> None:
    if way == "recorder":
        spargio_echo.echo = timed_echo
    if way == "trace":
        handle.trace()
    if way == "flight-recorder":
        handle.flight_recorder(folder, recorder="echo", p99=10.0)
    await spargio_echo.main(handle)


if __name__ == "__main__":
    way, folder = sys.argv[1:]
    start: Callable[[spargio.RuntimeHandle], Coroutine[Any, Any, None]]
    start = functools.partial(main, way, folder)
    latencies, monitor = way == "scheduler-latency", way == "monitor"
    spargio.run(start, shards=1, scheduler_latency=latencies, monitor=monitor)
