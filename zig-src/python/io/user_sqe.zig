//! An SQE that Python filled, byte by byte: the public way to operations that spargio does not
//! wrap. It holds the objects that the caller named until the terminal completion, and returns the
//! kernel's answer unchanged.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const forgotten = @import("../cpython/forgotten.zig");
const callbacks = @import("../cpython/callbacks.zig");
const object = @import("../cpython/object.zig");
const single_await = @import("single_await.zig");
const shown = @import("shown.zig");
const user_sqe = @import("../../ops/user_sqe.zig");
const PyRuntime = @import("../task/py_runtime.zig").PyRuntime;
const CoreOp = @import("../../task/op.zig").Op;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const Object = api.Object;
const py = &api.py;

const Submission = struct {
    state: single_await.State,
    sqe: Sqe,
    /// A tuple of what the kernel reads and writes.
    keep: ?*Object,

    pub const Type = object.TypeOf(Submission);

    pub const noun = "an SQE";

    pub fn isShielded(_: *const Submission) bool {
        return false;
    }

    pub fn mayBegin(self: *const Submission) bool {
        if (user_sqe.supported(Shard.current().?, &self.sqe)) return true;
        var text: [96]u8 = undefined;
        const opcode = self.sqe.opcode;
        const said = std.fmt.bufPrint(&text, "opcode {d} (IORING_OP_{t}) needs io_uring: the backend is epoll", .{
            @backingInt(opcode), opcode,
        }) catch unreachable;
        _ = callbacks.raiseErrno(@backingInt(linux.E.OPNOTSUPP), said, null);
        return false;
    }

    pub fn cancelledBefore(_: *Submission, me: *PyTask) ?*Object {
        return me.raiseCancel();
    }

    pub fn awaitedBefore(_: *const Submission) ?*Object {
        return api.raise(py.PyExc_RuntimeError.*, "an SQE can be awaited once");
    }

    pub fn begin(self: *Submission, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        const op = user_sqe.submit(Shard.current().?, &me.task, &self.sqe) catch {
            self.state = .finished;
            return py.PyErr_NoMemory();
        };
        suspended.* = true;
        return me.suspendForOp(op, instance, false);
    }

    /// (res, flags), or the cancellation if that is what ended it.
    pub fn completed(self: *Submission, me: *PyTask, op: *CoreOp, _: *Object, _: *bool) ?*Object {
        const flags = op.cqe_flags;
        const result = Shard.current().?.ops.consume(op);
        me.op = null;
        self.finish();
        const cancelled = errors.negative(.CANCELED);
        const interrupted = errors.negative(.INTR);
        if ((result == cancelled and me.cancelReached()) or (result == interrupted and me.cancelWanted()))
            return me.raiseCancel();
        const tuple = py.PyTuple_New(2) orelse return null;
        for ([_]i64{ result, flags }, 0..) |part, i| {
            const number = py.PyLong_FromLongLong(part) orelse {
                py.Py_DecRef(tuple);
                return null;
            };
            _ = py.PyTuple_SetItem(tuple, @intCast(i), number);
        }
        return tuple;
    }

    pub fn finish(self: *Submission) void {
        self.state = .finished;
        api.drop(&self.keep);
    }

    fn name(self: *const Submission) []const u8 {
        return std.enums.tagName(linux.IORING_OP, self.sqe.opcode) orelse "of no name";
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        return shown.ofOperation("Submission", self.name(), null, single_await.seen(&self.state));
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        if (self.state == .new) {
            var text: [shown.room]u8 = undefined;
            forgotten.warn(instance, shown.operation(&text, "SQE ", self.name(), null));
        } else forgotten.used(instance);
        // While the kernel has it the task holds a reference.
        api.drop(&self.keep);
        Type.free(instance, false);
    }
};

/// submit_sqe(sqe: a buffer of 64 bytes, keep: tuple) -> awaitable of (res, flags)
pub fn submit(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("submit_sqe", count, 2)) return null;
    var view: api.Buffer = .{};
    if (py.PyObject_GetBuffer(arguments[0], &view, api.buffer_simple) != 0) return null;
    defer py.PyBuffer_Release(&view);
    if (view.len != @sizeOf(Sqe))
        return api.raiseFormat(py.PyExc_ValueError.*, "sqe must have {d} bytes, got {d}", .{ @sizeOf(Sqe), view.len });
    var sqe: Sqe = undefined;
    @memcpy(std.mem.asBytes(&sqe), view.buf.?[0..@sizeOf(Sqe)]);
    var text: [256]u8 = undefined;
    if (user_sqe.refusal(&sqe, &text)) |why| return api.raiseFormat(py.PyExc_ValueError.*, "sqe: {s}", .{why});
    const instance = Submission.Type.create() orelse return null;
    forgotten.made(instance);
    Submission.Type.body(instance).sqe = sqe;
    Submission.Type.body(instance).keep = api.ref(arguments[1]);
    return instance;
}

/// address_of(buffer) -> a number. The caller sees to it that the memory stays.
fn addressOf(_: ?*Object, given: *Object) callconv(.c) ?*Object {
    var view: api.Buffer = .{};
    if (py.PyObject_GetBuffer(given, &view, api.buffer_simple) != 0) return null;
    defer py.PyBuffer_Release(&view);
    return py.PyLong_FromUnsignedLongLong(@intFromPtr(view.buf));
}

/// ops_in_flight(runtime) -> one number per shard, as of its last pass; of the current shard, as of now.
fn opsInFlight(_: ?*Object, given: *Object) callconv(.c) ?*Object {
    if (!PyRuntime.Type.is(given)) return api.raise(py.PyExc_TypeError.*, "ops_in_flight() takes a Runtime");
    const scheduler = &PyRuntime.of(given).runtime.scheduler;
    const here = Shard.currentOf(scheduler);
    const list = py.PyList_New(@intCast(scheduler.shards.len)) orelse return null;
    for (scheduler.shards, 0..) |*shard, i| {
        const depth: u64 = if (shard == here) shard.ops.flying else shard.gauges.ops_in_flight.get();
        const number = py.PyLong_FromUnsignedLongLong(depth) orelse {
            py.Py_DecRef(list);
            return null;
        };
        _ = py.PyList_SetItem(list, @intCast(i), number);
    }
    return list;
}

/// count_affinity_violation(runtime)
fn countViolation(_: ?*Object, given: *Object) callconv(.c) ?*Object {
    if (!PyRuntime.Type.is(given)) return api.raise(py.PyExc_TypeError.*, "count_affinity_violation() takes a Runtime");
    const scheduler = &PyRuntime.of(given).runtime.scheduler;
    scheduler.countSpawn(Shard.currentOf(scheduler), .native_affinity_violations);
    return api.none();
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("submit_sqe", &submit, api.meth_fastcall, "(sqe, keep, /)", "An awaitable of (res, flags)."),
    object.method("address_of", &addressOf, api.meth_one, "(buffer, /)", "Where its bytes lie."),
    object.method(
        "ops_in_flight",
        &opsInFlight,
        api.meth_one,
        "(runtime, /)",
        "A list, one number per shard.",
    ),
    object.method("count_affinity_violation", &countViolation, api.meth_one, "(runtime, /)", "Count one."),
};

pub fn define() bool {
    const Single = single_await.SingleOp(Submission);
    return object.define(Submission.Type, "Submission", .{
        .step = Single.step,
        .give_up = Single.giveUp,
        .repr = &Submission.show,
        .dealloc = &Submission.dealloc,
    });
}
