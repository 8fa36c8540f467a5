//! Many ranges of many files in one await. Each file is opened once; ranges that lie close to each
//! other are one read, into the memory of each (readv). The bytes of a gap between them go to
//! memory that nobody reads. The coroutine is resumed once, with all of them. Between the
//! operations no Python runs. On the shard of the task that awaits, attached to the interpreter.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const errors = @import("../../base/errors.zig");
const forgotten = @import("../cpython/forgotten.zig");
const fs = @import("../../ops/fs.zig");
const gpa = @import("../../base/memory.zig").gpa;
const batch = @import("../io/batch.zig");
const object = @import("../cpython/object.zig");
const targets = @import("targets.zig");
const CoreOp = @import("../../task/op.zig").Op;
const PyTask = @import("../task/py_task.zig").PyTask;
const Results = @import("../io/results.zig").Results;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const Target = targets.Target;
const py = &api.py;

/// Operations, and files, that one await has under way at a time.
pub const depth_max = 64;

/// Ranges that one read serves.
const together_max = 32;

/// The longest gap that is read with what is around it.
const gap_max = 16 << 20;

const Vector = std.posix.iovec;

const File = struct {
    /// Its ranges: from `next` on they are to be begun, up to `end`.
    next: u32,
    end: u32,
    /// Reads under way.
    busy: u32 = 0,
    fd: i32 = -1,
};

const Slot = struct {
    op: ?*CoreOp = null,
    opening: bool = false,
    file: u32 = 0,
    /// The ranges that are read.
    first: u32 = 0,
    count: u32 = 0,
    /// After an error each of them is read for itself, up to here.
    alone_end: u32 = 0,
    filled: u64 = 0,
    /// One per range, and one per gap.
    vectors: [2 * together_max]Vector = undefined,
};

