//! The methods of `LoopCore`.

const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const calls = @import("calls.zig");
const readiness = @import("readiness.zig");
const sock_calls = @import("sock_calls.zig");
const transports = @import("transports.zig");
const waits = @import("waits.zig");
const Loop = @import("loop.zig").Loop;
const Object = api.Object;

/// What programs call most.
const hot = [_][]const u8{
    "call_soon",     "call_soon_threadsafe", "call_later", "call_at", "create_task",
    "create_future", "time",                 "get_debug",
};

/// _own_methods(class)
fn ownMethods(class: *Object, _: ?*Object) callconv(.c) ?*Object {
    return if (object.ownMethods(class, Loop.Type.class, &hot, &all)) api.none() else null;
}

const keywords = api.meth_fastcall | api.meth_keywords;
const method_table = [_]api.MethodDef{
    object.method(
        "call_soon",
        &calls.callSoon,
        keywords,
        "($self, callback, *args, context=None)",
        "Schedule a callback for the next turn.",
    ),
    object.method(
        "call_soon_threadsafe",
        &calls.callSoonThreadsafe,
        keywords,
        "($self, callback, *args, context=None)",
        "The same from any thread.",
    ),
    object.method(
        "call_later",
        &calls.callLater,
        keywords,
        "($self, delay, callback, *args, context=None)",
        "Schedule a callback in so many seconds.",
    ),
    object.method(
        "call_at",
        &calls.callAt,
        keywords,
        "($self, when, callback, *args, context=None)",
        "Schedule a callback at a time of the loop.",
    ),
    object.method(
        "create_task",
        &calls.createTask,
        keywords,
        "($self, coro, *, name=None, context=None)",
        "A Task of asyncio that runs the coroutine.",
    ),
    object.method("create_future", &calls.createFuture, api.meth_noargs, "($self, /)", "A Future of asyncio."),
    object.method(
        "_set_task_factory",
        &calls.setTaskFactory,
        api.meth_one,
        "($self, is_set, /)",
        "Whether tasks are made by a factory.",
    ),
    object.method("time", &Loop.time, api.meth_noargs, "($self, /)", "Seconds of the monotonic clock."),
    object.method("stop", &Loop.stop, api.meth_noargs, "($self, /)", "End run_forever() after this turn."),
    object.method("_attach", &Loop.attach, api.meth_one, "($self, runtime, /)", "The runtime that it runs on."),
    object.method("_check_place", &Loop.checkPlace, api.meth_noargs, "($self, /)", "RuntimeError on a shard's thread."),
    object.method("_run", &Loop.run, api.meth_noargs, "($self, /)", "Run until stop()."),
    object.method(
        "_leave_context",
        &Loop.leaveContext,
        api.meth_noargs,
        "($self, /)",
        "Leave the context of a callback that has returned.",
    ),
    object.method("_close", &Loop.close, api.meth_noargs, "($self, /)", "Let go of all that was scheduled."),
    object.method(
        "_learn",
        &Loop.learn,
        keywords,
        "($self, /, *args, context)",
        "What a C Future calls call_soon with.",
    ),
    object.method("get_debug", &Loop.getDebug, api.meth_noargs, "($self, /)", "Whether debug mode is on."),
    object.method(
        "_own_methods",
        &ownMethods,
        api.meth_noargs | api.meth_class,
        "($type, /)",
        "Descriptors of its own for a class of loops.",
    ),
    object.method("_set_debug", &Loop.setDebug, api.meth_one, "($self, enabled, /)", "Debug mode."),
    object.method(
        "_add_watch",
        &readiness.addWatch,
        api.meth_fastcall,
        "($self, fd, is_writer, callback, *args)",
        "Call back whenever the descriptor is ready.",
    ),
    object.method(
        "_remove_watch",
        &readiness.removeWatch,
        api.meth_fastcall,
        "($self, fd, is_writer, /)",
        "Whether there was one.",
    ),
    object.method("_watched", &readiness.watched, api.meth_one, "($self, fd, /)", "1 reader, 2 writer"),
    object.method("_recv_now", &sock_calls.recv, api.meth_fastcall, "($self, fd, size, /)", "Bytes, or None."),
    object.method(
        "_recvfrom_now",
        &sock_calls.recvfrom,
        api.meth_fastcall,
        "($self, fd, size, /)",
        "Bytes and where they came from, or None.",
    ),
    object.method(
        "_recv_into_now",
        &sock_calls.recvInto,
        api.meth_fastcall,
        "($self, fd, buffer, /)",
        "How many bytes, or None.",
    ),
    object.method(
        "_recvfrom_into_now",
        &sock_calls.recvfromInto,
        api.meth_fastcall,
        "($self, fd, buffer, size, /)",
        "How many bytes and where from, or None.",
    ),
    object.method(
        "_send_now",
        &sock_calls.send,
        api.meth_fastcall,
        "($self, fd, data, offset, /)",
        "The offset of what is left, or None.",
    ),
    object.method(
        "_wait_ready",
        &waits.waitReady,
        api.meth_fastcall,
        "($self, fd, is_writer, /)",
        "A Future that ends when the descriptor is ready.",
    ),
    object.method("_give_up", &waits.giveUp, api.meth_one, "($self, future, /)", "Nobody waits any more."),
    object.method(
        "_has_transport",
        &transports.has,
        api.meth_one,
        "($self, fd, /)",
        "Whether a transport that is not closing has the descriptor.",
    ),
    object.method(
        "_disown_descriptor",
        &transports.disown,
        api.meth_one,
        "($self, fd, /)",
        "No transport has it meanwhile.",
    ),
    object.method("_transport_count", &transports.countOf, api.meth_noargs, "($self, /)", "Open transports."),
    object.method("_callbacks_run", &Loop.callbacksRun, api.meth_noargs, "($self, /)", "Callbacks run so far."),
};

pub var all = method_table ++ [_]api.MethodDef{.{}};
