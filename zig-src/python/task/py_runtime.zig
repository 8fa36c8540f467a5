//! Python's runtime object: it starts, drives and stops the core's runtime, and spawns coroutines
//! on it.

const std = @import("std");
const api = @import("../cpython/api.zig");
const runtime_handle = @import("../../runtime/runtime_handle.zig");
const clock = @import("../../base/clock.zig");
const errors = @import("../../base/errors.zig");
const Failure = @import("../../base/failure.zig").Failure;
const forgotten = @import("../cpython/forgotten.zig");
const callbacks = @import("../cpython/callbacks.zig");
const interpreter_module = @import("py_interpreter.zig");
const interpreter = &interpreter_module.interpreter;
const NativeJoin = @import("native_join.zig").NativeJoin;
const inspect = @import("inspect.zig");
const object = @import("../cpython/object.zig");
const Options = @import("../../base/options.zig").Options;
const options_module = @import("../../base/options.zig");
const core = @import("../../runtime/runtime.zig");
const Scheduler = @import("../../scheduler/scheduler.zig").Scheduler;
const Kind = @import("../../task/task.zig").Kind;
const PyTask = @import("py_task.zig").PyTask;
const room_module = @import("room.zig");
const Shard = @import("../../scheduler/shard.zig").Shard;
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

    /// spawn(kind, value, coroutine, name) -> Task
    fn spawn(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
        if (!object.arity("spawn", count, 4)) return null;
        const self = of(instance);
        const target = self.place(arguments[0], arguments[1]) orelse return null;
        const coroutine = adopt(arguments[2]) orelse return null;
        defer py.Py_DecRef(coroutine);
        const name = if (arguments[3] == py._Py_NoneStruct) null else arguments[3];
        if (name) |given| if (!isText(given)) return null;
        return self.submit(instance, coroutine, name, target, false);
    }

    /// False, with the exception set, for a name that could not be shown.
    fn isText(name: *Object) bool {
        var size: isize = 0;
        if (py.PyUnicode_AsUTF8AndSize(name, &size) != null) return true;
        const exception = api.takeException();
        defer py.Py_DecRef(exception);
        if (py.PyErr_GivenExceptionMatches(exception, py.PyExc_TypeError.*) == 0)
            api.raiseObject(exception) // Text that is not Unicode.
        else
            _ = api.raiseValue(py.PyExc_TypeError.*, "name", name, "a str or None");
        return false;
    }

    /// spawn_cleanup(coroutine, name) -> Task: on the current shard, also while the runtime closes.
    fn spawnCleanup(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
        if (!object.arity("spawn_cleanup", count, 2)) return null;
        const self = of(instance);
        const shard = Shard.currentOf(&self.runtime.scheduler) orelse
            return api.raise(py.PyExc_RuntimeError.*, "spawn_cleanup() outside a shard");
        const coroutine = adopt(arguments[0]) orelse return null;
        defer py.Py_DecRef(coroutine);
        return self.submit(instance, coroutine, arguments[1], .{ .kind = .pinned, .shard = shard }, true);
    }

    fn submit(
        self: *PyRuntime,
        instance: *Object,
        coroutine: *Object,
        name: ?*Object,
        target: Target,
        cleanup: bool,
    ) ?*Object {
        const task = PyTask.create(instance, coroutine, name, target.kind, target.shard.id) orelse return null;
        task.task.cleanup = cleanup;
        const handle = PyTask.Type.objectOf(task);
        py.Py_IncRef(handle); // The scheduler's, given back by `release`.
        self.hand(task, target.shard) catch |err| {
            if (err == error.Closed) task.closeCoroutine(); // It can never run; a full queue may empty.
            py.Py_DecRef(handle);
            py.Py_DecRef(handle);
            return callbacks.raiseCode(errors.fromError(err));
        };
        return handle;
    }

    /// Of a runtime that closes its own tasks may spawn: to clean up. What one spawns that was not told yet is
    /// cancelled as all that was there: it ends before it begins.
    fn hand(self: *PyRuntime, task: *PyTask, target: *Shard) errors.Error!void {
        self.runtime.submit(&task.task, target) catch |err| {
            if (err != error.Closed or Shard.currentOf(&self.runtime.scheduler) == null) return err;
            const me = PyTask.current() orelse return err;
            task.task.cleanup = true;
            if (me.endIsNews()) task.task.cancel_requested.store(true, .seq_cst);
            return self.runtime.submit(&task.task, target);
        };
    }

    /// place(kind, value) -> the shard that a placement means now.
    fn placeOf(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
        if (!object.arity("place", count, 2)) return null;
        const target = of(instance).place(arguments[0], arguments[1]) orelse return null;
        return py.PyLong_FromLongLong(target.shard.id);
    }

    const Target = struct { kind: Kind, shard: *Shard };

    fn place(self: *PyRuntime, kind: *Object, value: *Object) ?Target {
        const placement = self.readPlacement(kind, value) orelse return null;
        if (placement.kind == .stealable and interpreter.locked) {
            // Shards that share a lock run one after the other, and a hand-over takes tens of microseconds:
            // the task stays here until this shard is stuck outside the interpreter, which thieves see.
            if (Shard.currentOf(&self.runtime.scheduler)) |own| return .{ .kind = .stealable, .shard = own };
        }
        const shard = self.runtime.place(placement) catch unreachable; // Its shard was checked.
        return .{ .kind = placement.kind, .shard = shard };
    }

    /// Does not take a turn of the round robin.
    fn readPlacement(self: *PyRuntime, kind_object: *Object, value_object: *Object) ?core.Placement {
        const number = object.unsigned(kind_object, "placement", @backingInt(Kind.stealable_preferred)) orelse
            return null;
        const kind: Kind = @fromBackingInt(@intCast(number));
        const shards = self.runtime.scheduler.shards.len;
        const value = switch (kind) {
            .pinned, .stealable_preferred => object.unsigned(value_object, "shard", shards - 1),
            .sticky => object.unsigned(value_object, "the key", std.math.maxInt(i64)),
            .round_robin, .stealable => 0,
        };
        return .{ .kind = kind, .value = value orelse return null };
    }

    /// A new reference to something PyIter_Send can drive.
    fn adopt(given: *Object) ?*Object {
        const class = py.PyObject_Type(given);
        defer py.Py_DecRef(class);
        if (class == py.PyCoro_Type) return api.ref(given);
        return api.call(callbacks.table.adopt, &.{api.ref(given)});
    }

    /// spawn_native(address, ctx, kind, value) -> NativeTask
    fn spawnNative(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
        if (!object.arity("spawn_native", count, 4)) return null;
        const self = of(instance);
        const address = py.PyLong_AsUnsignedLongLong(arguments[0]);
        const ctx = py.PyLong_AsUnsignedLongLong(arguments[1]);
        if (py.PyErr_Occurred() != null) return null;
        if (address == 0)
            return api.raise(py.PyExc_ValueError.*, "address must be that of a C function, got 0");
        const placement = self.readPlacement(arguments[2], arguments[3]) orelse return null;
        return NativeJoin.spawn(instance, placement, address, ctx);
    }

    /// drive(main: Task): runs shard 0 on this thread until main and all others have ended.
    fn drive(instance: *Object, main: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (!PyTask.Type.is(main)) return api.raise(py.PyExc_TypeError.*, "drive() takes a Task");
        if (Shard.current() != null)
            return api.raise(
                py.PyExc_RuntimeError.*,
                "spargio.run() inside a spargio task: await the coroutine instead",
            );
        if (self.driving or !self.runtime.driven)
            return api.raise(py.PyExc_RuntimeError.*, "this runtime is not to be driven");
        self.driving = true;
        const task = PyTask.Type.body(main);
        // Not run yet: shard 0 is this thread's.
        task.is_main = true;
        self.runtime.drive();
        if (self.forked() and self.fatal != null) return self.takeFatal(); // A child that exits.
        if (!self.stop(std.math.maxInt(u64), true)) return null;
        if (self.fatal != null) task.retrieved = true; // What is raised instead of its outcome.
        return self.takeFatal();
    }

    /// drive_until(job): runs shard 0 on this thread until that task has ended. The same thread may come back;
    /// shutdown() runs it for the last time.
    fn driveUntil(instance: *Object, job: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (!PyTask.Type.is(job)) return api.raise(py.PyExc_TypeError.*, "drive_until() takes a Task");
        if (Shard.current() != null)
            return api.raise(py.PyExc_RuntimeError.*, "a spargio task runs in this thread: await the coroutine");
        if (self.driving or !self.runtime.driven)
            return api.raise(py.PyExc_RuntimeError.*, "this runtime is not to be driven");
        self.driving = true;
        defer self.driving = false;
        const task = PyTask.Type.body(job);
        var done = false;
        if (!task.task.isDone()) {
            task.ended_hook = .{ .function = jobEnded, .owner = @ptrCast(&done) };
            self.runtime.driveUntil(&done);
        }
        if (self.fatal != null) task.retrieved = true;
        return self.takeFatal();
    }

    fn jobEnded(owner: *Object) void {
        const done: *bool = @ptrCast(owner);
        done.* = true;
        Shard.current().?.idle.check_interrupts = true; // So that the shard does not sleep first.
    }

    /// signal_fd(fd): what a signal handler writes there ends a wait of shard 0. Before `drive`.
    fn signalFd(instance: *Object, number: *Object) callconv(.c) ?*Object {
        const fd = object.unsigned(number, "fd", std.math.maxInt(i32)) orelse return null;
        of(instance).runtime.scheduler.shards[0].idle.signal_fd = @intCast(fd);
        return api.none();
    }

    /// None, or raises what ended the program.
    fn takeFatal(self: *PyRuntime) ?*Object {
        const exception = self.fatal orelse return api.none();
        self.fatal = null;
        api.raiseObject(exception);
        py.Py_DecRef(exception);
        return null;
    }

    /// Takes over the reference. The last one counts: a second Ctrl-C replaces the first.
    pub fn stopWith(self: *PyRuntime, exception: *Object) void {
        // In the background nobody raises it: kept, its traceback could hold this object forever.
        if (!self.runtime.driven) {
            py.Py_DecRef(exception);
            return self.closeRuntime();
        }
        // Tasks of two shards may come here at once.
        if (@atomicRmw(?*Object, &self.fatal, .Xchg, exception, .acq_rel)) |before| py.Py_DecRef(before);
        const scheduler = &self.runtime.scheduler;
        if (scheduler.closing.load(.seq_cst)) scheduler.cancelAgain() else self.closeRuntime();
    }

    pub fn closeRuntime(self: *PyRuntime) void {
        self.runtime.scheduler.close();
    }

    /// shutdown(timeout_ns) -> whether all has ended.
    fn shutdown(instance: *Object, timeout: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        const ns = object.unsigned(timeout, "timeout_ns", std.math.maxInt(i64)) orelse return null;
        if (Shard.current() == null and !self.forked()) self.driveToEnd();
        if (!self.stop(if (ns == std.math.maxInt(i64)) std.math.maxInt(u64) else clock.deadlineNs(ns), true))
            return if (py.PyErr_Occurred() != null) null else py.PyBool_FromLong(0);
        return py.PyBool_FromLong(1);
    }

    /// If nobody ran shard 0 yet, which is the caller's: tasks that wait there end as cancelled.
    fn driveToEnd(self: *PyRuntime) void {
        if (!self.runtime.driven or self.driving) return;
        self.driving = true;
        self.closeRuntime();
        self.runtime.drive();
    }

    /// Ends all that runs, for the one that has it alone; what a signal brings is for later.
    pub fn end(self: *PyRuntime) void {
        if (self.forked()) return;
        self.driveToEnd();
        if (!self.stop(std.math.maxInt(u64), false)) py.PyErr_WriteUnraisable(null);
    }

    /// False: not in time, or with an exception set. A signal handler's is one only if it may be.
    fn stop(self: *PyRuntime, deadline_ns: u64, interruptible: bool) bool {
        if (self.forked()) {
            _ = callbacks.raiseCode(errors.fromError(error.Forked));
            return false;
        }
        while (true) {
            const slice = @min(deadline_ns, clock.deadlineNs(50 * std.time.ns_per_ms));
            const state = py.PyEval_SaveThread();
            const result = self.runtime.shutdown(slice);
            py.PyEval_RestoreThread(state);
            if (result) |finished| {
                if (finished) {
                    _ = runtime_handle.runtimes.close(self.handle);
                    return true;
                }
            } else |err| {
                _ = callbacks.raiseCode(errors.fromError(err));
                return false;
            }
            if (clock.nowNs() >= deadline_ns) return false;
            if (interruptible and py.PyErr_CheckSignals() != 0) return false;
        }
    }

    /// In a forked child there are no shards, and the rings are the parent's.
    pub fn forked(self: *const PyRuntime) bool {
        return self.runtime.scheduler.forked();
    }

    fn requestStop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (self.forked()) return callbacks.raiseCode(errors.fromError(error.Forked));
        self.closeRuntime();
        return api.none();
    }

    /// Any thread; does nothing before request_stop().
    fn cancelAgain(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (self.forked()) return callbacks.raiseCode(errors.fromError(error.Forked));
        const scheduler = &self.runtime.scheduler;
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
            const room = size;
            var bytes = py.PyBytes_FromStringAndSize(null, @intCast(room));
            const buffer = py.PyBytes_AsString(bytes orelse return null).?;
            const result = runtime_handle.statsInto(self.runtime, buffer, room, &size);
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
                self.driveToEnd();
                interpreter_module.leaveUnjoined(&self.runtime.scheduler);
                // Whatever a signal brings is for later: there must be no shard after this.
                if (!self.stop(std.math.maxInt(u64), false)) py.PyErr_WriteUnraisable(null);
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

    var methods = [_]api.MethodDef{
        object.method(
            "spawn",
            &spawn,
            api.meth_fastcall,
            "($self, kind, value, coroutine, name, /)",
            "A JoinHandle.",
        ),
        object.method(
            "place",
            &placeOf,
            api.meth_fastcall,
            "($self, kind, value, /)",
            "The shard that a placement means now.",
        ),
        object.method(
            "room",
            &room_module.room,
            api.meth_one,
            "($self, shard, /)",
            "An awaitable: until there is room in its queue.",
        ),
        object.method(
            "spawn_cleanup",
            &spawnCleanup,
            api.meth_fastcall,
            "($self, coroutine, name, /)",
            "The same on this shard, also while the runtime closes.",
        ),
        object.method(
            "spawn_native",
            &spawnNative,
            api.meth_fastcall,
            "($self, address, ctx, kind, value, /)",
            "A NativeJoinHandle.",
        ),
        object.method(
            "signal_fd",
            &signalFd,
            api.meth_one,
            "($self, fd, /)",
            "Read it for wake-ups by signals.",
        ),
        object.method(
            "drive",
            &drive,
            api.meth_one,
            "($self, main, /)",
            "Run shard 0 here until all has ended.",
        ),
        object.method(
            "drive_until",
            &driveUntil,
            api.meth_one,
            "($self, job, /)",
            "Run shard 0 here until that task has ended.",
        ),
        object.method(
            "shutdown",
            &shutdown,
            api.meth_one,
            "($self, timeout_ns, /)",
            "Whether all has ended in time.",
        ),
        object.method(
            "request_stop",
            &requestStop,
            api.meth_noargs,
            "($self, /)",
            "Cancel everything; does not wait.",
        ),
        object.method(
            "cancel_again",
            &cancelAgain,
            api.meth_noargs,
            "($self, /)",
            "The same for those that went on.",
        ),
        object.method("closing", &closing, api.meth_noargs, "($self, /)", "Whether it is going down."),
        object.method("stats", &stats, api.meth_noargs, "($self, /)", "A snapshot, CBOR."),
        object.method("backend", &backend, api.meth_noargs, "($self, /)", "(number, errno, ring entries, call)"),
        object.method(
            "debugging",
            &debugging,
            api.meth_noargs,
            "($self, /)",
            "Whether it is in debug mode.",
        ),
        object.method(
            "resting",
            &resting,
            api.meth_noargs,
            "($self, /)",
            "Polls of tasks so far, if all shards sleep; else None.",
        ),
        object.method(
            "watch",
            &watchNext,
            api.meth_noargs,
            "($self, /)",
            "A shard that is blocked, or None.",
        ),
        object.method("progress", &inspect.progress, api.meth_one, "($self, wait_ns, /)", "How far shards have come."),
        object.method("monitor_open", &inspect.monitorOpen, api.meth_noargs, "($self, /)", "The socket's name."),
        object.method("monitor_next", &inspect.monitorNext, api.meth_noargs, "($self, /)", "(fd, request), or None."),
        object.method("shard_count", &shardCount, api.meth_noargs, "($self, /)", "Number of shards."),
        .{},
    };

    pub fn define() bool {
        var slots = [_]api.TypeSlot{
            object.slotOf(api.slot.methods, &methods),
            object.slotOf(api.slot.repr, &show),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        return Type.define("Runtime", 0, &slots);
    }
};
