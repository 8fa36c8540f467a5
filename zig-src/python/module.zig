//! The entry point that `import spargio` calls: it makes the types and returns a dict of them.
//! Called once, attached to the interpreter (ctypes.PyDLL).

const std = @import("std");
const api = @import("cpython/api.zig");
const callbacks = @import("cpython/callbacks.zig");
const interpreter = &@import("task/py_interpreter.zig").interpreter;
const loop_types = @import("loop/types.zig");
const object = @import("cpython/object.zig");
const Descriptor = @import("io/descriptor.zig").Descriptor;
const DirEntry = @import("files/entry.zig").DirEntry;
const Future = @import("sync/future.zig").Future;
const Loop = @import("loop/loop.zig").Loop;
const NativeJoin = @import("task/native_join.zig").NativeJoin;
const PyRecorder = @import("py_recorder.zig").PyRecorder;
const PyRuntime = @import("task/py_runtime.zig").PyRuntime;
const PyTask = @import("task/py_task.zig").PyTask;
const Shard = @import("../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// Files that have types to make (`define`), or functions for Python's `native` (`functions`).
const files = .{
    @import("cpython/stop_iteration.zig"),
    @import("files/copy.zig"),
    @import("files/entry.zig"),
    @import("files/listing.zig"),
    @import("files/ranges.zig"),
    @import("files/stream.zig"),
    @import("files/walker.zig"),
    @import("io/accept_multishot.zig"),
    @import("io/descriptor.zig"),
    @import("io/descriptor_type.zig"),
    @import("io/generic_op.zig"),
    @import("io/operation.zig"),
    @import("io/operation_methods.zig"),
    @import("io/read_files.zig"),
    @import("io/read_many.zig"),
    @import("io/recv_multishot.zig"),
    @import("io/registered_buffers.zig"),
    @import("io/user_sqe.zig"),
    @import("py_messages.zig"),
    @import("py_recorder.zig"),
    @import("py_signals.zig"),
    @import("sync/exchange_type.zig"),
    @import("sync/future.zig"),
    @import("task/alarm.zig"),
    @import("task/cancel_scope.zig"),
    @import("task/ended.zig"),
    @import("task/held.zig"),
    @import("task/inspect.zig"),
    @import("task/join_handle.zig"),
    @import("task/native_join.zig"),
    @import("task/py_runtime.zig"),
    @import("task/quiet_wait.zig"),
    @import("task/room.zig"),
    @import("task/yield.zig"),
    @import("tls/engine_type.zig"),
    @import("tls/tls_op.zig"),
};

const own_functions = [_]api.MethodDef{
    object.method(
        "current_task",
        &currentTask,
        api.meth_noargs,
        "()",
        "The JoinHandle of the task that runs here, or None.",
    ),
    object.method(
        "supports",
        &supports,
        api.meth_one,
        "(opcode, /)",
        "Whether the ring of this task's shard has it.",
    ),
    object.method("loop_types", &loop_types.make, api.meth_one, "(helpers, /)", "The asyncio loop's types, as a dict."),
    object.method(
        "submits_as_other",
        &submitsAsOther,
        api.meth_noargs,
        "()",
        "Whether the ring's polling thread has other rights than this thread.",
    ),
    object.method(
        "current_shard",
        &currentShard,
        api.meth_noargs,
        "()",
        "The number of the shard that runs this task; RuntimeError outside a spargio task.",
    ),
    object.method("raise_if_cancelled", &raiseIfCancelled, api.meth_noargs, "()", "CancelledError if one is wanted."),
};

var functions = all: {
    var found: []const api.MethodDef = &own_functions;
    for (files) |file| if (@hasDecl(file, "functions")) {
        found = found ++ file.functions;
    };
    break :all found[0..found.len].*;
};

fn currentTask(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    const task = PyTask.current() orelse return api.none();
    return api.ref(PyTask.Type.objectOf(task));
}

fn supports(_: ?*Object, argument: *Object) callconv(.c) ?*Object {
    const shard = demandShard("supports()") orelse return null;
    const opcode = object.unsigned(argument, "opcode", 255) orelse return null;
    return py.PyBool_FromLong(@intFromBool(shard.scheduler.info.supports(@fromBackingInt(@intCast(opcode)))));
}

/// In a spargio task, or in a callback of our loop.
fn demandShard(comptime what: []const u8) ?*Shard {
    if (Loop.inTurn() != null) return Shard.current();
    _ = PyTask.demand(what) orelse return null;
    return Shard.current();
}

fn submitsAsOther(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    const shard = Shard.current() orelse return py.PyBool_FromLong(0);
    return py.PyBool_FromLong(@intFromBool(shard.ring.submitsAsOther()));
}

/// raise_if_cancelled(): raises the cancellation of this task that its next await would raise.
fn raiseIfCancelled(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    const task = PyTask.current() orelse return api.none();
    return if (task.cancelWanted()) task.raiseCancel() else api.none();
}

fn currentShard(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    const shard = demandShard("current_shard()") orelse return null;
    return py.PyLong_FromLongLong(shard.id);
}

/// The name of an exported function that this interpreter lacks, or NULL. Before anything else.
pub export fn spargio_python_missing_symbol() ?[*:0]const u8 {
    return api.load();
}

/// `header_size` is object.__basicsize__; `locked` 1 if the interpreter has a lock; `dict` has the
/// helpers. Gives a dict of functions and types, or NULL with an exception set.
pub export fn spargio_python_init(header_size: u32, locked: u32, dict: *Object) ?*Object {
    // Types and helpers are the process's, and shards' threads attach to the main one (PyGILState_Ensure).
    if (py.PyInterpreterState_GetID(py.PyInterpreterState_Get()) != 0) return api.raise(
        py.PyExc_ImportError.*,
        "spargio works in the main interpreter only: this is a subinterpreter",
    );
    // Objects of an earlier import would meet types and exceptions of this one.
    if (imported) return api.raise(
        py.PyExc_ImportError.*,
        "spargio was imported before in this process, and works only once: leave its modules in sys.modules",
    );
    object.header_size = std.mem.alignForward(usize, header_size, 16);
    interpreter.locked = locked != 0;
    if (!callbacks.load(dict)) return null;
    inline for (files) |file| if (@hasDecl(file, "define")) {
        if (!file.define()) return null;
    };
    const result = py.PyDict_New() orelse return null;
    for (&functions) |*function| {
        const made = py.PyCFunction_NewEx(function, null, null);
        if (made) |callable| if (!interpreter.locked) api.makeImmortal(callable);
        if (!put(result, function.name.?, made)) return api.raise(py.PyExc_RuntimeError.*, "spargio: import failed");
    }
    inline for (.{
        .{ "JoinHandle", PyTask.Type },
        .{ "NativeJoinHandle", NativeJoin.Type },
        .{ "Descriptor", Descriptor.Type },
        .{ "Future", Future.Type },
        .{ "Runtime", PyRuntime.Type },
        .{ "RecorderCore", PyRecorder.Type },
        .{ "DirEntry", DirEntry.Type },
    }) |entry| {
        if (!put(result, entry[0], api.ref(entry[1].class))) return null;
    }
    imported = true;
    return result;
}

/// The types were made, for the life of the process.
var imported = false;

fn put(dict: *Object, name: [*:0]const u8, value: ?*Object) bool {
    const item = value orelse return false;
    defer py.Py_DecRef(item);
    return py.PyDict_SetItemString(dict, name, item) == 0;
}
