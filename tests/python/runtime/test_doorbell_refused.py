"""A thread that may not ring the shards by a message wakes them another way, at once: by eventfd, not by the
backstop of their sleep."""

from __future__ import annotations

import programs
import support


@support.needs_io_uring
def test_a_thread_whose_seccomp_filter_denies_it() -> None:
    done = programs.run_program(
        """
import ctypes, struct, threading
import spargio

def deny_here():
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, 427), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("HBBI", *one) for one in code)
    memory = ctypes.create_string_buffer(program)
    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)
    filter = Filter(len(code), ctypes.addressof(memory))
    return libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0

async def nothing():
    pass

def outside(handle):
    if not deny_here():
        print("no seccomp")
        return
    for n in range(20):
        parks = handle.stats_snapshot().parks
        handle.spawn_pinned(n % 2, nothing()).result()
        while handle.stats_snapshot().parks == parks:  # It sleeps again.
            pass
    stats = handle.stats_snapshot()
    print(stats.ring_msgs_failed > 0, stats.eventfd_wakes > 0, stats.backstop_finds)

with spargio.Runtime.builder().shards(2).build() as handle:
    thread = threading.Thread(target=outside, args=(handle,))
    thread.start()
    thread.join()
"""
    )
    assert done.stderr == ""
    assert done.stdout in ("no seccomp\n", "True True 0\n")
