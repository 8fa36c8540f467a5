//! CPython as the bridge sees it: exported functions, looked up by name when the package is
//! imported. No headers and no layouts of the interpreter's own objects; the few structs below are
//! those that callers hand in, and belong to the stable ABI (PEP 384).

const std = @import("std");

pub const Object = opaque {};
pub const ThreadState = opaque {};
pub const Interpreter = opaque {};

/// Result of PyIter_Send.
pub const Send = enum(c_int) { @"return" = 0, @"error" = -1, next = 1 };

pub const VectorcallFn = fn (*Object, [*]const ?*Object, usize, ?*Object) callconv(.c) ?*Object;

/// Py_buffer.
pub const Buffer = extern struct {
    buf: ?[*]u8 = null,
    obj: ?*Object = null,
    len: isize = 0,
    itemsize: isize = 0,
    readonly: c_int = 0,
    ndim: c_int = 0,
    format: ?[*:0]u8 = null,
    shape: ?[*]isize = null,
    strides: ?[*]isize = null,
    suboffsets: ?[*]isize = null,
    internal: ?*anyopaque = null,
};

pub const buffer_simple: c_int = 0;
pub const buffer_writable: c_int = 1;

pub const MethodDef = extern struct {
    name: ?[*:0]const u8 = null,
    function: ?*const anyopaque = null,
    flags: c_int = 0,
    doc: ?[*:0]const u8 = null,
};

pub const GetSetDef = extern struct {
    name: ?[*:0]const u8 = null,
    get: ?*const anyopaque = null,
    set: ?*const anyopaque = null,
    doc: ?[*:0]const u8 = null,
    closure: ?*anyopaque = null,
};

pub const TypeSlot = extern struct { slot: c_int = 0, function: ?*const anyopaque = null };

pub const TypeSpec = extern struct {
    name: [*:0]const u8,
    basicsize: c_int,
    itemsize: c_int = 0,
    flags: c_uint,
    slots: [*]TypeSlot,
};

/// Numbers of typeslots.h.
pub const slot = struct {
    pub const call = 50;
    pub const clear = 51;
    pub const dealloc = 52;
    pub const descr_get = 54;
    pub const doc = 56;
    pub const iter = 62;
    pub const iternext = 63;
    pub const hash = 59;
    pub const methods = 64;
    pub const new = 65;
    pub const repr = 66;
    pub const richcompare = 67;
    pub const setattro = 69;
    pub const traverse = 71;
    pub const members = 72;
    pub const getset = 73;
    pub const free = 74;
    pub const sq_length = 45;
    pub const am_await = 77;
    pub const am_aiter = 78;
    pub const am_anext = 79;
    pub const finalize = 80;
    pub const am_send = 81;
};

/// PyMemberDef; `kind` 19 is T_PYSSIZET (Py_T_PYSSIZET), `flags` 1 is READONLY.
pub const MemberDef = extern struct {
    name: ?[*:0]const u8 = null,
    kind: c_int = 19,
    offset: isize = 0,
    flags: c_int = 1,
    doc: ?[*:0]const u8 = null,
};

/// PY_VECTORCALL_ARGUMENTS_OFFSET: the callee may use the word before the arguments.
pub const arguments_offset: usize = 1 << (@bitSizeOf(usize) - 1);

pub const flag_disallow_instantiation: c_uint = 1 << 7;
pub const flag_immutable: c_uint = 1 << 8;
pub const flag_basetype: c_uint = 1 << 10;
pub const flag_vectorcall: c_uint = 1 << 11;
pub const flag_gc: c_uint = 1 << 14;

pub const meth_keywords: c_int = 0x02;
pub const meth_noargs: c_int = 0x04;
pub const meth_one: c_int = 0x08;
pub const meth_class: c_int = 0x10;
pub const meth_static: c_int = 0x20;
pub const meth_fastcall: c_int = 0x80;

pub const Visit = *const fn (?*Object, ?*anyopaque) callconv(.c) c_int;

