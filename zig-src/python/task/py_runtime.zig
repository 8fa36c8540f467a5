//! Python's runtime object: it starts, drives and stops the core's runtime, and spawns coroutines
//! on it.

const std = @import("std");
const api = @import("../cpython/api.zig");
const runtime_handle = @import("../../runtime/runtime_handle.zig");
const drive = @import("drive.zig");
const errors = @import("../../base/errors.zig");
const Failure = @import("../../base/failure.zig").Failure;
const forgotten = @import("../cpython/forgotten.zig");
const callbacks = @import("../cpython/callbacks.zig");
const interpreter_module = @import("py_interpreter.zig");
const interpreter = &interpreter_module.interpreter;
const inspect = @import("inspect.zig");
const object = @import("../cpython/object.zig");
const Options = @import("../../base/options.zig").Options;
const options_module = @import("../../base/options.zig");
const core = @import("../../runtime/runtime.zig");
const Scheduler = @import("../../scheduler/scheduler.zig").Scheduler;
const room = @import("room.zig");
const spawn = @import("spawn.zig");
const StallWatchdog = @import("stall_watchdog.zig").StallWatchdog;
const Object = api.Object;
const py = &api.py;

/// What an asyncio loop is to the runtime that it drives.
pub const LoopLink = struct {
    /// In the interpreter: a signal handler raised `exception` between two passes. Takes the reference.
    interrupted: *const fn (*LoopLink, exception: *Object) void,
};

