"""A start that meets a refusal of the kernel at any of its calls falls back to epoll, or is an error that
names the call and the limit: never an abort."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import Any

import pytest
import support

pytestmark = pytest.mark.any_backend

SETUP, ENTER, REGISTER = 425, 426, 427
ENABLE_RINGS = 12
EVENTFD2, EPOLL_CREATE1, EPOLL_CTL, EPOLL_PWAIT = 290, 291, 233, 281
EPOLL_PWAIT2 = 441
STATX = 332

# A seccomp filter (seccomp(2), BPF) that answers one call with an errno; `command`: only if that is its second
# argument.
PROGRAM = """
import ctypes, logging, struct, sys

def deny(call, number, command):
    code = [(0x20, 0, 0, 0), (0x15, 0, 3 if command else 1, call)]
    if command:
        code += [(0x20, 0, 0, 24), (0x15, 0, 1, command)]
    code += [(0x06, 0, 0, 0x00050000 | number), (0x06, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("HBBI", *one) for one in code)
    memory = ctypes.create_string_buffer(program)
    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    filter = Filter(len(code), ctypes.addressof(memory))
    if libc.prctl(22, 2, ctypes.byref(filter), 0, 0) != 0:
        print("no seccomp")
        raise SystemExit(0)

logging.basicConfig(format="%(message)s", stream=sys.stdout)
import spargio

async def main(handle):
    await spargio.sleep(0.001)
    await handle.spawn_pinned(1, spargio.sleep(0))
    print("ran on", handle.backend())

if BEFORE:
    spargio.run(main, shards=2)
for call in CALLS:
    deny(call, NUMBER, COMMAND)
try:
    spargio.run(main, shards=2, backend=BACKEND)
except OSError as error:
    print(type(error).__name__, error)
"""

x86_only = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of system calls")


def denied(*calls: int, number: int = errno.EPERM, backend: str = "auto", **more: Any) -> list[str]:
    values = {"CALLS": calls, "NUMBER": number, "BACKEND": backend, "COMMAND": 0, "BEFORE": False}
    head = "".join(f"{name} = {value!r}\n" for name, value in (values | more).items())
    known = {name: value for name, value in os.environ.items() if name != "SPARGIO_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", head + PROGRAM],
        env=known,
        capture_output=True,
        text=True,
        timeout=support.LIMIT_S,
    )
    if "no seccomp" in done.stdout:
        pytest.skip("this machine does not allow seccomp filters")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


NAMES = {SETUP: "io_uring_setup", ENTER: "io_uring_enter", REGISTER: "io_uring_register"}


@support.needs_io_uring
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EACCES])
@pytest.mark.parametrize("call", [ENTER, REGISTER])
def test_one_of_the_three_calls_of_io_uring_denied(call: int, number: int) -> None:
    warning, ran = denied(call, number=number)
    assert f"({errno.errorcode[number]}: {os.strerror(number)}) by {NAMES[call]}" in warning
    assert "seccomp profile" in warning
    assert ran == "ran on epoll"
    (refused,) = denied(call, number=number, backend="io_uring")
    assert f"[Errno {number}] {os.strerror(number)}: {NAMES[call]}" in refused


@support.needs_io_uring
def test_denied_after_a_first_runtime_that_had_it() -> None:
    first, warning, ran = denied(ENTER, BEFORE=True)
    assert (first, ran) == ("ran on io_uring", "ran on epoll")
    assert "by io_uring_enter" in warning


@support.needs_io_uring
def test_rings_that_cannot_be_enabled() -> None:
    """On the shards' own threads, after they were made."""
    warning, ran = denied(REGISTER, COMMAND=ENABLE_RINGS)
    assert "(EPERM: Operation not permitted) by io_uring_register" in warning
    assert ran == "ran on epoll"
    (refused,) = denied(REGISTER, COMMAND=ENABLE_RINGS, backend="io_uring")
    assert refused.startswith("PermissionError [Errno 1] Operation not permitted: io_uring_reg")


@x86_only
@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EACCES])
def test_the_newer_wait_of_epoll_denied(number: int) -> None:
    assert denied(EPOLL_PWAIT2, number=number, backend="epoll") == ["ran on epoll"]


@x86_only
@pytest.mark.parametrize(
    ("calls", "name"),
    [
        ([EVENTFD2], "eventfd"),
        ([EPOLL_CREATE1], "epoll_create1"),
        ([EPOLL_CTL], "epoll_ctl"),
        ([EPOLL_PWAIT2, EPOLL_PWAIT], "epoll_pwait"),
    ],
)
def test_what_epoll_needs_denied(calls: list[int], name: str) -> None:
    (refused,) = denied(*calls, backend="epoll")
    assert refused.startswith(f"PermissionError [Errno 1] Operation not permitted: {name}. ")
    assert f"Allow {name} in the seccomp profile" in refused


@x86_only
def test_no_memory_for_an_eventfd_is_not_the_limit_of_locked_memory() -> None:
    (refused,) = denied(EVENTFD2, number=errno.ENOMEM, backend="epoll")
    assert refused.startswith("OSError [Errno 12] Cannot allocate memory: eventfd. ")
    assert "locked" not in refused and "memory.max" in refused


@x86_only
def test_a_runtime_on_epoll_ends_if_statx_is_denied() -> None:
    """What kind of file a descriptor is cannot be asked then: the wake-up pipe of signals is none."""
    assert denied(STATX, backend="epoll")[-1] == "ran on epoll"