const Api = struct {
    Py_IncRef: *const fn (?*Object) callconv(.c) void,
    Py_DecRef: *const fn (?*Object) callconv(.c) void,
    PyIter_Send: *const fn (*Object, *Object, *?*Object) callconv(.c) Send,
    _Py_NewReference: *const fn (*Object) callconv(.c) void,
    /// 3.13 and newer.
    _Py_SetRefcnt: ?*const fn (*Object, isize) callconv(.c) void,
    PyObject_Repr: *const fn (*Object) callconv(.c) ?*Object,
    PyObject_Str: *const fn (*Object) callconv(.c) ?*Object,
    PyObject_Type: *const fn (*Object) callconv(.c) *Object,
    PyObject_IsInstance: *const fn (*Object, *Object) callconv(.c) c_int,
    /// 3.11 and newer.
    PyObject_Vectorcall: ?*const fn (*Object, [*]const ?*Object, usize, ?*Object) callconv(.c) ?*Object,
    PyVectorcall_Call: *const fn (*Object, *Object, ?*Object) callconv(.c) ?*Object,
    PyVectorcall_Function: ?*const fn (*Object) callconv(.c) ?*const VectorcallFn,
    PyDescr_NewMethod: *const fn (*Object, *const MethodDef) callconv(.c) ?*Object,
    PyObject_VectorcallDict: *const fn (*Object, [*]const ?*Object, usize, ?*Object) callconv(.c) ?*Object,
    PyObject_VectorcallMethod: *const fn (*Object, [*]const ?*Object, usize, ?*Object) callconv(.c) ?*Object,
    PyObject_CallObject: *const fn (*Object, ?*Object) callconv(.c) ?*Object,
    PyObject_GetAttr: *const fn (*Object, *Object) callconv(.c) ?*Object,
    PyObject_SetAttr: *const fn (*Object, *Object, *Object) callconv(.c) c_int,
    PyObject_GetIter: *const fn (*Object) callconv(.c) ?*Object,
    PyByteArray_Size: *const fn (*Object) callconv(.c) isize,
    PyByteArray_AsString: *const fn (*Object) callconv(.c) [*]u8,
    PyByteArray_Resize: *const fn (*Object, isize) callconv(.c) c_int,
    PySequence_DelSlice: *const fn (*Object, isize, isize) callconv(.c) c_int,
    PyObject_GetAttrString: *const fn (*Object, [*:0]const u8) callconv(.c) ?*Object,
    PyObject_SetAttrString: *const fn (*Object, [*:0]const u8, *Object) callconv(.c) c_int,
    PyObject_Free: *const fn (*anyopaque) callconv(.c) void,
    PyObject_GC_Del: *const fn (*anyopaque) callconv(.c) void,
    PyObject_GC_IsTracked: *const fn (*Object) callconv(.c) c_int,
    PyObject_GC_Track: *const fn (*anyopaque) callconv(.c) void,
    PyObject_ClearWeakRefs: *const fn (*Object) callconv(.c) void,
    PyObject_GenericSetAttr: *const fn (*Object, *Object, ?*Object) callconv(.c) c_int,
    PyObject_RichCompareBool: *const fn (*Object, *Object, c_int) callconv(.c) c_int,
    PyObject_Hash: *const fn (*Object) callconv(.c) isize,
    PyObject_IsTrue: *const fn (*Object) callconv(.c) c_int,
    PyObject_GC_UnTrack: *const fn (*anyopaque) callconv(.c) void,
    PyObject_GetBuffer: *const fn (*Object, *Buffer, c_int) callconv(.c) c_int,
    PyBuffer_Release: *const fn (*Buffer) callconv(.c) void,
    PyType_FromSpec: *const fn (*TypeSpec) callconv(.c) ?*Object,
    PyType_GenericNew: *const fn (*Object, ?*Object, ?*Object) callconv(.c) ?*Object,
    PyType_GetSlot: *const fn (*Object, c_int) callconv(.c) ?*anyopaque,
    _PyObject_New: *const fn (*Object) callconv(.c) ?*Object,
    PyType_GenericAlloc: *const fn (*Object, isize) callconv(.c) ?*Object,
    PyCFunction_NewEx: *const fn (*const MethodDef, ?*Object, ?*Object) callconv(.c) ?*Object,
    PyBytes_FromStringAndSize: *const fn (?[*]const u8, isize) callconv(.c) ?*Object,
    PyBytes_Type: *Object,
    PyBytes_AsString: *const fn (*Object) callconv(.c) ?[*]u8,
    PyBytes_Size: *const fn (*Object) callconv(.c) isize,
    PyBytes_Concat: *const fn (*?*Object, *Object) callconv(.c) void,
    _PyBytes_Resize: *const fn (*?*Object, isize) callconv(.c) c_int,
    PyUnicode_FromStringAndSize: *const fn (?[*]const u8, isize) callconv(.c) ?*Object,
    PyUnicode_FromKindAndData: *const fn (c_int, [*]const u8, isize) callconv(.c) ?*Object,
    PyUnicode_DecodeFSDefaultAndSize: *const fn ([*]const u8, isize) callconv(.c) ?*Object,
    PyUnicode_Concat: *const fn (*Object, *Object) callconv(.c) ?*Object,
    PyUnicode_InternFromString: *const fn ([*:0]const u8) callconv(.c) ?*Object,
    PyUnicode_CompareWithASCIIString: *const fn (*Object, [*:0]const u8) callconv(.c) c_int,
    PyUnicode_AsUTF8AndSize: *const fn (*Object, *isize) callconv(.c) ?[*]const u8,
    PySys_GetObject: *const fn ([*:0]const u8) callconv(.c) ?*Object,
    PyLong_FromLongLong: *const fn (c_longlong) callconv(.c) ?*Object,
    PyLong_FromUnsignedLongLong: *const fn (c_ulonglong) callconv(.c) ?*Object,
    PyLong_AsLongLong: *const fn (*Object) callconv(.c) c_longlong,
    PyLong_AsUnsignedLongLong: *const fn (*Object) callconv(.c) c_ulonglong,
    PyFloat_Type: *Object,
    PyFloat_FromDouble: *const fn (f64) callconv(.c) ?*Object,
    PyFloat_AsDouble: *const fn (*Object) callconv(.c) f64,
    PyTuple_New: *const fn (isize) callconv(.c) ?*Object,
    PyTuple_Size: *const fn (*Object) callconv(.c) isize,
    PyTuple_GetItem: *const fn (*Object, isize) callconv(.c) ?*Object,
    PyTuple_SetItem: *const fn (*Object, isize, *Object) callconv(.c) c_int,
    PySequence_List: *const fn (*Object) callconv(.c) ?*Object,
    PyList_New: *const fn (isize) callconv(.c) ?*Object,
    PyList_Size: *const fn (*Object) callconv(.c) isize,
    PyList_GetItem: *const fn (*Object, isize) callconv(.c) ?*Object,
    PyList_SetItem: *const fn (*Object, isize, *Object) callconv(.c) c_int,
    PyList_Append: *const fn (*Object, *Object) callconv(.c) c_int,
    PyDict_New: *const fn () callconv(.c) ?*Object,
    PyDict_SetItemString: *const fn (*Object, [*:0]const u8, *Object) callconv(.c) c_int,
    PyDict_GetItemString: *const fn (*Object, [*:0]const u8) callconv(.c) ?*Object,
    PyBool_FromLong: *const fn (c_long) callconv(.c) ?*Object,
    PyContext_CopyCurrent: *const fn () callconv(.c) ?*Object,
    PyContext_Enter: *const fn (*Object) callconv(.c) c_int,
    PyContext_Exit: *const fn (*Object) callconv(.c) c_int,
    PyThread_get_thread_ident: *const fn () callconv(.c) c_ulong,
    PyEval_SaveThread: *const fn () callconv(.c) *ThreadState,
    PyEval_RestoreThread: *const fn (*ThreadState) callconv(.c) void,
    PyInterpreterState_Get: *const fn () callconv(.c) *Interpreter,
    PyInterpreterState_GetID: *const fn (*Interpreter) callconv(.c) i64,
    PyGILState_Ensure: *const fn () callconv(.c) c_int,
    PyGILState_Release: *const fn (c_int) callconv(.c) void,
    PyErr_SetObject: *const fn (*Object, ?*Object) callconv(.c) void,
    /// 3.12 and newer.
    PyErr_SetRaisedException: ?*const fn (*Object) callconv(.c) void,
    PyErr_SetString: *const fn (*Object, [*:0]const u8) callconv(.c) void,
    PyErr_Occurred: *const fn () callconv(.c) ?*Object,
    PyErr_Clear: *const fn () callconv(.c) void,
    PyErr_Fetch: *const fn (*?*Object, *?*Object, *?*Object) callconv(.c) void,
    PyErr_Restore: *const fn (?*Object, ?*Object, ?*Object) callconv(.c) void,
    PyErr_NormalizeException: *const fn (*?*Object, *?*Object, *?*Object) callconv(.c) void,
    PyException_SetTraceback: *const fn (*Object, *Object) callconv(.c) c_int,
    PyErr_GivenExceptionMatches: *const fn (*Object, *Object) callconv(.c) c_int,
    PyErr_WriteUnraisable: *const fn (?*Object) callconv(.c) void,
    PyErr_WarnEx: *const fn (*Object, [*:0]const u8, isize) callconv(.c) c_int,
    PyErr_CheckSignals: *const fn () callconv(.c) c_int,
    Py_GenericAlias: *const fn (*Object, *Object) callconv(.c) ?*Object,
    PyErr_NoMemory: *const fn () callconv(.c) ?*Object,
    _Py_NoneStruct: *Object,
    _Py_NotImplementedStruct: *Object,
    _Py_TrueStruct: *Object,
    _Py_FalseStruct: *Object,
    PyCoro_Type: *Object,
    PyTuple_Type: *Object,
    PyExc_BaseException: *const *Object,
    PyExc_AttributeError: *const *Object,
    PyExc_RuntimeError: *const *Object,
    PyExc_StopIteration: *const *Object,
    PyExc_ImportError: *const *Object,
    PyExc_ValueError: *const *Object,
    PyExc_TypeError: *const *Object,
    PyExc_OverflowError: *const *Object,
    PyExc_OSError: *const *Object,
    PyExc_TimeoutError: *const *Object,
    PyExc_KeyboardInterrupt: *const *Object,
    PyExc_SystemExit: *const *Object,
    PyExc_ResourceWarning: *const *Object,
    PyExc_RuntimeWarning: *const *Object,
};

