//! The simulation's kernel part of io_uring, with everything that a kernel may do and seldom does:
//! it takes a part of the submissions, completes late and in another order, cuts transfers short,
//! refuses bells and loses them, overflows. It checks what it sees of the core: no operation is
//! submitted twice, no descriptor is closed twice, and no memory is used after its operation has
//! ended.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const provided_buffers = @import("../ring/provided_buffers.zig");
const Info = @import("../ring/probe.zig").Info;
const Capabilities = @import("../ring/probe.zig").Capabilities;
const Internal = @import("../ring/user_data.zig").Internal;
const internal_max = @import("../ring/user_data.zig").internal_max;
const Options = @import("../base/options.zig").Options;
const machine = @import("machine.zig");
const report = @import("report.zig");
const ring_module = @import("../ring/ring.zig");
const Cqe = ring_module.Cqe;
const Failure = @import("../base/failure.zig").Failure;
const Ring = ring_module.Ring;
const Sqe = ring_module.Sqe;
const Wake = ring_module.Wake;

const never = std.math.maxInt(u64);
const rings_max = 8;
const descriptors_max = 1 << 14;
/// Above all that a process can have.
const first_descriptor = 1 << 28;
const gpa = std.heap.c_allocator;

/// Of so many chances one is taken, on average; 0: none.
pub const Faults = struct {
    entries: u32 = 8,
    deferred: bool = true,
    msg_ring: bool = true,
    send_msg_ring: bool = true,
    part_every: u32 = 0,
    interrupt_every: u32 = 0,
    refuse_bell_every: u32 = 0,
    lose_bell_every: u32 = 0,
    slow_bell_every: u32 = 0,
    setup_fails_every: u32 = 0,
    /// An operation that waits for what never comes, until it is cancelled.
    never_every: u32 = 10,
    at_once_every: u32 = 3,
    longest_ns: u64 = 20 * std.time.ns_per_ms,
    /// All results that are not the whole transfer.
    odd_every: u32 = 4,
};

/// What the trial wants to know.
pub const Hooks = struct {
    /// The kernel writes to memory of an operation.
    touches: *const fn (address: u64) void,
    /// The last completion of an operation is on its way to the ring with this number.
    ends: *const fn (ring: usize, user_data: u64) void,
};

const Pending = struct {
    due_ns: u64,
    sequence: u64,
    ring: u8,
    sqe: Sqe,
    /// A completion from elsewhere: a message or a bell.
    arrives: ?Cqe = null,
    /// Completions still to come before the last.
    more: u32 = 0,
    interrupted: bool = false,
};

