//! A task of the simulation. The seed decides what it does, and it checks every promise of the
//! core: it runs once, on one shard, in the order of its spawner; each of its operations ends once,
//! with its own data; it is woken for all that it waits for.

const std = @import("std");
const linux = std.os.linux;
const provided_buffers = @import("../ring/provided_buffers.zig");
const c_common = @import("../c/common.zig");
const c_fs = @import("../c/fs.zig");
const c_net = @import("../c/net.zig");
const c_ops = @import("../c/ops.zig");
const c_task = @import("../c/task.zig");
const c_messages = @import("../c/messages.zig");
const errors = @import("../base/errors.zig");
const joins = &@import("../runtime/native_task.zig").joins;
const kernel = @import("kernel.zig");
const language = @import("language.zig");
const machine = @import("machine.zig");
const mail = @import("mail.zig");
const net = @import("../ops/net.zig");
const Op = @import("../task/op.zig").Op;
const Posted = @import("../scheduler/posted.zig").Posted;
const report = @import("report.zig");
const Shard = @import("../scheduler/shard.zig").Shard;
const Source = @import("../task/source.zig").Source;
const Sqe = @import("../ring/ring.zig").Sqe;
const trial = @import("trial.zig");

const expect = report.expect;
const data_bytes = 64;
/// A timer may end so much late, with others (timers.zig).
const timer_late_ns = 1 << 18;

/// An operation of a job, and what is known of it.
const Slot = struct {
    state: enum { idle, under_way, multishot, ended } = .idle,
    handle: u64 = 0,
    /// The kernel has said its last word.
    delivered: bool = false,
    reads: bool = false,
    is_accept: bool = false,
    is_limited: bool = false,
    asked: u32 = 0,
    /// Of a timer: it ends within. The thread may stand still before the runtime reads the clock, so the
    /// bounds are counted from before the call and from after it.
    due_ns: u64 = std.math.maxInt(u64),
    due_last_ns: u64 = std.math.maxInt(u64),
    /// Of one that others end: of the cancellation and their post one is first.
    is_outside: bool = false,
    claimed: bool = false,
    posted: Posted = undefined,
    source: Source = .{ .cancel = withdraw, .release = gone },
    data: [data_bytes]u8 = undefined,

    /// The slot may be another operation's after the point.
    fn claim(self: *Slot) bool {
        const handle = self.handle;
        machine.point();
        if (self.handle != handle or !self.is_outside) return false;
        defer self.claimed = true;
        return !self.claimed;
    }

    fn withdraw(source: *Source, op: *Op) void {
        const self: *Slot = @fieldParentPtr("source", source);
        if (self.claim()) Shard.current().?.endOp(op, errors.negative(.CANCELED), 0);
    }

    fn gone(source: *Source, _: *const Op, _: bool) void {
        const self: *Slot = @fieldParentPtr("source", source);
        expect(self.claimed, "an operation of others ended by itself", .{});
        self.is_outside = false;
    }
};

const Wait = union(enum) { nothing, slot: usize, join: *Job, event, hot_event, counter, flush: u64, wake };

const Next = enum { go_on, pending, yield, end };

