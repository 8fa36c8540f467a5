"""io_uring without wrappers: operations on plain descriptors, on the shard that suits, and SQEs
that the caller fills. From ``handle.uring_native_unbound()``; see ``docs/native-extensions.md``."""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._ffi.sqe import Sqe
    from ._any import AT_FDCWD, UringNativeAny
    from ._leases import AffinityViolation, Lease
    from ._opcodes import Opcode
    from ._operation import Completion, NativeOp, address_of
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "._any": ("AT_FDCWD", "Sqe", "UringNativeAny"),
            "._leases": ("AffinityViolation", "Lease"),
            "._opcodes": ("Opcode",),
            "._operation": ("Completion", "NativeOp", "address_of"),
            "._state": (),
        },
    )

__all__ = (
    "AT_FDCWD",
    "AffinityViolation",
    "Completion",
    "Lease",
    "NativeOp",
    "Opcode",
    "Sqe",
    "UringNativeAny",
    "address_of",
)
