//! Python types made at run time. Our fields start at the end of the interpreter's header; the
//! interpreter reports its size (`object.__basicsize__`).

const std = @import("std");
const api = @import("api.zig");
const callbacks = @import("callbacks.zig");
const py = &api.py;
const Object = api.Object;

/// Set once, at import.
pub var header_size: usize = 0;

/// What a heap type is made of. `Body` is the part after the header; it begins as zero bytes.
pub fn TypeOf(comptime Body: type) type {
    return struct {
        pub var class: *Object = undefined;

        pub fn body(object: *Object) *Body {
            return @ptrFromInt(@intFromPtr(object) + header_size);
        }

        pub fn objectOf(self: *Body) *Object {
            return @ptrFromInt(@intFromPtr(self) - header_size);
        }

        pub fn is(object: *Object) bool {
            const found = py.PyObject_Type(object);
            defer py.Py_DecRef(found);
            return found == class;
        }

        pub fn create() ?*Object {
            return py.PyType_GenericAlloc(class, 0);
        }

        /// The body is not zeroed. Not for types that the collector knows.
        pub fn createBare() ?*Object {
            return py._PyObject_New(class);
        }

        /// The last step of a deallocator.
        pub fn free(object: *Object, comptime gc: bool) void {
            if (gc) py.PyObject_GC_Del(object) else py.PyObject_Free(object);
            py.Py_DecRef(class); // Instances of heap types own a reference to their type.
        }

        /// A type that Python classes may inherit from.
        pub fn defineBase(comptime name: [:0]const u8, slots: []api.TypeSlot) bool {
            return make(name, api.flag_basetype | api.flag_gc | api.flag_immutable, slots);
        }

        pub fn define(comptime name: [:0]const u8, flags: c_uint, slots: []api.TypeSlot) bool {
            return defineMutable(name, flags | api.flag_immutable, slots);
        }

        /// A type that gets attributes after it is made.
        pub fn defineMutable(comptime name: [:0]const u8, flags: c_uint, slots: []api.TypeSlot) bool {
            return make(name, flags | api.flag_disallow_instantiation, slots);
        }

        fn make(comptime name: [:0]const u8, flags: c_uint, slots: []api.TypeSlot) bool {
            comptime std.debug.assert(@alignOf(Body) <= 16);
            var spec: api.TypeSpec = .{
                .name = "spargio._core." ++ name,
                .basicsize = @intCast(header_size + @sizeOf(Body)),
                .flags = flags,
                .slots = slots.ptr,
            };
            class = py.PyType_FromSpec(&spec) orelse return false;
            return true;
        }
    };
}

/// What a type has; the rest it has not.
pub const Parts = struct {
    doc: [:0]const u8 = "",
    /// Its instances can be awaited: see `Awaitable`.
    step: ?fn (*Object, *bool) ?*Object = null,
    /// They are coroutines as well: see `Coroutine`.
    give_up: ?fn (*Object) void = null,
    /// In place of the `__await__` that comes with `step`.
    on_await: ?*const fn (*Object) callconv(.c) ?*Object = null,
    methods: []const api.MethodDef = &.{},
    properties: []const api.GetSetDef = &.{},
    repr: ?*const fn (*Object) callconv(.c) ?*Object = null,
    dealloc: *const fn (*Object) callconv(.c) void,
    /// The collector knows its instances.
    traverse: ?*const fn (*Object, api.Visit, ?*anyopaque) callconv(.c) c_int = null,
    clear: ?*const fn (*Object) callconv(.c) c_int = null,
    finalize: ?*const fn (*Object) callconv(.c) void = null,
    hash: ?*const fn (*Object) callconv(.c) isize = null,
    richcompare: ?*const fn (*Object, *Object, c_int) callconv(.c) ?*Object = null,
    /// In place of those that come with `step`.
    iter: ?*const fn (*Object) callconv(.c) ?*Object = null,
    iternext: ?*const fn (*Object) callconv(.c) ?*Object = null,
    /// Where in the body CPython keeps the weak references to an instance.
    weakrefs: ?usize = null,
    /// Where in the body the function is that a call of an instance reaches (`api.VectorcallFn`).
    vectorcall: ?usize = null,
    descr_get: ?*const fn (*Object, ?*Object, ?*Object) callconv(.c) ?*Object = null,
    /// See `TypeOf.defineMutable`.
    mutable: bool = false,
    /// Python classes inherit from it, and make instances by it.
    new: ?*const fn (*Object, *Object, ?*Object) callconv(.c) ?*Object = null,
};

