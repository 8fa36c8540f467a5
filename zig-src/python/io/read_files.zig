//! Whole files, many in one await: each is opened, read to its end and closed, several at a time, and
//! the coroutine is resumed once, with all of them. Between the operations no Python runs. What the
//! kernel has at hand is read without the ring (cached_files.zig).

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const cached_files = @import("cached_files.zig");
const forgotten = @import("../cpython/forgotten.zig");
const fs = @import("../../ops/fs.zig");
const batch = @import("batch.zig");
const net = @import("../../ops/net.zig");
const object = @import("../cpython/object.zig");
const py_interpreter = @import("../task/py_interpreter.zig");
const CoreOp = @import("../../task/op.zig").Op;
const PyTask = @import("../task/py_task.zig").PyTask;
const Results = @import("results.zig").Results;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// Files that one await has open at a time.
pub const depth_max = 64;

/// A file without a known size (of /proc, a pipe) is read into memory that begins with this.
const room_first = 4096;
/// It grows fourfold up to this, then by a quarter: what was never written to costs no memory, but the
/// limit of the process counts it.
const room_large = 64 << 20;

/// Files that go to the ring after one that was not at hand, before the next group is tried.
const pause = 32;
/// Groups of a task in a row, if they are small, before others get their turn.
const small_groups_max = 32;
const small_group = 4;

const Slot = struct {
    op: ?*CoreOp = null,
    /// Its index in the list; the file in work.
    index: usize = 0,
    fd: i32 = -1,
    bytes: ?*Object = null,
    room: usize = 0,
    filled: usize = 0,
    /// As the file says it; 0 if it does not.
    size: usize = 0,
    /// A FIFO that was opened and may have no writer: it is read when it has had one.
    lacks_writer: bool = false,
};

