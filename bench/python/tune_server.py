"""The servers that bench/tune_sessions.py tunes, ``tune_server.py KIND [OPTIONS [PLACEMENT]]``:
`echo`, or `fan` and `burst`, where each request becomes tasks that compute without the GIL. What
the options in its code do wrong is a planted fault."""

from __future__ import annotations

import hashlib
import json
import os
import sys

import spargio
from spargio.tune import choice

BLOCK, SMALL = bytes(1 << 22), bytes(1 << 14)
PLACEMENT = sys.argv[3] if len(sys.argv) > 3 else "stealable"


async def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


async def echo(stream: spargio.net.TcpStream) -> None:
    async with stream:
        while data := await stream.recv(16384):
            await stream.write_all(data)


async def fan(stream: spargio.net.TcpStream) -> None:
    """Two tasks of some three milliseconds: they have to spread over the shards. Shorter ones cost
    more CPU for being moved than the 5 % that a change may cost."""
    placement = choice("placement", PLACEMENT, ("pinned", "stealable"))
    handle = spargio.current_handle()
    async with stream:
        while data := await stream.recv(16384):
            if placement == "pinned":
                jobs = [handle.spawn_pinned(0, _hash(BLOCK)) for _ in range(2)]
            else:
                jobs = [handle.spawn_stealable(_hash(BLOCK)) for _ in range(2)]
            for job in jobs:
                await job
            await stream.write_all(data)


async def burst(stream: spargio.net.TcpStream) -> None:
    """Sixteen small tasks at once; those that find no room are tried again a moment later."""
    handle = spargio.current_handle()
    async with stream:
        while data := await stream.recv(16384):
            jobs = []
            for _ in range(16):
                while True:
                    try:
                        jobs.append(handle.spawn_stealable(_hash(SMALL)))
                        break
                    except spargio.Overloaded:
                        await spargio.sleep(0.002)
            for job in jobs:
                await job
            await stream.write_all(data)


async def main(kind: str) -> None:
    listener = await spargio.net.TcpListener.bind("127.0.0.1", int(os.environ["PORT"]))
    await spargio.net.serve(listener, {"echo": echo, "fan": fan, "burst": burst}[kind])


if __name__ == "__main__":
    options = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    spargio.run(main, sys.argv[1], **options)
