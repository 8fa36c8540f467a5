"""struct io_uring_sqe (linux/io_uring.h) with all its names; a test compares it with the header."""

from __future__ import annotations

import ctypes
from typing import Any

_u8, _u16, _u32, _u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
_s32 = ctypes.c_int32


def _union(*names: tuple[str, Any]) -> type[ctypes.Union]:
    return type("_Union", (ctypes.Union,), {"_fields_": names})


def _pair(*names: tuple[str, Any]) -> type[ctypes.Structure]:
    return type("_Pair", (ctypes.Structure,), {"_fields_": names})


def _anonymous(union: type[ctypes.Union], *names: tuple[str, Any]) -> type[ctypes.Union]:
    """`union`, and structs whose fields are reached without a name of their own."""
    fields = (*union._fields_, *names)
    unnamed = tuple(name for name, _ in names)
    return type("_Union", (ctypes.Union,), {"_anonymous_": unnamed, "_fields_": fields})


_OP_FLAGS = (
    "rw_flags",
    "fsync_flags",
    "poll32_events",
    "sync_range_flags",
    "msg_flags",
    "timeout_flags",
    "accept_flags",
    "cancel_flags",
    "open_flags",
    "statx_flags",
    "fadvise_advice",
    "splice_flags",
    "rename_flags",
    "unlink_flags",
    "hardlink_flags",
    "xattr_flags",
    "msg_ring_flags",
    "uring_cmd_flags",
    "waitid_flags",
    "futex_flags",
    "install_fd_flags",
    "nop_flags",
    "pipe_flags",
)

_At8 = _anonymous(_union(("off", _u64), ("addr2", _u64)), ("_cmd", _pair(("cmd_op", _u32))))
_At16 = _anonymous(
    _union(("addr", _u64), ("splice_off_in", _u64)),
    ("_option", _pair(("level", _u32), ("optname", _u32))),
)
_At28 = _union(("poll_events", _u16), *((name, _u32) for name in _OP_FLAGS))
_At40 = _union(("buf_index", _u16), ("buf_group", _u16))
_At44 = _union(
    ("splice_fd_in", _s32),
    ("file_index", _u32),
    ("zcrx_ifq_idx", _u32),
    ("optlen", _u32),
    ("addr_len", _u16),
    ("write_stream", _u8),
)
_At48 = _anonymous(
    _union(("addr3", _u64), ("optval", _u64)),
    ("_attributes", _pair(("attr_ptr", _u64), ("attr_type_mask", _u64))),
)


class Sqe(ctypes.Structure):
    """A submission queue entry, 64 bytes of zero but for the fields given by name::

        Sqe(opcode=Opcode.FTRUNCATE, fd=file.fileno(), off=4096)

    A name that the kernel's struct does not have is an ``AttributeError``, a value that its field
    cannot hold a ``ValueError``. ``user_data`` is spargio's and stays 0."""

    _anonymous_ = ("_at8", "_at16", "_at28", "_at40", "_at44", "_at48")
    _fields_ = (
        ("opcode", _u8),
        ("flags", _u8),
        ("ioprio", _u16),
        ("fd", _s32),
        ("_at8", _At8),
        ("_at16", _At16),
        ("len", _u32),
        ("_at28", _At28),
        ("user_data", _u64),
        ("_at40", _At40),
        ("personality", _u16),
        ("_at44", _At44),
        ("_at48", _At48),
    )

    def __setattr__(self, name: str, value: Any) -> None:
        bits, signed = _shape(name)
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if not least <= value <= most:
            raise ValueError(f"{name} must be between {least} and {most}, got {value}")
        super().__setattr__(name, value)


def _public(fields: Any) -> dict[str, tuple[int, bool]]:
    """(bits, signed) of each name that is not a union's or struct's."""
    found: dict[str, tuple[int, bool]] = {}
    for name, kind in fields:
        if name.startswith("_"):
            found |= _public(kind._fields_)
        else:
            found[name] = ctypes.sizeof(kind) * 8, kind is _s32
    return found


FIELDS = _public(Sqe._fields_)
"""Names of all fields, with their bits and whether they have a sign."""


def _shape(name: str) -> tuple[int, bool]:
    try:
        return FIELDS[name]
    except KeyError:
        raise AttributeError(f"struct io_uring_sqe has no field {name!r}") from None