/// Makes the type, once. False with an exception set.
pub fn define(comptime Type: type, comptime name: [:0]const u8, comptime parts: Parts) bool {
    const Awaited = if (parts.give_up) |giveUp|
        Coroutine(parts.step.?, giveUp)
    else if (parts.step) |step| Awaitable(step) else struct {};
    const more = comptime if (parts.give_up != null) Awaited.methods else [_]api.MethodDef{};
    const S = struct {
        var methods = more ++ parts.methods[0..parts.methods.len].* ++ [_]api.MethodDef{.{}};
        var properties = parts.properties[0..parts.properties.len].* ++ [_]api.GetSetDef{.{}};
        var members = [_]api.MemberDef{ .{}, .{}, .{} };
    };
    var members: usize = 0;
    inline for (.{ .{ "__weaklistoffset__", parts.weakrefs }, .{ "__vectorcalloffset__", parts.vectorcall } }) |one| {
        if (one[1]) |offset| {
            S.members[members] = .{ .name = one[0], .offset = @intCast(header_size + offset) };
            members += 1;
        }
    }
    var slots: [16]api.TypeSlot = undefined;
    var count: usize = 0;
    if (parts.step != null) for (Awaited.slots()) |slot| append(&slots, &count, slot);
    if (parts.on_await) |function| slots[0] = slotOf(api.slot.am_await, function);
    if (parts.doc.len > 0) append(&slots, &count, .{ .slot = api.slot.doc, .function = parts.doc.ptr });
    if (S.methods.len > 1) append(&slots, &count, slotOf(api.slot.methods, &S.methods));
    if (S.properties.len > 1) append(&slots, &count, slotOf(api.slot.getset, &S.properties));
    const others = .{
        "repr", "dealloc",     "traverse", "clear",    "finalize",  "new",
        "hash", "richcompare", "iter",     "iternext", "descr_get",
    };
    inline for (others) |part| {
        const function: ?*const anyopaque = @ptrCast(@field(parts, part));
        if (function != null) append(&slots, &count, .{ .slot = @field(api.slot, part), .function = function });
    }
    if (members > 0) append(&slots, &count, slotOf(api.slot.members, &S.members));
    if (parts.vectorcall != null) append(&slots, &count, slotOf(api.slot.call, py.PyVectorcall_Call));
    append(&slots, &count, .{}); // The end of the list.
    if (parts.new != null) return Type.defineBase(name, &slots);
    var flags: c_uint = if (parts.traverse != null) api.flag_gc else 0;
    if (parts.vectorcall != null) flags |= api.flag_vectorcall;
    return if (parts.mutable) Type.defineMutable(name, flags, &slots) else Type.define(name, flags, &slots);
}

inline fn append(slots: *[16]api.TypeSlot, count: *usize, slot: api.TypeSlot) void {
    std.debug.assert(count.* < slots.len);
    slots[count.*] = slot;
    count.* += 1;
}

/// `signature` as `inspect.signature` reads it: "($self, data, /)".
pub fn method(
    comptime name: [:0]const u8,
    function: anytype,
    flags: c_int,
    comptime signature: []const u8,
    comptime doc: []const u8,
) api.MethodDef {
    const text: [:0]const u8 = name ++ signature ++ "\n--\n\n" ++ doc;
    return .{ .name = name.ptr, .function = @ptrCast(function), .flags = flags, .doc = text.ptr };
}

/// Gives the class descriptors of its own for these methods, if it inherits them from `base`. The interpreter calls the
/// method of a descriptor directly only if the object is of exactly the descriptor's class.
pub fn ownMethods(class: *Object, base: *Object, comptime names: []const []const u8, table: []api.MethodDef) bool {
    for (table) |*def| {
        const name = def.name orelse return true;
        for (names) |wanted| if (std.mem.eql(u8, wanted, std.mem.span(name))) {
            const inherited = py.PyObject_GetAttrString(base, name) orelse return false;
            defer py.Py_DecRef(inherited);
            const found = py.PyObject_GetAttrString(class, name) orelse return false;
            defer py.Py_DecRef(found);
            if (found != inherited) continue;
            const descriptor = py.PyDescr_NewMethod(class, def) orelse return false;
            defer py.Py_DecRef(descriptor);
            if (py.PyObject_SetAttrString(class, name, descriptor) != 0) return false;
        };
    }
    return true;
}

