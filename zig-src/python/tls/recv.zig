//! recv: one read of a TLS connection, into a bytes object. `goOn` is the way of every read: it opens what
//! is here, or receives more.

const std = @import("std");
const api = @import("../cpython/api.zig");
const cipher = @import("cipher.zig");
const input = @import("input.zig");
const object = @import("../cpython/object.zig");
const recv_into = @import("recv_into.zig");
const turn = @import("turn.zig");
const PyTask = @import("../task/py_task.zig").PyTask;
const TlsOp = @import("tls_op.zig").TlsOp;
const Object = api.Object;

/// recv(descriptor, max_bytes): an awaitable of bytes. `max_bytes` is 1 or more.
pub fn recv(engine: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("recv", count, 2)) return null;
    const most = object.unsigned(arguments[1], "max_bytes", std.math.maxInt(isize)) orelse return null;
    const self = TlsOp.create(.recv, engine, arguments[0]) orelse return null;
    self.most = most;
    return TlsOp.Type.objectOf(self);
}

pub fn goOn(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
    while (true) {
        if (self.isClosing()) return self.raiseClosed();
        var value: ?*Object = null;
        switch (tryRead(self, &value)) {
            .value => return self.succeeded(value),
            .raised => return self.failed(),
            .want => {},
        }
        if (me.cancelWanted()) return self.cancelled(me);
        if (!self.turns.holds(.receiving)) {
            if (!turn.take(self, .receiving)) return turn.wait(self, me, suspended, .receiving);
            if (self.engineOf().fed.load(.acquire) != self.fed) continue;
        }
        return input.receive(self, me, suspended);
    }
}

pub fn tryRead(self: *TlsOp, value: *?*Object) cipher.ReadResult {
    const engine = self.engineOf();
    self.fed = engine.fed.load(.acquire);
    const outcome = if (self.kind == .recv)
        cipher.readBytes(self.engine.?, self.most, value)
    else
        recv_into.tryRead(self, value);
    // The answer to a key update, an alert. A write that is under way sends it as well. To a peer that has
    // ended nothing is due: `close` sends what is left.
    if (@atomicLoad(usize, &engine.out_len, .monotonic) > 0 and !engine.at_eof) self.sendAside();
    return outcome;
}
