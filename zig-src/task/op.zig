//! Operations under way. An op owns the path and address that the kernel may read until its
//! terminal completion. Its id is slot and generation, so a late completion or a stale handle finds
//! nothing. One table per shard, touched by that shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const limits = @import("../base/limits.zig");
const platform = @import("../base/platform.zig");
const gpa = @import("../base/memory.zig").gpa;
const isItself = @import("../base/self_connect.zig").isItself;
const Source = @import("source.zig").Source;
const Sqe = @import("../ring/ring.zig").Sqe;
const Task = @import("task.zig").Task;
const Timer = @import("timers.zig").Timer;
const Disposal = @import("unclaimed.zig").Disposal;

/// Of a word that counts the operations of a descriptor: it is being closed.
pub const closing_bit: u32 = 1 << 31;
/// Those that accept are to look again: there are connections that were accepted already.
pub const recall_bit: u32 = 1 << 30;

pub const Phase = enum(u8) { free, flying, ended };

/// Told of the terminal completion, on the shard and outside any task.
pub const CompleteFn = *const fn (ctx: ?*anyopaque, result: i32, cqe_flags: u32) callconv(.c) void;

pub const Op = struct {
    index: u32,
    generation: u32 = 1,
    phase: Phase = .free,
    unclaimed: Disposal = .nothing,
    cancel_sent: bool = false,
    /// How often the kernel said that there is no such operation.
    cancels_lost: u8 = 0,
    /// The kernel could make no thread for it, and was asked once more.
    asked_again: bool = false,
    /// An interruption is a result like any other: the caller's own SQE.
    is_user_sqe: bool = false,
    /// Half done it would be worse than done (a close).
    shielded: bool = false,
    /// A timer is ended by its shard, everything else by the kernel. (There `timer` is its time limit, and
    /// when its end was asked for, the time to ask again.)
    is_timer: bool = false,
    /// Its time limit has passed.
    timed_out: bool = false,
    /// The kernel picks a buffer of the shard's.
    selects_buffer: bool = false,
    /// A zero-copy send whose `result` is known: the kernel has the memory still.
    is_sent: bool = false,
    /// For connect: the socket that is the result of a success. Else -1.
    socket: i32 = -1,
    /// Of a zero-copy send known before the end, which comes when the kernel lets go of the buffer.
    result: i32 = 0,
    cqe_flags: u32 = 0,
    task: *Task = undefined,
    prev: ?*Op = null,
    next: ?*Op = null,
    timer: Timer = .{ .fire = unset },
    shard: *anyopaque,
    /// Paths or an address, for the kernel to read.
    owned_bytes: ?[:0]u8 = null,
    /// Counts this one among others of its descriptor; if its closing or recall bit is set they are to end.
    descriptor_users: ?*const std.atomic.Value(u32) = null,
    /// Takes what comes before the terminal completion (a multishot operation); with `complete_ctx`.
    on_multishot: ?CompleteFn = null,
    /// Takes the result instead of the task.
    complete: ?CompleteFn = null,
    complete_ctx: ?*anyopaque = null,
    /// What ends it, if neither the kernel nor a timer does.
    source: ?*Source = null,
    /// As the kernel got it, to ask it again.
    sqe: Sqe = undefined,

    pub fn id(self: *const Op) u64 {
        return @as(u64, self.generation) << 32 | self.index;
    }

    /// The kernel has no part in it.
    pub fn isOurs(self: *const Op) bool {
        return self.is_timer or if (self.source) |source| source.cancel != null else false;
    }

    /// There is something to take.
    pub fn isReady(self: *const Op) bool {
        if (self.phase == .ended) return true;
        const source = self.source orelse return false;
        return if (source.ready) |ready| ready(source) else false;
    }

    fn unset(_: *Timer) void {
        unreachable; // Set before the timer is.
    }
};

