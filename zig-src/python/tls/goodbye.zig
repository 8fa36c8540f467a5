//! goodbye: close_notify and the end of reading in one step that does not wait. On the shard of the task
//! that closes.

const linux = @import("std").os.linux;
const api = @import("../cpython/api.zig");
const exchange_type = @import("../sync/exchange_type.zig");
const pool = @import("pool.zig");
const Descriptor = @import("../io/descriptor.zig").Descriptor;
const Engine = @import("engine.zig").Engine;
const EngineType = @import("engine_type.zig").Type;
const PyTask = @import("../task/py_task.zig").PyTask;
const Object = api.Object;
const py = &api.py;

/// Reads of what has come at most: a peer may send forever.
const reads_max = 64;

/// goodbye(descriptor): whether all is done. False if it would wait: Python's half does the rest.
pub fn goodbye(instance: *Object, descriptor: *Object) callconv(.c) ?*Object {
    if (!Descriptor.Type.is(descriptor)) return api.raise(py.PyExc_TypeError.*, "goodbye() takes a Descriptor");
    return py.PyBool_FromLong(@intFromBool(say(EngineType.body(instance), Descriptor.Type.body(descriptor))));
}

fn say(engine: *Engine, descriptor: *Descriptor) bool {
    const me = PyTask.current() orelse return false;
    if (me.cancelWanted()) return false; // The peer is to know that this is no proper end.
    const writing = exchange_type.Type.body(engine.writing.?);
    if (!writing.takeUnits(1)) return false;
    defer _ = writing.putUnits(1);
    const sending = exchange_type.Type.body(engine.sending.?);
    if (!sending.takeUnits(1)) return false;
    defer _ = sending.putUnits(1);
    if (!descriptor.acquire()) {
        py.PyErr_Clear(); // Closed: the close says so.
        return true;
    }
    defer descriptor.release();
    if (!send(engine, descriptor.fd)) return false;
    const receiving = exchange_type.Type.body(engine.receiving.?);
    if (!receiving.takeUnits(1)) return true;
    defer _ = receiving.putUnits(1);
    drain(descriptor.fd);
    return true;
}

fn send(engine: *Engine, fd: i32) bool {
    engine.enter();
    engine.closeNotify();
    const flight = engine.takeOut();
    engine.leave();
    defer Engine.freeOut(flight.memory);
    if (flight.len == 0) return true;
    const flags = linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL;
    const rc = linux.sendto(fd, flight.memory.ptr, flight.len, flags, null, 0);
    const sent = switch (linux.errno(rc)) {
        .SUCCESS => rc,
        .AGAIN, .INTR => 0,
        else => return true, // The peer is gone.
    };
    if (sent == flight.len) return true;
    engine.enter();
    defer engine.leave();
    engine.putBack(flight.memory[sent..flight.len]) catch return true; // Without memory it is torn.
    return false;
}

/// A TCP connection that is closed with data unread is reset, and what was written last may be lost with
/// it: close_notify, and what the peer has not read before it.
fn drain(fd: i32) void {
    const memory = pool.take() catch return;
    defer pool.give(memory);
    for (0..reads_max) |_| {
        const rc = linux.recvfrom(fd, memory.ptr, memory.len, linux.MSG.DONTWAIT, null, null);
        if (linux.errno(rc) != .SUCCESS or rc < memory.len) return;
    }
}
