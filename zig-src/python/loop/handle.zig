//! asyncio.Handle and asyncio.TimerHandle as the loop makes them: callback, context and up to three
//! arguments lie in the object. They are types of their own that answer `__class__` with asyncio's,
//! so `isinstance` holds and the attributes of asyncio's slots need no storage. Only the loop's
//! thread uses a handle, except `cancel`, the getters and the deallocator: without the
//! interpreter's lock, the handle's own lock keeps these and the run apart.

const std = @import("std");
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const gpa = @import("../../base/memory.zig").gpa;
const interpreter = &@import("../task/py_interpreter.zig").interpreter;
const Lock = @import("../../base/sync.zig").Lock;
const Loop = @import("loop.zig").Loop;
const Timer = @import("timer_handle.zig").Timer;
const Object = api.Object;
const py = &api.py;

pub const inline_args = 3;

/// The loop that lets go of a handle which has run: one that nobody else has goes to its list of free ones.
/// Guarded by the interpreter's lock, and unused without one.
var releasing: ?*Loop = null;

/// A run handle has given up callback, arguments and context. One of a descriptor runs again and
/// again. The thread that moves it away from `pending` empties it.
pub const State = enum(u8) { pending, running, done };

pub const Handle = extern struct {
    loop: ?*Object,
    context: ?*Object,
    callback: ?*Object,
    source_traceback: ?*Object,
    shown: ?*Object,
    /// CPython's list of weak references.
    weakrefs: ?*Object,
    /// Arguments beyond those that fit: a scratch word, then all of them.
    more: ?[*]?*Object,
    count: u32,
    state: State,
    cancelled: bool,
    /// It stays in use after a run: that of a reader or writer.
    lasting: bool,
    is_timer: bool,
    /// The word of a lock, for builds without a lock of the interpreter. // any thread
    lock_word: u32,
    /// The word before the arguments is one that a vectorcall may overwrite.
    room: [1 + inline_args]?*Object,

    pub const Type = object.TypeOf(Handle);

    pub fn of(instance: *Object) *Handle {
        return Type.body(instance);
    }

    pub fn objectOf(self: *Handle) *Object {
        return Type.objectOf(self);
    }

    /// Where the arguments begin.
    pub fn arguments(self: *Handle) [*]?*Object {
        const array: [*]?*Object = self.more orelse &self.room;
        return array + 1;
    }

    /// Takes over the reference to the context, the others are borrowed; null with the exception set.
    pub fn make(loop: *Loop, callback: *Object, args: []const *Object, context: *Object) ?*Handle {
        const self = makeQueued(loop, callback, args, context) orelse return null;
        self.track();
        return self;
    }

    /// For the queue of the loop. While the loop runs, the collector need not know of it: the loop holds it
    /// until its run, after which it holds nothing. Many that wait would be gone through again and again.
    pub fn makeQueued(loop: *Loop, callback: *Object, args: []const *Object, context: *Object) ?*Handle {
        const instance = loop.takeFree() orelse create() orelse {
            py.Py_DecRef(context);
            return null;
        };
        const self = of(instance);
        const filled = self.fill(loop, callback, args, context);
        if (!loop.driving or !interpreter.locked or !filled) self.track();
        if (filled) return self;
        py.Py_DecRef(instance);
        return null;
    }

    fn create() ?*Object {
        const instance = Type.create() orelse return null;
        py.PyObject_GC_UnTrack(instance);
        return instance;
    }

    pub fn track(self: *Handle) void {
        if (py.PyObject_GC_IsTracked(self.objectOf()) == 0) py.PyObject_GC_Track(self.objectOf());
    }

    /// After its run. The loop's reference goes, and the handle's to the loop: it holds nothing any more.
    pub fn release(instance: *Object, loop: *Loop) void {
        const self = of(instance);
        if (self.lasting or !interpreter.locked) return py.Py_DecRef(instance);
        const outer = releasing;
        releasing = loop;
        defer releasing = outer;
        api.drop(&self.loop); // The loop runs, so it stays.
        py.Py_DecRef(instance);
    }

    pub fn fill(self: *Handle, loop: *Loop, callback: *Object, args: []const *Object, context: *Object) bool {
        self.loop = api.ref(Loop.Type.objectOf(loop));
        self.callback = api.ref(callback);
        self.context = context;
        if (args.len > inline_args) {
            const array = gpa.alloc(?*Object, args.len + 1) catch {
                _ = py.PyErr_NoMemory();
                return false;
            };
            self.more = array.ptr;
        }
        const place = self.arguments();
        for (args, 0..) |argument, i| place[i] = api.ref(argument);
        self.count = @intCast(args.len);
        if (!loop.debug) return true;
        self.source_traceback = py.PyObject_CallObject(loop_helpers.extract_stack, null) orelse return false;
        return true;
    }

    fn acquire(self: *Handle) void {
        if (interpreter.locked) return;
        const lock: *Lock = @ptrCast(&self.lock_word);
        lock.lock();
    }

    fn giveUp(self: *Handle) void {
        if (interpreter.locked) return;
        const lock: *Lock = @ptrCast(&self.lock_word);
        lock.unlock();
    }

    /// The loop is about to run it; false if there is nothing to run.
    pub fn begin(self: *Handle) bool {
        self.acquire();
        defer self.giveUp();
        if (self.cancelled or self.callback == null) return false;
        self.state = .running;
        return true;
    }

    /// Its context, which the loop had taken, for the report that it failed.
    pub fn lend(self: *Handle, context: ?*Object) void {
        if (self.context != null) return;
        self.acquire();
        self.context = if (context) |one| api.ref(one) else null;
        self.giveUp();
    }

    /// It has run.
    pub fn end(self: *Handle) void {
        self.acquire();
        const over = !self.lasting or self.cancelled;
        self.state = if (over) .done else .pending;
        self.giveUp();
        if (over) self.empty();
    }

    /// Lets go of callback, arguments and context.
    pub fn empty(self: *Handle) void {
        if (self.callback == null and self.count == 0 and self.context == null) return;
        self.acquire();
        const count = self.count;
        const array = self.more;
        var few = self.room;
        const place = if (array) |memory| memory else &few;
        var callback = self.callback;
        var context = self.context;
        self.count = 0;
        self.more = null;
        self.callback = null;
        self.context = null;
        @memset(&self.room, null);
        self.giveUp();
        api.drop(&callback);
        for (1..count + 1) |i| api.drop(&place[i]);
        if (array) |memory| gpa.free(memory[0 .. count + 1]);
        api.drop(&context);
    }

    // ---- what Python sees ----

    /// cancel(): the callback will not run. Idempotent, and harmless after the run. Any thread.
    fn cancel(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return if (cancelNow(instance)) api.none() else null;
    }

    pub fn cancelNow(instance: *Object) bool {
        const self = of(instance);
        if (self.isCancelledNow()) return true;
        const owner: ?*Object = @atomicLoad(?*Object, &self.loop, .monotonic); // Null once it has run.
        const loop: ?*Loop = if (owner) |one| Loop.of(one) else null;
        var text: ?*Object = null;
        if (loop != null and loop.?.debug) text = py.PyObject_Repr(instance) orelse return false;
        defer api.drop(&text);
        self.acquire();
        if (self.cancelled) {
            self.giveUp();
            return true;
        }
        @atomicStore(bool, &self.cancelled, true, .monotonic);
        std.mem.swap(?*Object, &self.shown, &text);
        const pending = self.state == .pending; // The callee of a run borrows the arguments.
        if (pending) self.state = .done;
        self.giveUp();
        if (!pending) return true;
        if (self.is_timer) if (loop) |one| one.timerCancelled();
        self.empty();
        return true;
    }

    /// Monotonic: only `cancelled` itself is looked at; `begin` decides under the lock.
    pub fn isCancelledNow(self: *const Handle) bool {
        return @atomicLoad(bool, &self.cancelled, .monotonic);
    }

    fn isCancelled(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(of(instance).isCancelledNow()));
    }

    /// _run(): for debuggers and subclasses of the loop; the loop itself does not call it.
    fn runNow(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        const loop = Loop.of(self.loop orelse return api.none()); // Null once it has run.
        const outer = loop.entered; // That of the callback which calls this goes on afterwards.
        loop.entered = null;
        const went_well = loop.runHandle(instance);
        loop.exitContext();
        loop.entered = outer;
        return if (went_well) api.none() else loop.raiseFatal();
    }

    fn getContext(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return of(instance).held(.context);
    }

    const Field = enum { context, callback, source_traceback, shown };

    fn held(self: *Handle, comptime field: Field) *Object {
        self.acquire();
        const found = @field(self, @tagName(field));
        const result = if (found) |one| api.ref(one) else api.none();
        self.giveUp();
        return result;
    }

    pub fn repr(instance: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (self.shown) |text| return api.ref(text);
        const function = if (self.is_timer) loop_helpers.timer_repr else loop_helpers.handle_repr;
        return api.call(function, &.{api.ref(instance)});
    }

    fn classOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return api.ref(if (of(instance).is_timer) loop_helpers.TimerHandle else loop_helpers.Handle);
    }

    fn callbackOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return of(instance).held(.callback);
    }

    fn argsOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        const self = of(instance);
        while (true) {
            const count = @atomicLoad(u32, &self.count, .monotonic);
            const tuple = py.PyTuple_New(count) orelse return null;
            self.acquire();
            if (self.count == count and self.callback != null) {
                for (0..count) |i| _ = py.PyTuple_SetItem(tuple, @intCast(i), api.ref(self.arguments()[i].?));
                self.giveUp();
                return tuple;
            }
            const gone = self.callback == null;
            self.giveUp();
            py.Py_DecRef(tuple);
            if (gone) return api.none();
        }
    }

    fn contextOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return of(instance).held(.context);
    }

    fn loopOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return if (of(instance).loop) |one| api.ref(one) else api.none();
    }

    fn cancelledOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(of(instance).isCancelledNow()));
    }

    fn tracebackOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return of(instance).held(.source_traceback);
    }

    fn shownOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return of(instance).held(.shown);
    }

    pub fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const self = of(instance);
        const class = if (self.is_timer) Timer.Type.class else Type.class;
        for ([_]?*Object{ class, self.loop, self.context, self.callback, self.source_traceback }) |one| {
            if (one == null) continue;
            const status = visit(one, arg);
            if (status != 0) return status;
        }
        const place = self.arguments();
        for (0..self.count) |i| if (place[i]) |one| {
            const status = visit(one, arg);
            if (status != 0) return status;
        };
        return 0;
    }

    pub fn tpClear(instance: *Object) callconv(.c) c_int {
        const self = of(instance);
        self.empty();
        api.drop(&self.source_traceback);
        return 0;
    }

    pub fn dealloc(instance: *Object) callconv(.c) void {
        const self = of(instance);
        py.PyObject_GC_UnTrack(instance);
        if (self.weakrefs != null) py.PyObject_ClearWeakRefs(instance);
        self.empty();
        api.drop(&self.source_traceback);
        api.drop(&self.shown);
        const loop = self.loop;
        self.loop = null;
        const is_timer = self.is_timer;
        const owner = if (loop) |one| Loop.of(one) else releasing;
        const kept = if (owner) |one| !is_timer and one.keepFree(instance) else false;
        if (!kept) if (is_timer) Timer.Type.free(instance, true) else Type.free(instance, true);
        if (loop) |one| py.Py_DecRef(one);
    }

    pub const methods = [_]api.MethodDef{
        object.method("cancel", &cancel, api.meth_noargs, "($self, /)", "Cancel the callback. Idempotent."),
        object.method("cancelled", &isCancelled, api.meth_noargs, "($self, /)", "Whether it was cancelled."),
        object.method(
            "get_context",
            &getContext,
            api.meth_noargs,
            "($self, /)",
            "The contextvars context it runs in.",
        ),
        object.method("_run", &runNow, api.meth_noargs, "($self, /)", "Run the callback now."),
    };

    pub const properties = [_]api.GetSetDef{
        .{ .name = "__class__", .get = &classOf },
        .{ .name = "_callback", .get = &callbackOf },
        .{ .name = "_args", .get = &argsOf },
        .{ .name = "_context", .get = &contextOf },
        .{ .name = "_loop", .get = &loopOf },
        .{ .name = "_cancelled", .get = &cancelledOf },
        .{ .name = "_source_traceback", .get = &tracebackOf },
        .{ .name = "_repr", .get = &shownOf },
    };
};

pub fn define() bool {
    return object.define(Handle.Type, "Handle", .{
        .methods = &Handle.methods,
        .properties = &Handle.properties,
        .repr = &Handle.repr,
        .dealloc = &Handle.dealloc,
        .traverse = &Handle.traverse,
        .clear = &Handle.tpClear,
        .weakrefs = @offsetOf(Handle, "weakrefs"),
    });
}

/// What spargio.asyncio hands in at its import.
pub const Helpers = struct {
    Handle: *Object,
    TimerHandle: *Object,
    /// asyncio's own functions for `repr`.
    handle_repr: *Object,
    timer_repr: *Object,
    CancelledError: *Object,
    Transport: *Object,
    DatagramTransport: *Object,
    BufferedProtocol: *Object,
    Task: *Object,
    Future: *Object,
    /// (object) -> a coroutine around it, if it is one of our awaitables, else None
    wrapped: *Object,
    /// BaseEventLoop.create_task
    create_task: *Object,
    /// () -> the stack of the caller, for debug mode.
    extract_stack: *Object,
};

pub var loop_helpers: Helpers = undefined;