pub const OpTable = struct {
    slabs: std.ArrayList([]Op) = .empty,
    free: ?*Op = null,
    flying: u32 = 0,
    taken: u32 = 0,

    pub fn deinit(self: *OpTable) void {
        assert(self.taken == 0);
        for (self.slabs.items) |slab| gpa.free(slab);
        self.slabs.deinit(gpa);
    }

    /// A new op of `task`, linked to it.
    pub fn take(self: *OpTable, task: *Task, shard: *anyopaque) error{OutOfMemory}!*Op {
        assert(!task.draining);
        if (self.free == null) try self.grow(shard);
        const op = self.free.?;
        assert(op.phase == .free);
        self.free = op.next;
        op.* = .{
            .index = op.index,
            .generation = op.generation,
            .phase = .flying,
            .task = task,
            .next = task.ops,
            .shard = shard,
        };
        if (task.ops) |first| first.prev = op;
        task.ops = op;
        task.flying += 1;
        self.flying += 1;
        self.taken += 1;
        return op;
    }

    pub fn find(self: *const OpTable, id: u64) ?*Op {
        const index: u32 = @truncate(id);
        if (index / limits.op_slab >= self.slabs.items.len) return null;
        const op = self.at(index);
        if (op.generation != id >> 32 or op.phase == .free) return null;
        assert(op.id() == id);
        return op;
    }

    /// The op at a place, whatever it is now.
    pub fn at(self: *const OpTable, index: u32) *Op {
        assert(index / limits.op_slab < self.slabs.items.len);
        return &self.slabs.items[index / limits.op_slab][index % limits.op_slab];
    }

    /// The terminal completion: the kernel is done with everything the op owns.
    pub fn end(self: *OpTable, op: *Op, result: i32, cqe_flags: u32) void {
        assert(op.phase == .flying);
        assert(op.task.flying > 0 and self.flying > 0);
        op.phase = .ended;
        op.result = if (op.timed_out and isCancelled(result)) errors.negative(.TIME) else result;
        op.cqe_flags = cqe_flags;
        if (op.socket >= 0) {
            if (result >= 0 and isItself(op.socket)) op.result = errors.negative(.CONNREFUSED);
            if (op.result >= 0) op.result = op.socket else _ = platform.system.close(op.socket);
            op.socket = -1;
        }
        if (op.owned_bytes) |bytes| gpa.free(bytes);
        op.owned_bytes = null;
        op.task.flying -= 1;
        self.flying -= 1;
    }

    /// A splice that was cancelled ends as interrupted.
    fn isCancelled(result: i32) bool {
        return result == errors.negative(.CANCELED) or result == errors.negative(.INTR);
    }

    /// Gives the result to the task and frees the slot.
    pub fn consume(self: *OpTable, op: *Op) i32 {
        assert(!op.is_timer or !op.timer.isSet());
        assert(op.phase == .ended);
        if (op.source) |source| source.release(source, op, true);
        const result = op.result;
        self.release(op);
        return result;
    }

    /// Frees the slot of an ended op whose result nobody wants.
    pub fn discard(self: *OpTable, op: *Op) void {
        assert(op.phase == .ended);
        op.unclaimed.apply(op.result);
        if (op.source) |source| source.release(source, op, false);
        self.release(op);
    }

    fn release(self: *OpTable, op: *Op) void {
        assert(op.phase == .ended and op.owned_bytes == null);
        assert(self.taken > 0);
        if (op.prev) |prev| prev.next = op.next else op.task.ops = op.next;
        if (op.next) |next| next.prev = op.prev;
        op.phase = .free;
        op.generation = if (op.generation == std.math.maxInt(u32)) 1 else op.generation + 1;
        op.prev = null;
        op.next = self.free;
        self.free = op;
        self.taken -= 1;
    }

    fn grow(self: *OpTable, shard: *anyopaque) error{OutOfMemory}!void {
        assert(self.free == null);
        if (self.slabs.items.len == limits.op_slabs_max) return error.OutOfMemory;
        try self.slabs.ensureUnusedCapacity(gpa, 1);
        const slab = try gpa.alloc(Op, limits.op_slab);
        const base: u32 = @intCast(self.slabs.items.len * limits.op_slab);
        for (slab, 0..) |*op, i| op.* = .{ .index = base + @as(u32, @intCast(i)), .shard = shard };
        var i = slab.len;
        while (i > 0) {
            i -= 1;
            slab[i].next = self.free;
            self.free = &slab[i];
        }
        self.slabs.appendAssumeCapacity(slab);
    }
};

test "a stale id finds nothing, each op ends once" {
    const vtable: @import("task.zig").VTable = undefined;
    var task: Task = .{ .vtable = &vtable, .kind = .pinned, .preferred = 0 };
    var table: OpTable = .{};
    defer table.deinit();
    const first = try table.take(&task, &table);
    const second = try table.take(&task, &table);
    const id = first.id();
    try std.testing.expect(id > @import("../ring/user_data.zig").internal_max);
    try std.testing.expectEqual(first, table.find(id).?);
    table.end(first, 5, 0);
    try std.testing.expectEqual(1, task.flying);
    try std.testing.expectEqual(5, table.consume(first));
    try std.testing.expectEqual(null, table.find(id));
    const again = try table.take(&task, &table);
    try std.testing.expectEqual(first, again);
    try std.testing.expect(again.id() != id);
    table.end(again, 0, 0);
    table.end(second, -125, 0);
    table.discard(second);
    table.discard(again);
    try std.testing.expectEqual(null, task.ops);
    try std.testing.expectEqual(null, table.find(1 << 60));
}
