"""Operations that end on the epoll backend as they do on io_uring, by the same entries on both."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio.uring import Opcode, Sqe, address_of

HERE = (1 << 64) - 1
"""The descriptor's own position."""


@pytest.fixture(params=["io_uring", "epoll"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


Submit = Callable[..., Awaitable[int]]


def on(backend: str, work: Callable[[Submit], Awaitable[Any]], **options: Any) -> Any:
    """`work(submit)` in a task: `submit(Opcode, fd, *keep, **fields)` gives the result of one entry."""

    async def main(handle: spargio.RuntimeHandle) -> Any:
        async def submit(opcode: Opcode, fd: int, *keep: object, **fields: int) -> int:
            sqe = Sqe(opcode=opcode, fd=fd, **fields)
            return (await handle.uring_native_unbound().submit_unsafe(sqe, list(keep))).res

        with spargio.timeout(support.LIMIT_S):
            return await work(submit)

    return spargio.run(main, backend=backend, **{"shards": 1, **options})


# ---- what epoll(7) does not take ----


@pytest.mark.parametrize("events", [select.POLLIN, select.POLLOUT, select.POLLPRI])
def test_a_poll_of_a_file(backend: str, file: int, events: int) -> None:
    result = on(backend, lambda submit: submit(Opcode.POLL_ADD, file, poll32_events=events))
    assert result == (-errno.EINVAL if events == select.POLLPRI else events)


def test_a_receive_from_a_file(backend: str, file: int) -> None:
    room = bytearray(10)

    async def work(submit: Submit) -> list[int]:
        fields = {"addr": address_of(room), "len": 10}
        poll_first = 1
        return [
            await submit(Opcode.RECV, file, room, **fields),
            await submit(Opcode.RECV, file, room, ioprio=poll_first, **fields),
            await submit(Opcode.SEND, file, room, **fields),
        ]

    plain, polled, sent = on(backend, work)
    assert plain == sent == -errno.ENOTSOCK
    assert polled in (-errno.ENOTSOCK, -errno.EAGAIN)  # io_uring polls before it looks what it is.
