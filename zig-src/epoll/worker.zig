//! A thread of the pool. While it is in a call that may last forever, it uses only its own memory,
//! so that it can be left behind: the open of a FIFO on a file system that no signal interrupts
//! must not delay the runtime's end.

const std = @import("std");
const linux = std.os.linux;
const gpa = @import("../base/memory.zig").gpa;
const descriptors = @import("nonblocking.zig");
const errors = @import("../base/errors.zig");
const limits = @import("../base/limits.zig");
const signal_mask = @import("../base/signal_mask.zig");
const blocking = @import("blocking.zig");
const Call = @import("pending.zig").Call;
const Pending = @import("pending.zig").Pending;
const Pool = @import("pool.zig").Pool;
const Sqe = @import("../ring/ring.zig").Sqe;

pub const Worker = struct {
    pool: *Pool,
    next: ?*Worker = null,
    thread: std.Thread = undefined,
    id: i32 = 0,
    /// What it does; under the pool's lock, as the three above.
    job: ?*Pending = null,
    /// That ends when somebody else does something; under the pool's lock.
    lasts: bool = false,
    /// That is to end: an interruption is its end.
    unwanted: std.atomic.Value(bool) = .init(false),
    state: std.atomic.Value(State) = .init(.held),

    /// `kept`: its operation is gone, and its call goes on; what the call uses is the thread's own, and the pool has
    /// the thread again afterwards. `left`: the pool is not there any more.
    const State = enum(u8) { held, alone, kept, left };

    const Done = union(enum) { result: i32, let_go, left };

    pub fn main(self: *Worker) void {
        _ = linux.prctl(@backingInt(linux.PR.SET_NAME), @intFromPtr(self.pool.name.ptr), 0, 0, 0);
        self.id = linux.gettid(); // Before its first job, and read under the lock only where it has one.
        if (self.pool.signal) |signal| signal_mask.unblock(signal);
        while (self.pool.take(self)) |pending| {
            switch (self.perform(pending)) {
                .result => |result| {
                    pending.result = result;
                    self.pool.finish(self);
                    self.pool.give_back(pending);
                },
                .let_go => {},
                .left => return,
            }
        }
    }

    fn perform(self: *Worker, pending: *Pending) Done {
        if (pending.call) |call| return self.performCall(pending, call);
        if (pending.isMultishotAccept()) return .{ .result = self.acceptAll(pending) };
        if (blocking.mayLast(&pending.sqe))
            return if (self.performLasting(pending)) |result| .{ .result = result } else .left;
        return .{ .result = blocking.perform(pending, &self.unwanted) };
    }

    /// What waits to be accepted; each is reported at once, because the next call may wait for long. -EAGAIN: there is
    /// no more now.
    fn acceptAll(self: *Worker, pending: *Pending) i32 {
        for (0..limits.accepts_in_a_row_max) |_| {
            const result = self.performLasting(pending).?; // Nobody leaves an accept behind.
            if (result < 0 or !self.pool.give_more.?(pending, result)) return result;
            if (descriptors.ready(pending.sqe.fd, linux.POLL.IN) == 0) break;
        }
        return errors.negative(.AGAIN);
    }

    /// Alone since it took the call.
    fn performCall(self: *Worker, pending: *Pending, call: *const Call) Done {
        const left = call.left orelse return .{ .result = call.perform(pending) };
        const result = call.perform(pending);
        // Pairs with the exchange in `letGo`: one of the two has the operation.
        if (self.state.cmpxchgStrong(.alone, .held, .acq_rel, .acquire) == null) return .{ .result = result };
        left(pending);
        // Pairs with the exchange in `abandon`: one of the two has the thread's memory.
        if (self.state.cmpxchgStrong(.kept, .held, .acq_rel, .acquire) == null) return .let_go;
        gpa.destroy(self);
        return .left;
    }

    /// Null: it was left behind, and neither the operation nor the pool is there any more.
    fn performLasting(self: *Worker, pending: *Pending) ?i32 {
        var copy: Copy = undefined;
        self.pool.beginLasting(self);
        if (!copy.of(&pending.sqe)) {
            defer self.pool.endLasting(self);
            return blocking.perform(pending, &self.unwanted);
        }
        self.state.store(.alone, .release);
        const result = blocking.performCall(&copy.sqe, &self.unwanted);
        if (self.state.cmpxchgStrong(.alone, .held, .acq_rel, .acquire) == null) {
            self.pool.endLasting(self);
            return result;
        }
        if (copy.sqe.opcode == .OPENAT and result >= 0) _ = linux.close(result); // Nobody takes it.
        gpa.destroy(self);
        return null;
    }

    /// Under the pool's lock: its operation is the caller's. False if it is back, or holds memory of others.
    pub fn letGo(self: *Worker) bool {
        if (self.state.cmpxchgStrong(.alone, .kept, .acq_rel, .acquire) != null) return false;
        self.job = null;
        return true;
    }

    /// Under the pool's lock: from now on it is on its own. False if it is back, or holds memory of others; a
    /// thread that was let go is that only at the pool's end.
    pub fn abandon(self: *Worker, from: enum { alone, kept }) bool {
        const thread = self.thread;
        const before: State = if (from == .alone) .alone else .kept;
        if (self.state.cmpxchgStrong(before, .left, .acq_rel, .acquire) != null) return false;
        thread.detach();
        return true;
    }
};

/// An SQE and what it points to.
const Copy = struct {
    sqe: Sqe,
    bytes: [std.fs.max_path_bytes]u8 align(8),

    /// False if that is too long, which no path of the kernel's is, or if the call takes something that would
    /// be lost with it: a connection or bytes.
    fn of(self: *Copy, sqe: *const Sqe) bool {
        if (sqe.opcode != .OPENAT and sqe.opcode != .CONNECT) return false;
        const source: [*]const u8 = @ptrFromInt(@as(usize, @intCast(sqe.addr)));
        const length: usize = if (sqe.opcode == .OPENAT)
            std.mem.len(@as([*:0]const u8, @ptrCast(source))) + 1
        else
            @intCast(sqe.off);
        if (length > self.bytes.len) return false;
        @memcpy(self.bytes[0..length], source[0..length]);
        self.sqe = sqe.*;
        self.sqe.addr = @intFromPtr(&self.bytes);
        return true;
    }
};
