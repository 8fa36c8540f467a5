"""Unix sockets, which also pass descriptors on."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
from collections.abc import Collection
from io import IOBase
from typing import Any

from anyio import EndOfStream, abc

from .._ffi import opcodes
from .._ffi.core import native
from ..net._addresses import encode
from ..net._connect import connect
from ._sockets import SocketStream, _Listener

_HEADER = struct.Struct("@Nii")
"""Of control data (cmsghdr): its length with this header, level, type."""

_INT = array.array("i").itemsize


class UNIXSocketStream(SocketStream, abc.UNIXSocketStream):
    async def receive_fds(self, msglen: int, maxfds: int) -> tuple[bytes, list[int]]:
        _check("msglen", msglen, 0, "a non-negative")
        _check("maxfds", maxfds, 1, "a positive")
        room = bytearray(msglen)
        control = bytearray(socket.CMSG_LEN(maxfds * _INT))
        with self._receive_guard:
            native.raise_if_cancelled()
            self._check_open()
            try:
                count, _, length, _ = await native.message(
                    opcodes.RECVMSG, self._io, (room,), None, control, socket.MSG_CMSG_CLOEXEC
                )
            except OSError as error:
                self._failed(error)
        if not count and not length:
            raise EndOfStream
        message = bytes(memoryview(room)[:count])
        return message, _numbers(memoryview(control)[:length], message)

    async def send_fds(self, message: bytes, fds: Collection[int | IOBase]) -> None:
        if not message:
            raise ValueError("message must not be empty")
        if not fds:
            raise ValueError("fds must not be empty")
        numbers = array.array("i", [fd if isinstance(fd, int) else fd.fileno() for fd in fds])
        control: bytes | None = _HEADER.pack(
            socket.CMSG_LEN(len(numbers) * _INT), socket.SOL_SOCKET, socket.SCM_RIGHTS
        )
        assert control is not None
        control += numbers.tobytes()
        left = memoryview(message)
        with self._send_guard:
            native.raise_if_cancelled()
            self._check_open()
            while left:
                try:
                    sent = await native.message(
                        opcodes.SENDMSG, self._io, (left,), None, control, socket.MSG_NOSIGNAL
                    )
                except OSError as error:
                    self._failed(error)
                left = left[sent[0] :]
                control = None  # They have gone with the first bytes.


def _check(name: str, given: object, least: int, allowed: str) -> None:
    if not isinstance(given, int) or given < least:
        raise ValueError(f"{name} must be {allowed} integer, got {given!r}")


def _numbers(control: memoryview, message: bytes) -> list[int]:
    found: list[int] = []
    while len(control) >= _HEADER.size:
        length, level, kind = _HEADER.unpack_from(control)
        data = control[_HEADER.size : max(length, _HEADER.size)]
        if (level, kind) != (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            for number in found:
                with contextlib.suppress(OSError):
                    os.close(number)
            raise RuntimeError(
                f"Received unexpected ancillary data; message = {message!r}, "
                f"cmsg_level = {level}, cmsg_type = {kind}"
            )
        found += array.array("i", bytes(data[: len(data) // _INT * _INT]))
        control = control[socket.CMSG_SPACE(max(length - _HEADER.size, 0)) :]
    return found


class UNIXListener(_Listener):
    def _made(self, sock: socket.socket) -> UNIXSocketStream:
        return UNIXSocketStream(sock)


async def connect_unix(path: str | bytes, kind: Any) -> UNIXSocketStream:
    where = encode(socket.AF_UNIX, path)
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.setblocking(False)
    try:
        made = UNIXSocketStream(sock)
        await connect(made._io, where)
    except BaseException:
        sock.close()
        raise
    return made