const ReadRanges = struct {
    progress: batch.Progress,
    results: Results,
    /// List of paths as bytes.
    paths: ?*Object,
    /// By file and offset.
    targets: []Target,
    files: []File,
    /// Next file to open.
    file_next: u32,
    /// Files that are open or being opened.
    active: [depth_max]u32,
    active_count: u32,
    slots: []Slot,
    depth: usize,
    gap: u64,
    largest: u64,
    /// What lies in the gaps goes here.
    unwanted: []u8,

    pub const Type = object.TypeOf(ReadRanges);
    pub const title = "read of ranges";

    pub fn about(_: *ReadRanges) ?*Object {
        return null;
    }

    pub fn start(self: *ReadRanges) bool {
        self.slots = gpa.alloc(Slot, @min(self.depth, self.targets.len)) catch return noMemory();
        for (self.slots) |*slot| slot.* = .{};
        if (self.gap > 0) self.unwanted = gpa.alloc(u8, self.gap) catch return noMemory();
        return true;
    }

    fn noMemory() bool {
        _ = py.PyErr_NoMemory();
        return false;
    }

    pub fn window(self: *ReadRanges) []Slot {
        return self.slots;
    }

    pub fn outcome(self: *ReadRanges) ?*Object {
        return self.results.take();
    }

    /// The next read of a file that is open, else the opening of the next one, if there is room.
    pub fn begin(self: *ReadRanges, shard: *Shard, me: *PyTask, slot: *Slot) void {
        while (slot.op == null and self.progress.open()) {
            if (self.readable()) |index| {
                self.take(slot, index);
                self.launch(shard, me, slot);
            } else if (self.active_count < self.slots.len and self.file_next < self.files.len) {
                self.openNext(shard, me, slot);
            } else return;
        }
    }

    fn readable(self: *ReadRanges) ?u32 {
        for (self.active[0..self.active_count]) |index| {
            const file = &self.files[index];
            if (file.fd >= 0 and file.next < file.end) return index;
        }
        return null;
    }

    fn openNext(self: *ReadRanges, shard: *Shard, me: *PyTask, slot: *Slot) void {
        const index = self.file_next;
        self.file_next += 1;
        self.active[self.active_count] = index;
        self.active_count += 1;
        slot.file = index;
        const path = py.PyList_GetItem(self.paths.?, @intCast(index)).?;
        const text = py.PyBytes_AsString(path).?[0..@intCast(py.PyBytes_Size(path))];
        slot.op = fs.open(shard, &me.task, text, @bitCast(linux.O{ .ACCMODE = .RDONLY }), 0) catch {
            return self.giveUp(shard, index, .NOMEM);
        };
        slot.opening = true;
        self.progress.busy += 1;
    }

    /// As many of the file's next ranges as one read is to serve.
    fn take(self: *ReadRanges, slot: *Slot, index: u32) void {
        const file = &self.files[index];
        slot.file = index;
        slot.first = file.next;
        slot.alone_end = 0;
        slot.count = targets.together(self.targets[file.next..file.end], self.gap, self.largest, together_max);
        file.next += slot.count;
        file.busy += 1;
        self.progress.next += slot.count;
    }

    fn piece(self: *ReadRanges, slot: *const Slot) []Target {
        return self.targets[slot.first..][0..slot.count];
    }

    /// Memory for each range, and the read.
    fn launch(self: *ReadRanges, shard: *Shard, me: *PyTask, slot: *Slot) void {
        slot.filled = 0;
        for (self.piece(slot)) |*target| {
            if (!target.makeRoom()) return self.ended(shard, me, slot, .NOMEM);
        }
        if (targets.extent(self.piece(slot)) == 0) return self.ended(shard, me, slot, .SUCCESS);
        self.read(shard, me, slot);
    }

    /// What is not filled yet.
    fn read(self: *ReadRanges, shard: *Shard, me: *PyTask, slot: *Slot) void {
        const file = &self.files[slot.file];
        const range = self.piece(slot);
        const offset = range[0].offset + slot.filled;
        const count = targets.vectors(range, slot.filled, self.unwanted, &slot.vectors);
        const op = if (count == 1)
            fs.readAt(shard, &me.task, file.fd, slot.vectors[0].base[0..slot.vectors[0].len], offset)
        else
            fs.readvAt(shard, &me.task, file.fd, slot.vectors[0..count], offset);
        slot.op = op catch return self.ended(shard, me, slot, .NOMEM);
        self.progress.busy += 1;
    }

    /// An operation of the slot has ended.
    pub fn advance(self: *ReadRanges, shard: *Shard, me: *PyTask, slot: *Slot, result: i32) void {
        const errno: linux.E = if (result < 0) errors.ofResult(result) else .SUCCESS;
        if (slot.opening) {
            slot.opening = false;
            if (errno != .SUCCESS) return self.giveUp(shard, slot.file, errno);
            return self.opened(shard, me, slot, result);
        }
        if (errno == .INTR and !self.progress.cancelling) return self.read(shard, me, slot);
        if (errno != .SUCCESS) return self.ended(shard, me, slot, errno);
        slot.filled += @intCast(result);
        // A read that brings less than there was room for is no end; one of 0 bytes is.
        if (result == 0 or slot.filled == targets.extent(self.piece(slot)))
            return self.ended(shard, me, slot, .SUCCESS);
        if (self.progress.cancelling) return self.ended(shard, me, slot, .CANCELED);
        self.read(shard, me, slot);
    }

    /// The other free slots may read of it at once.
    fn opened(self: *ReadRanges, shard: *Shard, me: *PyTask, slot: *Slot, fd: i32) void {
        const file = &self.files[slot.file];
        file.fd = fd;
        const ranges = self.targets[file.next..file.end];
        if (targets.wantSize(ranges)) targets.setSize(ranges, sizeOf(fd));
        if (self.progress.cancelling) return self.giveUp(shard, slot.file, .CANCELED);
        for (self.slots) |*other| {
            if (other.op == null and file.next < file.end) self.begin(shard, me, other);
        }
    }

    fn sizeOf(fd: i32) u64 {
        var info: linux.Statx = undefined;
        const flags: u32 = linux.AT.EMPTY_PATH | linux.AT.STATX_DONT_SYNC;
        const rc = linux.statx(fd, "", flags, .{ .TYPE = true, .SIZE = true }, &info);
        return if (linux.errno(rc) == .SUCCESS) info.size else 0;
    }

    /// The slot's read is over.
    fn ended(self: *ReadRanges, shard: *Shard, me: *PyTask, slot: *Slot, errno: linux.E) void {
        assert(slot.op == null);
        if (errno != .SUCCESS and slot.count > 1 and !self.progress.cancelling) {
            slot.alone_end = slot.first + slot.count; // What one of them meets the others may not.
            slot.count = 1;
            return self.launch(shard, me, slot);
        }
        const start_offset = self.piece(slot)[0].offset;
        for (self.piece(slot)) |*target| {
            if (errno != .SUCCESS) {
                self.fail(target, errno);
            } else {
                const value = target.finish(start_offset, slot.filled);
                if (value) |v| self.results.put(target.index, v) else self.fail(target, .NOMEM);
            }
        }
        slot.first += 1;
        if (slot.first < slot.alone_end) return self.launch(shard, me, slot);
        self.files[slot.file].busy -= 1;
        self.closeIfOver(shard, slot.file);
    }

    /// What of the file was not begun fails.
    fn giveUp(self: *ReadRanges, shard: *Shard, index: u32, errno: linux.E) void {
        const file = &self.files[index];
        for (self.targets[file.next..file.end]) |*target| self.fail(target, errno);
        self.progress.next += file.end - file.next;
        file.next = file.end;
        self.closeIfOver(shard, index);
    }

    fn closeIfOver(self: *ReadRanges, shard: *Shard, index: u32) void {
        const file = &self.files[index];
        if (file.next < file.end or file.busy > 0) return;
        if (file.fd >= 0) fs.closeSoon(shard, file.fd);
        file.fd = -1;
        for (self.active[0..self.active_count]) |*one| {
            if (one.* != index) continue;
            self.active_count -= 1;
            one.* = self.active[self.active_count];
            return;
        }
    }

    fn fail(self: *ReadRanges, target: *Target, errno: linux.E) void {
        target.drop();
        if (self.progress.cancelling and (errno == .CANCELED or errno == .INTR)) {
            self.progress.cut = true;
            return;
        }
        self.results.fail(target.index, target.file, errno);
    }

    /// After each round.
    pub fn tell(self: *ReadRanges) void {
        self.results.tell();
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        batch.Told(ReadRanges).told(instance);
        // While the kernel has an operation the task holds a reference.
        for (self.files) |file| if (file.fd >= 0) {
            _ = linux.close(file.fd);
        };
        for (self.targets) |*target| target.release();
        gpa.free(self.targets);
        gpa.free(self.files);
        gpa.free(self.slots);
        gpa.free(self.unwanted);
        self.results.drop();
        api.drop(&self.paths);
        Type.free(instance, false);
    }

    /// One File for each path that has ranges; those are in order by file.
    fn split(self: *ReadRanges, paths: usize) bool {
        self.files = gpa.alloc(File, paths) catch return noMemory();
        var at: u32 = 0;
        for (self.files, 0..) |*file, i| {
            const first = at;
            while (at < self.targets.len and self.targets[at].file == i) at += 1;
            file.* = .{ .next = first, .end = at };
        }
        assert(at == self.targets.len);
        return true;
    }
};

