//! What the completion of an operation means in Python: a value, an exception, or another round. On the shard
//! of the task that awaits, attached to the interpreter.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const retry = @import("retry.zig");
const Descriptor = @import("descriptor.zig").Descriptor;
const Kind = @import("operation.zig").Kind;
const PyOp = @import("operation.zig").PyOp;
const PyTask = @import("../task/py_task.zig").PyTask;
const Object = api.Object;
const py = &api.py;

/// The kernel's result, as Python's: a value, an exception, or another round.
pub fn ended(self: *PyOp, me: *PyTask, instance: *Object, result: i32, suspended: *bool) ?*Object {
    if (result < 0) return failed(self, me, instance, -result, suspended);
    if (self.polls) {
        self.polls = false;
        return self.again(me, instance, suspended);
    }
    const count: usize = @intCast(result);
    // A close elsewhere ends the receive as the end of the stream would: it is none.
    if (count == 0 and self.reads() and self.isClosing()) {
        if (me.cancelWanted()) return cancelled(self, me);
        self.finish();
        return Descriptor.Type.body(self.descriptor.?).raiseClosedMeanwhile();
    }
    if (!self.row().whole) return succeeded(self, count);
    self.progress += count;
    if (self.progress == self.length) return succeeded(self, count);
    if (count > 0) {
        if (me.cancelWanted()) return cancelled(self, me);
        return self.again(me, instance, suspended);
    }
    if (self.kind == .read_exactly) return incomplete(self);
    // A write that takes nothing would go round forever.
    return failed(self, me, instance, @backingInt(linux.E.IO), suspended);
}

pub fn succeeded(self: *PyOp, count: usize) ?*Object {
    const kind = self.row();
    if (kind.reads == .always) Descriptor.Type.body(self.descriptor.?).received(count, self.length);
    const value: ?*Object = switch (kind.result) {
        .none => api.none(),
        .count => py.PyLong_FromLongLong(@intCast(count)),
        .bytes => takeBytes(self, if (kind.whole) self.length else count),
        .descriptor => if (self.kind == .accept)
            Descriptor.create(@intCast(count), .stream, null)
        else
            Descriptor.create(@intCast(count), .file, self.held),
    };
    self.finish();
    return value;
}

/// The bytes object that was read into, cut to what arrived.
fn takeBytes(self: *PyOp, count: usize) ?*Object {
    if (self.selects_buffer) { // Made when it came; there is none where nothing did.
        const value = self.held orelse return py.PyBytes_FromStringAndSize(null, 0);
        self.held = null;
        return value;
    }
    if (count != self.length and py._PyBytes_Resize(&self.held, @intCast(count)) != 0) return null;
    const value = self.held;
    self.held = null;
    return value;
}

fn incomplete(self: *PyOp) ?*Object {
    const expected = py.PyLong_FromLongLong(@intCast(self.length)) orelse return null;
    const partial = takeBytes(self, self.progress) orelse return null;
    self.finish();
    const exception = api.call(callbacks.table.IncompleteReadError, &.{ partial, expected }) orelse return null;
    api.raiseObject(exception);
    py.Py_DecRef(exception);
    return null;
}

fn cancelled(self: *PyOp, me: *PyTask) ?*Object {
    if (self.kind == .read_exactly and self.progress > 0) {
        var taken = takeBytes(self, self.progress);
        defer api.drop(&taken);
        if (taken == null or !Descriptor.Type.body(self.descriptor.?).leave(taken.?)) return null;
    }
    const told = self.writesAll();
    self.finish();
    _ = me.raiseCancel();
    if (told) callbacks.sayWritten(self.progress);
    return null;
}

pub fn failed(self: *PyOp, me: *PyTask, instance: *Object, errno: i32, suspended: *bool) ?*Object {
    switch (retry.next(errno, me, !self.polls and self.isSocketTransfer(), self.selects_buffer)) {
        .cancel => return cancelled(self, me),
        .again => return self.again(me, instance, suspended),
        .poll => {
            self.polls = true;
            return self.again(me, instance, suspended);
        },
        .own_memory => {
            if (!self.makeRoom()) return self.finished();
            return self.again(me, instance, suspended);
        },
        .fail => {},
    }
    // A kind of socket that has no such thing.
    if (errno == @backingInt(linux.E.OPNOTSUPP) and self.kind == .write_all_zero_copy) {
        self.kind = .write_all;
        return self.again(me, instance, suspended);
    }
    const descriptor = if (self.descriptor) |d| Descriptor.Type.body(d) else null;
    const closed = self.kind != .close and self.isClosing();
    if (closed and me.cancelWanted()) return cancelled(self, me); // Who is to end is told that first.
    const name = if (self.kind == .open) self.held else if (descriptor) |d| d.name else null;
    const filename = if (name) |n| api.ref(n) else null;
    defer if (filename) |f| py.Py_DecRef(f);
    self.finish();
    _ = raiseFailure(self, errno, closed, filename);
    if (self.writesAll()) callbacks.sayWritten(self.progress);
    return null;
}

fn raiseFailure(self: *const PyOp, errno: i32, closed: bool, filename: ?*Object) ?*Object {
    if (closed) return Descriptor.Type.body(self.descriptor.?).raiseClosedMeanwhile();
    const progress = self.progress;
    if (progress == 0) return callbacks.raiseErrno(errno, wordsFor(errno, self.kind), filename);
    var text: [96]u8 = undefined;
    const words = std.fmt.bufPrint(&text, "failed after {d} of {d} bytes", .{
        progress, self.length,
    }) catch unreachable;
    return callbacks.raiseErrno(errno, words, filename);
}

/// EBADF of a file that is open says something else than its words.
fn wordsFor(errno: i32, kind: Kind) ?[]const u8 {
    if (errno != @backingInt(linux.E.BADF)) return null;
    return switch (kind) {
        .read_at, .read_at_into => "it is not open for reading",
        .write_at, .write_all_at => "it is not open for writing",
        else => null,
    };
}
