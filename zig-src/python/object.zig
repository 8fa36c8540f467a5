//! Python types made at run time: the fields of ours start where the interpreter's header ends,
//! whose size the interpreter tells (`object.__basicsize__`).

const std = @import("std");
const api = @import("api.zig");
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

        /// The last step of a deallocator.
        pub fn free(object: *Object, comptime gc: bool) void {
            if (gc) py.PyObject_GC_Del(object) else py.PyObject_Free(object);
            py.Py_DecRef(class); // Instances of heap types own a reference to their type.
        }

        /// A type that Python classes may inherit from.
        pub fn defineBase(comptime name: [:0]const u8, slots: []api.TypeSlot) bool {
            comptime std.debug.assert(@alignOf(Body) <= 16);
            var spec: api.TypeSpec = .{
                .name = "spargio._core." ++ name,
                .basicsize = @intCast(header_size + @sizeOf(Body)),
                .flags = api.flag_basetype | api.flag_gc | api.flag_immutable,
                .slots = slots.ptr,
            };
            class = py.PyType_FromSpec(&spec) orelse return false;
            return true;
        }

        pub fn define(comptime name: [:0]const u8, flags: c_uint, slots: []api.TypeSlot) bool {
            comptime std.debug.assert(@alignOf(Body) <= 16);
            var spec: api.TypeSpec = .{
                .name = "spargio._core." ++ name,
                .basicsize = @intCast(header_size + @sizeOf(Body)),
                .flags = flags | api.flag_disallow_instantiation | api.flag_immutable,
                .slots = slots.ptr,
            };
            class = py.PyType_FromSpec(&spec) orelse return false;
            return true;
        }
    };
}

pub fn method(comptime name: [:0]const u8, function: anytype, flags: c_int, comptime doc: [:0]const u8) api.MethodDef {
    return .{ .name = name.ptr, .function = @ptrCast(function), .flags = flags, .doc = doc.ptr };
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
    py.PyErr_SetObject(py.PyExc_StopIteration.*, instance);
    py.Py_DecRef(instance);
    return null;
}

/// `Class[T]`, for annotations.
pub fn classGetItem(class: *Object, parameter: *Object) callconv(.c) ?*Object {
    return py.Py_GenericAlias(class, parameter);
}

/// Unsigned argument with a range, or null with the exception set.
pub fn unsigned(object: *Object, comptime name: []const u8, max: u64) ?u64 {
    const value = py.PyLong_AsLongLong(object);
    if (value == -1 and py.PyErr_Occurred() != null) return null;
    if (value < 0 or value > max) {
        _ = api.raiseFormat(py.PyExc_ValueError.*, "{s} is {d}: allowed is 0 to {d}", .{ name, value, max });
        return null;
    }
    return @intCast(value);
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

/// Set when spargio.asyncio is imported: null without an exception where no loop of ours is in a turn.
pub var foreign_await: ?*const fn (*Object) ?*Object = null;

/// Slots of a type whose instances can be awaited. `step` is called at the await and at each
/// resumption: it suspends (sets `suspended`, gives None), ends with a value, or raises.
pub fn Awaitable(comptime step: fn (*Object, *bool) ?*Object) type {
    return struct {
        fn await_(self: *Object) callconv(.c) ?*Object {
            // In a task of asyncio's, on a loop of ours, another object awaits it.
            if (foreign_await) |function| if (function(self)) |waiter| return waiter;
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
