//! The Python type of descriptors: which functions are its methods. It is a file of its own, so
//! that descriptor.zig need not import the files that define them.

const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const operation_methods = @import("operation_methods.zig");
const read_many = @import("read_many.zig");
const socket_names = @import("socket_names.zig");
const Descriptor = @import("descriptor.zig").Descriptor;

const methods = [_]api.MethodDef{
    object.method("fileno", &Descriptor.fileno, api.meth_noargs, "($self, /)", "The number, -1 when closed."),
    object.method(
        "detach",
        &Descriptor.detach,
        api.meth_noargs,
        "($self, /)",
        "Give up ownership of the number.",
    ),
    object.method(
        "unread",
        &Descriptor.unread,
        api.meth_one,
        "($self, data, /)",
        "The next read gets this first.",
    ),
    object.method(
        "take_unread",
        &Descriptor.takeUnread,
        api.meth_noargs,
        "($self, /)",
        "What the next read would get first.",
    ),
    object.method(
        "begin_write",
        &Descriptor.beginWrite,
        api.meth_noargs,
        "($self, /)",
        "Claim the stream for this task.",
    ),
    object.method("end_write", &Descriptor.endWrite, api.meth_noargs, "($self, /)", "Give it up."),
    object.method(
        "sockaddr",
        &socket_names.sockaddr,
        api.meth_one,
        "($self, peer, /)",
        "The name of this end or of the peer, as the kernel has it.",
    ),
    object.method(
        "getsockopt",
        &socket_names.getsockopt,
        api.meth_fastcall,
        "($self, level, option, size, /)",
        "The bytes.",
    ),
    object.method(
        "setsockopt",
        &socket_names.setsockopt,
        api.meth_fastcall,
        "($self, level, option, value, /)",
        "Set it to these bytes.",
    ),
    object.method("set_nodelay", &Descriptor.setNodelay, api.meth_one, "($self, enabled, /)", "TCP_NODELAY."),
    object.method(
        "read_many_at",
        &read_many.readManyAt,
        api.meth_fastcall,
        "($self, offsets, size, /)",
        "An awaitable of a list of bytes.",
    ),
} ++ operation_methods.descriptor_methods;

pub fn define() bool {
    return object.define(Descriptor.Type, "Descriptor", .{
        .methods = &methods,
        .repr = &Descriptor.show,
        .dealloc = &Descriptor.dealloc,
    });
}
