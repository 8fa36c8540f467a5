//! asyncio.TimerHandle as the loop makes it: a handle (handle.zig) with its time, in the loop's heap. The rules
//! of threads are the handle's.

const assert = @import("std").debug.assert;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const Handle = @import("handle.zig").Handle;
const Loop = @import("loop.zig").Loop;
const Object = api.Object;
const py = &api.py;

/// The body begins with that of a Handle, so the functions above serve both types.
pub const Timer = extern struct {
    handle: Handle,
    /// Seconds of the loop's clock, as asked for.
    when: f64,
    /// In the loop's heap.
    scheduled: bool,

    pub const Type = object.TypeOf(Timer);

    pub fn of(instance: *Object) *Timer {
        return Type.body(instance);
    }

    pub fn make(loop: *Loop, when: f64, callback: *Object, args: []const *Object, context: *Object) ?*Timer {
        const instance = Type.create() orelse {
            py.Py_DecRef(context);
            return null;
        };
        const self = of(instance);
        self.handle.is_timer = true;
        self.when = when;
        if (!self.handle.fill(loop, callback, args, context)) {
            py.Py_DecRef(instance);
            return null;
        }
        return self;
    }

    fn whenOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return py.PyFloat_FromDouble(of(instance).when);
    }

    fn scheduledOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(of(instance).scheduled));
    }

    fn hash(instance: *Object) callconv(.c) isize {
        const number = py.PyFloat_FromDouble(of(instance).when) orelse return -1;
        defer py.Py_DecRef(number);
        return py.PyObject_Hash(number);
    }

    const Compare = enum(c_int) { lt, le, eq, ne, gt, ge };

    fn compare(left: *Object, right: *Object, how: c_int) callconv(.c) ?*Object {
        if (!Type.is(right)) return api.ref(py._Py_NotImplementedStruct);
        const a = of(left);
        const b = of(right);
        const answer = switch (@as(Compare, @fromBackingInt(how))) {
            .lt => a.when < b.when,
            .le => a.when <= b.when,
            .gt => a.when > b.when,
            .ge => a.when >= b.when,
            .eq => equal(a, b) orelse return null,
            .ne => !(equal(a, b) orelse return null),
        };
        return py.PyBool_FromLong(@intFromBool(answer));
    }

    fn equal(a: *Timer, b: *Timer) ?bool {
        if (a == b) return true;
        if (a.when != b.when or a.handle.cancelled != b.handle.cancelled) return false;
        if (a.handle.count != b.handle.count) return false;
        const callbacks = .{ a.handle.callback, b.handle.callback };
        if (callbacks[0] == null or callbacks[1] == null) return callbacks[0] == callbacks[1];
        const same = py.PyObject_RichCompareBool(callbacks[0].?, callbacks[1].?, @backingInt(Compare.eq));
        if (same <= 0) return if (same < 0) null else false;
        for (0..a.handle.count) |i| {
            const one = py.PyObject_RichCompareBool(
                a.handle.arguments()[i].?,
                b.handle.arguments()[i].?,
                @backingInt(Compare.eq),
            );
            if (one <= 0) return if (one < 0) null else false;
        }
        return true;
    }

    fn when_(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return whenOf(instance, null);
    }
};

comptime {
    assert(@offsetOf(Timer, "handle") == 0);
}

pub fn define() bool {
    return object.define(Timer.Type, "TimerHandle", .{
        .methods = &(Handle.methods ++ [_]api.MethodDef{
            object.method(
                "when",
                &Timer.when_,
                api.meth_noargs,
                "($self, /)",
                "The loop's time at which it is due, in seconds.",
            ),
        }),
        .properties = &(Handle.properties ++ [_]api.GetSetDef{
            .{ .name = "_when", .get = &Timer.whenOf },
            .{ .name = "_scheduled", .get = &Timer.scheduledOf },
        }),
        .hash = &Timer.hash,
        .richcompare = &Timer.compare,
        .repr = &Handle.repr,
        .dealloc = &Handle.dealloc,
        .traverse = &Handle.traverse,
        .clear = &Handle.tpClear,
        .weakrefs = @offsetOf(Handle, "weakrefs"),
    });
}