pub fn docSlot(comptime text: [:0]const u8) api.TypeSlot {
    return .{ .slot = api.slot.doc, .function = text.ptr };
}

pub fn slotOf(id: c_int, function: anytype) api.TypeSlot {
    return .{ .slot = id, .function = @ptrCast(function) };
}

/// For `am_send`: the same step as `iternext`, with its result said without an exception.
pub fn sendResult(value: ?*Object, out: *?*Object, pending: bool) api.Send {
    out.* = value;
    if (value == null) return .@"error";
    return if (pending) .next else .@"return";
}

/// For `iternext`: a final value travels as StopIteration; None needs no exception.
pub fn stop(value: *Object) ?*Object {
    if (value == py._Py_NoneStruct) {
        py.Py_DecRef(value);
        return null;
    }
    // An instance, because a bare tuple or exception as the value would be unpacked.
    const instance = api.call(py.PyExc_StopIteration.*, &.{value}) orelse return null;
    if (py.PyErr_SetRaisedException) |set| {
        set(instance);
    } else {
        py.PyErr_SetObject(py.PyExc_StopIteration.*, instance);
        py.Py_DecRef(instance);
    }
    return null;
}

/// `Class[T]`, for annotations.
pub fn classGetItem(class: *Object, parameter: *Object) callconv(.c) ?*Object {
    return py.Py_GenericAlias(class, parameter);
}

/// Unsigned argument with a range, or null with the exception set.
pub fn unsigned(object: *Object, comptime name: []const u8, max: u64) ?u64 {
    const value = integer(object, name) orelse return null;
    if (value < 0 or value > max) {
        _ = api.raiseFormat(py.PyExc_ValueError.*, "{s} must be between 0 and {d}, got {d}", .{ name, max, value });
        return null;
    }
    return @intCast(value);
}

/// What does not fit is out of every range: the least number there is. Null with the exception set.
pub fn integer(given: *Object, comptime name: []const u8) ?i64 {
    const value = py.PyLong_AsLongLong(given);
    if (value != -1 or py.PyErr_Occurred() == null) return value;
    const raised = py.PyErr_Occurred().?;
    if (py.PyErr_GivenExceptionMatches(raised, py.PyExc_OverflowError.*) != 0) {
        py.PyErr_Clear();
        _ = api.raiseValue(py.PyExc_ValueError.*, name, given, "a number of 64 bits");
    } else if (py.PyErr_GivenExceptionMatches(raised, py.PyExc_TypeError.*) != 0) {
        py.PyErr_Clear();
        _ = api.raiseValue(py.PyExc_TypeError.*, name, given, "an integer");
    }
    return null;
}

/// Exports the memory of `source`; false with an exception that says what is wrong with it.
pub fn getBuffer(source: *Object, view: *api.Buffer, flags: c_int) bool {
    if (py.PyObject_GetBuffer(source, view, flags) == 0) return true;
    view.obj = null;
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    const writable = py.PyBool_FromLong(@intFromBool(flags == api.buffer_writable)) orelse return false;
    const all = [_]*Object{ api.ref(exception), api.ref(source), writable };
    const better = api.call(callbacks.table.no_buffer, &all) orelse return false;
    defer py.Py_DecRef(better);
    api.raiseObject(better);
    return false;
}

/// A bytes object, and of no class of its own, which might export something else.
pub fn isExactBytes(given: *Object) bool {
    const class = py.PyObject_Type(given);
    py.Py_DecRef(class);
    return class == py.PyBytes_Type;
}

pub fn arity(comptime name: []const u8, given: isize, wanted: isize) bool {
    if (given == wanted) return true;
    _ = api.raiseFormat(py.PyExc_TypeError.*, "{s}() takes {d} arguments ({d} given)", .{ name, wanted, given });
    return false;
}

