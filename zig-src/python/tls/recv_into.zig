//! recv_into: one read of a TLS connection, into memory of the caller's.

const api = @import("../cpython/api.zig");
const cipher = @import("cipher.zig");
const object = @import("../cpython/object.zig");
const TlsOp = @import("tls_op.zig").TlsOp;
const Object = api.Object;

/// recv_into(descriptor, buffer): an awaitable of a number. The buffer holds 1 byte or more.
pub fn recvInto(engine: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("recv_into", count, 2)) return null;
    const self = TlsOp.create(.recv_into, engine, arguments[0]) orelse return null;
    if (!self.lend(arguments[1], api.buffer_writable)) return self.unmade();
    return TlsOp.Type.objectOf(self);
}

pub fn tryRead(self: *TlsOp, value: *?*Object) cipher.ReadResult {
    return cipher.readInto(self.engineOf(), self.memory, value);
}
