"""Tasks of two shards await the same new object at the same time: one of them starts it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import support

import spargio
from spargio._ffi import opcodes
from spargio._ffi.core import Descriptor, native
from spargio.uring import Opcode

ROUNDS = 1500 if support.free_threaded() else 20


@contextlib.contextmanager
def nop(_: spargio.RuntimeHandle) -> Iterator[Awaitable[Any]]:
    yield native.nop()


@contextlib.contextmanager
def described(_: spargio.RuntimeHandle) -> Iterator[Awaitable[Any]]:
    yield native.submit(Opcode.NOP, -1, 0, 0, 0, 0, 0, None, opcodes.NUMBER)


@contextlib.contextmanager
def sqe(_: spargio.RuntimeHandle) -> Iterator[Awaitable[Any]]:
    yield native.submit_sqe(bytes(64), ())


@contextlib.contextmanager
def segments(handle: spargio.RuntimeHandle) -> Iterator[Awaitable[Any]]:
    one, other = socket.socketpair()
    with other:
        other.send(b"x")
        descriptor = native.adopt(one.detach(), 1)
        yield descriptor.segments()
    handle.spawn_pinned(0, descriptor.close()).result(support.LIMIT_S)  # type: ignore[arg-type]


@contextlib.contextmanager
def incoming(handle: spargio.RuntimeHandle) -> Iterator[Awaitable[Any]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        descriptor = native.adopt(server.detach(), 1)
    with socket.create_connection(address, support.LIMIT_S):
        yield descriptor.incoming()
    handle.spawn_pinned(0, descriptor.close()).result(support.LIMIT_S)  # type: ignore[arg-type]


Case = Callable[[spargio.RuntimeHandle], AbstractContextManager[Awaitable[Any]]]

CASES: dict[str, Case] = {
    "operation": nop,
    "raw operation": described,
    "SQE": sqe,
    "segments": segments,
    "incoming": incoming,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_one_of_two_tasks_starts_it(case: Case) -> None:
    async def first(waiting: list[bool], me: int, awaitable: Awaitable[Any]) -> str:
        waiting[me] = True
        while not waiting[1 - me]:
            pass
        try:
            taken = await awaitable
        except RuntimeError as error:
            return str(error)
        if isinstance(taken, Descriptor):
            await taken.close()
        return "awaited"

    with spargio.Runtime.builder().shards(2).build() as handle:
        for _ in range(ROUNDS):
            with case(handle) as awaitable:
                waiting = [False, False]
                jobs = [
                    handle.spawn_pinned(shard, first(waiting, shard, awaitable)) for shard in (0, 1)
                ]
                said = [job.result(support.LIMIT_S) for job in jobs]
                assert said.count("awaited") == 1, said