/// read_ranges(paths: list of bytes, labels: list, files: list of indices into these, offsets, lengths: lists
/// of ints (-1: to the end), into: list of writable buffers or None, gap, largest, depth, results: list,
/// done: list or None, told) -> `results`, in which each item has become bytes (the number of bytes, with `into`)
/// or an OSError; its index is put into `done` meanwhile. Each path has one range at the least. The lists are the
/// operation's from now on.
fn readRanges(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("read_ranges", count, 12)) return null;
    const gap = object.unsigned(arguments[6], "max_gap", gap_max) orelse return null;
    const largest = object.unsigned(arguments[7], "max_size", fs.transfer_max) orelse return null;
    const depth = object.unsigned(arguments[8], "depth", depth_max) orelse return null;
    const paths = py.PyList_Size(arguments[0]);
    const length = py.PyList_Size(arguments[2]);
    if (paths < 0 or length < 0) return null;
    const instance = ReadRanges.Type.create() orelse return null;
    forgotten.made(instance);
    const self = ReadRanges.Type.body(instance);
    self.paths = api.ref(arguments[0]);
    self.results = .init(arguments[9], arguments[1], arguments[10], arguments[11]);
    self.targets = &.{};
    self.files = &.{};
    self.slots = &.{};
    self.unwanted = &.{};
    self.gap = gap;
    self.largest = largest;
    self.depth = @max(1, depth);
    self.progress.count = @intCast(length);
    if (fill(self, arguments, @intCast(paths))) return instance;
    batch.Told(ReadRanges).giveUp(instance);
    py.Py_DecRef(instance);
    return null;
}

fn fill(self: *ReadRanges, arguments: [*]const *Object, paths: usize) bool {
    for (0..paths) |i| {
        const path = py.PyList_GetItem(arguments[0], @intCast(i)).?;
        if (py.PyBytes_AsString(path) == null) return false;
    }
    self.targets = targets.ofLists(arguments[2], arguments[3], arguments[4], arguments[5], paths) orelse return false;
    if (self.targets.len != self.progress.count) return false;
    return self.split(paths);
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "read_ranges",
        &readRanges,
        api.meth_fastcall,
        "(paths, labels, files, offsets, lengths, into, gap, largest, depth, results, done, told, /)",
        "An awaitable of a list of bytes, or numbers of bytes, and OSErrors.",
    ),
};

pub fn define() bool {
    const Told = batch.Told(ReadRanges);
    return object.define(ReadRanges.Type, "ReadRanges", .{
        .step = batch.Batch(ReadRanges).step,
        .give_up = Told.giveUp,
        .repr = &Told.show,
        .dealloc = &ReadRanges.dealloc,
    });
}
