//! What `import spargio` gets from here: one entry point that makes the types and gives a dict of
//! them. Called once, attached to the interpreter (ctypes.PyDLL).

const std = @import("std");
const api = @import("cpython/api.zig");
const callbacks = @import("cpython/callbacks.zig");
const interpreter = &@import("task/py_interpreter.zig").interpreter;
const object = @import("cpython/object.zig");
const py_messages = @import("py_messages.zig");
const operation = @import("io/operation.zig");
const operation_methods = @import("io/operation_methods.zig");
const descriptor = @import("io/descriptor.zig");
const descriptor_type = @import("io/descriptor_type.zig");
const held = @import("task/held.zig");
const quiet = @import("task/quiet_wait.zig");
const Alarm = @import("task/alarm.zig").Alarm;
const py_signals = @import("py_signals.zig");
const yield = @import("task/yield.zig");
const generic_op = @import("io/generic_op.zig");
const read_files = @import("io/read_files.zig");
const read_many = @import("io/read_many.zig");
const copy = @import("files/copy.zig");
const entry_stream = @import("files/stream.zig");
const listing = @import("files/listing.zig");
const ranges = @import("files/ranges.zig");
const walker = @import("files/walker.zig");
const DirEntry = @import("files/entry.zig").DirEntry;
const registered_buffers = @import("io/registered_buffers.zig");
const user_sqe = @import("io/user_sqe.zig");
const exchange_type = @import("sync/exchange_type.zig");
const ended = @import("task/ended.zig");
const room = @import("task/room.zig");
const inspect = @import("task/inspect.zig");
const Future = @import("sync/future.zig").Future;
const NativeJoin = @import("task/native_join.zig").NativeJoin;
const PyRecorder = @import("py_recorder.zig").PyRecorder;
const PyRuntime = @import("task/py_runtime.zig").PyRuntime;
const AcceptMultishot = @import("io/accept_multishot.zig").AcceptMultishot;
const PyTask = @import("task/py_task.zig").PyTask;
const RecvMultishot = @import("io/recv_multishot.zig").RecvMultishot;
const Shard = @import("../scheduler/shard.zig").Shard;
const CancelScope = @import("task/cancel_scope.zig").CancelScope;
const Loop = @import("loop/loop.zig").Loop;
const loop_types = @import("loop/types.zig");
const tls = @import("tls/engine_type.zig");
const Object = api.Object;
const py = &api.py;

