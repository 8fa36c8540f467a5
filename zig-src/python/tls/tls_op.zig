//! A read, a write or the handshake of a TLS connection over a spargio socket: the common part of the operations. An
//! operation opens what is here, or receives more; seals, and sends. It is awaited once, by a task of any
//! shard. recv.zig, recv_into.zig and write_all.zig say what each does; turn.zig, who receives and sends.

const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const exported = @import("../io/exported.zig");
const forgotten = @import("../cpython/forgotten.zig");
const handshake = @import("handshake.zig");
const input = @import("input.zig");
const object = @import("../cpython/object.zig");
const provided_buffers = @import("../../ring/provided_buffers.zig");
const recv = @import("recv.zig");
const retry = @import("../io/retry.zig");
const shown = @import("../io/shown.zig");
const single_await = @import("../io/single_await.zig");
const turn = @import("turn.zig");
const write_all = @import("write_all.zig");
const CoreOp = @import("../../task/op.zig").Op;
const Descriptor = @import("../io/descriptor.zig").Descriptor;
const Engine = @import("engine.zig").Engine;
const EngineType = @import("engine_type.zig").Type;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

const Kind = enum(u8) { recv, recv_into, write_all, handshake };

/// What the kernel does for it.
const Phase = enum(u8) { here, input, output };

