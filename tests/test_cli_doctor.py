"""The `spargio doctor` command: what it finds, what it advises, and where io_uring is forbidden."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Run

import spargio
from spargio._cli.doctor_checks import Finding, diagnose
from spargio._cli.doctor_facts import Facts, gather


def test_doctor_says_that_spargio_can_run(capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(capfd, "doctor")
    assert run.code == 0, run.out
    for word in (
        "kernel",
        "io_uring",
        "operations",
        "setup flags",
        "memlock",
        "CPUs",
        "Python",
        "TLS",
    ):
        assert word in run.out
    assert "spargio can run here." in run.out


def test_doctor_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(capfd, "doctor", "--json")
    assert run.code == 0
    report = json.loads(run.out)
    assert report["ok"]
    assert report["probe"]["setup_errno"] == 0
    assert Path(report["facts"]["library_path"]).is_file()
    assert {finding["state"] for finding in report["findings"]} <= {"ok", "note"}
    assert report["findings"][-1]["topic"] == "runtime"


FACTS = Facts(
    kernel_release="6.8.0",
    machine="x86_64",
    seccomp=0,
    memlock_exempt=False,
    container="",
    cpu_quota=0.0,
    python="CPython 3.12.0",
    python_path="/usr/bin/python3",
    free_threaded=False,
    gil_enabled=True,
    library_version="0.1.0",
    library_path="/lib.so",
)


def finding(topic: str, *, facts: dict[str, object] | None = None, **probe: object) -> Finding:
    """The finding on `topic` where the machine says `facts` and the kernel `probe`."""
    info = dataclasses.replace(spargio.probe(), **probe)
    findings = diagnose(info, dataclasses.replace(FACTS, **(facts or {})))
    return next(one for one in findings if one.topic == topic)


@pytest.mark.parametrize(
    ("number", "disabled", "seccomp", "container", "why", "advice"),
    [
        (errno.EPERM, 2, 0, "", "io_uring_disabled is 2", "sysctl -w kernel.io_uring_disabled=0"),
        (errno.EPERM, 1, 0, "", "io_uring_disabled is 1", "kernel.io_uring_group"),
        (errno.EPERM, 0, 2, "Docker", "seccomp filter", "--security-opt seccomp="),
        (errno.EPERM, 0, 2, "Kubernetes", "seccomp filter", "securityContext.seccompProfile"),
        (errno.EPERM, -1, 0, "", "something forbids it", "audit log"),
        (errno.ENOSYS, -1, 0, "", "without io_uring", "CONFIG_IO_URING"),
        (errno.ENOSYS, -1, 2, "", "seccomp filter hides", "io_uring_setup"),
        (errno.ENOMEM, 0, 0, "", "lock is used up", "ulimit -l"),
        (errno.EMFILE, 0, 0, "", "no file descriptor", "ulimit -n"),
        (errno.EINVAL, -1, 0, "", "flags of Linux 5.19", "Update the kernel"),
        (errno.EACCES, 0, 0, "", "security module", "audit log"),
        (errno.EOPNOTSUPP, 0, 0, "", os.strerror(errno.EOPNOTSUPP), "provider"),
    ],
)
def test_doctor_explains_each_refusal(
    number: int, disabled: int, seccomp: int, container: str, why: str, advice: str
) -> None:
    told = finding(
        "io_uring",
        facts={"seccomp": seccomp, "container": container},
        setup_errno=number,
        disabled=disabled,
    )
    assert told.state == "note"
    assert errno.errorcode[number] in told.text
    assert why in told.text
    assert advice in told.advice


def test_doctor_on_older_kernels() -> None:
    assert finding("kernel", kernel_major=5, kernel_minor=15).state == "note"
    assert finding("kernel", kernel_major=5, kernel_minor=19).state == "ok"
    assert finding("io_uring", capabilities=0).state == "note"
    told = finding("operations", opcodes=frozenset(range(34)))
    assert told.state == "note"
    assert "SHUTDOWN (5.11)" in told.text
    everything = spargio.probe().capabilities
    assert "6.0" in finding("setup flags", capabilities=everything & ~0b11).advice
    assert "6.1" in finding("setup flags", capabilities=everything & ~0b1).advice
    assert "6.13" in finding("doorbells", capabilities=(everything | 0b100) & ~0b1000).advice
    assert "eventfd" in finding("doorbells", capabilities=everything & ~0b100).text


def test_doctor_on_limits_and_builds() -> None:
    short = {"memlock_limit": 64 * 1024, "usable_cpus": 8}
    assert finding("memlock limit", **short).state == "note"
    assert "smaller, then falls back to epoll" in finding("memlock limit", **short).advice
    assert finding("memlock limit", facts={"memlock_exempt": True}, **short).state == "ok"
    assert finding("memlock limit", memlock_limit=(1 << 64) - 1).text.startswith("unlimited")
    assert finding("file limit", nofile_limit=256).state == "note"
    assert "shards=2" in finding("CPUs", facts={"cpu_quota": 1.5}, usable_cpus=8).advice
    assert "GIL is on" in finding("Python", facts={"free_threaded": True}).text
    free = {"free_threaded": True, "gil_enabled": False}
    assert "free-threaded" in finding("Python", facts=free).text


def test_facts_of_this_process() -> None:
    facts = gather()
    assert facts.python_path == sys.executable
    assert facts.library_version == spargio.__version__
    assert facts.seccomp in (-1, 0, 2)
    assert facts.cpu_quota >= 0


# A seccomp filter that answers an error to io_uring_setup(2), as containers do; then the command.
UNDER_SECCOMP = """
import ctypes, runpy, struct, sys
number = int(sys.argv[1])
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
program = b"".join(struct.pack("=HBBI", *one) for one in (
    (LOAD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 1, 425),
    (RETURN, 0, 0, 0x50000 | number),
    (RETURN, 0, 0, 0x7FFF0000),
))
class Program(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
filter = Program(4, program)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.addressof(filter), 0, 0):
    sys.exit(77)
sys.argv = ["spargio", *sys.argv[2:]]
from spargio._cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_where_io_uring_is_forbidden(tmp_path: Path, number: int) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", UNDER_SECCOMP, str(number), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "COLUMNS": "200"},
        )
        if done.returncode == 77:
            pytest.skip("this system allows no seccomp filter")
        return done

    doctor = run("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert errno.errorcode[number] in doctor.stdout
    assert "seccomp" in doctor.stdout
    assert "shards on epoll" in doctor.stdout
    assert doctor.stderr == ""
    report = json.loads(run("doctor", "--json").stdout)
    assert report["ok"]
    assert report["probe"]["setup_errno"] == number
    (tmp_path / "a").write_bytes(b"a")
    demo_run = run("demo", "--corpus", str(tmp_path))
    assert demo_run.returncode == 0, demo_run.stderr
    assert "using the slower epoll backend" in demo_run.stderr
    assert "Traceback" not in demo_run.stderr
