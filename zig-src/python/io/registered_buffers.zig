//! Memory that Python registers with a shard's ring beforehand. For the shard of the current task.

const api = @import("../cpython/api.zig");
const registered_buffers = @import("../../ring/registered_buffers.zig");
const callbacks = @import("../cpython/callbacks.zig");
const object = @import("../cpython/object.zig");
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// register_buffer(buffer): its slot in the table of this task's shard.
fn register(_: ?*Object, given: *Object) callconv(.c) ?*Object {
    _ = PyTask.demand("registered buffers") orelse return null;
    const shard = Shard.current().?;
    var view: api.Buffer = .{};
    if (py.PyObject_GetBuffer(given, &view, api.buffer_writable) != 0) return null;
    defer py.PyBuffer_Release(&view); // The caller keeps the object.
    const slot = shard.fixed.register(shard.ring.registrable(), view.buf.?[0..@intCast(view.len)]);
    return if (slot < 0) callbacks.raiseErrno(-slot, null, null) else py.PyLong_FromLongLong(slot);
}

/// unregister_buffer(slot), on the same shard.
fn unregister(_: ?*Object, given: *Object) callconv(.c) ?*Object {
    _ = PyTask.demand("registered buffers") orelse return null;
    const slot = object.unsigned(given, "slot", registered_buffers.slots - 1) orelse return null;
    Shard.current().?.unregister(@intCast(slot));
    return api.none();
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "register_buffer",
        &register,
        api.meth_one,
        "(buffer, /)",
        "Its slot in the ring of this task's shard.",
    ),
    object.method(
        "unregister_buffer",
        &unregister,
        api.meth_one,
        "(slot, /)",
        "The other way round.",
    ),
};
