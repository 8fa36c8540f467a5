//! A ring without io_uring: when the shard submits or waits, this file does the kernel's part by
//! plain system calls. An operation is tried at once. If it would block, epoll(7) says when to try
//! again; files, which epoll does not accept, go to a pool of threads. Only the ring's thread calls
//! this, except `giveBack` and `send`.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const clock = @import("../base/clock.zig");
const Failure = @import("../base/failure.zig").Failure;
const gpa = @import("../base/memory.zig").gpa;
const limits = @import("../base/limits.zig");
const tsan = @import("../base/tsan.zig");
const user_data = @import("../ring/user_data.zig");
const attempts = @import("attempt.zig");
const waiting = @import("waiting.zig");
const blocking = @import("blocking.zig");
const close = @import("close.zig");
const Outcome = @import("pending.zig").Outcome;
const Pending = @import("pending.zig").Pending;
const Pool = @import("pool.zig").Pool;
const Table = @import("users.zig").Table;
const Users = @import("users.zig").Users;
const Overflow = @import("overflow.zig").Overflow;
const ring_module = @import("../ring/ring.zig");
const Ring = ring_module.Ring;
const Sqe = ring_module.Sqe;
const Wake = ring_module.Wake;
const InboxType = @import("../queue/inbox.zig").InboxType;
const ListType = @import("../queue/list.zig").ListType;

