"""The doctor's judgement: from what the kernel and the machine say to findings with advice. Pure
functions, so that each of them can be tried with answers of kernels that are not at hand."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import spargio
from spargio._ffi import constants as c
from spargio._start import RAISE_FILES, RAISE_MEMLOCK

from .doctor_facts import Facts

State = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor. `missing`: spargio cannot run; `note`: it runs, not at its best, as
    on the epoll backend."""

    topic: str
    state: State
    text: str
    advice: str = ""


SYSTEM_CALLS = "io_uring_setup, io_uring_enter, io_uring_register"

# linux/io_uring.h: number and name of each operation that spargio submits, and its first kernel.
OPCODES = {
    0: ("NOP", "5.1"),
    3: ("FSYNC", "5.1"),
    13: ("ACCEPT", "5.5"),
    14: ("ASYNC_CANCEL", "5.5"),
    16: ("CONNECT", "5.5"),
    18: ("OPENAT", "5.6"),
    19: ("CLOSE", "5.6"),
    22: ("READ", "5.6"),
    23: ("WRITE", "5.6"),
    26: ("SEND", "5.6"),
    27: ("RECV", "5.6"),
    34: ("SHUTDOWN", "5.11"),
}

SETUP_FLAGS = {
    3: "CQSIZE",
    4: "CLAMP",
    7: "SUBMIT_ALL",
    8: "COOP_TASKRUN",
    9: "TASKRUN_FLAG",
    12: "SINGLE_ISSUER",
    13: "DEFER_TASKRUN",
}

# A ring of 256 entries: 64 bytes per SQE, 16 per CQE (four times as many), whole pages.
_RING_BYTES = 36 * 1024
# The small ring that the start opens and closes; the kernel gives its memory back a moment later.
_PROBE_BYTES = 8 * 1024
_FILES_COMFORTABLE = 4096

_RAISE_MEMLOCK = RAISE_MEMLOCK[0].upper() + RAISE_MEMLOCK[1:]


def diagnose(info: spargio.ProbeInfo, facts: Facts) -> list[Finding]:
    """All findings, in the order in which they are to be read."""
    findings = [_kernel(info, facts), _io_uring(info, facts)]
    if info.setup_errno == 0:
        findings += [_opcodes(info), _setup_flags(info), *_doorbells(info)]
    findings += [_memlock(info, facts), _files(info), _cpus(info, facts)]
    findings += [_python(facts), _library(facts)]
    return findings


def _kernel(info: spargio.ProbeInfo, facts: Facts) -> Finding:
    text = f"Linux {facts.kernel_release}, {facts.machine}"
    if facts.container:
        text += f", in a container ({facts.container})"
    if (info.kernel_major, info.kernel_minor) < (5, 19):
        return Finding(
            "kernel", "note", text, "Linux 5.19 and newer have the io_uring that spargio wants."
        )
    return Finding("kernel", "ok", text)


def _io_uring(info: spargio.ProbeInfo, facts: Facts) -> Finding:
    if info.setup_errno == 0:
        if not info.capabilities & c.CAP_EXT_ARG or not info.capabilities & c.CAP_CANCEL_FD:
            text = "allowed, but without the operations of Linux 5.19"
            return Finding("io_uring", "note", text, "Update the kernel to 5.19 or newer.")
        return Finding("io_uring", "ok", "allowed")
    name = errno.errorcode.get(info.setup_errno, str(info.setup_errno))
    why, advice = _refusal(info, facts)
    return Finding("io_uring", "note", f"io_uring_setup(2) says {name}: {why}", advice)


def _refusal(info: spargio.ProbeInfo, facts: Facts) -> tuple[str, str]:
    """Why the kernel made no ring, and what to do."""
    number = info.setup_errno
    if number == errno.EPERM:
        return _forbidden(info, facts)
    if number == errno.ENOSYS:
        if facts.seccomp == 2:
            return (
                "the kernel lacks io_uring, or this process's seccomp filter hides it",
                _allow_in_container(facts),
            )
        return (
            "the kernel was built without io_uring, or is an emulation (gVisor)",
            "Use a kernel with CONFIG_IO_URING=y.",
        )
    if number == errno.ENOMEM:
        return ("the memory that this user's processes may lock is used up", _RAISE_MEMLOCK)
    if number in (errno.EMFILE, errno.ENFILE):
        return ("no file descriptor is left", f"Close some, or {RAISE_FILES}.")
    if number == errno.EINVAL:
        return ("the kernel does not know the flags of Linux 5.19", "Update the kernel.")
    if number == errno.EACCES:
        return (
            "a security module (SELinux, AppArmor) forbids it",
            "Look into the audit log for the rule, and allow io_uring for this program.",
        )
    return (os.strerror(number), "Ask the provider of this machine to allow io_uring.")


def _forbidden(info: spargio.ProbeInfo, facts: Facts) -> tuple[str, str]:
    if info.disabled == 2:
        return (
            "the sysctl kernel.io_uring_disabled is 2, which forbids it to everybody",
            "As root, on the host: sysctl -w kernel.io_uring_disabled=0",
        )
    if info.disabled == 1:
        return (
            "the sysctl kernel.io_uring_disabled is 1, which allows it to CAP_SYS_ADMIN and to one "
            "group only",
            "As root, on the host: sysctl -w kernel.io_uring_disabled=0, or put this user into the "
            "group whose number is in the sysctl kernel.io_uring_group.",
        )
    if facts.seccomp == 2:
        return ("this process's seccomp filter forbids it", _allow_in_container(facts))
    return (
        "something forbids it that is neither the sysctl nor a seccomp filter",
        "Look into the audit log for a rule of a security module (SELinux, AppArmor).",
    )


