//! Opening and sealing for Python: under the engine's lock, attached to the interpreter for little, and
//! detached for much, so that other shards may have the interpreter while the cipher runs.

const api = @import("../cpython/api.zig");
const py_interpreter = @import("../task/py_interpreter.zig");
const Engine = @import("engine.zig").Engine;
const EngineType = @import("engine_type.zig").Type;
const Shard = @import("../../scheduler/shard.zig").Shard;
const raiseFault = @import("engine_type.zig").raiseFault;
const Object = api.Object;
const py = &api.py;

/// From so many bytes on, other shards may have the interpreter while the cipher runs.
const apart_min = 4 * 1024;

/// Whether to let go of the interpreter for so many bytes.
pub fn worthApart(size: usize) bool {
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

/// `want`: the engine needs more ciphertext first.
pub const ReadResult = enum { value, raised, want };

/// Reads at most `most` bytes into a bytes object of their size.
pub fn readBytes(engine_object: *Object, most: u64, value: *?*Object) ReadResult {
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

/// Reads into `room`, and returns how many bytes.
pub fn readInto(engine: *Engine, room: []u8, value: *?*Object) ReadResult {
    const opened = openInto(engine, room);
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