pub const PyRuntime = struct {
    /// Alive, memory included, as long as this object: it holds a pin of the handle.
    runtime: *core.Runtime,
    handle: u64,
    started: bool,
    driving: bool,
    /// In its deallocator: hooks cannot be given a reference any more.
    dying: bool,
    /// In debug mode.
    watchdog: ?*StallWatchdog,
    /// When Python's side last looked for new signal handlers.
    looked_ns: u64,
    /// The asyncio loop that drives shard 0.
    loop: ?*LoopLink,
    /// What a signal handler or a task raised to end the whole program.
    fatal: ?*Object,

    pub const Type = object.TypeOf(PyRuntime);

    pub fn of(instance: *Object) *PyRuntime {
        return Type.body(instance);
    }

    pub fn ofScheduler(scheduler: *Scheduler) *PyRuntime {
        return @ptrCast(@alignCast(scheduler.interpreter_owner.?));
    }

    /// start(options_address, driven, debug) -> Runtime. The options were checked.
    pub fn start(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
        if (!object.arity("start", count, 3)) return null;
        const address = py.PyLong_AsUnsignedLongLong(arguments[0]);
        if (py.PyErr_Occurred() != null) return null;
        const driven = object.unsigned(arguments[1], "driven", 1) orelse return null;
        const debug = object.unsigned(arguments[2], "debug", 1) orelse return null;
        const given: *const Options = @ptrFromInt(address);
        const options = options_module.read(Options, .init(), given) catch |err|
            return callbacks.raiseCode(errors.fromError(err));
        const instance = Type.create() orelse return null;
        const self = Type.body(instance);
        if (debug == 1) {
            self.watchdog = StallWatchdog.create(&options) catch {
                py.Py_DecRef(instance);
                return py.PyErr_NoMemory();
            };
            forgotten.trackMore();
        }
        // Our threads attach to the interpreter while they start: let them.
        const state = py.PyEval_SaveThread();
        var failure: Failure = .{};
        const result = self.open(&options, driven == 1, &failure);
        py.PyEval_RestoreThread(state);
        if (result != errors.ok) {
            py.Py_DecRef(instance);
            if (failure.errno == 0) return callbacks.raiseCode(result);
            return callbacks.raiseErrno(failure.errno, @tagName(failure.call), null);
        }
        // One for each of our threads, whether or not it came into the interpreter yet; given back
        // when it leaves.
        for (self.runtime.scheduler.shards) |*shard| if (shard.thread != null) py.Py_IncRef(instance);
        return instance;
    }

    fn open(self: *PyRuntime, options: *const Options, driven: bool, failure: *Failure) i32 {
        const owner = runtime_handle.Owner.reserve(&self.handle) catch |err| return errors.fromError(err);
        const asked: core.Runtime.Start = .{
            .options = options,
            .interpreter = interpreter,
            .interpreter_owner = self,
            .driven = driven,
        };
        self.runtime = core.Runtime.start(asked, failure) catch |err| {
            std.debug.assert(runtime_handle.runtimes.close(self.handle));
            runtime_handle.runtimes.unpin(self.handle);
            return switch (err) {
                error.NoRing, error.SetupFailed => errors.fromErrno(failure.errno),
                error.OutOfMemory, error.Unsupported => |known| errors.fromError(known),
            };
        };
        owner.runtime = self.runtime;
        self.started = true;
        return errors.ok;
    }

    pub const stopWith = drive.stopWith;
    pub const end = drive.end;

    pub fn closeRuntime(self: *PyRuntime) void {
        self.runtime.scheduler.close();
    }

    /// In a forked child there are no shards, and the rings are the parent's.
    pub fn forked(self: *const PyRuntime) bool {
        return self.runtime.scheduler.forked();
    }

    /// False, with the exception set, if a forked child asks: what runs here is its parent's.
    pub fn isHere(instance: *Object) bool {
        if (!of(instance).forked()) return true;
        _ = callbacks.raiseCode(errors.fromError(error.Forked));
        return false;
    }

    fn requestStop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        if (!isHere(instance)) return null;
        of(instance).closeRuntime();
        return api.none();
    }

    /// Any thread; does nothing before request_stop().
    fn cancelAgain(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        if (!isHere(instance)) return null;
        const scheduler = &of(instance).runtime.scheduler;
        if (scheduler.closing.load(.seq_cst)) scheduler.cancelAgain();
        return api.none();
    }

    fn closing(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(of(instance).runtime.scheduler.closing.load(.acquire)));
    }

    fn stats(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        var size: usize = 0;
        _ = runtime_handle.statsInto(self.runtime, null, 0, &size);
        while (true) {
            const size_max = size;
            var bytes = py.PyBytes_FromStringAndSize(null, @intCast(size_max));
            const buffer = py.PyBytes_AsString(bytes orelse return null).?;
            const result = runtime_handle.statsInto(self.runtime, buffer, size_max, &size);
            if (result == errors.ok) {
                if (py._PyBytes_Resize(&bytes, @intCast(size)) != 0) return null;
                return bytes;
            }
            api.drop(&bytes);
            // The counters go on meanwhile, and larger numbers take more bytes.
            if (result != @backingInt(errors.Code.buffer)) return callbacks.raiseCode(result);
        }
    }

    fn debugging(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(of(instance).watchdog != null));
    }

    /// watch() -> what Watch.next says, None when the runtime has stopped.
    fn watchNext(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        const one = self.watchdog orelse return api.raise(py.PyExc_RuntimeError.*, "watch() without debug mode");
        return one.next(&self.runtime.scheduler);
    }

    /// (SPARGIO_BACKEND_*, the errno that kept it from io_uring or 0, the entries of its rings, the call
    /// that had that errno)
    fn backend(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const scheduler = &of(instance).runtime.scheduler;
        const tuple = py.PyTuple_New(4) orelse return null;
        for ([_]?*Object{
            py.PyLong_FromLongLong(@backingInt(scheduler.backend)),
            py.PyLong_FromLongLong(scheduler.refused_ring.errno),
            py.PyLong_FromLongLong(scheduler.options.ring_entries),
            api.string(@tagName(scheduler.refused_ring.call)),
        }, 0..) |value, i| _ = py.PyTuple_SetItem(tuple, @intCast(i), value orelse {
            py.Py_DecRef(tuple);
            return null;
        });
        return tuple;
    }

    /// resting() -> polls of tasks so far, if all its shards sleep now; else None. Two equal
    /// answers: no task ran in between. One whose tasks have all ended sleeps from then on.
    fn resting(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const scheduler = &of(instance).runtime.scheduler;
        var polls: u64 = 0;
        if (scheduler.stop.load(.seq_cst) == 0) for (scheduler.shards) |*shard| {
            if (!shard.park_state.isParked()) return api.none();
            polls += shard.counters.polls.get();
        };
        return py.PyLong_FromLongLong(@intCast(polls));
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        const scheduler = &self.runtime.scheduler;
        const state = if (self.forked())
            "the parent's"
        else if (self.runtime.joined)
            "ended"
        else if (scheduler.closing.load(.acquire)) "shutting down" else "up";
        var text: [96]u8 = undefined;
        return api.string(std.fmt.bufPrint(&text, "<Runtime of {d} shards on {t}, {s}>", .{
            scheduler.shards.len, scheduler.backend, state,
        }) catch unreachable);
    }

    fn shardCount(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyLong_FromLongLong(@intCast(of(instance).runtime.scheduler.shards.len));
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = of(instance);
        const aside: api.Aside = .take();
        defer aside.restore();
        // Tasks hold this object, and so do the shards' threads until they leave the interpreter: none of
        // them will touch it again.
        if (self.started) {
            if (!self.runtime.joined and !self.forked()) {
                self.dying = true;
                drive.driveToEnd(self);
                interpreter_module.leaveUnjoined(&self.runtime.scheduler);
                // Whatever a signal brings is for later: there must be no shard after this.
                if (!drive.stop(self, std.math.maxInt(u64), false)) py.PyErr_WriteUnraisable(null);
            }
            if (self.runtime.joined) runtime_handle.runtimes.unpin(self.handle);
        }
        api.drop(&self.fatal);
        if (self.watchdog) |one| {
            one.destroy();
            forgotten.trackLess();
        }
        Type.free(instance, false);
    }
};