def _allow_in_container(facts: Facts) -> str:
    if facts.container == "Kubernetes":
        return (
            f"Give the pod a seccomp profile that allows {SYSTEM_CALLS} "
            "(securityContext.seccompProfile, type Localhost)."
        )
    return (
        f"Start the container with a seccomp profile that allows {SYSTEM_CALLS}: "
        "--security-opt seccomp=PROFILE.json (to try it: seccomp=unconfined)."
    )


def _opcodes(info: spargio.ProbeInfo) -> Finding:
    known = OPCODES.items()
    absent = [f"{name} ({since})" for number, (name, since) in known if number not in info.opcodes]
    if absent:
        text = "the kernel lacks " + ", ".join(absent)
        return Finding("operations", "note", text, "Update the kernel to 5.19 or newer.")
    return Finding("operations", "ok", ", ".join(name for name, _ in OPCODES.values()))


def _setup_flags(info: spargio.ProbeInfo) -> Finding:
    text = ", ".join(name for bit, name in SETUP_FLAGS.items() if info.setup_flags >> bit & 1)
    if not info.capabilities & c.CAP_SINGLE_ISSUER:
        advice = (
            "Linux 6.0 adds SINGLE_ISSUER and 6.1 DEFER_TASKRUN: fewer interruptions of the shards."
        )
    elif not info.capabilities & c.CAP_DEFER_TASKRUN:
        advice = (
            "Linux 6.1 adds DEFER_TASKRUN: completions are handled when the shard asks for them."
        )
    else:
        return Finding("setup flags", "ok", text)
    return Finding("setup flags", "note", text, advice)


def _doorbells(info: spargio.ProbeInfo) -> Iterator[Finding]:
    if not info.capabilities & c.CAP_MSG_RING:
        yield Finding(
            "doorbells", "note", "by eventfd", "Linux 5.18 and newer send them from ring to ring."
        )
    elif not info.capabilities & c.CAP_SEND_MSG_RING:
        yield Finding(
            "doorbells",
            "note",
            "MSG_RING between shards, eventfd from other threads",
            "Linux 6.13 sends them from threads without a ring, too.",
        )
    else:
        yield Finding("doorbells", "ok", "MSG_RING between shards and from other threads")


def _memlock(info: spargio.ProbeInfo, facts: Facts) -> Finding:
    needed = _RING_BYTES * info.usable_cpus + _PROBE_BYTES
    unlimited = info.memlock_limit >= 1 << 63
    text = (
        "unlimited"
        if unlimited
        else f"{info.memlock_limit // 1024} KiB for all processes of this user"
    )
    if facts.memlock_exempt and not unlimited:
        text += " (does not apply: CAP_IPC_LOCK)"
    text += f"; {info.usable_cpus} shards of 256 ring entries take about {needed // 1024} KiB"
    if unlimited or facts.memlock_exempt or info.memlock_limit >= 2 * needed:
        return Finding("memlock limit", "ok", text)
    advice = "If the rings do not fit, spargio makes them smaller, then falls back to epoll. "
    return Finding("memlock limit", "note", text, advice + _RAISE_MEMLOCK)


def _files(info: spargio.ProbeInfo) -> Finding:
    unlimited = info.nofile_limit >= 1 << 63
    text = "unlimited" if unlimited else f"{info.nofile_limit:,} descriptors"
    if info.nofile_limit >= _FILES_COMFORTABLE:
        return Finding("file limit", "ok", text)
    advice = f"A connection or open file is one descriptor each: {RAISE_FILES}."
    return Finding("file limit", "note", text, advice)


def _cpus(info: spargio.ProbeInfo, facts: Facts) -> Finding:
    text = f"{info.usable_cpus} usable of {os.cpu_count()}: the default number of shards"
    if 0 < facts.cpu_quota < info.usable_cpus:
        text += f"; the cgroup grants {facts.cpu_quota:.2g} CPUs' worth of time"
        shards = max(1, round(facts.cpu_quota))
        advice = f"More shards than that wait for each other: run with shards={shards}."
        return Finding("CPUs", "note", text, advice)
    return Finding("CPUs", "ok", text)


def _python(facts: Facts) -> Finding:
    text = f"{facts.python}, {facts.python_path}"
    if not facts.free_threaded:
        return Finding("Python", "ok", f"{text}; with a GIL, which the shards share")
    if facts.gil_enabled:
        advice = (
            "PYTHON_GIL=1 or an extension module switched it on; without it all shards run Python "
            "at once."
        )
        return Finding("Python", "note", f"{text}; free-threaded build, but the GIL is on", advice)
    return Finding("Python", "ok", f"{text}; free-threaded: the shards run Python at once")


def _library(facts: Facts) -> Finding:
    return Finding("library", "ok", f"spargio {facts.library_version}, {facts.library_path}")
