"""Which shard an operation of `spargio.uring` takes: the selector, and leases of descriptors."""

from __future__ import annotations

import errno
import gc
import select
import threading
from typing import Any

import pytest
import support
from support import Pair

import spargio
from spargio import TaskCancelled, uring
from spargio._ffi.core import native
from spargio.uring import AffinityViolation, Opcode, Sqe

# ---- the selector ----


def hold(handle: spargio.RuntimeHandle, shard: int, fd: int) -> spargio.JoinHandle[Any]:
    """One more operation under way on `shard`."""
    before = native.ops_in_flight(handle._runtime)[shard]
    poll = Sqe(opcode=Opcode.POLL_ADD, fd=fd, poll32_events=select.POLLIN)

    async def wait() -> None:
        await native.submit_sqe(poll, ())

    job = handle.spawn_pinned(shard, wait())
    support.eventually(lambda: native.ops_in_flight(handle._runtime)[shard] == before + 1)
    return job


def test_the_selector(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound()
    assert native_any.preferred_shard is None
    prefers = native_any.with_preferred_shard(0)
    assert (prefers.preferred_shard, native_any.preferred_shard) == (0, None)
    assert prefers.clear_preferred_shard().preferred_shard is None
    jobs = [hold(two, 0, fd)]
    assert native_any.select_shard() == 1  # 1 and 0 under way: the fewest.
    assert prefers.select_shard() == 0  # One deeper: it still wins.
    jobs.append(hold(two, 0, fd))
    assert prefers.select_shard() == 1  # Two deeper.
    assert prefers.clear_preferred_shard().select_shard() == 1
    jobs += [hold(two, 1, fd), hold(two, 1, fd), hold(two, 1, fd)]
    assert native_any.select_shard() == 0  # 2 and 3.
    for job in jobs:
        job.cancel()
        with pytest.raises(TaskCancelled):
            job.result(support.LIMIT_S)


def test_of_equal_shards_the_own_one(file: int) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async def where() -> tuple[int, int]:
            native_any = handle.uring_native_unbound()
            op = native_any.sleep(0)
            selected = native_any.select_shard()
            await op
            return selected, spargio.current_shard()

        for shard in range(3):
            selected, current = await handle.spawn_pinned(shard, where())
            assert selected == current == shard

    spargio.run(main, shards=3)


def test_operations_that_wait_for_their_shard_count(two: spargio.RuntimeHandle, pair: Pair) -> None:
    native_any = two.uring_native_unbound()
    with support.Blocker(two, 0), support.Blocker(two, 1):
        ops = [native_any.sleep(0) for _ in range(10)]
        shards = [native_any.active_native_op_shard(op) for op in ops]
        assert shards == [0, 1] * 5
        assert native_any.active_native_op_count() == 10
    for op in ops:
        op.result(support.LIMIT_S)
    assert native_any.active_native_op_count() == 0
    assert {native_any.active_native_op_shard(op) for op in ops} == {None}


# ---- leases ----


def test_a_strong_lease_binds_a_descriptor(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound().with_preferred_shard(0)
    other = two.uring_native_unbound()
    assert native_any.fd_affinity_shard(fd) is None
    with native_any.lease(fd, shard=1) as lease:
        assert (lease.kind, lease.shard, lease.fd, lease.active) == ("strong", 1, fd, True)
        assert other.fd_affinity_shard(fd) == native_any.select_shard(fd) == 1
        jobs = [hold(two, 1, fd) for _ in range(3)]
        assert native_any.select_shard(fd) == 1
        op = native_any.recv(fd, 10)
        assert native_any.active_native_op_shard(op) == 1
        with pytest.raises(AffinityViolation, match="a strong lease: a weak lease on shard 0"):
            native_any.lease(fd, "weak", shard=0)
        # Another descriptor, and an operation that names its shard, go where they want.
        assert native_any.select_shard(fd + 1) == 0
        nop = native_any.submit_unsafe_on_shard(0, Sqe(opcode=Opcode.FSYNC, fd=fd))
        assert nop.result(support.LIMIT_S).res == -errno.EINVAL
        pair[1].sendall(b"x")
        assert op.result(support.LIMIT_S) == b"x"
        for job in jobs:
            job.result(support.LIMIT_S)
    assert not lease.active
    lease.close()


def test_a_hard_lease_refuses_other_shards(two: spargio.RuntimeHandle, file: int) -> None:
    native_any = two.uring_native_unbound()
    sqe = Sqe(opcode=Opcode.FSYNC, fd=file)
    words = f"descriptor {file} is held on shard 1 by a hard lease: an operation on shard 0"
    with native_any.lease(file, "hard", shard=1):
        with pytest.raises(AffinityViolation, match=words):
            native_any.submit_unsafe_on_shard(0, sqe)
        assert native_any.submit_unsafe_on_shard(1, sqe).result(support.LIMIT_S).res == 0
        assert native_any.submit_unsafe(sqe).result(support.LIMIT_S).res == 0
        assert native_any.with_preferred_shard(0).select_shard(file) == 1
        # Where `fd` is no descriptor there is nothing to violate.
        nop = Sqe(opcode=Opcode.NOP, fd=file)
        assert native_any.submit_unsafe_on_shard(0, nop).result(support.LIMIT_S).res == 0
    assert native_any.submit_unsafe_on_shard(0, sqe).result(support.LIMIT_S).res == 0
    assert native_any.active_native_op_count() == 0
    assert two.stats_snapshot().outside.native_affinity_violations == 1


def test_violations_are_counted_where_they_happen(file: int) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()
        with native_any.lease(file, "hard", shard=1):
            with pytest.raises(AffinityViolation, match="an operation on shard 0"):
                await native_any.submit_unsafe_on_shard(0, Sqe(opcode=Opcode.FSYNC, fd=file))
            with pytest.raises(AffinityViolation, match="a hard lease: a strong lease on shard 0"):
                native_any.lease(file, shard=0)
            native_any.lease(file, shard=1).close()
        stats = handle.stats_snapshot()
        assert stats.native_affinity_violations == 2
        assert stats.shards[0].native_affinity_violations == 2

    spargio.run(main, shards=2)


def test_a_weak_lease_is_a_preference(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound()
    with native_any.lease(fd, "weak", shard=1, lifetime=support.LIMIT_S * 10):
        assert native_any.select_shard(fd) == 1
        assert native_any.with_preferred_shard(0).select_shard(fd) == 0  # A wish goes before it.
        jobs = [hold(two, 1, fd)]
        assert native_any.select_shard(fd) == 1
        jobs.append(hold(two, 1, fd))
        assert native_any.select_shard(fd) == 0
        pair[1].sendall(b"x")
        for job in jobs:
            job.result(support.LIMIT_S)
        with native_any.lease(fd, "hard", shard=0):  # A stronger one goes before it.
            assert native_any.fd_affinity_shard(fd) == 0
        assert native_any.fd_affinity_shard(fd) == 1


def test_a_lease_that_is_not_used_expires(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound()
    lease = native_any.lease(fd, "hard", shard=1, lifetime=0.02)
    op = native_any.recv(fd, 10)
    support.eventually(lambda: lease._users == 1)
    threading.Event().wait(0.05)  # Longer than its life: the operation under way keeps it.
    assert lease.active
    assert native_any.fd_affinity_shard(fd) == 1
    pair[1].sendall(b"x")
    assert op.result(support.LIMIT_S) == b"x"
    support.eventually(lambda: not lease.active, "the lease to expire")
    assert native_any.fd_affinity_shard(fd) is None


def test_a_lease_that_is_dropped_ends(two: spargio.RuntimeHandle, file: int) -> None:
    native_any = two.uring_native_unbound()
    lease = native_any.lease(file, "hard", shard=1)
    assert native_any.fd_affinity_shard(file) == 1
    del lease
    gc.collect()
    assert native_any.fd_affinity_shard(file) is None


def test_streams_stay_where_they_are_used(two: spargio.RuntimeHandle, pair: Pair) -> None:
    fd = pair[0].fileno()
    native_any = two.uring_native_unbound()
    waiting = native_any.with_preferred_shard(1).recv(fd, 10)
    support.eventually(lambda: native_any.fd_affinity_shard(fd) == 1)
    assert native_any.with_preferred_shard(0).select_shard(fd) == 1
    with native_any.lease(fd, "hard", shard=0):  # One that was asked for goes before it.
        assert native_any.fd_affinity_shard(fd) == 0
    pair[1].sendall(b"x")
    assert waiting.result(support.LIMIT_S) == b"x"


def test_leases_of_operations_do_not_pile_up(two: spargio.RuntimeHandle) -> None:
    table = uring._state.state_of(two._runtime).leases
    for fd in range(1000):
        held = table.begin(fd, "weak", 0)
        table.end(held)
        for lease in held:
            lease._used -= 1  # As if it were a second later.
    assert len(table._implicit) <= 256
