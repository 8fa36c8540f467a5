//! What the stream transport and the datagram transport share: how an error ends one, how its protocol
//! hears of the end, and methods that only look. `Self` has `loop`, `protocol`, `context`, `closing`,
//! `lost`, and `forceClose(exception)`. Only the loop's thread uses it.

const linux = @import("std").os.linux;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const method_names = @import("method_names.zig");
const raiseErrno = @import("../cpython/callbacks.zig").raiseErrno;
const Handle = @import("handle.zig").Handle;
const Loop = @import("loop.zig").Loop;
const Object = api.Object;
const py = &api.py;

pub fn TransportType(comptime Self: type) type {
    return struct {
        pub const Type = object.TypeOf(Self);

        pub fn of(instance: *Object) *Self {
            return Type.body(instance);
        }

        pub fn me(self: *Self) *Object {
            return Type.objectOf(self);
        }

        pub fn loopOf(self: *Self) *Loop {
            return Loop.of(self.loop.?);
        }

        // ---- the end ----

        /// The exception that is set ends the connection; SystemExit and KeyboardInterrupt end the run.
        pub fn fatal(self: *Self, message: [:0]const u8) void {
            const exception = api.takeException();
            defer py.Py_DecRef(exception);
            fatalWith(self, exception, message);
        }

        pub fn fatalWith(self: *Self, exception: *Object, message: [:0]const u8) void {
            if (loopOf(self).endsRun(exception)) return;
            const text = api.string(message) orelse return self.forceClose(exception);
            defer py.Py_DecRef(text);
            var result = method_names.callMethod(me(self), &method_names.fatal, &.{ exception, text });
            if (result == null) py.PyErr_WriteUnraisable(me(self));
            api.drop(&result);
            self.forceClose(exception);
        }

        pub fn fatalErrno(self: *Self, errno: linux.E, message: [:0]const u8) void {
            _ = raiseErrno(@backingInt(errno), null, null);
            fatal(self, message);
        }

        /// Nothing is left to send and the transport was closed, or it broke.
        pub fn scheduleLost(self: *Self, exception: ?*Object) void {
            self.lost += 1;
            const loop = loopOf(self);
            const method = py.PyObject_GetAttrString(me(self), "_connection_lost") orelse
                return py.PyErr_WriteUnraisable(me(self));
            defer py.Py_DecRef(method);
            const argument: *Object = exception orelse py._Py_NoneStruct;
            const handle = Handle.makeQueued(loop, method, &.{argument}, api.ref(self.context.?)) orelse
                return py.PyErr_WriteUnraisable(me(self));
            loop.push(.{ .handle = handle.objectOf() }) catch py.Py_DecRef(handle.objectOf());
        }

        /// abort(): what waits to be sent is dropped.
        pub fn abort(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
            if (of(instance).loop != null) of(instance).forceClose(null);
            return api.none();
        }

        // ---- what Python sees ----

        pub fn isClosing(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
            return py.PyBool_FromLong(@intFromBool(of(instance).closing));
        }

        pub fn getProtocol(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
            return if (of(instance).protocol) |one| api.ref(one) else api.none();
        }

        /// The last step of a deallocator.
        pub fn free(instance: *Object) void {
            const class = py.PyObject_Type(instance);
            py.PyObject_GC_Del(instance);
            py.Py_DecRef(class); // What PyObject_Type gave,
            py.Py_DecRef(class); // and the instance's own: CPython leaves that to a base that is a heap type.
        }
    };
}
