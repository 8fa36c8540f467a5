//! Results of a batch (batch.zig) that are there one by one: a list in which each None becomes a value or an
//! OSError. On the shard of the task that awaits, attached to the interpreter.

const linux = @import("std").os.linux;
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const Object = api.Object;
const py = &api.py;

/// Begins as zero bytes. The lists are the operation's own: no code of the caller's runs when something is put
/// into them.
pub const Results = struct {
    list: ?*Object,
    /// List of what an OSError calls each file.
    labels: ?*Object,
    /// List of the places of results that are there, or None.
    done: ?*Object,
    /// Called without arguments if results have come in a round; None if nobody waits for single ones.
    told: ?*Object,
    news: bool,

    /// The references are borrowed.
    pub fn init(list: *Object, labels: *Object, done: *Object, told: *Object) Results {
        return .{
            .list = api.ref(list),
            .labels = api.ref(labels),
            .done = api.ref(done),
            .told = api.ref(told),
            .news = false,
        };
    }

    /// Of an earlier operation on the same lists.
    pub fn has(self: *const Results, index: usize) bool {
        return py.PyList_GetItem(self.list.?, @intCast(index)).? != py._Py_NoneStruct;
    }

    /// Takes over the reference.
    pub fn put(self: *Results, index: usize, value: *Object) void {
        self.news = true;
        _ = py.PyList_SetItem(self.list.?, @intCast(index), value);
        const done = self.done.?;
        if (done == py._Py_NoneStruct) return;
        const number = py.PyLong_FromLongLong(@intCast(index));
        if (number) |n| {
            defer py.Py_DecRef(n);
            if (py.PyList_Append(done, n) == 0) return;
        }
        py.PyErr_WriteUnraisable(null);
    }

    /// The OSError of the file with that label.
    pub fn fail(self: *Results, index: usize, label: usize, errno: linux.E) void {
        const name = py.PyList_GetItem(self.labels.?, @intCast(label)).?;
        const number = py.PyLong_FromLongLong(@backingInt(errno));
        const exception = if (number) |n|
            api.call(callbacks.table.os_error, &.{ n, api.none(), api.ref(name) })
        else
            null;
        if (exception) |one| return self.put(index, one);
        py.PyErr_WriteUnraisable(null);
        self.put(index, api.none());
    }

    /// After each round.
    pub fn tell(self: *Results) void {
        if (!self.news or self.told.? == py._Py_NoneStruct) return;
        self.news = false;
        var nothing = api.call(self.told.?, &.{});
        if (nothing == null) py.PyErr_WriteUnraisable(self.told.?);
        api.drop(&nothing);
    }

    /// The await's result.
    pub fn take(self: *Results) ?*Object {
        defer self.list = null;
        return self.list;
    }

    pub fn drop(self: *Results) void {
        inline for (.{ "list", "labels", "done", "told" }) |name| api.drop(&@field(self, name));
    }
};
