//! Recorders as Python sees them: a base type for `spargio.latency.Recorder`, and the object that
//! its `time()` returns. A recorder lives as long as the process, so the objects here own nothing.
//! Any thread may use a recorder; a Timing belongs to one thread at a time.

const std = @import("std");
const api = @import("cpython/api.zig");
const clock = @import("../base/clock.zig");
const callbacks = &@import("cpython/callbacks.zig").table;
const object = @import("cpython/object.zig");
const recorder_cbor = @import("../scheduler/recorder_cbor.zig");
const recorders = @import("../scheduler/recorders.zig");
const recording = @import("../scheduler/recording.zig");
const Recorder = recorders.Recorder;
const Sample = recorders.Sample;
const Writer = @import("../base/cbor.zig").Writer;
const Object = api.Object;
const py = &api.py;

const name_allowed = "1 to 64 bytes of text";

pub const PyRecorder = extern struct {
    /// Null before `_open`.
    recorder: ?*Recorder,

    pub const Type = object.TypeOf(PyRecorder);

    fn new(class: *Object, _: ?*Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyType_GenericAlloc(class, 0);
    }

    /// _open(name): before anything else.
    fn open(instance: *Object, name: *Object) callconv(.c) ?*Object {
        const text = textOf(name, "name") orelse return null;
        Type.body(instance).recorder = recorders.open(text) catch |err| return switch (err) {
            error.OutOfMemory => py.PyErr_NoMemory(),
            error.Invalid => api.raiseValue(py.PyExc_ValueError.*, "name", name, name_allowed),
            error.Full => api.raiseFormat(
                py.PyExc_RuntimeError.*,
                "a process has at most {d} recorders: use fewer names",
                .{@import("../base/limits.zig").recorders_max},
            ),
        };
        return api.none();
    }

    fn demand(instance: *Object) ?*Recorder {
        return Type.body(instance).recorder orelse {
            _ = api.raise(py.PyExc_RuntimeError.*, "Recorder.__init__() was not called");
            return null;
        };
    }

    /// record_ns(ns, /, *, outcome="ok", bytes=0, operations=1)
    fn recordNs(instance: *Object, arguments: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        const recorder = demand(instance) orelse return null;
        if (!object.arity("record_ns", count, 1)) return null;
        var sample: Sample = .{ .ns = duration(arguments[0], "ns") orelse return null };
        if (names) |given| if (!readMore(recorder, given, arguments + 1, &sample)) return null;
        recording.record(recorder, sample);
        return api.none();
    }

    /// record_from(intended_start, /, *, outcome="ok", bytes=0, operations=1)
    fn recordFrom(instance: *Object, arguments: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        const recorder = demand(instance) orelse return null;
        if (!object.arity("record_from", count, 1)) return null;
        const start = instant(arguments[0]) orelse return null;
        var sample: Sample = .{ .ns = clock.nowNs() -| start };
        if (names) |given| if (!readMore(recorder, given, arguments + 1, &sample)) return null;
        recording.record(recorder, sample);
        return api.none();
    }

    /// record_corrected(ns, expected_interval_ns, /, *, outcome="ok", bytes=0, operations=1)
    fn recordCorrected(
        instance: *Object,
        arguments: [*]const *Object,
        count: isize,
        names: ?*Object,
    ) callconv(.c) ?*Object {
        const recorder = demand(instance) orelse return null;
        if (!object.arity("record_corrected", count, 2)) return null;
        var sample: Sample = .{ .ns = duration(arguments[0], "ns") orelse return null };
        const interval_ns = duration(arguments[1], "expected_interval_ns") orelse return null;
        if (names) |given| if (!readMore(recorder, given, arguments + 2, &sample)) return null;
        recording.recordCorrected(recorder, sample, interval_ns);
        return api.none();
    }

    /// time(intended_start=None, /) -> Timing
    fn time(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
        const recorder = demand(instance) orelse return null;
        if (count > 1 and !object.arity("time", count, 1)) return null;
        const given = if (count == 1) instant(arguments[0]) orelse return null else null;
        const made = Timing.Type.createBare() orelse return null;
        Timing.Type.body(made).* = .{ .recorder = recorder, .start_ns = given orelse clock.nowNs() };
        return made;
    }

    /// _read() -> CBOR
    fn read(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const recorder = demand(instance) orelse return null;
        var measure: Writer = .{ .buffer = &.{} };
        recorder_cbor.writeOne(&measure, recorder);
        while (true) {
            const room = measure.size + 256;
            var bytes = py.PyBytes_FromStringAndSize(null, @intCast(room));
            const buffer = py.PyBytes_AsString(bytes orelse return null).?;
            var writer: Writer = .{ .buffer = buffer[0..room] };
            recorder_cbor.writeOne(&writer, recorder);
            if (writer.fits()) return if (py._PyBytes_Resize(&bytes, @intCast(writer.size)) == 0) bytes else null;
            api.drop(&bytes);
            measure.size = writer.size;
        }
    }

    fn nameOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        const recorder = demand(instance) orelse return null;
        return api.string(recorder.nameOf());
    }

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const class = py.PyObject_Type(instance);
        defer py.Py_DecRef(class);
        return visit(class, arg);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        py.PyObject_GC_UnTrack(instance);
        const class = py.PyObject_Type(instance);
        py.PyObject_GC_Del(instance);
        py.Py_DecRef(class);
        py.Py_DecRef(class);
    }
};

