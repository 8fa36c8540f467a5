"""Buffers that are registered with a ring."""

from __future__ import annotations

import errno
import mmap
import os

from .._ffi.core import native
from .._validate import at_least, wrong

_BYTES_MAX = 1 << 30
"""The kernel's limit for one registration."""

_registered: set[RegisteredBuffers] = set()
"""Their memory stays as long as a ring knows it: at a reused address the kernel would still write
into the old pages."""


class RegisteredBuffers:
    """`count` buffers of `size` bytes, registered with the ring of the task's shard for a block::

        async with fs.RegisteredBuffers(32, 4096) as buffers:
            count = await file.read_at_into(offset, buffers[0])

    ``read_at_into``, ``write_at`` and ``write_all_at`` in tasks of that shard then use
    ``IORING_OP_READ_FIXED`` and ``WRITE_FIXED`` with them (5.1; the table 5.19), which spares the
    kernel the look-up of their pages: about 5 % of the CPU time of a cached 4 KiB read, more if
    the device is written to directly. On other shards they are memory like any other. The pages
    count against the memlock limit (``ulimit -l``): ``OSError`` ENOMEM. At most 64 such blocks at a
    time on a shard: ENOBUFS.
    """

    __slots__ = ("_memory", "_size", "_slot", "_view")

    def __init__(self, count: int, size: int) -> None:
        count, size = at_least("count", count, 1), at_least("size", size, 1)
        if count * size > _BYTES_MAX:
            raise ValueError(f"count * size must be at most {_BYTES_MAX} bytes, got {count * size}")
        self._size = size
        self._memory = mmap.mmap(-1, count * size)
        self._view = memoryview(self._memory)
        self._slot: int | None = None

    def __repr__(self) -> str:
        state = "not registered" if self._slot is None else "registered"
        return f"<RegisteredBuffers {len(self)} of {self._size} bytes, {state}>"

    def __len__(self) -> int:
        return len(self._view) // self._size

    def __getitem__(self, index: int) -> memoryview:
        """Buffer `index`, writable."""
        if not 0 <= index < len(self):
            raise IndexError(wrong("index", f"between 0 and {len(self) - 1}", index))
        return self._view[index * self._size : (index + 1) * self._size]

    async def __aenter__(self) -> RegisteredBuffers:
        if self._slot is not None:
            raise RuntimeError("these buffers are registered already")
        try:
            self._slot = native.register_buffer(self._memory)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            raise OSError(
                errno.ENOMEM,
                f"{os.strerror(errno.ENOMEM)}: {len(self._view)} bytes cannot be registered; raise "
                "the memlock limit (ulimit -l)",
            ) from None
        _registered.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            native.unregister_buffer(slot)
            _registered.discard(self)
