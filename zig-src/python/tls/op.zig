//! A read or write of a TLS connection over a spargio socket. The awaitable of a read decrypts what
//! is here, or receives more; that of a write encrypts, and sends. It can be awaited once, by a
//! task of any shard. Exchanges of one unit, which Python's half uses as well, decide which task
//! receives and which one sends.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const provided_buffers = @import("../../ring/provided_buffers.zig");
const exchange_type = @import("../sync/exchange_type.zig");
const forgotten = @import("../cpython/forgotten.zig");
const gpa = @import("../../base/memory.zig").gpa;
const callbacks = @import("../cpython/callbacks.zig");

const py_interpreter = @import("../task/py_interpreter.zig");
const net = @import("../../ops/net.zig");
const object = @import("../cpython/object.zig");
const pool = @import("pool.zig");
const single_await = @import("../io/single_await.zig");
const shown = @import("../io/shown.zig");
const CoreOp = @import("../../task/op.zig").Op;
const Descriptor = @import("../io/descriptor.zig").Descriptor;
const Engine = @import("engine.zig").Engine;
const EngineType = @import("engine_type.zig").Type;
const Exchange = @import("../sync/exchange.zig").Exchange;
const Future = @import("../sync/future.zig").Future;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const raiseFault = @import("engine_type.zig").raiseFault;
const Object = api.Object;
const py = &api.py;

/// Plaintext bytes that are sealed before they are sent: their records go out with one call.
const flight_max = 64 * 1024;
/// What a receive into memory of its own makes room for: such a flight with its records, and some more.
const room_max = 72 * 1024;
/// From so many bytes on, other shards may have the interpreter while the cipher runs.
const apart_min = 4 * 1024;

/// A flight of so many bytes is tried without the ring; of so many in one pass of the shard.
const direct_min = 16 * 1024;
const direct_max = 32;
threadlocal var direct_at_ns: u64 = 0;
threadlocal var direct_count: u32 = 0;

// ---- opening and sealing, attached and without the engine's lock ----

fn worthApart(size: usize) bool {
    if (size < apart_min or !py_interpreter.interpreter.locked) return false;
    const shard = Shard.current() orelse return true;
    return shard.scheduler.shards.len > 1;
}

pub fn openInto(engine: *Engine, room: []u8) Engine.Opened {
    if (worthApart(room.len)) {
        const state = py.PyEval_SaveThread();
        engine.enterDetached();
        const opened = engine.open(room);
        engine.leave();
        py_interpreter.comeBack(state);
        return opened;
    }
    engine.enter();
    defer engine.leave();
    return engine.open(room);
}

/// `data` stays where it is meanwhile.
pub fn sealFrom(engine: *Engine, data: []const u8) usize {
    if (worthApart(data.len)) {
        const state = py.PyEval_SaveThread();
        engine.enterDetached();
        const count = engine.seal(data);
        engine.leave();
        py_interpreter.comeBack(state);
        return count;
    }
    engine.enter();
    defer engine.leave();
    return engine.seal(data);
}

pub const Outcome = enum { value, raised, want };

/// At most `most` bytes, as an object of their size.
pub fn readBytes(engine_object: *Object, most: u64, value: *?*Object) Outcome {
    const engine = EngineType.body(engine_object);
    engine.enter();
    const may = engine.mayRead();
    const hint = if (may and !engine.ended and engine.fault.kind == .none) engine.plainSize(@intCast(most)) else 0;
    engine.leave();
    if (!may) return .want;
    const size: usize = @intCast(@min(most, if (hint == 0) 1024 else hint));
    var bytes = py.PyBytes_FromStringAndSize(null, @intCast(size));
    const opened = openInto(engine, (py.PyBytes_AsString(bytes orelse return .raised) orelse return .raised)[0..size]);
    if (opened.status == .want or opened.status == .failed) {
        api.drop(&bytes);
        if (opened.status == .want) return .want;
        _ = raiseFault(engine);
        return .raised;
    }
    if (opened.count != size and py._PyBytes_Resize(&bytes, @intCast(opened.count)) != 0) return .raised;
    value.* = bytes;
    return .value;
}

// ---- the awaitable ----

const Kind = enum(u8) { recv, recv_into, write_all };