const methods = spawn.methods ++ drive.methods ++ inspect.methods ++ [_]api.MethodDef{
    object.method(
        "room",
        &room.room,
        api.meth_one,
        "($self, shard, /)",
        "An awaitable: until there is room in its queue.",
    ),
    object.method(
        "request_stop",
        &PyRuntime.requestStop,
        api.meth_noargs,
        "($self, /)",
        "Cancel everything; does not wait.",
    ),
    object.method(
        "cancel_again",
        &PyRuntime.cancelAgain,
        api.meth_noargs,
        "($self, /)",
        "The same for those that went on.",
    ),
    object.method("closing", &PyRuntime.closing, api.meth_noargs, "($self, /)", "Whether it is going down."),
    object.method("stats", &PyRuntime.stats, api.meth_noargs, "($self, /)", "A snapshot, CBOR."),
    object.method("backend", &PyRuntime.backend, api.meth_noargs, "($self, /)", "(number, errno, ring entries, call)"),
    object.method(
        "debugging",
        &PyRuntime.debugging,
        api.meth_noargs,
        "($self, /)",
        "Whether it is in debug mode.",
    ),
    object.method(
        "resting",
        &PyRuntime.resting,
        api.meth_noargs,
        "($self, /)",
        "Polls of tasks so far, if all shards sleep; else None.",
    ),
    object.method(
        "watch",
        &PyRuntime.watchNext,
        api.meth_noargs,
        "($self, /)",
        "A shard that is blocked, or None.",
    ),
    object.method("shard_count", &PyRuntime.shardCount, api.meth_noargs, "($self, /)", "Number of shards."),
};

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "start",
        &PyRuntime.start,
        api.meth_fastcall,
        "(options_address, driven, debug, /)",
        "Start a runtime.",
    ),
};

pub fn define() bool {
    return object.define(PyRuntime.Type, "Runtime", .{
        .methods = &methods,
        .repr = &PyRuntime.show,
        .dealloc = &PyRuntime.dealloc,
    });
}
