//! An operation that goes on and completes many times (multishot), as an object that its task awaits again
//! and again: each await returns the next of what came. The kernel's operation holds the object. A consumer
//! that lags stops the operation, and it begins anew when all was taken. On the shard of the task that began
//! it, attached to the interpreter if nothing else is said.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const CoreOp = @import("../../task/op.zig").Op;
const Descriptor = @import("descriptor.zig").Descriptor;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const Object = api.Object;
const py = &api.py;

/// What came and waits for its consumer, before the kernel is asked to stop.
pub const lag_max = 16;

/// Begins as zero bytes.
pub const State = struct {
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

    pub fn descriptorOf(self: *const State) *Descriptor {
        return Descriptor.Type.body(self.descriptor.?);
    }

    fn release(self: *State) void {
        if (self.counted) self.descriptorOf().release();
        self.counted = false;
    }
};

/// What `prepare` made of the SQE.
pub const Shape = struct { repeats: bool = true, selects_buffer: bool = false };

/// `Body`: an object's, with a `state`, and
/// - `awaited` and `owned`: "incoming connections", "connections are taken", for errors;
/// - `begin()`: before the first operation; false with an exception set;
/// - `take()`: the oldest of what came, or an exception; null: there is nothing;
/// - `over(last)`: after an operation's end with nothing left: a value or an exception if that was the end,
///   null if it goes on;
/// - `prepare(shard, sqe)`: the next operation;
/// - `keep(result, cqe_flags)`: one more came; maybe outside the interpreter;
/// - `lags()`: too much waits for the consumer; maybe outside the interpreter;
/// - `finish(result)`, if it is there: the operation has ended; false with an exception set;
/// - `leave()`: what was not taken goes to the descriptor; false with an exception set;
/// - `drop()`: the last use.
pub fn Multishot(comptime Body: type) type {
    return struct {
        pub fn make(descriptor: *Object, _: ?*Object) callconv(.c) ?*Object {
            const instance = Body.Type.create() orelse return null;
            const state = &Body.Type.body(instance).state;
            state.descriptor = api.ref(descriptor);
            state.last = null;
            return instance;
        }

        fn step(instance: *Object, suspended: *bool) ?*Object {
            const self = Body.Type.body(instance);
            const state = &self.state;
            const me = PyTask.demand("await of " ++ Body.awaited) orelse return null;
            const owner = @atomicLoad(?*PyTask, &state.task, .acquire); // Pairs with `claim`.
            if (owner != me and (owner != null or !state.stopping) and !claim(self, me, owner)) return null;
            state.waiting = false;
            if (state.stopping) return stopped(self, me, suspended);
            if (me.cancelWanted()) return me.raiseCancel(); // What is here stays here.
            while (true) {
                if (self.take()) |answer| return answer;
                if (state.op != null) return wait(state, me, suspended);
                if (state.last) |last| if (self.over(last)) |answer| return answer;
                arm(self, me, instance) catch return py.PyErr_NoMemory();
                // It may have ended at once.
            }
        }

        /// Tasks of two shards may begin it at the same time: one does. False with an exception set; if it could
        /// not begin, the next await says so again.
        fn claim(self: *Body, me: *PyTask, owner: ?*PyTask) bool {
            const state = &self.state;
            if (owner != null or @cmpxchgStrong(?*PyTask, &state.task, null, me, .acq_rel, .acquire) != null) {
                _ = api.raise(py.PyExc_RuntimeError.*, Body.owned ++ " by the task that began it");
                return false;
            }
            state.counted = state.descriptorOf().acquire();
            if (state.counted and self.begin()) return true;
            state.release();
            @atomicStore(?*PyTask, &state.task, null, .release);
            return false;
        }

        fn wait(state: *State, me: *PyTask, suspended: *bool) ?*Object {
            state.waiting = true;
            suspended.* = true;
            return me.suspendNow();
        }

        fn arm(self: *Body, me: *PyTask, instance: *Object) error{OutOfMemory}!void {
            const shard = Shard.current().?;
            const state = &self.state;
            assert(state.op == null and state.counted);
            var sqe: Sqe = undefined;
            const shape: Shape = try self.prepare(shard, &sqe);
            const op = try shard.ops.take(&me.task, shard);
            state.op = op;
            state.last = null;
            op.descriptor_users = &state.descriptorOf().users;
            op.selects_buffer = shape.selects_buffer;
            op.on_multishot = if (shape.repeats) arrived else null;
            op.complete = ended;
            op.complete_ctx = api.ref(instance); // The kernel's, given back at the end.
            shard.launch(op, sqe);
        }

        /// On the shard, maybe outside the interpreter: one more has come.
        fn arrived(ctx: ?*anyopaque, result: i32, cqe_flags: u32) callconv(.c) void {
            const self = Body.Type.body(@ptrCast(ctx.?));
            const state = &self.state;
            self.keep(result, cqe_flags);
            if (self.lags()) Shard.current().?.cancelOp(state.op.?);
            if (!state.waiting) return;
            state.waiting = false;
            Shard.wake(&state.task.?.task);
        }

        /// On the shard, once: the kernel is done with it. The task is woken by the shard.
        fn ended(ctx: ?*anyopaque, result: i32, cqe_flags: u32) callconv(.c) void {
            const instance: *Object = @ptrCast(ctx.?);
            const self = Body.Type.body(instance);
            self.keep(result, cqe_flags);
            self.state.op = null;
            self.state.last = result;
            Shard.current().?.acquireInterpreter();
            if (@hasDecl(Body, "finish")) if (!self.finish(result)) py.PyErr_WriteUnraisable(instance);
            py.Py_DecRef(instance);
        }

        /// stop(): the next await waits for the end, leaves what was not taken, and returns None.
        fn stop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
            Body.Type.body(instance).state.stopping = true;
            return api.none();
        }

        fn stopped(self: *Body, me: *PyTask, suspended: *bool) ?*Object {
            if (self.state.op) |op| {
                Shard.current().?.cancelOp(op);
                return wait(&self.state, me, suspended);
            }
            if (self.state.counted and !self.leave()) return null;
            self.state.release();
            return api.none();
        }

        fn dealloc(instance: *Object) callconv(.c) void {
            const self = Body.Type.body(instance);
            assert(self.state.op == null); // While the kernel has it, it holds a reference.
            if (self.state.counted and !self.leave()) py.PyErr_WriteUnraisable(null);
            self.state.release();
            self.drop();
            api.drop(&self.state.descriptor);
            Body.Type.free(instance, false);
        }

        pub fn define(comptime name: [:0]const u8) bool {
            return object.define(Body.Type, name, .{
                .step = step,
                .methods = &.{object.method("stop", &stop, api.meth_noargs, "($self, /)", "The next await ends it.")},
                .dealloc = &dealloc,
            });
        }
    };
}
