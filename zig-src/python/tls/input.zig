//! A receive of ciphertext, for a read or for a write that has to hear of the peer first: into a buffer that
//! the kernel selects, or into the engine's queue. On the shard of the task that awaits, which has the turn.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const cipher = @import("cipher.zig");
const net = @import("../../ops/net.zig");
const pool = @import("pool.zig");
const provided_buffers = @import("../../ring/provided_buffers.zig");
const py_interpreter = @import("../task/py_interpreter.zig");
const recv = @import("recv.zig");
const turn = @import("turn.zig");
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const TlsOp = @import("tls_op.zig").TlsOp;
const Object = api.Object;
const py = &api.py;

/// What a receive into memory of its own makes room for: a flight of write_all with its records, and some more.
const room_max = 72 * 1024;

pub fn receive(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
    const shard = Shard.current().?;
    const descriptor = self.descriptorOf();
    self.selects_buffer = !self.polls and shard.providedBuffers() != null;
    if (self.polls) return self.fly(me, suspended, .input, net.poll(shard, &me.task, descriptor.fd, linux.POLL.IN));
    if (!self.selects_buffer) return receiveOwn(self, me, suspended);
    const drained = descriptor.drained.load(.monotonic);
    const op = net.recvProvided(shard, &me.task, descriptor.fd, provided_buffers.size, drained);
    return self.fly(me, suspended, .input, op);
}

/// Into the engine's queue.
pub fn receiveOwn(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
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
    return self.fly(me, suspended, .input, op);
}

/// The kernel is done with the room in the queue, and nothing came.
pub fn unpin(self: *TlsOp) void {
    if (self.room.len == 0) return;
    const engine = self.engineOf();
    engine.enter();
    engine.queue.commit(0);
    engine.leave();
    self.room = &.{};
}

/// `count` bytes are in the queue; 0: the end.
pub fn received(self: *TlsOp, me: *PyTask, suspended: *bool, count: usize) ?*Object {
    const engine = self.engineOf();
    if (count == 0 and self.isClosing()) {
        unpin(self);
        if (me.cancelWanted()) return self.cancelled(me);
        return self.raiseClosed();
    }
    engine.enter();
    if (self.room.len > 0) engine.queue.commit(count);
    if (count == 0) engine.at_eof = true;
    engine.leave();
    if (count > 0) self.descriptorOf().received(count, self.room.len);
    self.room = &.{};
    return fed(self, me, suspended);
}

fn fed(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
    _ = self.engineOf().fed.fetchAdd(1, .acq_rel);
    return self.goOn(me, suspended);
}

/// `count` bytes are in the shard's buffer `id`, which the engine borrows: a read opens them where they lie.
pub fn receivedProvided(self: *TlsOp, me: *PyTask, suspended: *bool, id: u16, count: usize) ?*Object {
    const shard = Shard.current().?;
    const engine = self.engineOf();
    self.descriptorOf().received(count, provided_buffers.size);
    const first = shard.buffers.ready.all(id)[0..count];
    var more: ?[]u8 = null;
    const all = if (count == provided_buffers.size) takeMore(self, first, &more) else first;
    defer if (more) |memory| pool.give(memory);
    engine.enter();
    const lent = engine.queue.lend(all);
    engine.leave();
    _ = engine.fed.fetchAdd(1, .acq_rel);
    var value: ?*Object = null;
    const reads = (self.kind == .recv or self.kind == .recv_into) and !self.isClosing();
    const outcome: cipher.ReadResult = if (reads) recv.tryRead(self, &value) else .want;
    engine.enter();
    const settled = engine.queue.settle();
    engine.leave();
    shard.buffers.ready.giveBack(id);
    lent catch return torn(self, value);
    settled catch return torn(self, value);
    return switch (outcome) {
        .value => self.succeeded(value),
        .raised => self.failed(),
        .want => self.goOn(me, suspended),
    };
}

/// The buffer was filled, so there may be more: what is here already comes with it, into memory that
/// is shared and in the CPU's cache.
fn takeMore(self: *TlsOp, first: []u8, more: *?[]u8) []u8 {
    const memory = pool.take() catch return first;
    more.* = memory;
    const state = if (cipher.worthApart(memory.len)) py.PyEval_SaveThread() else null;
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