const Endpoint = struct {
    number: u8,
    descriptor: i32,
    open: bool = true,
    ring: ?*Ring = null,
    asleep: bool = false,
    /// Not posted before the ring's thread asks: each in its order.
    deferred: std.ArrayList(Cqe) = .empty,
    overflow: std.ArrayList(Cqe) = .empty,
    /// Bells for this sleep that do not come.
    lost: u32 = 0,
    /// No later message of the same sender arrives before this.
    arrival_ns: [rings_max + 1]u64 = @splat(0),

    fn enter(ctx: *anyopaque, ring: *Ring, deadline_ns: ?u64) Wake {
        const self: *Endpoint = @ptrCast(@alignCast(ctx));
        report.expect(self.open, "ring {d} used after it was closed", .{self.number});
        self.ring = ring;
        machine.point();
        const all = self.take();
        report.trace("ring {d} entered, until {?d}; all taken: {}", .{ self.number, deadline_ns, all });
        self.work();
        // A kernel that did not take all says so before it waits.
        if (deadline_ns == null or !all) return .completions;
        while (!ring.ready()) {
            if (machine.oneIn(faults.interrupt_every)) return .interrupted;
            self.asleep = true;
            const woken = machine.wait(self, deadline_ns.?);
            self.asleep = false;
            self.lost = 0;
            self.work();
            if (!woken and !ring.ready()) return .timeout;
        }
        return .completions;
    }

    fn take(self: *Endpoint) bool {
        const ring = self.ring.?;
        const most = if (machine.oneIn(faults.part_every)) machine.random().uintLessThan(u64, 3) else never;
        var taken: u64 = 0;
        while (taken < most) : (taken += 1) {
            const sqe = ring.takeSubmission() orelse return true;
            self.start(&sqe);
        }
        return ring.uring.sq.head.* == ring.uring.sq.tail.*;
    }

    /// What was deferred is posted, a portion at a time; what overflowed goes first.
    fn work(self: *Endpoint) void {
        const ring = self.ring.?;
        var moved: usize = 0;
        while (moved < self.overflow.items.len and ring.postCompletion(self.overflow.items[moved])) moved += 1;
        self.overflow.replaceRange(gpa, 0, moved, &.{}) catch unreachable; // It only shrinks.
        const portion = @min(self.deferred.items.len, 20);
        for (self.deferred.items[0..portion]) |cqe| self.post(cqe);
        self.deferred.replaceRange(gpa, 0, portion, &.{}) catch unreachable;
        self.flag();
    }

    fn post(self: *Endpoint, cqe: Cqe) void {
        if (self.overflow.items.len == 0 and self.ring.?.postCompletion(cqe)) return;
        overflows += 1;
        self.overflow.append(gpa, cqe) catch outOfMemory();
    }

    fn flag(self: *Endpoint) void {
        const ring = self.ring orelse return;
        var flags: u32 = 0;
        if (self.deferred.items.len > 0) flags |= linux.IORING_SQ_TASKRUN;
        if (self.overflow.items.len > 0) flags |= linux.IORING_SQ_CQ_OVERFLOW;
        ring.uring.sq.flags.* = flags;
    }

    fn deliver(self: *Endpoint, cqe: Cqe) void {
        report.trace("ring {d} gets {x} with {d}, flags {x}", .{ self.number, cqe.user_data, cqe.res, cqe.flags });
        if (!self.open) return;
        if (faults.deferred or self.ring == null)
            self.deferred.append(gpa, cqe) catch outOfMemory()
        else
            self.post(cqe);
        self.flag();
        machine.wakeAll(self);
    }

    fn complete(self: *Endpoint, sqe: *const Sqe, result: i32, flags: u32) void {
        const last = flags & linux.IORING_CQE_F_MORE == 0;
        if (last and sqe.user_data > internal_max) {
            // It is asked for again, or ends what was to be cancelled.
            if (result == errors.negative(.INTR))
                seen.putAssumeCapacity(.{ self.number, sqe.user_data }, .interrupted)
            else
                hooks.ends(self.number, sqe.user_data);
        }
        if (result >= 0 and sqe.flags & linux.IOSQE_CQE_SKIP_SUCCESS != 0) return;
        self.deliver(.{ .user_data = sqe.user_data, .res = result, .flags = flags });
    }

    fn start(self: *Endpoint, sqe: *const Sqe) void {
        report.trace("ring {d} submits {t} {x} on {d}", .{ self.number, sqe.opcode, sqe.user_data, sqe.fd });
        if (sqe.user_data > internal_max) {
            const entry = seen.getOrPut(gpa, .{ self.number, sqe.user_data }) catch outOfMemory();
            const again = entry.found_existing and entry.value_ptr.* != .interrupted;
            report.expect(!again, "operation {x} handed in twice", .{sqe.user_data});
            entry.value_ptr.* = .handed_in;
        }
        switch (sqe.opcode) {
            .ASYNC_CANCEL => return self.complete(sqe, self.cancel(sqe.addr), 0),
            .MSG_RING => {
                const errno = message(self.number, sqe);
                return self.complete(sqe, if (errno == .SUCCESS) 0 else errors.negative(errno), 0);
            },
            else => {},
        }
        const internal = sqe.user_data <= internal_max; // The read of the shard's eventfd.
        var one: Pending = .{ .due_ns = never, .sequence = sequence, .ring = self.number, .sqe = sqe.* };
        sequence += 1;
        const random = machine.random();
        if (internal) {
            if (descriptorOf(sqe.fd).count > 0) one.due_ns = machine.timeNs();
        } else {
            if (sqe.opcode == .SEND_ZC) one.more = 1;
            if (sqe.opcode == .RECV and sqe.ioprio & linux.IORING_RECV_MULTISHOT != 0)
                one.more = random.uintLessThan(u32, 4);
            if (sqe.opcode == .NOP or machine.oneIn(faults.at_once_every)) {
                one.due_ns = machine.timeNs();
            } else if (!machine.oneIn(faults.never_every)) {
                one.due_ns = machine.timeNs() + machine.magnitude(faults.longest_ns);
            }
        }
        if (one.due_ns <= machine.timeNs()) return self.go(&one);
        add(one);
    }

    /// Its time has come: a completion, and perhaps it goes on.
    fn go(self: *Endpoint, one: *Pending) void {
        const sqe = &one.sqe;
        if (!self.open) return;
        if (sqe.user_data <= internal_max) {
            const descriptor = descriptorOf(sqe.fd);
            descriptor.count = 0;
            return self.complete(sqe, 8, 0);
        }
        const random = machine.random();
        if (one.more > 0) {
            one.more -= 1;
            const zero_copy = sqe.opcode == .SEND_ZC;
            var flags: u32 = linux.IORING_CQE_F_MORE;
            const result = if (zero_copy) self.resultOf(one, &flags) else self.received(one, &flags);
            one.due_ns = machine.timeNs() + machine.magnitude(faults.longest_ns);
            if (result < 0) { // An error ends it; a zero-copy send gives no notification then.
                return self.complete(sqe, result, flags & ~@as(u32, linux.IORING_CQE_F_MORE));
            }
            self.complete(sqe, result, flags);
            return add(one.*);
        }
        var flags: u32 = 0;
        if (sqe.opcode == .SEND_ZC) return self.complete(sqe, 0, linux.IORING_CQE_F_NOTIF);
        if (one.interrupted and random.boolean()) {
            const errno: linux.E = if (random.boolean()) .INTR else .CANCELED;
            return self.complete(sqe, errors.negative(errno), 0);
        }
        const result = self.resultOf(one, &flags);
        self.complete(sqe, result, flags);
    }

    fn resultOf(self: *Endpoint, one: *Pending, flags: *u32) i32 {
        const sqe = &one.sqe;
        const random = machine.random();
        const odd = machine.oneIn(faults.odd_every);
        switch (sqe.opcode) {
            .NOP => return 0,
            .ACCEPT => return if (odd) errors.negative(.CONNABORTED) else newDescriptor(.plain),
            .RECV, .READ, .WRITE, .SEND, .SEND_ZC => {},
            else => report.fail("the simulation knows no {t}", .{sqe.opcode}),
        }
        if (odd and random.boolean()) {
            const errnos = [_]linux.E{ .INTR, .AGAIN, .CONNRESET, .IO };
            return errors.negative(errnos[random.uintLessThan(usize, errnos.len)]);
        }
        if (sqe.flags & linux.IOSQE_BUFFER_SELECT != 0) return self.received(one, flags);
        const size: u32 = if (odd) random.uintLessThan(u32, sqe.len + 1) else sqe.len;
        hooks.touches(sqe.addr);
        if (sqe.opcode == .RECV or sqe.opcode == .READ) {
            const memory: [*]u8 = @ptrFromInt(sqe.addr);
            @memset(memory[0..size], patternOf(sqe.user_data));
        }
        return @intCast(size);
    }

    /// Into a buffer that the kernel picks.
    fn received(self: *Endpoint, one: *Pending, flags: *u32) i32 {
        if (machine.oneIn(faults.odd_every)) return errors.negative(.NOBUFS);
        const set = self.ring.?.buffers orelse report.fail("a receive without the shard's buffers", .{});
        const id = set.take() orelse return errors.negative(.NOBUFS);
        flags.* |= provided_buffers.flagsOf(id);
        const size = 1 + machine.random().uintLessThan(u32, 64);
        @memset(set.all(id)[0..size], patternOf(one.sqe.user_data));
        return @intCast(size);
    }

    fn cancel(self: *Endpoint, user_data: u64) i32 {
        const random = machine.random();
        const index = for (pending.items, 0..) |*each, i| {
            if (each.ring == self.number and each.arrives == null and each.sqe.user_data == user_data) break i;
        } else return errors.negative(.NOENT);
        const found = &pending.items[index];
        const zero_copy = found.sqe.opcode == .SEND_ZC;
        switch (random.uintLessThan(u8, 4)) {
            0, 1 => if (!zero_copy) {
                const one = pending.swapRemove(index);
                self.complete(&one.sqe, errors.negative(.CANCELED), 0);
                return 0;
            },
            2 => if (!zero_copy) { // It was just done.
                var one = pending.swapRemove(index);
                one.more = 0;
                self.go(&one);
                return errors.negative(.NOENT);
            },
            else => {},
        }
        found.interrupted = true;
        if (!zero_copy) found.more = 0;
        plan(found, machine.timeNs() + machine.magnitude(faults.longest_ns));
        return errors.negative(.ALREADY);
    }

    fn destroy(ctx: *anyopaque) void {
        const self: *Endpoint = @ptrCast(@alignCast(ctx));
        report.expect(self.open and !self.asleep, "ring {d} closed twice, or while its thread sleeps", .{self.number});
        self.open = false;
        if (self.ring) |ring| if (ring.buffers) |set|
            report.expect(set.free_count == provided_buffers.count, "ring {d}: {d} buffers are back", .{
                self.number, set.free_count,
            });
        for (pending.items) |*each| {
            if (each.ring != self.number or each.arrives != null or each.sqe.user_data <= internal_max) continue;
            report.fail("ring {d} closed with an operation under way", .{self.number});
        }
    }
};

