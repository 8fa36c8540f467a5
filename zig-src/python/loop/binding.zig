//! The thread that a loop's ring is bound to. The kernel defers the work of completions best if one
//! thread alone enters the ring (IORING_SETUP_SINGLE_ISSUER and DEFER_TASKRUN: an echo takes an
//! eighth less CPU time), but any thread may run an asyncio loop next, and close it. So a run ends
//! with no operation of the loop under way: the waiting ones are cancelled, and the next run
//! submits them anew. A run on another thread then takes another ring.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const Failure = @import("../../base/failure.zig").Failure;
const Loop = @import("loop.zig").Loop;
const PyRuntime = @import("../task/py_runtime.zig").PyRuntime;
const Shard = @import("../../scheduler/shard.zig").Shard;
const py = &api.py;

var threads: std.atomic.Value(u64) = .init(0);
threadlocal var own: u64 = 0;

/// A number that no other thread of the process has or had.
pub fn thisThread() u64 {
    if (own == 0) own = threads.fetchAdd(1, .monotonic) + 1;
    return own;
}

/// In a poll: the loop is to stop. True once nothing of its own is under way: what the kernel has holds
/// transports that the collector cannot see, whatever the ring.
pub fn settled(self: *Loop, shard: *Shard) bool {
    if (self.task.flying > 0) {
        shard.cancelOps(&self.task);
        if (self.task.flying > 0) return false;
    }
    // Another ring has other buffers.
    for (self.streams.items) |stream| stream.receiver.settle();
    return true;
}

/// The caller's thread may drive the shard from here on. False with the exception set: operations of
/// spargio's are under way on another thread's ring.
pub fn bindHere(self: *Loop) bool {
    if (self.thread == thisThread()) return true;
    const shard = self.shard.?;
    if (!shard.ring.isBound()) return true;
    if (shard.hasRingOps()) {
        _ = api.raise(
            py.PyExc_RuntimeError.*,
            "operations of spargio are under way on the thread that ran this loop before: run it there, " ++
                "or await them before it stops",
        );
        return false;
    }
    return renew(self);
}

/// The same for the loop's end, which cancels what is under way anyway: on another thread's ring it goes
/// with the ring. False with the exception set; `lost` if the runtime must be left as it is.
pub fn bindForEnd(self: *Loop, lost: *bool) bool {
    const shard = self.shard.?;
    if (self.thread == thisThread() or self.isForked() or !shard.ring.isBound()) return true;
    if (!shard.hasRingOps()) return renew(self);
    var failure: Failure = .{};
    // As a run does it: what ends may need the interpreter.
    shard.interpreter.data = py.PyEval_SaveThread();
    const taken = PyRuntime.of(self.runtime.?).runtime.takeRing(&failure);
    shard.acquireInterpreter();
    shard.interpreter.held = false;
    taken catch |err| {
        lost.* = err == error.RingLives;
        if (!lost.*) {
            _ = callbacks.raiseErrno(failure.errno, @tagName(failure.call), null);
        } else _ = api.raise(
            py.PyExc_RuntimeError.*,
            "operations of spargio are under way on the thread that ran this loop before, and the kernel " ++
                "does not end them: a forked process may have the ring",
        );
        return false;
    };
    self.thread = thisThread();
    return true;
}

/// In a run's last moment, on its thread: any thread may have to end what is under way then.
pub fn watchEnd(shard: *Shard) void {
    if (shard.ops.flying > 0 and shard.ring.isBound()) shard.ring.end.watch(shard.ring.fd());
}

fn renew(self: *Loop) bool {
    var failure: Failure = .{};
    const state = py.PyEval_SaveThread(); // A thread that rings a bell may need the interpreter to go on.
    const moved = PyRuntime.of(self.runtime.?).runtime.renewRing(&failure);
    py.PyEval_RestoreThread(state);
    moved catch {
        _ = callbacks.raiseErrno(failure.errno, @tagName(failure.call), null);
        return false;
    };
    self.thread = thisThread();
    return true;
}