const record_doc = "Record a duration in nanoseconds. `outcome` is \"ok\", \"timeout\", \"overloaded\", an " ++
    "exception, or the name of a kind of error.\n`ValueError` for a negative one. Any thread.";
const from_doc = "Record the time since `intended_start`: seconds of `time.monotonic()` as a float, or " ++
    "nanoseconds of `time.monotonic_ns()` as an int.\nNothing has passed if it is in the future.";
const corrected_doc = "Record a duration, and those of the operations that could not begin meanwhile: one each " ++
    "`expected_interval_ns`.\nFor a loop that waits for each answer before its next request.";
const time_doc = "``with recorder.time():`` records how long the block takes, from `intended_start` on if it is " ++
    "given (as `record_from()` takes it).\nAn exception that leaves the block is its outcome.";

/// One block of `with`. It can be called, and is its own `__enter__` and `__exit__`: see `Step`.
const Timing = extern struct {
    vectorcall: *const api.VectorcallFn = &call,
    /// Null once it has recorded.
    recorder: ?*Recorder,
    start_ns: u64,
    bytes: u64 = 0,
    operations: u64 = 1,
    /// What `fail` said; 0 (ok): the block's own end decides.
    outcome: u32 = 0,

    const Type = object.TypeOf(Timing);

    /// As `__enter__()`, or as `__exit__(class, exception, traceback)`.
    fn call(instance: *Object, arguments: [*]const ?*Object, flags: usize, _: ?*Object) callconv(.c) ?*Object {
        const count = flags & ~api.arguments_offset;
        return if (count == 0) api.ref(instance) else exit(instance, arguments, count);
    }

    fn exit(instance: *Object, arguments: [*]const ?*Object, count: usize) ?*Object {
        const now = clock.nowNs();
        if (!object.arity("__exit__", @intCast(count), 3)) return null;
        const self = Type.body(instance);
        const recorder = self.recorder orelse return api.none();
        var sample: Sample = .{
            .ns = now -| self.start_ns,
            .outcome = self.outcome,
            .bytes = self.bytes,
            .operations = self.operations,
        };
        if (arguments[0] != py._Py_NoneStruct)
            sample.outcome = outcomeOfClass(recorder, arguments[0].?) orelse return null;
        self.recorder = null;
        recording.record(recorder, sample);
        return api.none();
    }

    /// count(bytes, operations=0): what the block did besides.
    fn addCount(instance: *Object, arguments: [*]const *Object, given: isize) callconv(.c) ?*Object {
        if (given != 2 and !object.arity("count", given, 1)) return null;
        const self = Type.body(instance);
        const bytes = object.unsigned(arguments[0], "bytes", std.math.maxInt(i64)) orelse return null;
        const more = if (given == 2)
            object.unsigned(arguments[1], "operations", std.math.maxInt(i64)) orelse return null
        else
            0;
        self.bytes +%= bytes;
        self.operations +%= more;
        return api.none();
    }

    /// fail(outcome): the block ends without an exception, and failed all the same.
    fn fail(instance: *Object, outcome: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        const recorder = self.recorder orelse return api.none();
        self.outcome = outcomeOf(recorder, outcome) orelse return null;
        return api.none();
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        Type.free(instance, false);
    }
};

