//! The things that the Python half of the package passes to this half at import: exception classes
//! and the few functions that are easier to write in Python.

const api = @import("api.zig");
const py = &api.py;
const Object = api.Object;

const Table = struct {
    /// Exception classes.
    CancelledError: *Object,
    TaskCancelled: *Object,
    Overloaded: *Object,
    ClosedError: *Object,
    BusyError: *Object,
    SpargioError: *Object,
    IncompleteReadError: *Object,
    /// What an exchange returns: there is nothing now; there never will be.
    NOTHING: *Object,
    CLOSED: *Object,
    /// (from_shard or None, tag, value): a message that was received.
    Event: *Object,
    /// (coroutine) -> coroutine, or TypeError: for objects that are not plain coroutines.
    adopt: *Object,
    /// (runtime, shard, name) on a shard's thread at its start; the name is None on a caller's thread.
    attached: *Object,
    /// (runtime, shard) on a shard's thread at its end.
    detached: *Object,
    /// (runtime, shard) on a shard whose runtime closes, when one task is left.
    last_task: *Object,
    /// (what) -> RuntimeError: there is no task here
    outside: *Object,
    /// (JoinHandle) -> what awaits it in an asyncio loop that is not ours, or None
    join_elsewhere: *Object,
    /// () -> RuntimeError if another event loop runs on this thread, else None
    other_loop: *Object,
    /// (exception, object, whether it had to be writable) -> the exception for what exports no such buffer
    no_buffer: *Object,
    /// (what was yielded) -> RuntimeError: it is not one of our awaitables
    foreign: *Object,
    /// (coroutine, exception of its first step) -> the exception to raise
    run_twice: *Object,
    /// (RuntimeError or AttributeError that ends a task): adds to asyncio's words what to do
    explain: *Object,
    /// () -> where the code is that called us, as a traceback has it
    origin: *Object,
    /// (runtime, shard) on the shard that looks for signals, now and then.
    signals: *Object,
    /// (JoinHandle, runtime) -> list of lines: where its coroutine stands
    stack: *Object,
    /// (errno, text or None, filename or None) -> OSError
    os_error: *Object,
    /// (result code) -> exception
    spargio_error: *Object,
};

pub var table: Table = undefined;

/// False if one is missing; the exception is set.
pub fn load(dict: *Object) bool {
    inline for (@typeInfo(Table).@"struct".field_names) |name| {
        const found = py.PyDict_GetItemString(dict, name) orelse {
            _ = api.raise(py.PyExc_RuntimeError.*, "spargio: the two halves of the package differ: " ++
                "no helper " ++ name);
            return false;
        };
        @field(table, name) = api.ref(found);
    }
    return true;
}

/// OSError of the right subclass; `filename` is borrowed.
pub fn raiseErrno(errno: i32, text: ?[]const u8, filename: ?*Object) ?*Object {
    const number = py.PyLong_FromLongLong(errno) orelse return null;
    const words = if (text) |t| api.string(t) orelse return null else api.none();
    const name = if (filename) |f| api.ref(f) else api.none();
    const exception = api.call(table.os_error, &.{ number, words, name }) orelse return null;
    api.raiseObject(exception);
    py.Py_DecRef(exception);
    return null;
}

/// The exception that is set says how much of a write went out before it: `bytes_written`.
pub fn sayWritten(count: usize) void {
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    const number = py.PyLong_FromLongLong(@intCast(count)) orelse return; // MemoryError instead.
    defer py.Py_DecRef(number);
    if (py.PyObject_SetAttrString(exception, "bytes_written", number) == 0) api.raiseObject(exception);
}

/// The exception for a negative result of the library.
pub fn raiseCode(code: i32) ?*Object {
    const number = py.PyLong_FromLongLong(code) orelse return null;
    const exception = api.call(table.spargio_error, &.{number}) orelse return null;
    api.raiseObject(exception);
    py.Py_DecRef(exception);
    return null;
}