var functions = [_]api.MethodDef{
    object.method(
        "start",
        &PyRuntime.start,
        api.meth_fastcall,
        "(options_address, driven, debug, /)",
        "Start a runtime.",
    ),
    object.method(
        "open",
        &operation_methods.open,
        api.meth_fastcall,
        "(path, name, flags, mode, /)",
        "An awaitable of the Descriptor.",
    ),
    object.method(
        "adopt",
        &descriptor.adopt,
        api.meth_fastcall,
        "(fd, kind, /)",
        "A Descriptor that owns `fd`.",
    ),
    object.method(
        "register_buffer",
        &registered_buffers.register,
        api.meth_one,
        "(buffer, /)",
        "Its place in the ring of this task's shard.",
    ),
    object.method(
        "unregister_buffer",
        &registered_buffers.unregister,
        api.meth_one,
        "(place, /)",
        "The other way round.",
    ),
    object.method("sleep", &operation_methods.sleep, api.meth_one, "(duration_ns, /)", "An awaitable."),
    object.method(
        "nop",
        &operation_methods.nop,
        api.meth_noargs,
        "()",
        "An awaitable that goes through the ring and does nothing.",
    ),
    object.method(
        "submit",
        &generic_op.submit,
        api.meth_fastcall,
        "(opcode, fd, off, addr, length, op_flags, extra, name, outcome, /)",
        "An awaitable of the result.",
    ),
    object.method(
        "message",
        &generic_op.message,
        api.meth_fastcall,
        "(opcode, fd, buffers, address, control, flags, /)",
        "sendmsg or recvmsg: an awaitable of (bytes, length of the address, length of the control data, flags).",
    ),
    object.method("submit_sqe", &user_sqe.submit, api.meth_fastcall, "(sqe, keep, /)", "An awaitable of (res, flags)."),
    object.method("address_of", &user_sqe.addressOf, api.meth_one, "(buffer, /)", "Where its bytes lie."),
    object.method(
        "ops_in_flight",
        &user_sqe.opsInFlight,
        api.meth_one,
        "(runtime, /)",
        "A list, one number per shard.",
    ),
    object.method("count_affinity_violation", &user_sqe.countViolation, api.meth_one, "(runtime, /)", "Count one."),
    object.method(
        "read_files",
        &read_files.readFiles,
        api.meth_fastcall,
        "(paths, names, depth, results, told, budget, done, /)",
        "An awaitable of a list of bytes and OSErrors.",
    ),
    object.method(
        "read_ranges",
        &ranges.readRanges,
        api.meth_fastcall,
        "(paths, labels, files, offsets, lengths, into, gap, largest, depth, results, done, told, /)",
        "An awaitable of a list of bytes, or numbers of bytes, and OSErrors.",
    ),
    object.method(
        "copy_data",
        &copy.copyData,
        api.meth_fastcall,
        "(source, target, offset, size, most, /)",
        "Blocks: (offset, errno).",
    ),
    object.method("walker", &walker.make, api.meth_fastcall, "(path, options, metadata, /)", "A walk."),
    object.method("entry_stream", &entry_stream.make, api.meth_one, "(source, /)", "Entries one after the other."),
    object.method("list_directories", &listing.listDirectories, api.meth_one, "(names, /)", "What is in each."),
    object.method("signal_add", &py_signals.add, api.meth_fastcall, "(number, eventfd, /)", "A key."),
    object.method("signal_take", &py_signals.take, api.meth_one, "(key, /)", "How often it came."),
    object.method("signal_watched", &py_signals.watched, api.meth_one, "(number, /)", "Whether it is awaited."),
    object.method("signal_remove", &py_signals.remove, api.meth_one, "(key, /)", "The handler of before comes back."),
    object.method(
        "send",
        &py_messages.send,
        api.meth_fastcall,
        "(runtime, shard, tag, value, direct, /)",
        "Whether there was room.",
    ),
    object.method(
        "send_many",
        &py_messages.sendMany,
        api.meth_fastcall,
        "(runtime, shard, pairs, direct, /)",
        "How many there was room for.",
    ),
    object.method("flush", &py_messages.flush, api.meth_noargs, "()", "A ticket for all that this shard has sent."),
    object.method(
        "sent",
        &py_messages.sent,
        api.meth_noargs,
        "()",
        "The same after a send: nothing is lost where nobody awaits it.",
    ),
    object.method(
        "here",
        &py_messages.here,
        api.meth_fastcall,
        "(runtime, shard, /)",
        "RuntimeError where this thread runs another shard or none.",
    ),
    object.method(
        "next_event",
        &py_messages.nextEvent,
        api.meth_fastcall,
        "(runtime, shard, hot, /)",
        "An awaitable of the next message.",
    ),
    object.method("next_hot_count", &py_messages.nextHotCount, api.meth_one, "(tag, /)", "An awaitable of the sum."),
    object.method("take_hot_count", &py_messages.takeHotCount, api.meth_one, "(tag, /)", "The sum now."),
    object.method(
        "exchange",
        &exchange_type.make,
        api.meth_fastcall,
        "(has_values, most, units, /)",
        "An Exchange.",
    ),
    object.method("ended", &ended.ended, api.meth_one, "(handle, /)", "Waits for a task's end, without its outcome."),
    object.method("future", &Future.make, api.meth_noargs, "()", "A Future that is not set."),
    object.method("timeout", &CancelScope.make, api.meth_noargs, "()", "A time limit that is not armed."),
    object.method(
        "redeliver",
        &CancelScope.redeliver,
        api.meth_one,
        "(error, /)",
        "Raise this CancelledError again, at the next await.",
    ),
    object.method(
        "yield_now",
        &yield.yieldNow,
        api.meth_noargs,
        "()",
        "``await yield_now()`` lets the other tasks that are ready on this shard run first.",
    ),
    object.method(
        "current_task",
        &currentTask,
        api.meth_noargs,
        "()",
        "The JoinHandle of the task that runs here, or None.",
    ),
    object.method(
        "tasks_here",
        &inspect.tasksHere,
        api.meth_noargs,
        "()",
        "[(JoinHandle, coroutine, state, age in ns, ns until its timer), ...] of this shard.",
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
    object.method("hold", &held.hold, api.meth_fastcall, "(handle, on, /)", "Cancels each await of the task, or not."),
    object.method(
        "keep_back",
        &held.keepBack,
        api.meth_one,
        "(change, /)",
        "+1: nothing that is held reaches this task; -1: it does again.",
    ),
    object.method("companion", &held.companion, api.meth_noargs, "()", "What a library keeps about this task."),
    object.method("set_companion", &held.setCompanion, api.meth_one, "(companion, /)", "Until the task ends."),
    object.method(
        "live_tasks",
        &held.liveTasks,
        api.meth_noargs,
        "()",
        "(handle, coroutine, companion) of the tasks that have begun on this shard.",
    ),
    object.method("quiet", &quiet.quiet, api.meth_noargs, "()", "Waits until all other tasks of this shard wait."),
    object.method(
        "alarm",
        &Alarm.make,
        api.meth_fastcall,
        "(handle, callback, duration_ns, /)",
        "Calls it then, unless the task has ended.",
    ),
    object.method("tls_open", &tls.open, api.meth_fastcall, "(path, make_error, /)", "None, or why not."),
    object.method("tls_watch", &tls.watch, api.meth_noargs, "()", "The next SSL object is wanted."),
    object.method(
        "tls_engine",
        &tls.make,
        api.meth_fastcall,
        "(owner, lenient, receiving, sending, writing, /)",
        "A TlsEngine, or None.",
    ),
    object.method("raise_if_cancelled", &raiseIfCancelled, api.meth_noargs, "()", "CancelledError if one is wanted."),
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

/// In a spargio task, or in a callback of a loop of ours.
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

/// `header_size` is object.__basicsize__; `locked` 1 where the interpreter has a lock; `dict` has the
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
    if (!PyTask.define() or !operation.define() or !descriptor_type.define() or !CancelScope.define() or
        !Future.define() or !exchange_type.define() or !ended.define() or !room.define() or !generic_op.define() or
        !py_messages.define() or !user_sqe.define() or !RecvMultishot.define() or !AcceptMultishot.define() or
        !read_files.define() or !read_many.define() or !ranges.define() or !walker.define() or
        !PyRuntime.define() or !NativeJoin.define() or !yield.define() or !PyRecorder.define() or
        !tls.define() or !quiet.define() or !Alarm.define()) return null;
    const result = py.PyDict_New() orelse return null;
    for (&functions) |*function| {
        const made = py.PyCFunction_NewEx(function, null, null);
        if (!put(result, function.name.?, made)) return api.raise(py.PyExc_RuntimeError.*, "spargio: import failed");
    }
    inline for (.{
        .{ "JoinHandle", PyTask.Type },
        .{ "NativeJoinHandle", NativeJoin.Type },
        .{ "Descriptor", descriptor.Descriptor.Type },
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