const Phase = enum(u8) {
    /// It runs.
    here,
    /// Another one receives or sends.
    turn,
    /// The kernel has it.
    input,
    output,
};

pub const TlsOp = struct {
    kind: Kind,
    state: single_await.State,
    phase: Phase,
    /// Counted in at the descriptor.
    counted: bool,
    has_receiving: bool,
    has_sending: bool,
    has_writing: bool,
    /// The receive has no memory of its own: the kernel selects_buffer a buffer.
    selects_buffer: bool,
    /// It waits until a nonblocking socket is ready, and is tried anew then.
    polls: bool,
    engine: ?*Object,
    descriptor: ?*Object,
    /// The future of a turn that is waited for.
    turn: ?*Object,
    turn_is_sending: bool,
    /// What was fed when it looked last.
    fed: u32,
    /// Memory of the caller's.
    held: ?*Object,
    view: ?*api.Buffer,
    data: [*]u8,
    length: usize,
    progress: usize,
    /// Room of the receive that is under way.
    room: []u8,
    flight: Engine.Flight,
    sent: usize,

    const Type = object.TypeOf(TlsOp);

    fn create(kind: Kind, engine: *Object, descriptor: *Object) ?*TlsOp {
        if (!Descriptor.Type.is(descriptor)) {
            _ = api.raise(py.PyExc_TypeError.*, "a TLS operation takes a Descriptor");
            return null;
        }
        const instance = Type.create() orelse return null;
        const self = Type.body(instance); // The rest is zero: new, nothing held.
        self.kind = kind;
        self.room = &.{};
        self.flight = .{};
        self.engine = api.ref(engine);
        self.descriptor = api.ref(descriptor);
        forgotten.made(instance);
        return self;
    }

    fn engineOf(self: *TlsOp) *Engine {
        return EngineType.body(self.engine.?);
    }

    fn descriptorOf(self: *TlsOp) *Descriptor {
        return Descriptor.Type.body(self.descriptor.?);
    }

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = Type.body(instance);
        const me = PyTask.demand("await of an operation") orelse {
            single_await.ask(&self.state);
            return null;
        };
        switch (single_await.seen(&self.state)) {
            .new, .asked => {
                if (me.cancelWanted()) {
                    single_await.ask(&self.state);
                    _ = me.raiseCancel();
                    if (self.kind == .write_all) callbacks.sayWritten(0);
                    return null;
                }
                if (!single_await.claim(&self.state)) return twice();
                if (!self.begin()) return self.failed();
                return self.proceed(me, instance, suspended);
            },
            .flying => return switch (self.phase) {
                .here => twice(),
                .turn => self.turned(me, instance, suspended),
                .input, .output => self.landed(me, instance, suspended),
            },
            .finished => return shown.raiseAwaitedBefore(@tagName(self.kind), self.descriptor),
        }
    }

    fn twice() ?*Object {
        return api.raise(py.PyExc_RuntimeError.*, "an operation is awaited by two tasks");
    }

    /// False with an exception set.
    fn begin(self: *TlsOp) bool {
        if (!self.descriptorOf().acquire()) return false;
        self.counted = true;
        if (self.kind != .write_all) return true;
        self.has_writing = exchange_type.Type.body(self.engineOf().writing.?).takeUnits(1);
        if (self.has_writing) return true;
        _ = api.raise(callbacks.table.BusyError, "another task writes to this stream: one may at a time");
        return false;
    }

    fn proceed(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        self.phase = .here;
        return if (self.kind == .write_all)
            self.writeOn(me, instance, suspended)
        else
            self.readOn(me, instance, suspended);
    }

    fn isClosing(self: *TlsOp) bool {
        return self.engineOf().closing.load(.acquire) or self.descriptorOf().isClosing();
    }

    fn raiseClosed(self: *TlsOp) ?*Object {
        _ = api.raise(callbacks.table.ClosedError, "the TLS stream is closed");
        return self.failed();
    }

    // ---- reading ----

    fn readOn(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        while (true) {
            if (self.isClosing()) return self.raiseClosed();
            var value: ?*Object = null;
            switch (self.tryRead(&value)) {
                .value => return self.succeeded(value),
                .raised => return self.failed(),
                .want => {},
            }
            if (me.cancelWanted()) return self.cancelled(me);
            if (!self.has_receiving) {
                if (!self.takeTurn(false)) return self.waitForTurn(me, suspended, false);
                if (self.engineOf().fed.load(.acquire) != self.fed) continue;
            }
            return self.receive(me, instance, suspended);
        }
    }

    fn tryRead(self: *TlsOp, value: *?*Object) Outcome {
        const engine = self.engineOf();
        self.fed = engine.fed.load(.acquire);
        const outcome = if (self.kind == .recv)
            readBytes(self.engine.?, self.length, value)
        else
            self.readInto(value);
        // The answer to a key update, an alert. A write that is under way sends it as well.
        if (@atomicLoad(usize, &engine.out_len, .monotonic) > 0) self.sendAside();
        return outcome;
    }

    fn readInto(self: *TlsOp, value: *?*Object) Outcome {
        const engine = self.engineOf();
        engine.enter();
        const may = engine.mayRead();
        engine.leave();
        if (!may) return .want;
        const opened = openInto(engine, self.data[0..self.length]);
        switch (opened.status) {
            .want => return .want,
            .failed => {
                _ = raiseFault(engine);
                return .raised;
            },
            .data, .ended => value.* = py.PyLong_FromLongLong(@intCast(opened.count)),
        }
        return if (value.* == null) .raised else .value;
    }

    // ---- writing ----

    fn writeOn(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        const engine = self.engineOf();
        while (true) {
            if (@atomicLoad(usize, &engine.out_len, .acquire) > 0 or self.flight.len > 0) {
                if (!self.has_sending and !self.takeTurn(true)) return self.waitForTurn(me, suspended, true);
                if (self.flight.len == 0) self.nextFlight();
                if (self.flight.len > 0) {
                    if (!self.sendNow()) return self.send(me, instance, suspended);
                    self.dropFlight();
                    continue;
                }
            }
            self.giveTurn(true);
            if (self.progress == self.length) return self.succeeded(api.none());
            if (self.isClosing()) return self.raiseClosed();
            if (engine.shut.load(.acquire)) {
                _ = api.raise(callbacks.table.ClosedError, "the TLS stream is shut down for writing");
                return self.failed();
            }
            if (me.cancelWanted()) return self.cancelled(me);
            self.fed = engine.fed.load(.acquire);
            const rest = self.data[self.progress..self.length];
            const count = sealFrom(engine, rest[0..@min(rest.len, flight_max)]);
            self.progress += count;
            if (count > 0) continue;
            if (engine.fault.kind != .none) {
                _ = raiseFault(engine);
                return self.failed();
            }
            if (@atomicLoad(usize, &engine.out_len, .acquire) > 0) continue;
            // The peer began a handshake anew, and is to say more.
            if (!self.takeTurn(false)) return self.waitForTurn(me, suspended, false);
            if (engine.fed.load(.acquire) == self.fed) return self.receive(me, instance, suspended);
            self.giveTurn(false);
        }
    }

    fn nextFlight(self: *TlsOp) void {
        const engine = self.engineOf();
        engine.enter();
        self.flight = engine.takeOut();
        engine.leave();
        self.sent = 0;
    }

    fn dropFlight(self: *TlsOp) void {
        Engine.freeOut(self.flight.memory);
        self.flight = .{};
    }

    /// What was not sent goes first the next time.
    fn putFlightBack(self: *TlsOp) void {
        if (self.flight.len == 0) return self.dropFlight();
        const engine = self.engineOf();
        engine.enter();
        engine.putBack(self.flight.memory[self.sent..self.flight.len]) catch {
            engine.fault = .{ .kind = .failed }; // Without memory for it the connection is torn.
        };
        engine.leave();
        self.dropFlight();
    }

    /// In a task of its own: Python's half spawns it. It must not fail what is under way here.
    fn sendAside(self: *TlsOp) void {
        const aside: api.Aside = .take();
        defer aside.restore();
        const make = self.engineOf().aside orelse return;
        const function = api.call(make, &.{}) orelse return py.PyErr_WriteUnraisable(make);
        defer py.Py_DecRef(function);
        if (function == py._Py_NoneStruct) return;
        const done = api.call(function, &.{}) orelse return py.PyErr_WriteUnraisable(function);
        py.Py_DecRef(done);
    }

    // ---- turns ----

    fn exchangeOf(self: *TlsOp, sending: bool) *Exchange {
        const engine = self.engineOf();
        return exchange_type.Type.body(if (sending) engine.sending.? else engine.receiving.?);
    }

    fn takeTurn(self: *TlsOp, sending: bool) bool {
        const taken = self.exchangeOf(sending).takeUnits(1);
        if (taken) self.setTurn(sending, true);
        return taken;
    }

    fn setTurn(self: *TlsOp, sending: bool, has: bool) void {
        if (sending) self.has_sending = has else self.has_receiving = has;
    }

    fn giveTurn(self: *TlsOp, sending: bool) void {
        if (!(if (sending) self.has_sending else self.has_receiving)) return;
        self.setTurn(sending, false);
        _ = self.exchangeOf(sending).putUnits(1);
    }

    fn waitForTurn(self: *TlsOp, me: *PyTask, suspended: *bool, sending: bool) ?*Object {
        self.turn = Future.create() orelse return self.failed();
        self.turn_is_sending = sending;
        self.exchangeOf(sending).joinForUnits(Future.Type.body(self.turn.?), 1);
        return self.awaitTurn(me, suspended);
    }

    fn awaitTurn(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
        const future = Future.Type.body(self.turn.?);
        self.phase = .turn;
        suspended.* = true;
        if (me.awaitLatch(&future.latch, self.turn.?)) return me.suspendNow();
        return me.suspendYield(); // It is ours already: at the next step.
    }

    fn turned(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        const future = Future.Type.body(self.turn.?);
        if (!future.latch.isDone()) {
            if (!me.cancelReached()) return self.awaitTurn(me, suspended);
            me.endWait();
            const left = self.exchangeOf(self.turn_is_sending).leave(future, .takers);
            if (!left) self.setTurn(self.turn_is_sending, true);
            api.drop(&self.turn);
            return self.cancelled(me);
        }
        me.endWait();
        self.setTurn(self.turn_is_sending, true);
        api.drop(&self.turn);
        if (!self.turn_is_sending and self.engineOf().fed.load(.acquire) != self.fed and self.kind == .write_all)
            self.giveTurn(false);
        return self.proceed(me, instance, suspended);
    }

    // ---- the kernel ----

    fn receive(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        const shard = Shard.current().?;
        const descriptor = self.descriptorOf();
        const drained = descriptor.drained.load(.monotonic);
        self.selects_buffer = !self.polls and shard.providedBuffers() != null;
        if (self.polls) {
            return self.fly(me, instance, suspended, .input, net.poll(shard, &me.task, descriptor.fd, linux.POLL.IN));
        }
        if (self.selects_buffer) {
            const op = net.recvProvided(shard, &me.task, descriptor.fd, provided_buffers.size, drained);
            return self.fly(me, instance, suspended, .input, op);
        }
        return self.receiveOwn(me, instance, suspended);
    }

    fn receiveOwn(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        const descriptor = self.descriptorOf();
        const engine = self.engineOf();
        self.selects_buffer = false;
        const size = std.math.clamp(descriptor.room.load(.monotonic), provided_buffers.size, room_max);
        engine.enter();
        const room = engine.queue.reserve(size);
        engine.leave();
        self.room = room catch {
            _ = py.PyErr_NoMemory();
            return self.failed();
        };
        const drained = descriptor.drained.load(.monotonic);
        const op = net.recv(Shard.current().?, &me.task, descriptor.fd, self.room, 0, drained);
        return self.fly(me, instance, suspended, .input, op);
    }

    /// A large flight is tried at once: its memory, which is in the CPU's cache, is free for the
    /// next one. It stops after a while, because others wait as well. Returns whether all of it
    /// went out.
    fn sendNow(self: *TlsOp) bool {
        if (self.flight.len < direct_min or self.polls) return false;
        const now_ns = Shard.current().?.now_ns;
        if (direct_at_ns != now_ns) {
            direct_at_ns = now_ns;
            direct_count = 0;
        }
        if (direct_count == direct_max) return false;
        direct_count += 1;
        const rest = self.flight.memory[self.sent..self.flight.len];
        const state = if (worthApart(rest.len)) py.PyEval_SaveThread() else null;
        const fd = self.descriptorOf().fd;
        const flags = linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL;
        const rc = linux.sendto(fd, rest.ptr, rest.len, flags, null, 0);
        if (state) |one| py_interpreter.comeBack(one);
        // An error comes again, if the ring is asked.
        if (linux.errno(rc) != .SUCCESS) return false;
        self.sent += rc;
        return self.sent == self.flight.len;
    }

    fn send(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        const shard = Shard.current().?;
        const fd = self.descriptorOf().fd;
        const rest = self.flight.memory[self.sent..self.flight.len];
        const op = if (self.polls)
            net.poll(shard, &me.task, fd, linux.POLL.OUT)
        else
            net.send(shard, &me.task, fd, rest, linux.MSG.WAITALL);
        return self.fly(me, instance, suspended, .output, op);
    }

    fn fly(
        self: *TlsOp,
        me: *PyTask,
        instance: *Object,
        suspended: *bool,
        phase: Phase,
        launched: error{OutOfMemory}!*CoreOp,
    ) ?*Object {
        const op = launched catch {
            self.unpin();
            _ = py.PyErr_NoMemory();
            return self.failed();
        };
        op.descriptor_users = &self.descriptorOf().users;
        self.phase = phase;
        suspended.* = true;
        return me.suspendForOp(op, instance, false);
    }

    fn unpin(self: *TlsOp) void {
        if (self.room.len == 0) return;
        const engine = self.engineOf();
        engine.enter();
        engine.queue.commit(0);
        engine.leave();
        self.room = &.{};
    }

    fn landed(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        // The task that started it, and no later one at the same address, owns it.
        if (me.op_owner != instance or me.op == null) return twice();
        const op = me.op.?;
        if (op.phase == .flying) { // Resumed by something else than its completion.
            suspended.* = true;
            return me.suspendForOp(op, instance, false);
        }
        const shard = Shard.current().?;
        const provided = provided_buffers.idOf(op.cqe_flags);
        const result = shard.ops.consume(op);
        me.op = null;
        const output = self.phase == .output;
        self.phase = .here;
        if (provided) |id| {
            if (result > 0) return self.receivedProvided(me, instance, suspended, id, @intCast(result));
            shard.buffers.ready.giveBack(id);
        }
        if (result < 0) return self.stopped(me, instance, suspended, -result, output);
        if (self.polls) {
            self.polls = false;
            return self.proceedFlying(me, instance, suspended, output);
        }
        return if (output)
            self.sentSome(me, instance, suspended, @intCast(result))
        else
            self.received(me, instance, suspended, @intCast(result));
    }

    fn proceedFlying(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool, output: bool) ?*Object {
        if (self.isClosing()) return self.raiseClosed();
        return if (output) self.send(me, instance, suspended) else self.receive(me, instance, suspended);
    }

    fn receivedProvided(
        self: *TlsOp,
        me: *PyTask,
        instance: *Object,
        suspended: *bool,
        id: u16,
        count: usize,
    ) ?*Object {
        const shard = Shard.current().?;
        const engine = self.engineOf();
        self.descriptorOf().received(count, provided_buffers.size);
        const first = shard.buffers.ready.all(id)[0..count];
        var more: ?[]u8 = null;
        const all = if (count == provided_buffers.size) self.takeMore(first, &more) else first;
        defer if (more) |memory| pool.give(memory);
        engine.enter();
        const lent = engine.queue.lend(all);
        engine.leave();
        _ = engine.fed.fetchAdd(1, .acq_rel);
        var value: ?*Object = null;
        const outcome: Outcome = if (self.kind == .write_all or self.isClosing()) .want else self.tryRead(&value);
        engine.enter();
        const settled = engine.queue.settle();
        engine.leave();
        shard.buffers.ready.giveBack(id);
        lent catch return self.torn(value);
        settled catch return self.torn(value);
        switch (outcome) {
            .value => return self.succeeded(value),
            .raised => return self.failed(),
            .want => {},
        }
        if (self.kind == .write_all) self.giveTurn(false);
        return self.proceed(me, instance, suspended);
    }

    /// The buffer was filled, so there may be more: what is here already comes with it, into memory that
    /// is shared and in the CPU's cache.
    fn takeMore(self: *TlsOp, first: []u8, more: *?[]u8) []u8 {
        const memory = pool.take() catch return first;
        more.* = memory;
        const state = if (worthApart(memory.len)) py.PyEval_SaveThread() else null;
        @memcpy(memory[0..first.len], first);
        const rest = memory[first.len..];
        const fd = self.descriptorOf().fd;
        const rc = linux.recvfrom(fd, rest.ptr, rest.len, linux.MSG.DONTWAIT, null, null);
        if (state) |one| py_interpreter.comeBack(one);
        // An end or an error comes again with the next receive.
        const count = if (linux.errno(rc) == .SUCCESS) rc else 0;
        self.descriptorOf().drained.store(count < rest.len, .monotonic);
        return memory[0 .. first.len + count];
    }

    /// There was no memory for what came: the connection has a hole.
    fn torn(self: *TlsOp, value: ?*Object) ?*Object {
        var lost = value;
        api.drop(&lost);
        self.engineOf().fault = .{ .kind = .failed };
        _ = py.PyErr_NoMemory();
        return self.failed();
    }

    fn received(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool, count: usize) ?*Object {
        const engine = self.engineOf();
        if (count == 0 and self.isClosing()) {
            self.unpin();
            if (me.cancelWanted()) return self.cancelled(me);
            return self.raiseClosed();
        }
        engine.enter();
        if (self.room.len > 0) engine.queue.commit(count);
        if (count == 0) engine.at_eof = true;
        engine.leave();
        if (count > 0) self.descriptorOf().received(count, self.room.len);
        self.room = &.{};
        _ = engine.fed.fetchAdd(1, .acq_rel);
        if (self.kind == .write_all) self.giveTurn(false);
        return self.proceed(me, instance, suspended);
    }

    fn sentSome(self: *TlsOp, me: *PyTask, instance: *Object, suspended: *bool, count: usize) ?*Object {
        self.sent += count;
        if (self.sent < self.flight.len) {
            if (count == 0) return self.stopped(me, instance, suspended, @backingInt(linux.E.IO), true);
            if (me.cancelWanted()) return self.cancelled(me);
            return self.proceedFlying(me, instance, suspended, true);
        }
        self.dropFlight();
        return self.proceed(me, instance, suspended);
    }

    fn stopped(
        self: *TlsOp,
        me: *PyTask,
        instance: *Object,
        suspended: *bool,
        errno: i32,
        output: bool,
    ) ?*Object {
        self.unpin();
        const number: linux.E = @fromBackingInt(@intCast(@as(u16, @intCast(errno))));
        switch (number) {
            .CANCELED => if (me.cancelReached()) return self.cancelled(me),
            .INTR => {
                if (me.cancelWanted()) return self.cancelled(me);
                return self.proceedFlying(me, instance, suspended, output);
            },
            .AGAIN => if (!self.polls) {
                self.polls = true;
                return self.proceedFlying(me, instance, suspended, output);
            },
            // All buffers of the shard are in hands: this receive brings its own.
            .NOBUFS => if (self.selects_buffer) return self.receiveOwn(me, instance, suspended),
            else => {},
        }
        if (self.isClosing()) {
            if (me.cancelWanted()) return self.cancelled(me);
            return self.raiseClosed();
        }
        _ = callbacks.raiseErrno(errno, null, self.descriptorOf().name);
        return self.failed();
    }

    // ---- ends ----

    fn cancelled(self: *TlsOp, me: *PyTask) ?*Object {
        _ = me.raiseCancel();
        return self.failed();
    }

    /// The exception is set.
    fn failed(self: *TlsOp) ?*Object {
        self.putFlightBack();
        if (self.kind == .write_all) callbacks.sayWritten(self.progress);
        const engine = self.engineOf();
        const left = @atomicLoad(usize, &engine.out_len, .acquire) > 0 and !self.isClosing();
        self.finish();
        if (left) self.sendAside();
        return null;
    }

    fn succeeded(self: *TlsOp, value: ?*Object) ?*Object {
        self.finish();
        return value;
    }

    fn finish(self: *TlsOp) void {
        self.state = .finished;
        self.phase = .here;
        self.giveTurn(false);
        self.giveTurn(true);
        if (self.has_writing) {
            self.has_writing = false;
            _ = exchange_type.Type.body(self.engineOf().writing.?).putUnits(1);
        }
        if (self.counted) {
            self.counted = false;
            self.descriptorOf().release();
        }
        if (self.view) |view| {
            py.PyBuffer_Release(view);
            gpa.destroy(view);
        }
        self.view = null;
        api.drop(&self.held);
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        return shown.ofOperation("TlsOperation", @tagName(self.kind), self.descriptor, single_await.seen(&self.state));
    }

    /// close(): it is not to be awaited.
    fn giveUp(instance: *Object) void {
        const self = Type.body(instance);
        if (single_await.claim(&self.state)) self.finish();
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        if (self.state == .new) {
            var text: [shown.room]u8 = undefined;
            forgotten.warn(instance, shown.operation(&text, "operation ", @tagName(self.kind), self.descriptor));
        } else forgotten.used(instance);
        self.abandon(); // While the kernel has it the task holds a reference.
        self.finish();
        api.drop(&self.turn);
        api.drop(&self.descriptor);
        api.drop(&self.engine);
        Type.free(instance, false);
    }

    /// A coroutine that was closed by hand in the middle: what the kernel did for it nobody knows.
    fn abandon(self: *TlsOp) void {
        if (self.turn) |turn| {
            if (!self.exchangeOf(self.turn_is_sending).leave(Future.Type.body(turn), .takers))
                self.setTurn(self.turn_is_sending, true);
        }
        if (self.phase == .input or self.phase == .output) {
            self.unpin();
            self.engineOf().fault = .{ .kind = .failed };
        }
        self.dropFlight();
    }

    /// It was not made after all.
    fn unmade(self: *TlsOp) ?*Object {
        self.state = .finished;
        py.Py_DecRef(Type.objectOf(self));
        return null;
    }

    /// Exports the memory of `source`. False with an exception set.
    fn lend(self: *TlsOp, source: *Object, flags: c_int) bool {
        const view = gpa.create(api.Buffer) catch return py.PyErr_NoMemory() != null; // It never is.
        view.* = .{};
        if (!object.getBuffer(source, view, flags)) {
            gpa.destroy(view);
            return false;
        }
        self.view = view;
        self.data = view.buf orelse @ptrCast(self); // NULL only if the length is 0.
        self.length = @intCast(view.len);
        return true;
    }
};