pub const Epoll = struct {
    /// The ring's descriptor, which closes it.
    epoll: i32,
    /// The pool writes to it.
    bell: i32,
    pool: *Pool,
    ring: *Ring = undefined,
    by_id: std.AutoHashMapUnmanaged(u64, *Pending) = .empty,
    users: Table = .{},
    /// The others of this runtime, in a circle. Changes only before the shards run and after.
    next_peer: *Epoll = undefined,
    free: ListType(Pending) = .{},
    pooled: u32 = 0,
    /// How often in a row all that epoll reported would still block.
    spurious: u32 = 0,
    /// Descriptors that epoll is not asked about until then.
    cooling_down: std.ArrayList(i32) = .empty,
    cooldown_until_ns: u64 = 0,
    /// What the pool has done, and closes that other shards send. Any thread.
    arrived: InboxType(Pending) = .{},
    /// Completions that found the queue full.
    overflow: Overflow = .{},
    posted: u64 = 0,

    pub const InitError = error{ SetupFailed, OutOfMemory };

    /// Those of one runtime.
    pub const Group = struct {
        first: ?*Epoll = null,

        fn add(self: *Group, new: *Epoll) void {
            const first = self.first orelse new;
            new.next_peer = if (first == new) new else first.next_peer;
            first.next_peer = new;
            self.first = first;
        }
    };

    pub fn makeRing(entries: u32, group: *Group, pool: *Pool, failure: *Failure) InitError!Ring {
        const epoll: i32 = @intCast(try done(.epoll_create1, linux.epoll_create1(linux.EPOLL.CLOEXEC), failure));
        errdefer _ = linux.close(epoll);
        const made = linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK);
        const bell: i32 = @intCast(try done(.eventfd, made, failure));
        errdefer _ = linux.close(bell);
        var event: linux.epoll_event = .{ .events = linux.EPOLL.IN, .data = .{ .fd = bell } };
        _ = try done(.epoll_ctl, linux.epoll_ctl(epoll, linux.EPOLL.CTL_ADD, bell, &event), failure);
        var none: [waiting.events_max]linux.epoll_event = undefined;
        _ = try done(.epoll_pwait, waiting.waitFor(epoll, &none, 0), failure); // It may be forbidden.
        const self = try gpa.create(Epoll);
        errdefer gpa.destroy(self);
        self.* = .{ .epoll = epoll, .bell = bell, .pool = pool };
        const ring = try Ring.initStandIn(entries, epoll, .{ .ctx = self, .enter = enter, .destroy = destroy });
        group.add(self);
        return ring;
    }

    fn done(call: Failure.Call, rc: usize, failure: *Failure) error{SetupFailed}!usize {
        if (linux.errno(rc) == .SUCCESS) return rc;
        failure.set(call, linux.errno(rc));
        return error.SetupFailed;
    }

    fn destroy(ctx: *anyopaque) void {
        const self: *Epoll = @ptrCast(@alignCast(ctx));
        assert(self.pooled == 0);
        var left = self.by_id.valueIterator();
        while (left.next()) |pending| gpa.destroy(pending.*); // The shard's own read of its eventfd.
        self.by_id.deinit(gpa);
        self.users.deinit();
        self.cooling_down.deinit(gpa);
        while (self.free.popFront()) |pending| gpa.destroy(pending);
        self.overflow.deinit();
        _ = linux.close(self.bell);
        gpa.destroy(self);
    }

    fn enter(ctx: *anyopaque, ring: *Ring, deadline_ns: ?u64) Wake {
        const self: *Epoll = @ptrCast(@alignCast(ctx));
        self.ring = ring;
        const before = self.posted;
        self.overflow.flush(ring);
        self.spurious = 0;
        while (ring.takeSubmission()) |sqe| self.begin(&sqe);
        while (true) : (self.spurious += 1) {
            self.collect();
            const rested = self.endRest();
            const waits = deadline_ns != null and self.posted == before and !ring.ready();
            const wake = self.poll(if (waits) @min(deadline_ns.?, rested) else 0);
            self.collect();
            if (self.posted != before or ring.ready()) return .completions;
            if (!waits or wake == .interrupted) return wake;
            if (clock.nowNs() >= deadline_ns.?) return .timeout;
        }
    }

    // ---- submissions ----

    fn begin(self: *Epoll, sqe: *const Sqe) void {
        switch (sqe.opcode) {
            .ASYNC_CANCEL => return self.complete(sqe, self.cancel(sqe), 0),
            .CLOSE => return close.begin(self, sqe),
            else => {},
        }
        const pending = self.take(sqe) orelse
            return self.complete(sqe, errors.negative(.NOMEM), 0);
        const known_empty = sqe.opcode == .RECV and sqe.ioprio & linux.IORING_RECVSEND_POLL_FIRST != 0;
        if (known_empty) return self.await(pending, sqe.fd, linux.POLL.IN);
        self.attempt(pending);
    }

    pub fn take(self: *Epoll, sqe: *const Sqe) ?*Pending {
        const pending = self.free.popFront() orelse gpa.create(Pending) catch return null;
        pending.* = .{ .sqe = sqe.*, .owner = self };
        if (sqe.flags & linux.IOSQE_BUFFER_SELECT != 0) pending.buffers = self.ring.buffers;
        return pending;
    }

    fn attempt(self: *Epoll, pending: *Pending) void {
        pending.stage = .trying;
        const had = pending.done;
        switch (self.attemptAll(pending)) {
            .done => |result| self.end(pending, result),
            .wait => |what| {
                if (pending.done > had) self.spurious = 0;
                self.await(pending, what.fd, what.events);
            },
            .block => self.hand(pending),
        }
    }

    /// A multishot accept takes what there is, and goes on; the others have one result.
    fn attemptAll(self: *Epoll, pending: *Pending) Outcome {
        var left: u32 = if (pending.isMultishotAccept()) limits.accepts_in_a_row_max else 0;
        while (true) : (left -= 1) {
            const outcome = attempts.attempt(pending);
            if (left == 0 or outcome != .done or outcome.done < 0) return outcome;
            self.complete(&pending.sqe, outcome.done, linux.IORING_CQE_F_MORE);
            self.spurious = 0;
        }
    }

    /// From its first wait to its end.
    pub fn remember(self: *Epoll, pending: *Pending) bool {
        if (pending.known) return true;
        self.by_id.put(gpa, pending.sqe.user_data, pending) catch return false;
        pending.known = true;
        if (!isInternal(pending)) self.ring.ops_to_poll += 1;
        return true;
    }

    /// The shard's own: the read of its bell. A shard that is awake needs none.
    fn isInternal(pending: *const Pending) bool {
        return pending.sqe.user_data <= user_data.internal_max;
    }

    // ---- waiting ----

    fn await(self: *Epoll, pending: *Pending, fd: i32, events: u32) void {
        const users = self.users.put(fd) catch return self.outOfMemory(pending);
        if (!self.remember(pending)) {
            self.users.dropIfUnused(fd);
            return self.outOfMemory(pending);
        }
        pending.stage = .waiting;
        pending.waiting_on = fd;
        pending.events = events;
        users.append(pending);
        const cools = self.spurious >= limits.spurious_max and self.coolDown(fd);
        switch (if (cools) .SUCCESS else self.arm(fd, users)) {
            .SUCCESS => {},
            .PERM => {
                self.forget(pending);
                self.refused(pending);
            },
            else => |errno| {
                self.forget(pending);
                self.fail(pending, errno);
            },
        }
    }

    /// epoll calls some descriptors ready on which an operation still would block, and does so again and again: a
    /// datagram socket whose peer takes no more, one with a report in its error queue. Such a one is left
    /// alone for a moment. False if it cannot be remembered.
    pub fn coolDown(self: *Epoll, fd: i32) bool {
        self.cooling_down.append(gpa, fd) catch return false;
        if (self.cooling_down.items.len == 1) self.cooldown_until_ns = clock.nowNs() + limits.cooldown_ns;
        return true;
    }

    /// When those that rest are to be asked again.
    fn endRest(self: *Epoll) u64 {
        if (self.cooling_down.items.len == 0) return std.math.maxInt(u64);
        if (clock.nowNs() < self.cooldown_until_ns) return self.cooldown_until_ns;
        var due = self.cooling_down;
        self.cooling_down = .empty;
        defer due.deinit(gpa);
        for (due.items) |fd| {
            if (self.users.get(fd)) |users| if (users.closing != null) {
                close.stopPooled(self, fd);
                continue;
            };
            self.report(fd, linux.EPOLL.ERR);
        }
        return if (self.cooling_down.items.len == 0) std.math.maxInt(u64) else self.cooldown_until_ns;
    }

    /// epoll reports nothing of such a descriptor, a file's: it is always ready, and may block.
    fn refused(self: *Epoll, pending: *Pending) void {
        const opcode = pending.sqe.opcode;
        if (blocking.knows(opcode)) return self.hand(pending);
        // What io_uring says of a poll; the end of a splice that was not ready may be when it is tried anew.
        if (pending.refused) return self.fail(pending, if (opcode == .POLL_ADD) .INVAL else .AGAIN);
        pending.refused = true;
        self.attempt(pending);
    }

    pub fn fail(self: *Epoll, pending: *Pending, errno: linux.E) void {
        self.end(pending, pending.resultAfter(errno));
    }

    pub fn outOfMemory(self: *Epoll, pending: *Pending) void {
        self.fail(pending, .NOMEM);
    }

    /// Takes it out of the list of its descriptor.
    fn forget(self: *Epoll, pending: *Pending) void {
        self.users.get(pending.waiting_on).?.remove(pending);
        pending.stage = .trying;
        self.users.dropIfUnused(pending.waiting_on);
    }

    /// One report of any of the events that somebody waits for. A descriptor that was closed has left
    /// epoll by itself, so what is believed of it is tried first and the other call is made if need be.
    fn arm(self: *Epoll, fd: i32, users: *Users) linux.E {
        var event: linux.epoll_event = .{ .events = users.wanted | linux.EPOLL.ONESHOT, .data = .{ .fd = fd } };
        var errno = linux.errno(linux.epoll_ctl(self.epoll, linux.EPOLL.CTL_MOD, fd, &event));
        if (errno == .NOENT) {
            // Armed, and not there: the number is another's now.
            if (users.armed != 0) event.events = self.endOlder(users) | linux.EPOLL.ONESHOT;
            errno = linux.errno(linux.epoll_ctl(self.epoll, linux.EPOLL.CTL_ADD, fd, &event));
        }
        if (errno == .SUCCESS) users.armed = event.events;
        return errno;
    }

    /// Ends those that wait for what had the number before: all but the last. Gives what that one wants.
    fn endOlder(self: *Epoll, users: *Users) u32 {
        while (true) {
            const pending = users.waiting.?;
            if (pending == users.last) return pending.events;
            users.remove(pending);
            self.fail(pending, .CANCELED);
        }
    }

    fn poll(self: *Epoll, deadline_ns: u64) Wake {
        if (deadline_ns == 0 and self.ring.ops_to_poll == 0) return .completions;
        var events: [waiting.events_max]linux.epoll_event = undefined;
        const rc = waiting.waitFor(self.epoll, &events, deadline_ns);
        switch (linux.errno(rc)) {
            .SUCCESS => {},
            .INTR => return .interrupted,
            .NOMEM, .AGAIN => { // For the moment.
                if (deadline_ns != 0) Ring.pause();
                return .timeout;
            },
            // Operations are under way, and there is no way to them any more.
            else => |errno| std.debug.panic("spargio: epoll_pwait failed with {t}: {s}", .{ errno, switch (errno) {
                .BADF, .INVAL => "the program closed a descriptor that is not its own",
                else => "a seccomp filter or a security module took it away after the start",
            } }),
        }
        if (rc == 0) return .timeout;
        for (events[0..rc]) |event| {
            if (event.data.fd == self.bell) self.silence() else self.report(event.data.fd, event.events);
        }
        return .completions;
    }

    fn report(self: *Epoll, fd: i32, events: u32) void {
        // Nobody: they were cancelled, or the number belongs to something closed since.
        const users = self.users.get(fd) orelse return;
        users.armed = 0;
        const broken = events & (linux.EPOLL.ERR | linux.EPOLL.HUP) != 0;
        var next = users.takeWaiting();
        defer self.users.dropIfUnused(fd);
        while (next) |pending| {
            next = pending.next;
            pending.next = null;
            // Those it does not concern go back in their order, as those do that still would block.
            if (broken or pending.events & events != 0)
                self.attempt(pending)
            else
                self.await(pending, fd, pending.events);
        }
    }

    // ---- the pool ----

    fn hand(self: *Epoll, pending: *Pending) void {
        if (!self.remember(pending) or !self.hold(pending)) return self.outOfMemory(pending);
        pending.stage = .pooled;
        self.pooled += 1;
        if (self.pool.submit(pending)) return;
        // Not one thread can be made: slow is better than not at all, but for what may never end.
        if (blocking.mayLast(&pending.sqe)) return self.leavePool(pending, pending.resultAfter(.AGAIN));
        self.leavePool(pending, blocking.perform(pending, &blocking.wanted_always));
    }

    /// Its descriptors are not closed before it has ended: the pool will use their numbers.
    fn hold(self: *Epoll, pending: *Pending) bool {
        const held = blocking.descriptors(&pending.sqe);
        for (held, 0..) |fd, i| if (fd >= 0) {
            const users = self.users.put(fd) catch {
                for (held[0..i]) |other| self.release(other);
                return false;
            };
            users.pooled += 1;
        };
        return true;
    }

    fn leavePool(self: *Epoll, pending: *Pending, result: i32) void {
        self.pooled -= 1;
        const held = blocking.descriptors(&pending.sqe);
        // A multishot accept has taken all that there was.
        const drained = pending.isMultishotAccept() and result == errors.negative(.AGAIN);
        const closing = drained and self.users.get(pending.sqe.fd).?.closing != null;
        if (!drained or closing) {
            self.end(pending, if (closing) errors.negative(.CANCELED) else result);
            for (held) |fd| self.release(fd);
            return;
        }
        for (held) |fd| self.release(fd);
        pending.told = 0;
        self.attempt(pending);
    }

    /// A thread of the pool: one more connection of an accept that goes on. False: no memory.
    pub fn giveMore(pending: *Pending, result: i32) bool {
        const self: *Epoll = @ptrCast(@alignCast(pending.owner));
        const more = gpa.create(Pending) catch return false;
        more.* = .{ .sqe = pending.sqe, .owner = self, .stage = .more, .result = result };
        self.send(more);
        return true;
    }

    fn release(self: *Epoll, fd: i32) void {
        if (fd < 0) return;
        const users = self.users.get(fd).?;
        users.pooled -= 1;
        if (users.pooled > 0) return;
        var next = users.closing;
        users.closing = null;
        self.users.dropIfUnused(fd);
        while (next) |closing| {
            next = closing.next;
            closing.next = null;
            close.passOn(self, closing);
        }
    }

    /// A thread of the pool: the operation is done.
    pub fn giveBack(pending: *Pending) void {
        const self: *Epoll = @ptrCast(@alignCast(pending.owner));
        self.send(pending);
    }

    /// Any thread.
    pub fn send(self: *Epoll, pending: *Pending) void {
        const bell = self.bell; // Once it is pushed, all may be gone.
        tsan.release(pending);
        self.arrived.push(pending);
        const one: u64 = 1;
        _ = linux.write(bell, std.mem.asBytes(&one), 8);
    }

    fn silence(self: *Epoll) void {
        var count: u64 = 0;
        _ = linux.read(self.bell, std.mem.asBytes(&count), 8);
    }

    fn collect(self: *Epoll) void {
        var list: ListType(Pending) = .{};
        if (self.arrived.drain(&list) == 0) return;
        while (list.popFront()) |pending| switch (pending.stage) {
            .pooled => self.leavePool(pending, pending.result),
            .closing => close.arrived(self, pending),
            .more => {
                tsan.acquire(pending);
                self.complete(&pending.sqe, pending.result, linux.IORING_CQE_F_MORE);
                gpa.destroy(pending);
            },
            .trying, .waiting => unreachable, // Such are in no hands but this shard's.
        };
    }

    // ---- completions ----

    fn cancel(self: *Epoll, sqe: *const Sqe) i32 {
        const by_fd = sqe.rw_flags & linux.IORING_ASYNC_CANCEL_FD != 0;
        if (by_fd) return self.cancelDescriptor(sqe.fd, sqe.rw_flags & linux.IORING_ASYNC_CANCEL_ALL != 0);
        const pending = self.by_id.get(sqe.addr) orelse return errors.negative(.NOENT);
        return self.cancelOne(pending);
    }

    fn cancelOne(self: *Epoll, pending: *Pending) i32 {
        const already = errors.negative(.ALREADY);
        switch (pending.stage) {
            .trying => unreachable, // It is in a list, or has ended.
            .waiting => self.forget(pending),
            .pooled => {
                if (!self.pool.withdraw(pending) and !self.endCall(pending)) return already;
                self.leavePool(pending, pending.resultAfter(.CANCELED));
                return 0;
            },
            .closing, .more => return already,
        }
        self.fail(pending, .CANCELED);
        return 0;
    }

    /// A thread is in it: it is signalled, and again when the shard asks again. One that does not hear is left
    /// behind after a while. True: the operation has ended.
    fn endCall(self: *Epoll, pending: *Pending) bool {
        pending.told +|= 1;
        if (pending.told < limits.calls_told_max or !self.pool.leave(pending)) {
            self.pool.interrupt(pending);
            return false;
        }
        self.ring.threads_left += 1;
        return true;
    }

    fn cancelDescriptor(self: *Epoll, fd: i32, all: bool) i32 {
        var count: i32 = 0;
        while (self.users.get(fd)) |users| {
            _ = self.cancelOne(users.waiting orelse break);
            count += 1;
            if (!all) return 0;
        }
        var begun = false;
        while (self.withdrawOne(fd, &begun)) |pending| {
            self.leavePool(pending, pending.resultAfter(.CANCELED));
            count += 1;
            if (!all) return 0;
        }
        if (count > 0) return count;
        return errors.negative(if (begun) .ALREADY else .NOENT);
    }

    /// One on the descriptor that no thread has begun, if there is one.
    fn withdrawOne(self: *Epoll, fd: i32, begun: *bool) ?*Pending {
        const users = self.users.get(fd) orelse return null;
        if (users.pooled == 0) return null;
        var under_way = self.by_id.valueIterator();
        while (under_way.next()) |entry| {
            const pending = entry.*;
            if (pending.stage != .pooled or pending.sqe.fd != fd) continue;
            if (self.pool.withdraw(pending)) return pending;
            if (self.pool.lasts(pending)) self.pool.interrupt(pending);
            begun.* = true;
        }
        return null;
    }

    pub fn end(self: *Epoll, pending: *Pending, result: i32) void {
        if (pending.known) {
            assert(self.by_id.remove(pending.sqe.user_data));
            if (!isInternal(pending)) self.ring.ops_to_poll -= 1;
        }
        self.complete(&pending.sqe, result, pending.cqe_flags);
        self.free.pushBack(pending);
    }

    pub fn complete(self: *Epoll, sqe: *const Sqe, result: i32, flags: u32) void {
        if (result >= 0 and sqe.flags & linux.IOSQE_CQE_SKIP_SUCCESS != 0) return;
        self.posted += 1;
        self.overflow.post(self.ring, .{ .user_data = sqe.user_data, .res = result, .flags = flags });
    }
};