/// An await that raised; null. A StopIteration (of a call on another thread) would be taken for its value,
/// so it becomes the cause of another exception, as one that leaves a coroutine does (PEP 479).
fn failed() ?*Object {
    if (py.PyErr_GivenExceptionMatches(py.PyErr_Occurred().?, py.PyExc_StopIteration.*) == 0) return null;
    const cause = api.takeException();
    defer py.Py_DecRef(cause);
    _ = api.raise(py.PyExc_RuntimeError.*, "what was awaited raised StopIteration");
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    if (py.PyObject_SetAttrString(exception, "__cause__", cause) != 0) return null;
    api.raiseObject(exception);
    return null;
}

/// Set when spargio.asyncio is imported: null without an exception if none of our loops is in a
/// turn.
pub var foreign_await: ?*const fn (*Object) ?*Object = null;

/// Slots of a type whose instances can be awaited. `step` is called at the await and at each
/// resumption: it suspends (sets `suspended`, gives None), ends with a value, or raises.
pub fn Awaitable(comptime step: fn (*Object, *bool) ?*Object) type {
    return struct {
        fn await_(self: *Object) callconv(.c) ?*Object {
            // In an asyncio task, on our loop, another object awaits it.
            const function = foreign_await orelse return api.ref(self);
            if (function(self)) |waiter| return waiter;
            return if (py.PyErr_Occurred() == null) api.ref(self) else null;
        }

        fn iter(self: *Object) callconv(.c) ?*Object {
            return api.ref(self);
        }

        fn iternext(self: *Object) callconv(.c) ?*Object {
            var suspended = false;
            const value = step(self, &suspended) orelse return failed();
            return if (suspended) value else stop(value);
        }

        fn send(self: *Object, _: *Object, out: *?*Object) callconv(.c) api.Send {
            var suspended = false;
            return sendResult(step(self, &suspended) orelse failed(), out, suspended);
        }

        pub fn slots() [4]api.TypeSlot {
            return .{
                slotOf(api.slot.am_await, &await_),
                slotOf(api.slot.iter, &iter), // For `yield from x.__await__()`.
                slotOf(api.slot.iternext, &iternext),
                slotOf(api.slot.am_send, &send),
            };
        }
    };
}

/// The rest of what `collections.abc.Coroutine` asks for, so that one is taken where a coroutine is, and a
/// type checker may call it one. `giveUp` makes sure that it is not begun any more; nothing if it was.
pub fn Coroutine(comptime step: fn (*Object, *bool) ?*Object, comptime giveUp: fn (*Object) void) type {
    return struct {
        pub const slots = Awaitable(step).slots;

        fn send(self: *Object, _: *Object) callconv(.c) ?*Object {
            var suspended = false;
            const value = step(self, &suspended) orelse return failed();
            if (suspended) return value;
            const instance = api.call(py.PyExc_StopIteration.*, &.{value}) orelse return null;
            defer py.Py_DecRef(instance);
            api.raiseObject(instance);
            return null;
        }

        /// throw(exception), or throw(class, value, traceback) of old.
        fn throw(self: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
            if (count < 1 or count > 3)
                return api.raise(py.PyExc_TypeError.*, "throw() takes an exception");
            giveUp(self);
            const last = if (count > 1 and arguments[1] != py._Py_NoneStruct) arguments[1] else arguments[0];
            const is_instance = py.PyObject_IsInstance(last, py.PyExc_BaseException.*);
            if (is_instance < 0) return null;
            const exception = if (is_instance == 1)
                api.ref(last)
            else if (last == arguments[0])
                api.call(last, &.{}) orelse return null
            else
                api.call(arguments[0], &.{api.ref(last)}) orelse return null;
            defer py.Py_DecRef(exception);
            if (py.PyObject_IsInstance(exception, py.PyExc_BaseException.*) != 1)
                return api.raise(py.PyExc_TypeError.*, "throw() takes an exception");
            if (count == 3 and arguments[2] != py._Py_NoneStruct)
                if (py.PyException_SetTraceback(exception, arguments[2]) != 0) return null;
            api.raiseObject(exception);
            return null;
        }

        fn close(self: *Object, _: ?*Object) callconv(.c) ?*Object {
            giveUp(self);
            return api.none();
        }

        pub const methods = [_]api.MethodDef{
            method("send", &send, api.meth_one, "($self, value, /)", "Go on, as an await does."),
            method("throw", &throw, api.meth_fastcall, "($self, exception, /, *old)", "Raise it here."),
            method("close", &close, api.meth_noargs, "($self, /)", "It is not to be awaited: no warning."),
        };
    };
}
