"""What the kernel offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._ffi import library
from ._records import dataclass

if TYPE_CHECKING:
    from .tls import EngineInfo

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

    @property
    def tls(self) -> EngineInfo:
        """Which engine new TLS connections get, as :func:`spargio.tls.engine` says it, and raises:
        its `name`, and the `reason` if it is not the native one. Imports ``ssl`` when it is first
        asked for."""
        from .tls import engine

        return engine()


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