/// `__enter__` and `__exit__` of Timing. Of an instance they are the instance: to make a bound method of each, for
/// one call, takes `with` a third of the time of a record. Of the class they are functions, as `ExitStack` wants them.
const Step = extern struct {
    vectorcall: *const api.VectorcallFn,

    const Type = object.TypeOf(Step);

    fn get(descriptor: *Object, instance: ?*Object, _: ?*Object) callconv(.c) ?*Object {
        return api.ref(instance orelse descriptor);
    }

    fn call(_: *Object, arguments: [*]const ?*Object, flags: usize, _: ?*Object) callconv(.c) ?*Object {
        const count = flags & ~api.arguments_offset;
        if (count == 0 or !Timing.Type.is(arguments[0].?))
            return api.raise(py.PyExc_TypeError.*, "it takes what Recorder.time() returned");
        return Timing.call(arguments[0].?, arguments + 1, count - 1, null);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        Type.free(instance, false);
    }

    /// Gives them to Timing.
    fn install() bool {
        const parts: object.Parts = .{
            .doc = "A method of Timing.",
            .vectorcall = @offsetOf(Step, "vectorcall"),
            .descr_get = &get,
            .dealloc = &dealloc,
        };
        if (!object.define(Type, "TimingStep", parts)) return false;
        const step = Type.create() orelse return false;
        defer py.Py_DecRef(step);
        Type.body(step).vectorcall = &call;
        inline for (.{ "__enter__", "__exit__" }) |name|
            if (py.PyObject_SetAttrString(Timing.Type.class, name, step) != 0) return false;
        return true;
    }
};

/// A number of nanoseconds, or null with the exception set.
fn duration(given: *Object, comptime name: []const u8) ?u64 {
    const value = object.integer(given, name) orelse return null;
    if (value >= 0) return @intCast(value);
    _ = api.raiseFormat(py.PyExc_ValueError.*, name ++ " must be 0 or more nanoseconds, got {d}", .{value});
    return null;
}

/// An int in nanoseconds, or a float in seconds.
fn instant(given: *Object) ?u64 {
    const class = py.PyObject_Type(given);
    defer py.Py_DecRef(class);
    // Asked first: the error that a float is no integer takes as long as a whole record.
    if (class == py.PyFloat_Type) return instantOf(given, py.PyFloat_AsDouble(given));
    const number = py.PyLong_AsLongLong(given);
    if (number != -1 or py.PyErr_Occurred() == null) return if (number < 0) 0 else @intCast(number);
    py.PyErr_Clear();
    const seconds = py.PyFloat_AsDouble(given);
    if (seconds == -1 and py.PyErr_Occurred() != null) return null;
    return instantOf(given, seconds);
}

fn instantOf(given: *Object, seconds: f64) ?u64 {
    if (seconds >= 0 and seconds < 1e9) return @trunc(seconds * std.time.ns_per_s);
    _ = api.raiseValue(py.PyExc_ValueError.*, "intended_start", given, "an instant of time.monotonic()");
    return null;
}

/// Keyword arguments of a record.
fn readMore(recorder: *Recorder, names: *Object, values: [*]const *Object, sample: *Sample) bool {
    const count: usize = @intCast(py.PyTuple_Size(names));
    for (0..count) |i| {
        const name = py.PyTuple_GetItem(names, @intCast(i)).?;
        if (py.PyUnicode_CompareWithASCIIString(name, "outcome") == 0) {
            sample.outcome = outcomeOf(recorder, values[i]) orelse return false;
        } else if (py.PyUnicode_CompareWithASCIIString(name, "bytes") == 0) {
            sample.bytes = object.unsigned(values[i], "bytes", std.math.maxInt(i64)) orelse return false;
        } else if (py.PyUnicode_CompareWithASCIIString(name, "operations") == 0) {
            sample.operations = object.unsigned(values[i], "operations", std.math.maxInt(i64)) orelse return false;
        } else {
            _ = api.raiseValue(py.PyExc_TypeError.*, "keyword", name, "outcome, bytes or operations");
            return false;
        }
    }
    return true;
}