const Kind = enum { none, plain, event };
const Descriptor = struct { kind: Kind = .none, open: bool = false, count: u64 = 0 };

pub var faults: Faults = .{};
pub var hooks: Hooks = undefined;
pub var lost_total: u64 = 0;
pub var overflows: u64 = 0;
pub var descriptors_open: usize = 0;
var endpoints: [rings_max]Endpoint = undefined;
var endpoint_count: u8 = 0;
var pending: std.ArrayList(Pending) = .empty;
var next_ns: u64 = never;
var sequence: u64 = 0;
var seen: std.AutoHashMapUnmanaged([2]u64, enum { handed_in, interrupted }) = .empty;
var descriptors: [descriptors_max]Descriptor = @splat(.{});
var descriptor_count: usize = 0;

pub fn reset() void {
    faults = .{};
    lost_total = 0;
    overflows = 0;
    for (endpoints[0..endpoint_count]) |*endpoint| {
        endpoint.deferred.deinit(gpa);
        endpoint.overflow.deinit(gpa);
    }
    endpoint_count = 0;
    pending.clearRetainingCapacity();
    next_ns = never;
    sequence = 0;
    seen.clearRetainingCapacity();
    for (descriptors[0..descriptor_count]) |*each| each.* = .{};
    descriptor_count = 0;
    descriptors_open = 0;
}

