//! One accept for many connections (IORING_ACCEPT_MULTISHOT, 5.19): each await returns the next
//! one. The kernel's operation holds this object. If the consumer lags, the operation stops, and
//! begins anew when all connections were taken. A connection that is accepted and never taken is
//! closed.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const object = @import("../cpython/object.zig");
const CoreOp = @import("../../task/op.zig").Op;
const Descriptor = @import("descriptor.zig").Descriptor;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Spare = @import("spare.zig").Spare;
const Sqe = @import("../../ring/ring.zig").Sqe;
const Object = api.Object;
const py = &api.py;

/// Connections that wait for their consumer before the kernel is asked to stop.
const lag_max = 16;

pub const AcceptMultishot = struct {
    descriptor: ?*Object,
    /// Counted in at the descriptor.
    counted: bool,
    /// The task that began it; only compared.
    task: ?*PyTask,
    op: ?*CoreOp,
    /// What the last operation ended with, when it has.
    last: ?i32,
    waiting: bool,
    stopping: bool,
    /// From the first operation on.
    accepted: ?*Spare.Queue,

    pub const Type = object.TypeOf(AcceptMultishot);

    pub fn make(descriptor: *Object, _: ?*Object) callconv(.c) ?*Object {
        const instance = Type.create() orelse return null;
        const self = Type.body(instance);
        self.descriptor = api.ref(descriptor);
        self.last = null;
        return instance;
    }

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = Type.body(instance);
        const me = PyTask.demand("await of incoming connections") orelse return null;
        const owner = @atomicLoad(?*PyTask, &self.task, .acquire);
        if (owner != me and (owner != null or !self.stopping)) {
            // Tasks of two shards may begin it at the same time: one does.
            if (owner != null or @cmpxchgStrong(?*PyTask, &self.task, null, me, .acq_rel, .acquire) != null)
                return api.raise(py.PyExc_RuntimeError.*, "connections are taken by the task that began it");
            self.counted = Descriptor.Type.body(self.descriptor.?).acquire();
            if (!self.counted) {
                @atomicStore(?*PyTask, &self.task, null, .release);
                return null;
            }
        }
        self.waiting = false;
        if (self.stopping) return self.stopped(me, suspended);
        if (me.cancelWanted()) return me.raiseCancel(); // What is here stays here.
        while (true) {
            if (self.next()) |fd| return Descriptor.create(fd, .stream, null);
            if (self.op == null) {
                if (!self.goesOn()) return null;
                if (!self.arm(me, instance)) return py.PyErr_NoMemory();
                continue; // It may have ended at once.
            }
            return self.wait(me, suspended);
        }
    }

    fn wait(self: *AcceptMultishot, me: *PyTask, suspended: *bool) ?*Object {
        self.waiting = true;
        suspended.* = true;
        return me.suspendNow();
    }

    /// Its own first: they came before it was recalled.
    fn next(self: *AcceptMultishot) ?i32 {
        if (self.accepted) |queue| if (queue.pop()) |fd| return fd;
        return Descriptor.Type.body(self.descriptor.?).takeAccepted();
    }

    /// After the operation's end. False, with the exception set, if that was an error: the next
    /// await tries again.
    fn goesOn(self: *AcceptMultishot) bool {
        const last = self.last orelse return true;
        self.last = null;
        if (Descriptor.Type.body(self.descriptor.?).isClosing()) {
            _ = Descriptor.Type.body(self.descriptor.?).raiseClosedMeanwhile();
            return false;
        }
        if (last >= 0) return true;
        const errno: linux.E = errors.ofResult(last);
        if (errno == .CANCELED or errno == .INTR) return true;
        _ = callbacks.raiseErrno(-last, null, null);
        return false;
    }

    /// False: no memory.
    fn arm(self: *AcceptMultishot, me: *PyTask, instance: *Object) bool {
        const shard = Shard.current().?;
        if (self.accepted == null) self.accepted = Spare.Queue.create() catch return false;
        var sqe: Sqe = undefined;
        sqe.prep_accept(Descriptor.Type.body(self.descriptor.?).fd, null, null, linux.SOCK.CLOEXEC);
        sqe.ioprio = linux.IORING_ACCEPT_MULTISHOT;
        const op = shard.ops.take(&me.task, shard) catch return false;
        self.op = op;
        self.last = null;
        op.descriptor_users = &Descriptor.Type.body(self.descriptor.?).users;
        op.on_multishot = arrived;
        op.complete = ended;
        op.complete_ctx = api.ref(instance); // The kernel's, given back at the end.
        shard.launch(op, sqe);
        return true;
    }

    /// On the shard, maybe outside the interpreter: one more connection.
    fn arrived(ctx: ?*anyopaque, result: i32, _: u32) callconv(.c) void {
        const self = Type.body(@ptrCast(ctx.?));
        self.keep(result);
        if (self.accepted.?.count() >= lag_max) Shard.current().?.cancelOp(self.op.?);
        if (!self.waiting) return;
        self.waiting = false;
        Shard.wake(&self.task.?.task);
    }

    fn keep(self: *AcceptMultishot, result: i32) void {
        if (result >= 0) self.accepted.?.push(result);
    }

    /// On the shard, once: the kernel is done with it. The task is woken by the shard.
    fn ended(ctx: ?*anyopaque, result: i32, _: u32) callconv(.c) void {
        const instance: *Object = @ptrCast(ctx.?);
        const self = Type.body(instance);
        self.keep(result);
        self.op = null;
        self.last = result;
        Shard.current().?.acquireInterpreter();
        py.Py_DecRef(instance);
    }

    /// stop(): the next await waits for the end, leaves what was not taken, and returns None.
    fn stop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        Type.body(instance).stopping = true;
        return api.none();
    }

    fn stopped(self: *AcceptMultishot, me: *PyTask, suspended: *bool) ?*Object {
        if (self.op) |op| {
            Shard.current().?.cancelOp(op);
            return self.wait(me, suspended);
        }
        self.release();
        return api.none();
    }

    fn release(self: *AcceptMultishot) void {
        if (self.accepted) |queue| Descriptor.Type.body(self.descriptor.?).leaveAccepted(queue);
        self.accepted = null;
        if (self.counted) Descriptor.Type.body(self.descriptor.?).release();
        self.counted = false;
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        std.debug.assert(self.op == null); // While the kernel has it, it holds a reference.
        self.release();
        api.drop(&self.descriptor);
        Type.free(instance, false);
    }

    pub fn define() bool {
        const awaitable = object.Awaitable(step);
        const S = struct {
            var methods = [_]api.MethodDef{
                object.method("stop", &stop, api.meth_noargs, "($self, /)", "The next await ends it."),
                .{},
            };
        };
        var slots = awaitable.slots() ++ [_]api.TypeSlot{
            object.slotOf(api.slot.methods, &S.methods),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        return Type.define("Incoming", 0, &slots);
    }
};
