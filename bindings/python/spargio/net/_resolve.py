"""Names to addresses, and the race between them. getaddrinfo waits, so threads of its own call it:
at most 32, besides those whose lookups nobody waits for any more. Nothing is cached (that is the
resolver's business), and the program's end waits for no lookup."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .._blocking import pool
from .._carried import in_a_task
from .._ffi.core import Future, JoinHandle, native
from ..errors import TaskCancelled
from ..runtime import current_handle, current_shard
from ..time import timeout
from ._addresses import Address, check_host, check_port, family_of

T = TypeVar("T")

Found = tuple[int, Address]
"""(family, address)"""

ATTEMPT_DELAY_S = 0.25
"""RFC 8305, section 5: how long an attempt may take before the next one begins beside it."""

_names = pool(32, "spargio-resolve", left_at_exit=True)
_localhost = pool(1, "spargio-resolve-localhost", left_at_exit=True)
"""No name server is asked, so it waits for none that others ask."""


async def resolve(host: str, port: int, kind: int = socket.SOCK_STREAM) -> list[Found]:
    """All addresses of a name, in the order to try them: the families take turns, beginning with
    the first of the resolver's choice (RFC 8305, section 4). A numeric address is its own answer.
    ``socket.gaierror``, which names the host, if there is none."""
    check_port(port)
    check_host(host)
    try:
        family = family_of(host)
        return [(family, (host, port))]
    except ValueError:
        pass
    if (numeric := _other_numeric(host)) is not None:
        return [(socket.AF_INET, (numeric, port))]
    threads = _localhost if host.lower() in ("localhost", "localhost.") else _names
    try:
        found = await threads.call(socket.getaddrinfo, host, port, 0, kind)
    except socket.gaierror as error:
        raise socket.gaierror(error.errno, f"{error.strerror}: {host!r}") from None
    except UnicodeError as error:  # Of the name's IDNA form: no such name can be.
        text = f"Name or service not known: no host name can be {host!r}: {error}"
        raise socket.gaierror(socket.EAI_NONAME, text) from None
    by_family: dict[int, list[Found]] = {}
    for family, _, _, _, address in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            by_family.setdefault(family, []).append((family, address))
    queues = list(by_family.values())
    order: list[Found] = []
    while any(queues):
        for queue in queues:
            if queue:
                order.append(queue.pop(0))
    return order


def _other_numeric(host: str) -> str | None:
    """Of an IPv4 address that inet_aton(3) knows, as "127.1"; it needs no lookup."""
    if not host.isascii() or any(c not in "0123456789abcdefxABCDEFX." for c in host):
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


@in_a_task
async def race(
    addresses: list[Found],
    connect: Callable[[int, Address], Awaitable[T]],
    drop: Callable[[T], Awaitable[None]],
) -> T:
    """The first connection that is there (RFC 8305, section 5): an attempt that fails, or has taken
    250 ms, lets the next begin. The others are cancelled, and closed if they came too late. The
    error of the first address if all fail."""
    if len(addresses) == 1:
        return await connect(*addresses[0])
    handle, shard = current_handle(), current_shard()
    running: list[JoinHandle[T]] = []
    failed: list[OSError] = []
    job: JoinHandle[T] | None
    left = list(addresses)
    ended: Future[None] = native.future()

    async def attempt(family: int, address: Address) -> T:
        try:
            return await connect(family, address)
        finally:
            ended.set_result(None)

    try:
        while left or running:
            if left:
                running.append(handle.spawn_pinned(shard, attempt(*left.pop(0))))
            try:
                with timeout(ATTEMPT_DELAY_S if left else None):
                    await ended
            except TimeoutError:
                continue
            ended = native.future()
            for job in [job for job in running if job.done()]:
                running.remove(job)
                try:
                    return await job
                except OSError as error:
                    failed.append(error)
        raise failed[0]
    finally:
        failed.clear()  # An error's traceback holds this frame.
        for job in running:
            job.cancel()
        for job in running:
            with contextlib.suppress(OSError, TaskCancelled):
                await drop(await job)
        running.clear()
        job = None