/// recv(descriptor, max_bytes): an awaitable of bytes. `max_bytes` is 1 or more.
pub fn recv(engine: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("recv", count, 2)) return null;
    const most = object.unsigned(arguments[1], "max_bytes", std.math.maxInt(isize)) orelse return null;
    const self = TlsOp.create(.recv, engine, arguments[0]) orelse return null;
    self.length = @intCast(most);
    return TlsOp.Type.objectOf(self);
}

/// recv_into(descriptor, buffer): an awaitable of a number. The buffer holds 1 byte or more.
pub fn recvInto(engine: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("recv_into", count, 2)) return null;
    const self = TlsOp.create(.recv_into, engine, arguments[0]) orelse return null;
    if (!self.lend(arguments[1], api.buffer_writable)) return self.unmade();
    return TlsOp.Type.objectOf(self);
}

/// write_all(descriptor, data): an awaitable.
pub fn writeAll(engine: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("write_all", count, 2)) return null;
    const self = TlsOp.create(.write_all, engine, arguments[0]) orelse return null;
    const source = arguments[1];
    const class = py.PyObject_Type(source);
    py.Py_DecRef(class);
    if (class == py.PyBytes_Type) {
        self.held = api.ref(source);
        self.data = py.PyBytes_AsString(source).?;
        self.length = @intCast(py.PyBytes_Size(source));
    } else if (!self.lend(source, api.buffer_simple)) return self.unmade();
    return TlsOp.Type.objectOf(self);
}

pub fn define() bool {
    const Kinds = object.Coroutine(TlsOp.step, TlsOp.giveUp);
    const S = struct {
        var methods = Kinds.methods ++ [_]api.MethodDef{.{}};
    };
    var slots = Kinds.slots() ++ [_]api.TypeSlot{
        object.slotOf(api.slot.methods, &S.methods),
        object.slotOf(api.slot.repr, &TlsOp.show),
        object.slotOf(api.slot.dealloc, &TlsOp.dealloc),
        .{},
    };
    return TlsOp.Type.define("TlsOperation", 0, &slots);
}