const ReadFiles = struct {
    progress: batch.Progress,
    results: Results,
    /// List of paths as bytes.
    paths: ?*Object,
    depth: usize,
    /// Bytes of memory that it may take.
    budget: cached_files.Budget,
    /// So many go to the ring.
    skip: usize,
    /// There was no room for one. It, and those that were not begun, are left without a result.
    full: bool,
    slots: [depth_max]Slot,

    pub const Type = object.TypeOf(ReadFiles);
    pub const title = "read of whole files";

    pub fn about(_: *ReadFiles) ?*Object {
        return null;
    }

    pub fn start(_: *ReadFiles) bool {
        return true;
    }

    pub fn window(self: *ReadFiles) []Slot {
        return self.slots[0..self.depth];
    }

    pub fn outcome(self: *ReadFiles) ?*Object {
        return self.results.take();
    }

    /// Takes the next path into a free slot, as long as there is one.
    pub fn begin(self: *ReadFiles, shard: *Shard, me: *PyTask, slot: *Slot) void {
        while (slot.op == null and self.progress.open()) {
            slot.* = .{ .index = self.progress.next };
            if (self.full or self.results.has(slot.index)) {
                self.progress.next += 1;
                continue;
            }
            if (self.skip == 0) {
                self.readCached(shard, me, slot);
                continue;
            }
            self.skip -= 1;
            self.progress.next += 1;
            const path = py.PyList_GetItem(self.paths.?, @intCast(slot.index)).?;
            const text = py.PyBytes_AsString(path).?[0..@intCast(py.PyBytes_Size(path))];
            slot.op = fs.open(shard, &me.task, text, @bitCast(linux.O{ .ACCMODE = .RDONLY }), 0) catch {
                self.fail(slot, .NOMEM);
                continue;
            };
            self.progress.busy += 1;
        }
    }

    /// The next files, up to the first one that the kernel would wait for, which the slot has then.
    fn readCached(self: *ReadFiles, shard: *Shard, me: *PyTask, slot: *Slot) void {
        assert(slot.index == self.progress.next);
        if (!shard.mayEndAtOnce(small_groups_max)) {
            self.progress.again = true;
            return;
        }
        if (!self.mayReadCached(shard)) {
            self.skip = std.math.maxInt(usize);
            return;
        }
        var group: [cached_files.files_max]cached_files.File = undefined;
        const files = group[0..self.nextFiles(&group)];
        var count: usize = 0;
        const state = py.PyEval_SaveThread();
        const stop = cached_files.readGroup(shard, files, &count, &self.budget);
        py_interpreter.comeBack(state);
        for (files[0..count]) |*file| self.take(file);
        if (count > 0) {
            self.progress.next = files[count - 1].index + 1;
            shard.counters.reads_at_once.add(count);
        }
        self.progress.again = count > small_group;
        switch (stop) {
            .none => {},
            .full => self.full = true,
            .ring => |opened| {
                self.skip = pause;
                const fd = opened orelse return;
                slot.* = .{ .index = files[count].index, .fd = fd, .lacks_writer = true };
                self.progress.next = slot.index + 1;
                self.size(shard, me, slot);
            },
        }
    }

    fn mayReadCached(self: *const ReadFiles, shard: *Shard) bool {
        if (shard.ring.submitsAsOther()) return false; // The ring says what is wrong.
        // Who takes results one by one runs Python meanwhile, on another shard: he would wait for the lock
        // while what was read is copied. The ring reads into its place.
        return self.progress.count == 1 or self.results.told.? == py._Py_NoneStruct or
            shard.ring.stand_in != null or shard.scheduler.shards.len == 1;
    }

    /// Number of files, the first ones that are not read. Their paths stay where they are.
    fn nextFiles(self: *ReadFiles, into: []cached_files.File) usize {
        var count: usize = 0;
        for (self.progress.next..self.progress.count) |index| {
            if (count == into.len) break;
            if (self.results.has(index)) continue;
            const path = py.PyList_GetItem(self.paths.?, @intCast(index)).?;
            into[count] = .{ .index = index, .path = @ptrCast(py.PyBytes_AsString(path).?) };
            count += 1;
        }
        return count;
    }

    fn take(self: *ReadFiles, file: *const cached_files.File) void {
        if (file.errno != .SUCCESS) return self.results.fail(file.index, file.index, file.errno);
        if (py.PyBytes_FromStringAndSize(file.data.ptr, @intCast(file.data.len))) |bytes|
            return self.results.put(file.index, bytes);
        py.PyErr_Clear();
        self.results.fail(file.index, file.index, .NOMEM);
    }

    /// An operation of the slot has ended.
    pub fn advance(self: *ReadFiles, shard: *Shard, me: *PyTask, slot: *Slot, result: i32) void {
        if (result < 0) {
            const errno: linux.E = errors.ofResult(result);
            const again = errno == .INTR and slot.fd >= 0 and !self.progress.cancelling;
            return if (again) self.read(shard, me, slot) else self.end(shard, slot, errno);
        }
        if (slot.lacks_writer) {
            slot.lacks_writer = false;
            return if (self.progress.cancelling) self.end(shard, slot, .CANCELED) else self.read(shard, me, slot);
        }
        if (slot.fd < 0) {
            slot.fd = result;
            return if (self.progress.cancelling) self.end(shard, slot, .CANCELED) else self.size(shard, me, slot);
        }
        slot.filled += @intCast(result);
        // A read that brings less than there was room for is no end: some file systems hand out a page, or
        // what one request holds. Only together with the size that the file tells it is.
        const whole = slot.size > 0 and slot.filled == slot.size and slot.filled < slot.room;
        if (result == 0 or whole) return self.end(shard, slot, .SUCCESS);
        if (self.progress.cancelling) return self.end(shard, slot, .CANCELED);
        if (slot.filled == slot.room and !self.grow(slot)) return self.end(shard, slot, .NOMEM);
        self.read(shard, me, slot);
    }

    /// Not of a known size, or it has grown since. False: no memory.
    fn grow(self: *ReadFiles, slot: *Slot) bool {
        const before = slot.room;
        slot.room = if (slot.room < room_large) slot.room * 4 else slot.room + slot.room / 4;
        self.budget.taken +|= slot.room - before;
        if (py._PyBytes_Resize(&slot.bytes, @intCast(slot.room)) == 0) return true;
        py.PyErr_Clear();
        return false;
    }

    /// Makes room. The size comes from what the kernel has at hand (AT_STATX_DONT_SYNC): it never
    /// waits for a server, and a wrong one only costs another round.
    fn size(self: *ReadFiles, shard: *Shard, me: *PyTask, slot: *Slot) void {
        var info: linux.Statx = undefined;
        const flags: u32 = linux.AT.EMPTY_PATH | linux.AT.STATX_DONT_SYNC;
        const rc = linux.statx(slot.fd, "", flags, .{ .TYPE = true, .SIZE = true }, &info);
        const regular = linux.errno(rc) == .SUCCESS and info.mode & linux.S.IFMT == linux.S.IFREG;
        slot.size = if (regular) std.math.cast(usize, info.size) orelse 0 else 0;
        if (linux.errno(rc) != .SUCCESS or info.mode & linux.S.IFMT != linux.S.IFIFO) slot.lacks_writer = false;
        // One more than the size: a read that brings the size and no more has met the end.
        slot.room = if (slot.size > 0) slot.size +| 1 else room_first;
        if (!self.budget.fits(slot.room)) {
            self.full = true;
            fs.closeSoon(shard, slot.fd);
            slot.fd = -1;
            return;
        }
        slot.bytes = if (std.math.cast(isize, slot.room)) |room| py.PyBytes_FromStringAndSize(null, room) else null;
        if (slot.bytes == null) {
            py.PyErr_Clear();
            return self.end(shard, slot, .NOMEM);
        }
        self.read(shard, me, slot);
    }

    fn read(self: *ReadFiles, shard: *Shard, me: *PyTask, slot: *Slot) void {
        const data = py.PyBytes_AsString(slot.bytes.?).?[slot.filled..slot.room];
        const launched = if (slot.lacks_writer)
            net.poll(shard, &me.task, slot.fd, linux.POLL.IN)
        else
            fs.readAt(shard, &me.task, slot.fd, data, slot.filled);
        slot.op = launched catch return self.end(shard, slot, .NOMEM);
        self.progress.busy += 1;
    }

    /// The slot's file is done with.
    fn end(self: *ReadFiles, shard: *Shard, slot: *Slot, errno: linux.E) void {
        assert(slot.op == null);
        if (slot.fd >= 0) fs.closeSoon(shard, slot.fd);
        slot.fd = -1;
        if (errno != .SUCCESS) return self.fail(slot, errno);
        if (py._PyBytes_Resize(&slot.bytes, @intCast(slot.filled)) != 0) {
            py.PyErr_Clear();
            return self.fail(slot, .NOMEM);
        }
        self.results.put(slot.index, slot.bytes.?);
        slot.bytes = null;
    }

    fn fail(self: *ReadFiles, slot: *Slot, errno: linux.E) void {
        api.drop(&slot.bytes);
        if (self.progress.cancelling and (errno == .CANCELED or errno == .INTR)) self.progress.cut = true;
        self.results.fail(slot.index, slot.index, errno);
    }

    /// After each round.
    pub fn tell(self: *ReadFiles) void {
        self.results.tell();
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        batch.Told(ReadFiles).told(instance);
        // While the kernel has an operation the task holds a reference; what a task left half done
        // ends here.
        for (&self.slots) |*slot| {
            if (slot.fd >= 0) _ = linux.close(slot.fd);
            api.drop(&slot.bytes);
        }
        api.drop(&self.paths);
        self.results.drop();
        Type.free(instance, false);
    }
};