fn outOfMemory() noreturn {
    @panic("no memory for the simulation");
}

// ---- setup ----

pub fn probe() Info {
    return .{
        .capabilities = @bitCast(Capabilities{
            .defer_taskrun = faults.deferred,
            .single_issuer = true,
            .msg_ring = faults.msg_ring,
            .send_msg_ring = faults.msg_ring and faults.send_msg_ring,
            .ext_arg = true,
            .cancel_fd = true,
            .send_zc = true,
            .recv_multishot = true,
            .pbuf_ring = true,
        }),
        .opcodes = @splat(std.math.maxInt(u64)),
    };
}

pub fn makeRing(_: *const Options, told: *Failure) Ring.InitError!Ring {
    told.set(.io_uring_setup, .NOMEM);
    if (machine.oneIn(faults.setup_fails_every)) return error.NoRing;
    const self = &endpoints[endpoint_count];
    self.* = .{ .number = endpoint_count, .descriptor = newDescriptor(.none) };
    const ring = Ring.initStandIn(faults.entries, self.descriptor, .{
        .ctx = self,
        .enter = Endpoint.enter,
        .destroy = Endpoint.destroy,
    }) catch return error.NoRing;
    endpoint_count += 1;
    return ring;
}

fn newDescriptor(kind: Kind) i32 {
    if (descriptor_count == descriptors_max) report.fail("out of descriptors", .{});
    descriptors[descriptor_count] = .{ .kind = kind, .open = true };
    if (kind != .none) descriptors_open += 1;
    defer descriptor_count += 1;
    return @intCast(first_descriptor + descriptor_count);
}

fn descriptorOf(fd: i32) *Descriptor {
    return &descriptors[@intCast(fd - first_descriptor)];
}

// ---- system calls ----

pub fn eventfd(_: u32, _: u32) usize {
    machine.point();
    if (machine.oneIn(faults.setup_fails_every)) return failure(.MFILE);
    return @intCast(newDescriptor(.event));
}

/// Before a bell, a thread may stand still for long: much may happen until it rings.
fn hesitate() void {
    if (machine.oneIn(faults.slow_bell_every)) machine.stall(machine.magnitude(machine.pace.stall_max_ns));
    machine.point();
}

fn failure(errno: linux.E) usize {
    return @bitCast(-@as(isize, @backingInt(errno)));
}

/// Only to eventfds.
pub fn write(fd: i32, _: [*]const u8, size: usize) usize {
    hesitate();
    const descriptor = descriptorOf(fd);
    report.expect(descriptor.open, "a bell by an eventfd that is closed", .{});
    descriptor.count += 1;
    for (pending.items) |*each| if (each.arrives == null and each.sqe.fd == fd) {
        if (machine.oneIn(faults.lose_bell_every)) {
            lose(&endpoints[each.ring]);
        } else plan(each, machine.timeNs() + bellNs());
    };
    return size;
}