/// The interpreter this process has; filled by `load`.
pub var py: Api = undefined;

extern "c" fn dlsym(handle: ?*anyopaque, name: [*:0]const u8) ?*anyopaque;

/// The name of the first symbol that is missing, or null. Optional ones are not in every version.
pub fn load() ?[*:0]const u8 {
    inline for (@typeInfo(Api).@"struct".field_names) |name| {
        const address = dlsym(null, name); // null: RTLD_DEFAULT
        const optional = @typeInfo(@FieldType(Api, name)) == .optional;
        if (address == null and !optional) return name;
        @field(py, name) = @ptrCast(@alignCast(address));
    }
    return null;
}

pub fn none() *Object {
    py.Py_IncRef(py._Py_NoneStruct);
    return py._Py_NoneStruct;
}

pub fn ref(object: *Object) *Object {
    py.Py_IncRef(object);
    return object;
}

pub fn drop(reference: *?*Object) void {
    const object = reference.* orelse return;
    reference.* = null;
    py.Py_DecRef(object);
}

/// For what all threads use as long as the process lives, on a build without a lock, by the thread that made
/// it: a count that is too large makes an object immortal there, and nobody counts its references any more.
/// Otherwise each use is two atomic additions to a place that all CPUs want.
pub fn makeImmortal(object: *Object) void {
    if (py._Py_SetRefcnt) |set| set(object, std.math.maxInt(isize));
}

