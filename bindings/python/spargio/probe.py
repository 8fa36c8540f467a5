"""What the kernel offers."""

from __future__ import annotations

from ._ffi import library
from ._records import dataclass

__all__ = ("ProbeInfo", "probe")


@dataclass(frozen=True)
class ProbeInfo:
    """Fields as in ``spargio_probe_info`` of ``spargio.h``."""

    setup_errno: int
    kernel_major: int
    kernel_minor: int
    features: int
    setup_flags: int
    capabilities: int
    opcodes: frozenset[int]
    memlock_limit: int
    nofile_limit: int
    usable_cpus: int
    disabled: int


def probe() -> ProbeInfo:
    """Open and close one small ring. Does not raise if io_uring is missing: ``setup_errno``
    says why."""
    info = library.probe()
    opcodes = frozenset(n for n in range(256) if info.opcodes[n // 64] >> n % 64 & 1)
    return ProbeInfo(
        setup_errno=info.setup_errno,
        kernel_major=info.kernel_major,
        kernel_minor=info.kernel_minor,
        features=info.features,
        setup_flags=info.setup_flags,
        capabilities=info.capabilities,
        opcodes=opcodes,
        memlock_limit=info.memlock_limit,
        nofile_limit=info.nofile_limit,
        usable_cpus=info.usable_cpus,
        disabled=info.disabled,
    )