/// Of a str, or of an exception.
fn outcomeOf(recorder: *Recorder, given: *Object) ?u32 {
    const is_exception = py.PyObject_IsInstance(given, py.PyExc_BaseException.*);
    if (is_exception < 0) return null;
    if (is_exception == 1) {
        const class = py.PyObject_Type(given);
        defer py.Py_DecRef(class);
        return outcomeOfClass(recorder, class);
    }
    const text = textOf(given, "outcome") orelse return null;
    inline for (.{
        .{ "ok", recorders.outcome_ok },
        .{ "timeout", recorders.outcome_timeout },
        .{ "overloaded", recorders.outcome_overloaded },
    }) |known| if (std.mem.eql(u8, text, known[0])) return known[1];
    return recorder.outcomeOf(text);
}

/// Of the class of an exception.
fn outcomeOfClass(recorder: *Recorder, class: *Object) ?u32 {
    if (py.PyErr_GivenExceptionMatches(class, py.PyExc_TimeoutError.*) != 0) return recorders.outcome_timeout;
    if (py.PyErr_GivenExceptionMatches(class, callbacks.Overloaded) != 0) return recorders.outcome_overloaded;
    const name = py.PyObject_GetAttrString(class, "__name__") orelse return null;
    defer py.Py_DecRef(name);
    return recorder.outcomeOf(textOf(name, "outcome") orelse return null);
}

/// For as long as `given` lives; null with the exception set.
fn textOf(given: *Object, comptime name: []const u8) ?[]const u8 {
    var size: isize = 0;
    if (py.PyUnicode_AsUTF8AndSize(given, &size)) |bytes| return bytes[0..@intCast(size)];
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    if (py.PyErr_GivenExceptionMatches(exception, py.PyExc_TypeError.*) != 0) {
        _ = api.raiseValue(py.PyExc_TypeError.*, name, given, "a str");
    } else {
        _ = api.raiseValue(py.PyExc_ValueError.*, name, given, "text that UTF-8 can encode");
    }
    return null;
}

const keywords = api.meth_fastcall | api.meth_keywords;
const record_more = ", /, *, outcome='ok', bytes=0, operations=1)";

pub fn define() bool {
    return defineTiming() and object.define(PyRecorder.Type, "RecorderCore", .{
        .methods = &.{
            object.method("_open", &PyRecorder.open, api.meth_one, "($self, name, /)", "Before anything else."),
            object.method("_read", &PyRecorder.read, api.meth_noargs, "($self, /)", "All that it holds, as CBOR."),
            object.method("record_ns", &PyRecorder.recordNs, keywords, "($self, ns" ++ record_more, record_doc),
            object.method(
                "record_from",
                &PyRecorder.recordFrom,
                keywords,
                "($self, intended_start" ++ record_more,
                from_doc,
            ),
            object.method(
                "record_corrected",
                &PyRecorder.recordCorrected,
                keywords,
                "($self, ns, expected_interval_ns" ++ record_more,
                corrected_doc,
            ),
            object.method("time", &PyRecorder.time, api.meth_fastcall, "($self, intended_start=None, /)", time_doc),
        },
        .properties = &.{
            .{ .name = "name", .get = &PyRecorder.nameOf, .doc = "Its name." },
        },
        .dealloc = &PyRecorder.dealloc,
        .traverse = &PyRecorder.traverse,
        .new = &PyRecorder.new,
    });
}

fn defineTiming() bool {
    return object.define(Timing.Type, "Timing", .{
        .doc = "A block that a Recorder times.",
        .methods = &.{
            object.method(
                "count",
                &Timing.addCount,
                api.meth_fastcall,
                "($self, bytes, operations=0, /)",
                "Add to both.",
            ),
            object.method("fail", &Timing.fail, api.meth_one, "($self, outcome, /)", "It failed without an exception."),
        },
        .vectorcall = @offsetOf(Timing, "vectorcall"),
        .mutable = true,
        .dealloc = &Timing.dealloc,
    }) and Step.install();
}
