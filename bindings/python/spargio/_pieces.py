"""Lists of buffers that one call of the kernel takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

IOV_MAX = 1024


def one_call(buffers: Sequence[object]) -> tuple[object, ...]:
    """As many from the front as one readv(2), writev(2) or sendmsg(2) takes. Of a longer list those
    without a byte are left out, so that a call that moves nothing means what it says."""
    if len(buffers) <= IOV_MAX:
        return tuple(buffers)
    return tuple(islice((one for one in buffers if memoryview(one).nbytes), IOV_MAX))  # type: ignore[arg-type]
