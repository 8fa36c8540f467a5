"""What this process can see of the machine it runs on. Gathers only; doctor_checks.py judges."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from spargio._ffi import library

_CAP_IPC_LOCK = 14


@dataclass(frozen=True)
class Facts:
    """Everything beside the kernel's own answer, which is `spargio.ProbeInfo`."""

    kernel_release: str
    machine: str
    seccomp: int
    """Of /proc/self/status: 0 off, 1 strict, 2 filter; -1 unknown."""
    memlock_exempt: bool
    """CAP_IPC_LOCK: the memlock limit does not apply."""
    container: str
    """Which kind of container this looks like; empty if it does not."""
    cpu_quota: float
    """CPUs' worth of time that the cgroup grants; 0.0: no limit."""
    python: str
    python_path: str
    free_threaded: bool
    gil_enabled: bool
    library_version: str
    library_path: str


def gather() -> Facts:
    status = _read_status()
    return Facts(
        kernel_release=os.uname().release,
        machine=os.uname().machine,
        seccomp=int(status.get("Seccomp", "-1")),
        memlock_exempt=bool(int(status.get("CapEff", "0"), 16) >> _CAP_IPC_LOCK & 1),
        container=_container(),
        cpu_quota=_cpu_quota(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        python_path=sys.executable,
        free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        gil_enabled=bool(getattr(sys, "_is_gil_enabled", lambda: True)()),
        library_version=library.version(),
        library_path=str(library.PATH),
    )


def _read_status() -> dict[str, str]:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _container() -> str:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "Kubernetes"
    if Path("/.dockerenv").exists():
        return "Docker"
    if Path("/run/.containerenv").exists():
        return "Podman"
    return ""


def _cpu_quota() -> float:
    """The tightest `cpu.max` on the way from this process's cgroup (version 2) to the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0.0
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = Path("/sys/fs/cgroup") / own.lstrip("/")
    quotas = []
    for place in (folder, *folder.parents):
        try:
            quota, period = (place / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            quotas.append(int(quota) / int(period))
    return min(quotas, default=0.0)