/// Sets an exception with a fixed text; null, as a function's result.
pub fn raise(class: *Object, text: [*:0]const u8) ?*Object {
    py.PyErr_SetString(class, text);
    return null;
}

pub fn raiseFormat(class: *Object, comptime format: []const u8, arguments: anytype) ?*Object {
    var buffer: [512]u8 = undefined;
    const text = std.fmt.bufPrintSentinel(&buffer, format, arguments, 0) catch "spargio: error text too long";
    return raise(class, text.ptr);
}

/// "NAME must be ALLOWED, got VALUE". Returns null, so that a function can return it.
pub fn raiseValue(class: *Object, comptime name: []const u8, value: *Object, comptime allowed: []const u8) ?*Object {
    const shown = py.PyObject_Repr(value) orelse return null;
    defer py.Py_DecRef(shown);
    var size: isize = 0;
    const text = py.PyUnicode_AsUTF8AndSize(shown, &size) orelse return null;
    const bytes = clipped(text[0..@intCast(size)]);
    return raiseFormat(class, name ++ " must be " ++ allowed ++ ", got {s}", .{std.mem.sliceTo(bytes, 0)});
}

/// The words that str() has for an object, for as long as `owner` lives.
pub const Text = struct {
    owner: *Object,
    bytes: []const u8,

    pub fn drop(self: Text) void {
        py.Py_DecRef(self.owner);
    }
};