pub const TlsOp = struct {
    kind: Kind,
    state: single_await.State,
    phase: Phase,
    /// Counted in at the descriptor.
    counted: bool,
    /// It is the connection's one write.
    has_writing: bool,
    /// The receive has no memory of its own: the kernel selects a buffer.
    selects_buffer: bool,
    /// It waits until a nonblocking socket is ready, and is tried anew then.
    polls: bool,
    turns: turn.Turns,
    /// What was fed when it looked last.
    fed: u32,
    engine: ?*Object,
    descriptor: ?*Object,
    /// Bytes that a recv returns at most.
    most: u64,
    /// A bytes object of the caller's, or what another object exports; `memory` lies in it.
    held: ?*Object,
    view: ?*api.Buffer,
    memory: []u8,
    progress: usize,
    /// Room of the receive that is under way.
    room: []u8,
    flight: Engine.Flight,
    sent: usize,

    pub const Type = object.TypeOf(TlsOp);

    pub fn create(kind: Kind, engine: *Object, descriptor: *Object) ?*TlsOp {
        if (!Descriptor.Type.is(descriptor)) {
            _ = api.raise(py.PyExc_TypeError.*, "a TLS operation takes a Descriptor");
            return null;
        }
        const instance = Type.create() orelse return null;
        const self = Type.body(instance); // The rest is zero: new, nothing held.
        self.kind = kind;
        self.memory = &.{};
        self.room = &.{};
        self.flight = .{};
        self.engine = api.ref(engine);
        self.descriptor = api.ref(descriptor);
        forgotten.made(instance);
        return self;
    }

    pub fn engineOf(self: *TlsOp) *Engine {
        return EngineType.body(self.engine.?);
    }

    pub fn descriptorOf(self: *TlsOp) *Descriptor {
        return Descriptor.Type.body(self.descriptor.?);
    }

    /// Exports the memory of `source`. False with an exception set.
    pub fn lend(self: *TlsOp, source: *Object, flags: c_int) bool {
        self.view = exported.from(source, flags);
        self.memory = exported.bytes(self.view orelse return false);
        return true;
    }

    /// It was not made after all.
    pub fn unmade(self: *TlsOp) ?*Object {
        self.state = .finished;
        py.Py_DecRef(Type.objectOf(self));
        return null;
    }

    // ---- what SingleOp asks for ----

    pub const noun = "an operation";

    pub fn isShielded(_: *const TlsOp) bool {
        return false;
    }

    pub fn mayBegin(_: *const TlsOp) bool {
        return true;
    }

    pub fn cancelledBefore(self: *TlsOp, me: *PyTask) ?*Object {
        _ = me.raiseCancel();
        if (self.kind == .write_all) callbacks.sayWritten(0);
        return null;
    }

    pub fn awaitedBefore(self: *const TlsOp) ?*Object {
        return shown.raiseAwaitedBefore(@tagName(self.kind), self.descriptor);
    }

    pub fn begin(self: *TlsOp, me: *PyTask, _: *Object, suspended: *bool) ?*Object {
        self.counted = self.descriptorOf().acquire();
        if (!self.counted) return self.failed();
        if (self.kind == .write_all and !write_all.begin(self)) return self.failed();
        return self.goOn(me, suspended);
    }

    pub fn waiter(self: *TlsOp) ?*PyTask {
        return turn.waiter(self);
    }

    pub fn resumed(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
        return turn.resumed(self, me, suspended);
    }

    pub fn completed(self: *TlsOp, me: *PyTask, op: *CoreOp, _: *Object, suspended: *bool) ?*Object {
        const shard = Shard.current().?;
        const provided = provided_buffers.idOf(op.cqe_flags);
        const result = shard.ops.consume(op);
        me.op = null;
        const phase = self.phase;
        self.phase = .here;
        if (provided) |id| {
            if (result > 0) return input.receivedProvided(self, me, suspended, id, @intCast(result));
            shard.buffers.ready.giveBack(id);
        }
        if (result < 0) return self.stopped(me, suspended, -result, phase);
        if (self.polls) {
            self.polls = false;
            return self.again(me, suspended, phase);
        }
        return if (phase == .output)
            write_all.sentSome(self, me, suspended, @intCast(result))
        else
            input.received(self, me, suspended, @intCast(result));
    }

    // ---- on its way ----

    pub fn goOn(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
        return switch (self.kind) {
            .write_all => write_all.goOn(self, me, suspended),
            .handshake => handshake.goOn(self, me, suspended),
            .recv, .recv_into => recv.goOn(self, me, suspended),
        };
    }

    pub fn isClosing(self: *TlsOp) bool {
        return self.engineOf().closing.load(.acquire) or self.descriptorOf().isClosing();
    }

    pub fn raiseClosed(self: *TlsOp) ?*Object {
        _ = api.raise(callbacks.table.ClosedError, "the TLS stream is closed");
        return self.failed();
    }

    pub fn fly(
        self: *TlsOp,
        me: *PyTask,
        suspended: *bool,
        phase: Phase,
        launched: error{OutOfMemory}!*CoreOp,
    ) ?*Object {
        const op = launched catch {
            input.unpin(self);
            _ = py.PyErr_NoMemory();
            return self.failed();
        };
        op.descriptor_users = &self.descriptorOf().users;
        self.phase = phase;
        suspended.* = true;
        return me.suspendForOp(op, Type.objectOf(self), false);
    }

    /// The same receive or send another time.
    pub fn again(self: *TlsOp, me: *PyTask, suspended: *bool, phase: Phase) ?*Object {
        if (self.isClosing()) return self.raiseClosed();
        return if (phase == .output) write_all.send(self, me, suspended) else input.receive(self, me, suspended);
    }

    pub fn stopped(self: *TlsOp, me: *PyTask, suspended: *bool, errno: i32, phase: Phase) ?*Object {
        input.unpin(self);
        switch (retry.next(errno, me, !self.polls, self.selects_buffer)) {
            .cancel => return self.cancelled(me),
            .again => return self.again(me, suspended, phase),
            .poll => {
                self.polls = true;
                return self.again(me, suspended, phase);
            },
            .own_memory => return input.receiveOwn(self, me, suspended),
            .fail => {},
        }
        if (self.isClosing()) {
            if (me.cancelWanted()) return self.cancelled(me);
            return self.raiseClosed();
        }
        _ = callbacks.raiseErrno(errno, null, self.descriptorOf().name);
        return self.failed();
    }

    /// In a task of its own: Python's half spawns it. It must not fail what is under way here.
    pub fn sendAside(self: *TlsOp) void {
        const aside: api.Aside = .take();
        defer aside.restore();
        const stream_of = self.engineOf().aside orelse return;
        const stream = api.call(stream_of, &.{}) orelse return py.PyErr_WriteUnraisable(stream_of);
        defer py.Py_DecRef(stream);
        if (stream == py._Py_NoneStruct) return;
        const function = py.PyObject_GetAttrString(stream, "_flush_aside") orelse
            return py.PyErr_WriteUnraisable(stream);
        defer py.Py_DecRef(function);
        const done = api.call(function, &.{}) orelse return py.PyErr_WriteUnraisable(function);
        py.Py_DecRef(done);
    }

    // ---- ends ----

    pub fn cancelled(self: *TlsOp, me: *PyTask) ?*Object {
        _ = me.raiseCancel();
        return self.failed();
    }

    /// The exception is set.
    pub fn failed(self: *TlsOp) ?*Object {
        write_all.putFlightBack(self);
        if (self.kind == .write_all) callbacks.sayWritten(self.progress);
        const engine = self.engineOf();
        const left = @atomicLoad(usize, &engine.out_len, .acquire) > 0 and !self.isClosing() and
            self.kind != .handshake; // The next one sends it first.
        self.finish();
        if (left) self.sendAside();
        return null;
    }

    pub fn succeeded(self: *TlsOp, value: ?*Object) ?*Object {
        self.finish();
        return value;
    }

    /// The kernel is done with it, for good.
    pub fn finish(self: *TlsOp) void {
        self.state = .finished;
        turn.give(self, .receiving);
        turn.give(self, .sending);
        write_all.end(self);
        if (self.counted) {
            self.counted = false;
            self.descriptorOf().release();
        }
        exported.letGo(&self.view);
        api.drop(&self.held);
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        return shown.ofOperation("TlsOperation", @tagName(self.kind), self.descriptor, single_await.seen(&self.state));
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        if (self.state == .new) {
            var text: [shown.room]u8 = undefined;
            forgotten.warn(instance, shown.operation(&text, "operation ", @tagName(self.kind), self.descriptor));
        } else forgotten.used(instance);
        self.abandon(); // While the kernel has it the task holds a reference.
        self.finish();
        api.drop(&self.descriptor);
        api.drop(&self.engine);
        Type.free(instance, false);
    }

    /// A coroutine that was closed by hand in the middle: nobody knows what the kernel did for it.
    fn abandon(self: *TlsOp) void {
        turn.abandon(self);
        if (self.phase != .here) {
            input.unpin(self);
            self.engineOf().fault = .{ .kind = .failed };
        }
        write_all.dropFlight(self);
    }
};

pub fn define() bool {
    const Single = single_await.SingleOp(TlsOp);
    return object.define(TlsOp.Type, "TlsOperation", .{
        .step = Single.step,
        .give_up = Single.giveUp,
        .repr = &TlsOp.show,
        .dealloc = &TlsOp.dealloc,
    });
}
