//! One accept for many connections (IORING_ACCEPT_MULTISHOT, 5.19): each await returns the next
//! one. A connection that is accepted and never taken is closed, or left to the listener.

const linux = @import("std").os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const multishot = @import("multishot.zig");
const object = @import("../cpython/object.zig");
const Descriptor = @import("descriptor.zig").Descriptor;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Spare = @import("spare.zig").Spare;
const Sqe = @import("../../ring/ring.zig").Sqe;
const Object = api.Object;

pub const AcceptMultishot = struct {
    state: multishot.State,
    /// From the first operation on.
    accepted: ?*Spare.Queue,

    pub const Type = object.TypeOf(AcceptMultishot);
    const Shot = multishot.Multishot(AcceptMultishot);
    pub const make = Shot.make;

    pub const awaited = "incoming connections";
    pub const owned = "connections are taken";

    pub fn begin(_: *AcceptMultishot) bool {
        return true;
    }

    /// Its own first: they came before it was recalled.
    pub fn take(self: *AcceptMultishot) ??*Object {
        const own = if (self.accepted) |queue| queue.pop() else null;
        const fd = own orelse self.state.descriptorOf().takeAccepted() orelse return null;
        return Descriptor.create(fd, .stream, null);
    }

    /// After an error the next await tries again.
    pub fn over(self: *AcceptMultishot, last: i32) ??*Object {
        self.state.last = null;
        const descriptor = self.state.descriptorOf();
        if (descriptor.isClosing()) return descriptor.raiseClosedMeanwhile();
        if (last >= 0) return null;
        const errno: linux.E = errors.ofResult(last);
        if (errno == .CANCELED or errno == .INTR) return null;
        return callbacks.raiseErrno(-last, null, null);
    }

    pub fn prepare(self: *AcceptMultishot, _: *Shard, sqe: *Sqe) error{OutOfMemory}!multishot.Shape {
        if (self.accepted == null) self.accepted = try Spare.Queue.create();
        sqe.prep_accept(self.state.descriptorOf().fd, null, null, linux.SOCK.CLOEXEC);
        sqe.ioprio = linux.IORING_ACCEPT_MULTISHOT;
        return .{};
    }

    pub fn keep(self: *AcceptMultishot, result: i32, _: u32) void {
        if (result >= 0) self.accepted.?.push(result);
    }

    pub fn lags(self: *const AcceptMultishot) bool {
        return self.accepted.?.count() >= multishot.lag_max;
    }

    pub fn leave(self: *AcceptMultishot) bool {
        if (self.accepted) |queue| self.state.descriptorOf().leaveAccepted(queue);
        self.accepted = null;
        return true;
    }

    pub fn drop(_: *AcceptMultishot) void {}
};

pub fn define() bool {
    return AcceptMultishot.Shot.define("Incoming");
}