/// Null, without an exception, if it has none in Unicode.
pub fn textOf(object: *Object) ?Text {
    const owner = py.PyObject_Str(object) orelse {
        py.PyErr_Clear();
        return null;
    };
    var size: isize = 0;
    if (py.PyUnicode_AsUTF8AndSize(owner, &size)) |bytes|
        return .{ .owner = owner, .bytes = bytes[0..@intCast(size)] };
    py.PyErr_Clear();
    py.Py_DecRef(owner);
    return null;
}

pub const clip_bytes = 200;

/// The part of a user's text that goes into our text: whole characters of UTF-8.
pub fn clipped(text: []const u8) []const u8 {
    if (text.len <= clip_bytes) return text;
    var end: usize = clip_bytes;
    while (end > 0 and text[end] & 0xc0 == 0x80) end -= 1;
    return text[0..end];
}

/// The exception that is set, or none, put aside: a deallocator may run in the middle of a raise.
pub const Aside = struct {
    class: ?*Object = null,
    value: ?*Object = null,
    traceback: ?*Object = null,

    pub fn take() Aside {
        var self: Aside = .{};
        py.PyErr_Fetch(&self.class, &self.value, &self.traceback);
        return self;
    }

    pub fn restore(self: Aside) void {
        py.PyErr_Restore(self.class, self.value, self.traceback);
    }
};

/// The exception that is set, as one object with its traceback; it is no longer set.
pub fn takeException() *Object {
    var class: ?*Object = null;
    var value: ?*Object = null;
    var traceback: ?*Object = null;
    py.PyErr_Fetch(&class, &value, &traceback);
    py.PyErr_NormalizeException(&class, &value, &traceback);
    if (traceback) |tb| _ = py.PyException_SetTraceback(value.?, tb);
    drop(&class);
    drop(&traceback);
    return value.?;
}

/// Raises an exception object; the reference stays the caller's.
pub fn raiseObject(exception: *Object) void {
    const class = py.PyObject_Type(exception);
    py.PyErr_SetObject(class, exception);
    py.Py_DecRef(class);
}

/// `callable(*arguments)`; takes over the references of the arguments.
pub fn call(callable: *Object, arguments: []const *Object) ?*Object {
    const tuple = py.PyTuple_New(@intCast(arguments.len)) orelse return null;
    defer py.Py_DecRef(tuple);
    for (arguments, 0..) |argument, i| _ = py.PyTuple_SetItem(tuple, @intCast(i), argument);
    return py.PyObject_CallObject(callable, tuple);
}

pub fn string(text: []const u8) ?*Object {
    return py.PyUnicode_FromStringAndSize(text.ptr, @intCast(text.len));
}
