//! A StopIteration that carries one value after the other. From CPython 3.12 on an await takes the result of a native
//! awaitable out of this exception, and to make one each time would be a third of what an entry of a directory costs.
//! One thread at a time uses a carrier; its owner tells the collector about it.

const api = @import("api.zig");
const object = @import("object.zig");
const Object = api.Object;
const py = &api.py;

var name_value: *Object = undefined;
var get_count: *Object = undefined;

pub const Carrier = struct {
    exception: ?*Object = null,
    /// References to it while nobody else has it.
    alone: i64 = 0,

    /// Raises StopIteration with `value`, which is not None, and takes it over. Null.
    pub fn raise(self: *Carrier, value: *Object) ?*Object {
        // Before 3.12 an await asks a slot that needs no exception.
        const set = py.PyErr_SetRaisedException orelse return object.stop(value);
        defer py.Py_DecRef(value);
        const exception = self.ready() orelse return null;
        // Who iterates by hand has left frames in it.
        if (py.PyException_SetTraceback(exception, py._Py_NoneStruct) != 0) return null;
        if (py.PyObject_SetAttr(exception, name_value, value) != 0) return null;
        set(api.ref(exception));
        return null;
    }

    /// One that nobody else has; borrowed. Null with the exception set.
    fn ready(self: *Carrier) ?*Object {
        if (self.exception) |exception| if (countOf(exception)) |count| if (count == self.alone) return exception;
        api.drop(&self.exception);
        self.exception = api.call(py.PyExc_StopIteration.*, &.{}) orelse return null;
        self.alone = countOf(self.exception.?) orelse 0;
        return self.exception;
    }

    pub fn deinit(self: *Carrier) void {
        api.drop(&self.exception);
    }
};

/// Only compared with another count of the same object. Null if it cannot be counted; no exception is set.
fn countOf(exception: *Object) ?i64 {
    const arguments = [_]?*Object{exception};
    const count = py.PyObject_Vectorcall.?(get_count, &arguments, 1, null) orelse {
        py.PyErr_Clear();
        return null;
    };
    defer py.Py_DecRef(count);
    return py.PyLong_AsLongLong(count);
}

pub fn define() bool {
    name_value = py.PyUnicode_InternFromString("value") orelse return false;
    get_count = api.ref(py.PySys_GetObject("getrefcount") orelse return false);
    return true;
}