pub const Job = struct {
    number: u32,
    prng: std.Random.DefaultPrng,
    kind: u32 = 0,
    target: u64 = 0,
    sender: usize = 0,
    order: u32 = 0,
    join: u64 = 0,
    accepted: bool = false,
    released: bool = false,
    cancel_asked: bool = false,
    cancel_seen: bool = false,
    starts: u32 = 0,
    polling: bool = false,
    ended: bool = false,
    shard: u32 = 0,
    steps_left: u32 = 0,
    wait: Wait = .nothing,
    /// Its handle, and how often somebody set something for it and woke it; what it has seen of that.
    self: u64 = 0,
    signals: u32 = 0,
    signals_seen: u32 = 0,
    slots: [3]Slot = @splat(.{}),

    /// From a job, or a thread outside: `sender`.
    pub fn spawn(self: *Job, sender: usize) void {
        const r = self.prng.random();
        self.steps_left = r.uintLessThan(u32, 12);
        self.sender = sender;
        self.kind = r.uintLessThan(u32, 5);
        self.target = if (self.kind == 2) r.uintLessThan(u64, trial.keys) else r.uintLessThan(u64, trial.shards);
        if (self.kind == 0) {
            const order = &trial.spawned[sender][@intCast(self.target)];
            order.* += 1;
            self.order = order.*;
        }
        const placement: c_task.PlacementC = .{ .kind = self.kind, .value = self.target };
        const said = c_task.spargio_spawn(trial.handle, &placement, poll, self, &self.join);
        if (said == errors.ok) self.accepted = true else trial.refused += 1;
        if (said != errors.ok) expect(self.starts == 0, "job {d} was refused, and ran", .{self.number});
    }

    fn poll(ctx: ?*anyopaque, result: *i64) callconv(.c) i32 {
        const self: *Job = @ptrCast(@alignCast(ctx.?));
        expect(!self.polling, "job {d} runs twice at a time", .{self.number});
        expect(!self.ended, "job {d} runs after its end", .{self.number});
        self.polling = true;
        defer self.polling = false;
        var shard: u32 = 0;
        expect(c_task.spargio_current_shard(&shard) == errors.ok, "job {d} runs on no shard", .{self.number});
        if (self.starts == 0) self.begin(shard);
        expect(shard == self.shard, "job {d} moved from {d} to {d}", .{ self.number, self.shard, shard });
        const held = !language.spoken or language.isHeldBy(Shard.current().?);
        expect(held, "job {d} runs without the lock", .{self.number});
        machine.point();
        for (&self.slots) |*slot| self.look(slot);
        if (!self.cancel_seen and c_task.spargio_task_cancelled() == 1) {
            self.cancel_seen = true;
            self.steps_left = @min(self.steps_left, self.prng.random().uintLessThan(u32, 3));
            if (self.wait != .slot) self.wait = .nothing;
        }
        result.* = self.number;
        while (true) {
            switch (self.goOn()) {
                .go_on => {},
                .pending => return errors.pending,
                .yield => return errors.yield,
                .end => break,
            }
        }
        self.ended = true;
        return errors.ok;
    }

    fn begin(self: *Job, shard: u32) void {
        self.starts += 1;
        self.shard = shard;
        _ = c_task.spargio_task_self(&self.self); // Without memory it has none.
        switch (self.kind) {
            0 => {
                expect(shard == self.target, "job {d} is pinned to {d}, runs on {d}", .{
                    self.number, self.target, shard,
                });
                const last = &trial.started[self.sender][shard];
                expect(self.order > last.*, "job {d} of {d} started after its successor", .{
                    self.number, self.sender,
                });
                last.* = self.order;
            },
            2 => {
                const home = &trial.homes[@intCast(self.target)];
                expect(home.* == null or home.*.? == shard, "a key has two shards", .{});
                home.* = shard;
            },
            else => {},
        }
    }

    /// What waits is over, or not yet; then one step.
    fn goOn(self: *Job) Next {
        if (!self.isOver()) return .pending;
        self.wait = .nothing;
        if (self.steps_left == 0) return self.atEnd();
        self.steps_left -= 1;
        const r = self.prng.random();
        switch (r.uintLessThan(u8, 17)) {
            0 => return .yield,
            1...5 => self.launch(),
            6 => self.cancelSlot(),
            7, 8 => self.spawnChild(),
            9, 10, 11 => mail.send(&self.prng, self.shard),
            12 => self.listen(),
            13 => trial.disturb(&self.prng),
            14 => self.block(),
            15 => if (!self.cancel_seen and self.self != 0) {
                self.wait = .wake;
            },
            else => self.flush(),
        }
        return .go_on;
    }

    /// The shard stands still, and under a language its lock is free meanwhile.
    fn block(self: *Job) void {
        const r = self.prng.random();
        if (language.spoken) return language.leave(Shard.current().?);
        if (r.uintLessThan(u8, 4) == 0) machine.stall(machine.magnitude(machine.pace.stall_max_ns));
    }

    /// Some wait for what is under way, some leave it behind.
    fn atEnd(self: *Job) Next {
        if (self.prng.random().boolean()) return .end;
        for (&self.slots, 0..) |*slot, n| if (slot.state == .under_way or slot.state == .multishot) {
            self.wait = .{ .slot = n };
            return .pending;
        };
        return .end;
    }

    fn isOver(self: *Job) bool {
        switch (self.wait) {
            .nothing => return true,
            .slot => |n| return self.slots[n].state == .ended or self.slots[n].state == .idle,
            .join => |other| return self.joined(other),
            .event => return mail.receive(self.shard, .event),
            .hot_event => return mail.receive(self.shard, .hot_event),
            .counter => return mail.takeCount(self.shard),
            .wake => {
                machine.point();
                defer self.signals_seen = self.signals;
                return self.signals_seen != self.signals;
            },
            .flush => |*mark| return c_messages.spargio_msg_flush(mark) != errors.pending,
        }
    }

    fn joined(_: *Job, other: *Job) bool {
        var result: i64 = -1;
        const said = c_task.spargio_join_poll(other.join, &result);
        if (said == errors.pending) return false;
        other.checkOutcome(said, result);
        return true;
    }

    /// The outcome that a join of it reported.
    pub fn checkOutcome(self: *Job, said: i32, result: i64) void {
        if (said == errors.ok) {
            expect(self.ended and result == self.number, "job {d} gave {d}", .{ self.number, result });
        } else if (said == @backingInt(errors.Code.cancelled)) {
            expect(self.starts == 0, "job {d} ran and was cancelled before", .{self.number});
        }
    }

    fn spawnChild(self: *Job) void {
        const child = trial.newJob() orelse return;
        child.spawn(self.shard);
        const r = self.prng.random();
        if (!child.accepted or self.cancel_seen) return;
        switch (r.uintLessThan(u8, 4)) {
            0, 1 => self.wait = .{ .join = child },
            2 => child.cancel(),
            else => {},
        }
    }

    pub fn cancel(self: *Job) void {
        if (c_task.spargio_join_cancel(self.join) == errors.ok) self.cancel_asked = true;
    }

    /// Any thread: ends an operation of this job, as a thread of a pool or another task does.
    pub fn postOne(self: *Job) void {
        for (&self.slots) |*slot| if (slot.is_outside and slot.claim()) return slot.posted.post(1);
    }

    /// Any thread: what a channel or a lock of the program's own does.
    pub fn signal(self: *Job) void {
        if (self.self == 0) return;
        self.signals += 1;
        machine.point();
        const said = c_task.spargio_task_wake(self.self);
        expect(said == errors.ok or self.ended, "job {d} runs and cannot be woken: {d}", .{ self.number, said });
    }

    fn listen(self: *Job) void {
        if (self.cancel_seen) return; // Nobody would wake it.
        self.wait = switch (self.prng.random().uintLessThan(u8, 3)) {
            0 => .event,
            1 => .hot_event,
            else => .counter,
        };
    }

    fn flush(self: *Job) void {
        if (!self.cancel_seen) self.wait = .{ .flush = 0 };
    }

    // ---- operations ----

    fn launch(self: *Job) void {
        if (self.cancel_seen) return; // Nobody would cancel it.
        const index = for (&self.slots, 0..) |*slot, n| {
            if (slot.state == .idle or slot.state == .ended) break n;
        } else return;
        const slot = &self.slots[index];
        const r = self.prng.random();
        slot.* = .{};
        slot.asked = 1 + r.uintLessThan(u32, data_bytes);
        const fd = trial.descriptor;
        const said = switch (r.uintLessThan(u8, 12)) {
            0 => c_ops.spargio_nop(&slot.handle),
            1, 2 => self.launchTimer(slot),
            3 => self.launchRead(slot, c_net.spargio_recv(fd, &slot.data, slot.asked, 0, &slot.handle)),
            4 => self.launchRead(slot, c_fs.spargio_read_at(fd, &slot.data, slot.asked, 0, &slot.handle)),
            5 => c_net.spargio_send(fd, &slot.data, slot.asked, 0, &slot.handle),
            6 => self.launchAccept(slot),
            7 => c_common.launch(&slot.handle, net.sendZeroCopy, .{ fd, @as([]const u8, slot.data[0..slot.asked]), 0 }),
            8, 9 => launchOutside(slot),
            10 => picked: {
                if (Shard.current().?.providedBuffers() == null) return;
                break :picked c_common.launch(&slot.handle, net.recvProvided, .{ fd, @as(usize, slot.asked), false });
            },
            else => return self.launchMultishot(index),
        };
        if (said != errors.ok) return;
        slot.state = .under_way;
        if (r.uintLessThan(u8, 4) == 0) self.limit(slot);
        if (r.boolean()) self.wait = .{ .slot = index };
    }

    fn limit(self: *Job, slot: *Slot) void {
        if (slot.due_ns < std.math.maxInt(u64)) return; // A timer.
        const limit_ns = machine.magnitude(20 * std.time.ns_per_ms) + self.prng.random().uintLessThan(u64, 2);
        const said = c_ops.spargio_op_timeout(slot.handle, limit_ns);
        slot.is_limited = said == errors.ok;
        expect(said == errors.ok or said == @backingInt(errors.Code.nomem), "a time limit says {d}", .{said});
    }

    fn launchTimer(_: *Job, slot: *Slot) i32 {
        const duration_ns = machine.magnitude(20 * std.time.ns_per_ms);
        slot.due_ns = machine.timeNs() + duration_ns;
        const said = c_ops.spargio_sleep(duration_ns, &slot.handle);
        slot.due_last_ns = machine.timeNs() + duration_ns + timer_late_ns;
        return said;
    }

    fn launchOutside(slot: *Slot) i32 {
        const shard = Shard.current().?;
        const op = shard.ops.take(shard.current_task.?, shard) catch |err| return c_common.fail(err);
        slot.posted = .{ .op = op };
        op.source = &slot.source;
        slot.handle = op.id();
        slot.is_outside = true;
        return errors.ok;
    }

    fn launchRead(_: *Job, slot: *Slot, said: i32) i32 {
        slot.reads = true;
        return said;
    }

    fn launchAccept(_: *Job, slot: *Slot) i32 {
        slot.is_accept = true;
        return c_net.spargio_accept(trial.descriptor, &slot.handle);
    }

    fn launchMultishot(self: *Job, index: usize) void {
        const shard = Shard.current().?;
        if (shard.providedBuffers() == null) return;
        const slot = &self.slots[index];
        const op = shard.ops.take(shard.current_task.?, shard) catch return;
        slot.state = .multishot;
        slot.handle = op.id();
        op.on_multishot = took;
        op.complete = lastOf;
        op.complete_ctx = slot;
        var sqe: Sqe = undefined;
        sqe.prep_recv(trial.descriptor, &.{}, 0);
        sqe.flags |= linux.IOSQE_BUFFER_SELECT;
        sqe.ioprio |= linux.IORING_RECV_MULTISHOT;
        shard.launch(op, sqe);
        if (self.prng.random().boolean()) self.wait = .{ .slot = index };
    }

    fn took(ctx: ?*anyopaque, result: i32, flags: u32) callconv(.c) void {
        const slot: *Slot = @ptrCast(@alignCast(ctx.?));
        expect(slot.state == .multishot, "a multishot operation goes on after its end", .{});
        checkPicked(slot.handle, result, flags);
    }

    fn lastOf(ctx: ?*anyopaque, result: i32, flags: u32) callconv(.c) void {
        const slot: *Slot = @ptrCast(@alignCast(ctx.?));
        expect(slot.state == .multishot, "a multishot operation ends twice", .{});
        checkPicked(slot.handle, result, flags);
        slot.state = .ended;
    }

    fn checkPicked(handle: u64, result: i32, flags: u32) void {
        const id = provided_buffers.idOf(flags) orelse return;
        const set = &Shard.current().?.buffers.ready;
        expect(result > 0, "a buffer without data", .{});
        for (set.all(id)[0..@intCast(result)]) |byte|
            expect(byte == kernel.patternOf(handle), "the data of another operation", .{});
        set.giveBack(id);
    }

    fn cancelSlot(self: *Job) void {
        const slot = &self.slots[self.prng.random().uintLessThan(usize, self.slots.len)];
        if (slot.state != .under_way and slot.state != .multishot) return;
        const said = c_ops.spargio_op_cancel(slot.handle);
        expect(said == errors.ok, "an operation that is under way cannot be cancelled: {d}", .{said});
    }

    /// Takes its result if it has ended.
    fn look(self: *Job, slot: *Slot) void {
        if (slot.state != .under_way) return;
        const op = Shard.current().?.ops.find(slot.handle) orelse
            report.fail("job {d}: an operation is gone", .{self.number});
        const flags = op.cqe_flags;
        var result: i32 = 0;
        const said = c_ops.spargio_op_poll(slot.handle, &result);
        if (said == errors.pending) return;
        expect(said == errors.ready, "an operation says {d}", .{said});
        expect(c_ops.spargio_op_poll(slot.handle, &result) < 0, "an operation ends twice", .{});
        slot.state = .ended;
        checkPicked(slot.handle, result, flags);
        if (slot.is_accept and result >= 0) _ = kernel.close(result);
        expect(result != errors.negative(.TIME) or slot.is_limited, "a limit that nobody set", .{});
        expect(slot.is_accept or result <= data_bytes, "more than was asked for", .{});
        if (slot.reads and result > 0) for (slot.data[0..@intCast(result)]) |byte|
            expect(byte == kernel.patternOf(slot.handle), "the data of another operation", .{});
        if (slot.due_ns < std.math.maxInt(u64) and result == 0)
            expect(machine.timeNs() >= slot.due_ns, "a timer is early", .{});
    }

    // ---- what the observer sees while all shards sleep ----

    pub fn checkAsleep(self: *Job) void {
        if (self.starts == 0 or self.ended) return;
        for (&self.slots) |*slot| {
            if (slot.state != .under_way and slot.state != .multishot) continue;
            expect(!slot.delivered, "job {d} sleeps on an operation that has ended", .{self.number});
            expect(slot.due_last_ns >= machine.timeNs(), "job {d} sleeps past its timer", .{self.number});
        }
        const mailbox = &trial.runtime().scheduler.shards[self.shard].mailbox;
        switch (self.wait) {
            .join => |other| expect(!other.isDone(), "job {d} sleeps on the end of {d}", .{
                self.number, other.number,
            }),
            .event => expect(!mailbox.regular.ready(), "job {d} sleeps on a message", .{self.number}),
            .hot_event => expect(!mailbox.hot.ready(), "job {d} sleeps on a hot message", .{self.number}),
            .wake => expect(self.signals == self.signals_seen, "job {d} sleeps on a wake-up", .{self.number}),
            else => {},
        }
        if (self.cancel_asked) expect(self.cancel_seen, "job {d} sleeps on its cancellation", .{self.number});
    }

    pub fn isDone(self: *Job) bool {
        const native = joins.pin(self.join) orelse return false;
        defer joins.unpin(self.join);
        return native.task.isDone();
    }
};