pub fn close(fd: i32) usize {
    const descriptor = descriptorOf(fd);
    report.expect(descriptor.open and descriptor.kind != .none, "descriptor {d} closed twice", .{fd});
    descriptor.open = false;
    descriptors_open -= 1;
    return 0;
}

pub fn register(_: i32, _: linux.IORING_REGISTER, argument: ?*const anyopaque, _: u32) usize {
    hesitate();
    const sqe: *const Sqe = @ptrCast(@alignCast(argument.?));
    const errno = message(rings_max, sqe);
    return if (errno == .SUCCESS) 0 else failure(errno);
}

// ---- time ----

fn add(one: Pending) void {
    pending.append(gpa, one) catch outOfMemory();
    next_ns = @min(next_ns, one.due_ns);
}

fn plan(one: *Pending, due_ns: u64) void {
    one.due_ns = @min(one.due_ns, due_ns);
    next_ns = @min(next_ns, one.due_ns);
}

pub fn nextNs() u64 {
    return next_ns;
}

/// All that is due, in its order.
pub fn advance(now_ns: u64) void {
    while (next_ns <= now_ns) {
        next_ns = never;
        var first: usize = 0;
        for (pending.items, 0..) |*each, i| {
            const best = &pending.items[first];
            if (each.due_ns < best.due_ns or each.due_ns == best.due_ns and each.sequence < best.sequence) first = i;
        }
        if (pending.items.len == 0) return;
        if (pending.items[first].due_ns > now_ns) {
            next_ns = pending.items[first].due_ns; // The one before was cancelled.
            return;
        }
        var one = pending.swapRemove(first);
        if (one.arrives) |cqe| endpoints[one.ring].deliver(cqe) else endpoints[one.ring].go(&one);
        next_ns = now_ns; // Perhaps there is more.
    }
}

/// What an operation reads, so that nobody takes another's data for its own.
pub fn patternOf(user_data: u64) u8 {
    return @truncate(user_data *% 0x9e3779b97f4a7c15 >> 56);
}

// ---- messages and bells ----

fn lose(target: *Endpoint) void {
    report.trace("a bell for ring {d} is lost", .{target.number});
    lost_total += 1;
    target.lost += 1;
}

fn bellNs() u64 {
    return machine.magnitude(if (machine.oneIn(faults.slow_bell_every)) 5 * std.time.ns_per_ms else 1000);
}

/// From the ring with this number, or from a thread that has none.
fn message(from: u8, sqe: *const Sqe) linux.E {
    const target = for (endpoints[0..endpoint_count]) |*endpoint| {
        if (endpoint.descriptor == sqe.fd) break endpoint;
    } else report.fail("a bell for a descriptor that is no ring", .{});
    report.expect(target.open, "a bell for a ring that is closed", .{});
    const is_bell = sqe.off == @backingInt(Internal.doorbell);
    if (machine.oneIn(faults.refuse_bell_every)) {
        // With an eventfd beside it, it is the sender's to ring again.
        if (is_bell and faults.send_msg_ring) lose(target);
        const errnos = [_]linux.E{ .OVERFLOW, .BADFD, .OWNERDEAD, .NOMEM };
        return errnos[machine.random().uintLessThan(usize, errnos.len)];
    }
    if (is_bell and machine.oneIn(faults.lose_bell_every)) {
        lose(target);
        return .SUCCESS;
    }
    const arrival = &target.arrival_ns[from];
    arrival.* = @max(arrival.*, machine.timeNs() + bellNs());
    add(.{
        .due_ns = arrival.*,
        .sequence = sequence,
        .ring = target.number,
        .sqe = undefined,
        .arrives = .{ .user_data = sqe.off, .res = @bitCast(sqe.len), .flags = 0 },
    });
    sequence += 1;
    return .SUCCESS;
}

// ---- what the trial asks ----

pub fn isAsleep(ring: usize) bool {
    return endpoints[ring].asleep;
}

/// Something that ends the sleep is under way, or a bell for it was lost.
pub fn isExcused(ring: usize) bool {
    if (endpoints[ring].lost > 0) return true;
    for (pending.items) |*each| {
        if (each.ring != ring) continue;
        if (each.arrives != null) return true;
        if (each.sqe.user_data <= internal_max and each.due_ns != never) return true;
    }
    return false;
}

/// Messages on their way to a ring.
pub fn travelling(ring: usize) u64 {
    var found: u64 = 0;
    for (pending.items) |*each| {
        const cqe = each.arrives orelse continue;
        found += @intFromBool(each.ring == ring and cqe.user_data & 0xff == @backingInt(Internal.message));
    }
    return found;
}