/// read_files(paths: list of bytes, names: list, depth, results: list, told, budget, done) -> `results`, in which
/// each None has become bytes or an OSError, unless all that is read would be more than `budget` bytes: some stay
/// None then, at least one does not. The other lists are the operation's from now on. `told` is called on the shard
/// when some of the results are there, and their places are in the list `done`; both may be None.
fn readFiles(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("read_files", count, 7)) return null;
    const depth = object.unsigned(arguments[2], "depth", depth_max) orelse return null;
    const budget = object.unsigned(arguments[5], "budget", std.math.maxInt(i64)) orelse return null;
    const length = py.PyList_Size(arguments[0]);
    if (length < 0 or py.PyList_Size(arguments[1]) != length or py.PyList_Size(arguments[3]) != length) {
        const lists = py.PyErr_Occurred() == null;
        py.PyErr_Clear(); // A SystemError.
        const class = if (lists) py.PyExc_ValueError.* else py.PyExc_TypeError.*;
        return api.raise(class, "paths, names and results must be lists of one length");
    }
    for (0..@intCast(length)) |i| {
        const path = py.PyList_GetItem(arguments[0], @intCast(i)).?;
        if (py.PyBytes_AsString(path) == null) return null;
    }
    const instance = ReadFiles.Type.create() orelse return null;
    forgotten.made(instance);
    const self = ReadFiles.Type.body(instance);
    for (&self.slots) |*slot| slot.* = .{};
    self.paths = api.ref(arguments[0]);
    self.results = .init(arguments[3], arguments[1], arguments[6], arguments[4]);
    self.budget = .{ .bytes = budget };
    self.progress.count = @intCast(length);
    self.depth = @max(1, depth);
    return instance;
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "read_files",
        &readFiles,
        api.meth_fastcall,
        "(paths, names, depth, results, told, budget, done, /)",
        "An awaitable of a list of bytes and OSErrors.",
    ),
};

pub fn define() bool {
    const Told = batch.Told(ReadFiles);
    return object.define(ReadFiles.Type, "ReadFiles", .{
        .step = batch.Batch(ReadFiles).step,
        .give_up = Told.giveUp,
        .repr = &Told.show,
        .dealloc = &ReadFiles.dealloc,
    });
}
