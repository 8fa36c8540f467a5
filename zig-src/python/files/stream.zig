//! What a walk has found as Python takes it: in blocks, which are lists, or one entry after the other. The second way
//! an entry becomes an object when it is asked for: it lies in the CPU's cache when it is used, and all entries in
//! turn have the same memory.

const std = @import("std");
const api = @import("../cpython/api.zig");
const interpreter = &@import("../task/py_interpreter.zig").interpreter;
const Carrier = @import("../cpython/stop_iteration.zig").Carrier;
const found_module = @import("found.zig");
const object = @import("../cpython/object.zig");
const Found = found_module.Found;
const Maker = found_module.Maker;
const Object = api.Object;
const py = &api.py;

/// Not changed after it was made: any thread may use it.
pub const Block = struct {
    found: Found,

    pub const Type = object.TypeOf(Block);

    /// Takes over what was found; null with the exception set.
    pub fn make(found: *Found) ?*Object {
        const instance = Type.create() orelse return null;
        Type.body(instance).found = found.*;
        found.* = .{};
        return instance;
    }

    /// list(): a DirEntry each.
    fn list(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const found = &Type.body(instance).found;
        const result = py.PyList_New(@intCast(found.count())) orelse return null;
        var maker: Maker = .{};
        defer maker.deinit();
        for (0..found.count()) |i| {
            const item = maker.make(found, i) orelse {
                py.Py_DecRef(result);
                return null;
            };
            _ = py.PyList_SetItem(result, @intCast(i), item);
        }
        return result;
    }

    fn length(instance: *Object) callconv(.c) isize {
        return @intCast(Type.body(instance).found.count());
    }

    /// error(): (errno, path) of what went wrong after these entries, or None.
    fn @"error"(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const found = &Type.body(instance).found;
        if (found.errno == .SUCCESS) return api.none();
        return found_module.errorPair(found.errno, found.lastDirectory() orelse return null);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        Type.body(instance).found.deinit();
        Type.free(instance, false);
    }

    fn define() bool {
        const S = struct {
            var methods = [_]api.MethodDef{
                object.method("list", &list, api.meth_noargs, "($self, /)", "The entries."),
                object.method("error", &@"error", api.meth_noargs, "($self, /)", "(errno, path) after them, or None."),
                .{},
            };
        };
        var slots = [_]api.TypeSlot{
            object.slotOf(api.slot.methods, &S.methods),
            object.slotOf(api.slot.sq_length, &length),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        return Type.define("EntryBlock", 0, &slots);
    }
};

/// An asynchronous iterator over the entries of blocks. While a block has more it is its own awaitable, which gives
/// the next entry at once; else its source's coroutine `more(stream)` is awaited, which calls `begin(block)`.
const Stream = struct {
    source: ?*Object,
    block: ?*Object,
    next: usize,
    /// Entries of the block that were not taken yet, for `anext`, which only wants to know what to await.
    left: std.atomic.Value(usize),
    maker: Maker,
    /// What `iternext` raises. Used by the thread that is in it.
    carrier: Carrier,
    /// A thread is in it.
    busy: std.atomic.Value(bool),

    const Type = object.TypeOf(Stream);
    var name_more: ?*Object = null;
    var name_close: ?*Object = null;

    /// False with the exception set.
    fn enter(self: *Stream) bool {
        // acquire, release: one thread's use is before the next one's.
        const taken = if (interpreter.locked)
            // No thread comes between: a locked operation for each entry is spared.
            self.busy.load(.acquire)
        else
            self.busy.swap(true, .acquire);
        if (!taken) {
            if (interpreter.locked) self.busy.store(true, .unordered);
            return true;
        }
        _ = api.raise(py.PyExc_RuntimeError.*, "entries are taken by two threads at a time");
        return false;
    }

    fn leave(self: *Stream) void {
        self.busy.store(false, .release);
    }

    /// Entered: whether the block has more.
    fn hasMore(self: *Stream) bool {
        const block = self.block orelse return false;
        return self.next < Block.Type.body(block).found.count();
    }

    fn anext(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        // unordered: `take` looks again.
        if (self.left.load(.unordered) > 0) return api.ref(instance);
        const arguments = [_]?*Object{ self.source.?, instance };
        return py.PyObject_VectorcallMethod(name_more.?, &arguments, 2, null);
    }

    /// Null with the exception set.
    fn take(self: *Stream) ?*Object {
        if (!self.enter()) return null;
        defer self.leave();
        return self.takeOne();
    }

    /// Entered. Null with the exception set.
    fn takeOne(self: *Stream) ?*Object {
        if (!self.hasMore()) return api.raise(py.PyExc_RuntimeError.*, "the entry was taken by another await");
        const entry = self.maker.make(&Block.Type.body(self.block.?).found, self.next) orelse return null;
        self.next += 1;
        self.left.store(self.left.load(.unordered) - 1, .unordered);
        return entry;
    }

    fn itself(instance: *Object) callconv(.c) ?*Object {
        return api.ref(instance);
    }

    fn iternext(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        if (!self.enter()) return null;
        defer self.leave();
        return self.carrier.raise(self.takeOne() orelse return null);
    }

    fn send(instance: *Object, _: *Object, out: *?*Object) callconv(.c) api.Send {
        return object.sendResult(Type.body(instance).take(), out, false);
    }

    /// begin(block): its first entry.
    fn begin(instance: *Object, block: *Object) callconv(.c) ?*Object {
        if (!Block.Type.is(block)) return api.raise(py.PyExc_TypeError.*, "begin() takes a block of entries");
        const self = Type.body(instance);
        if (!self.enter()) return null;
        var before = self.block;
        self.block = api.ref(block);
        self.next = 0;
        self.left.store(Block.Type.body(block).found.count(), .unordered);
        self.maker.deinit();
        self.leave();
        api.drop(&before);
        return self.take();
    }

    fn aclose(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const arguments = [_]?*Object{Type.body(instance).source.?};
        return py.PyObject_VectorcallMethod(name_close.?, &arguments, 1, null);
    }

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const status = visit(Type.class, arg);
        if (status != 0) return status;
        const self = Type.body(instance);
        for ([_]?*Object{ self.source, self.carrier.exception }) |part| if (part) |owned| {
            const outcome = visit(owned, arg);
            if (outcome != 0) return outcome;
        };
        return 0;
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        py.PyObject_GC_UnTrack(instance);
        const self = Type.body(instance);
        self.maker.deinit();
        self.carrier.deinit();
        api.drop(&self.block);
        api.drop(&self.source);
        Type.free(instance, true);
    }

    fn define() bool {
        name_more = py.PyUnicode_InternFromString("more") orelse return false;
        name_close = py.PyUnicode_InternFromString("aclose") orelse return false;
        const S = struct {
            var methods = [_]api.MethodDef{
                object.method("begin", &begin, api.meth_one, "($self, block, /)", "Go on with it: its first entry."),
                object.method("aclose", &aclose, api.meth_noargs, "($self, /)", "End it before its end."),
                .{},
            };
        };
        var slots = [_]api.TypeSlot{
            object.slotOf(api.slot.methods, &S.methods),
            object.slotOf(api.slot.am_aiter, &itself),
            object.slotOf(api.slot.am_anext, &anext),
            object.slotOf(api.slot.am_await, &itself),
            object.slotOf(api.slot.am_send, &send),
            object.slotOf(api.slot.iter, &itself),
            object.slotOf(api.slot.iternext, &iternext),
            object.slotOf(api.slot.traverse, &traverse),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        return Type.define("EntryStream", api.flag_gc, &slots);
    }
};

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("entry_stream", &make, api.meth_one, "(source, /)", "Entries one after the other."),
};

/// entry_stream(source, /) -> asynchronous iterator. `source` has the coroutines `more(stream)` and `aclose()`.
fn make(_: ?*Object, source: *Object) callconv(.c) ?*Object {
    const instance = Stream.Type.create() orelse return null;
    Stream.Type.body(instance).* = .{
        .source = api.ref(source),
        .block = null,
        .next = 0,
        .left = .init(0),
        .maker = .{},
        .carrier = .{},
        .busy = .init(false),
    };
    return instance;
}

pub fn define() bool {
    return Block.define() and Stream.define();
}
