//! write_all: seals the caller's bytes and sends them, a flight of records at a time. One write at a time
//! has the connection. On the shard of the task that awaits.

const linux = @import("std").os.linux;
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const cipher = @import("cipher.zig");
const exchange_type = @import("../sync/exchange_type.zig");
const input = @import("input.zig");
const net = @import("../../ops/net.zig");
const object = @import("../cpython/object.zig");
const py_interpreter = @import("../task/py_interpreter.zig");
const turn = @import("turn.zig");
const Engine = @import("engine.zig").Engine;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const TlsOp = @import("tls_op.zig").TlsOp;
const raiseFault = @import("engine_type.zig").raiseFault;
const Object = api.Object;
const py = &api.py;

/// Plaintext bytes that are sealed before they are sent: their records go out with one call.
const flight_max = 64 * 1024;

/// A flight of so many bytes is tried without the ring; of so many in one pass of the shard.
const direct_min = 16 * 1024;
const direct_max = 32;
threadlocal var direct_at_ns: u64 = 0;
threadlocal var direct_count: u32 = 0;

/// write_all(descriptor, data): an awaitable.
pub fn writeAll(engine: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("write_all", count, 2)) return null;
    const self = TlsOp.create(.write_all, engine, arguments[0]) orelse return null;
    const source = arguments[1];
    if (object.isExactBytes(source)) {
        self.held = api.ref(source);
        self.memory = py.PyBytes_AsString(source).?[0..@intCast(py.PyBytes_Size(source))];
    } else if (!self.lend(source, api.buffer_simple)) return self.unmade();
    return TlsOp.Type.objectOf(self);
}

/// False with an exception set: another task writes.
pub fn begin(self: *TlsOp) bool {
    self.has_writing = exchange_type.Type.body(self.engineOf().writing.?).takeUnits(1);
    if (self.has_writing) return true;
    _ = api.raise(callbacks.table.BusyError, "another task writes to this stream: one may at a time");
    return false;
}

pub fn end(self: *TlsOp) void {
    if (!self.has_writing) return;
    self.has_writing = false;
    _ = exchange_type.Type.body(self.engineOf().writing.?).putUnits(1);
}

pub fn goOn(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
    const engine = self.engineOf();
    while (true) {
        if (engine.fed.load(.acquire) != self.fed) turn.give(self, .receiving); // What it waited for has come.
        var outcome: ?*Object = null;
        if (!flush(self, me, suspended, &outcome)) return outcome;
        if (self.progress == self.memory.len) return self.succeeded(api.none());
        if (self.isClosing()) return self.raiseClosed();
        if (engine.shut.load(.acquire)) {
            _ = api.raise(callbacks.table.ClosedError, "the TLS stream is shut down for writing");
            return self.failed();
        }
        if (me.cancelWanted()) return self.cancelled(me);
        self.fed = engine.fed.load(.acquire);
        const rest = self.memory[self.progress..];
        const count = cipher.sealFrom(engine, rest[0..@min(rest.len, flight_max)]);
        self.progress += count;
        if (count > 0) continue;
        if (engine.fault.kind != .none) {
            _ = raiseFault(engine);
            return self.failed();
        }
        if (@atomicLoad(usize, &engine.out_len, .acquire) > 0) continue;
        // The peer began a handshake anew, and is to say more.
        if (!turn.take(self, .receiving)) return turn.wait(self, me, suspended, .receiving);
        if (engine.fed.load(.acquire) == self.fed) return input.receive(self, me, suspended);
    }
}

// ---- flights ----

/// Sends what is sealed. False: it waits for that, or has failed, with `outcome`.
pub fn flush(self: *TlsOp, me: *PyTask, suspended: *bool, outcome: *?*Object) bool {
    const engine = self.engineOf();
    while (@atomicLoad(usize, &engine.out_len, .acquire) > 0 or self.flight.len > 0) {
        if (!turn.take(self, .sending)) {
            outcome.* = turn.wait(self, me, suspended, .sending);
            return false;
        }
        if (self.flight.len == 0) nextFlight(self);
        if (self.flight.len == 0) break; // Another one has taken it.
        if (!sendNow(self)) {
            outcome.* = send(self, me, suspended);
            return false;
        }
        dropFlight(self);
    }
    turn.give(self, .sending);
    return true;
}

fn nextFlight(self: *TlsOp) void {
    const engine = self.engineOf();
    engine.enter();
    self.flight = engine.takeOut();
    engine.leave();
    self.sent = 0;
}

pub fn dropFlight(self: *TlsOp) void {
    Engine.freeOut(self.flight.memory);
    self.flight = .{};
}

/// What was not sent goes first the next time.
pub fn putFlightBack(self: *TlsOp) void {
    if (self.flight.len == 0) return dropFlight(self);
    const engine = self.engineOf();
    engine.enter();
    engine.putBack(self.flight.memory[self.sent..self.flight.len]) catch {
        engine.fault = .{ .kind = .failed }; // Without memory for it the connection is torn.
    };
    engine.leave();
    dropFlight(self);
}

/// A large flight is tried at once: its memory, which is in the CPU's cache, is free for the next one. So is
/// one of a handshake, whose peer waits. Not forever: others wait as well. Whether all of it went.
fn sendNow(self: *TlsOp) bool {
    if ((self.flight.len < direct_min and self.kind != .handshake) or self.polls) return false;
    const now_ns = Shard.current().?.now_ns;
    if (direct_at_ns != now_ns) {
        direct_at_ns = now_ns;
        direct_count = 0;
    }
    if (direct_count == direct_max) return false;
    direct_count += 1;
    const rest = self.flight.memory[self.sent..self.flight.len];
    const state = if (cipher.worthApart(rest.len)) py.PyEval_SaveThread() else null;
    const fd = self.descriptorOf().fd;
    const flags = linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL;
    const rc = linux.sendto(fd, rest.ptr, rest.len, flags, null, 0);
    if (state) |one| py_interpreter.comeBack(one);
    // An error comes again when the ring is asked.
    if (linux.errno(rc) != .SUCCESS) return false;
    self.sent += rc;
    return self.sent == self.flight.len;
}

pub fn send(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
    const shard = Shard.current().?;
    const fd = self.descriptorOf().fd;
    const rest = self.flight.memory[self.sent..self.flight.len];
    const op = if (self.polls)
        net.poll(shard, &me.task, fd, linux.POLL.OUT)
    else
        net.send(shard, &me.task, fd, rest, linux.MSG.WAITALL);
    return self.fly(me, suspended, .output, op);
}

pub fn sentSome(self: *TlsOp, me: *PyTask, suspended: *bool, count: usize) ?*Object {
    self.sent += count;
    if (self.sent < self.flight.len) {
        if (count == 0) return self.stopped(me, suspended, @backingInt(linux.E.IO), .output);
        if (me.cancelWanted()) return self.cancelled(me);
        return self.again(me, suspended, .output);
    }
    dropFlight(self);
    return self.goOn(me, suspended);
}
