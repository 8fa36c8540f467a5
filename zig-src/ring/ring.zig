//! One io_uring: SQEs in, CQEs out. It does not know tasks. Everything except `fd` belongs to the
//! shard's thread. Plumbing is std.os.linux.IoUring; this file adds what it lacks: waits with a
//! time limit, lazy submission in one enter per pass, and a backlog for a submission queue that is
//! full.

const std = @import("std");
const assert = std.debug.assert;
const builtin = @import("builtin");
const linux = std.os.linux;
const Buffers = @import("provided_buffers.zig").Buffers;
const clock = @import("../base/clock.zig");
const Failure = @import("../base/failure.zig").Failure;
const gpa = @import("../base/memory.zig").gpa;
const limits = @import("../base/limits.zig");
const RingEnd = @import("ring_end.zig").RingEnd;
const probe = @import("probe.zig");
const Info = probe.Info;
const stand_in = @import("stand_in.zig");
pub const StandIn = stand_in.StandIn;
const platform = @import("../base/platform.zig");
const options_module = @import("../base/options.zig");
const Options = options_module.Options;

pub const Sqe = linux.io_uring_sqe;
pub const Cqe = linux.io_uring_cqe;

pub const Wake = enum { completions, timeout, interrupted };

/// What decides about access to files, of a thread.
const Identity = struct {
    user: usize,
    group: usize,

    fn ofThread() Identity {
        const none = std.math.maxInt(u32); // No such id: nothing changes, the present one is told.
        return .{ .user = linux.syscall1(.setfsuid, none), .group = linux.syscall1(.setfsgid, none) };
    }
};

/// In tests: the kernel is shown so many entries at a time, as if it had no memory for more.
var submit_at_most: u32 = std.math.maxInt(u32);

pub const Ring = struct {
    uring: linux.IoUring,
    /// SQEs that found the queue full while the kernel could take none; in order.
    backlog: std.ArrayList(Sqe) = .empty,
    sqes_submitted: u64 = 0,
    /// Bytes of file transfers that the next submission does on this thread.
    inline_bytes: usize = 0,
    /// Submissions that the kernel refused for the moment, or took a part of.
    submits_refused: u64 = 0,
    submits_short: u64 = 0,
    sqes_backlogged: u64 = 0,
    head_seen: u32 = 0,
    stand_in: ?StandIn = null,
    /// What a stand-in picks from for IOSQE_BUFFER_SELECT; the kernel knows by itself.
    buffers: ?*Buffers = null,
    /// Whose rights the kernel's polling thread has: always those of the thread that made the ring.
    polls_as: ?Identity = null,
    /// Threads of a stand-in that no signal ended, and that stay in their call.
    threads_left: u64 = 0,
    /// Watched only by one that another thread may have to close.
    end: RingEnd = .{},
    /// Operations under way that go on only when `submit` or `wait` is called; of a stand-in.
    ops_to_poll: u32 = 0,

    pub const initStandIn = stand_in.makeRing;
    pub const takeSubmission = stand_in.takeSubmission;
    pub const postCompletion = stand_in.postCompletion;

    pub const InitError = error{NoRing};

    /// Makes a disabled ring; `enable` is called on the thread that will own it.
    pub fn init(options: *const Options, info: *const Info, failure: *Failure) InitError!Ring {
        if (comptime platform.simulated) return platform.machine.makeRing(options, failure);
        var params = std.mem.zeroes(linux.io_uring_params);
        params.flags = setupFlags(options, info) | linux.IORING_SETUP_R_DISABLED;
        params.cq_entries = options.ring_entries * 4;
        if (params.flags & linux.IORING_SETUP_SQPOLL != 0) params.sq_thread_idle = options.io_uring_sqpoll_idle_ms;
        if (params.flags & linux.IORING_SETUP_SQ_AFF != 0) params.sq_thread_cpu = options.io_uring_sqpoll_cpu;
        const rc = linux.io_uring_setup(options.ring_entries, &params);
        if (linux.errno(rc) != .SUCCESS) {
            failure.set(.io_uring_setup, linux.errno(rc));
            return error.NoRing;
        }
        const ring_fd: i32 = @intCast(rc);
        errdefer _ = linux.close(ring_fd);
        if (!probe.mayUse(ring_fd, failure)) return error.NoRing;
        failure.set(.mmap, .NOMEM);
        var sq = linux.IoUring.SubmissionQueue.init(ring_fd, params) catch return error.NoRing;
        errdefer sq.deinit();
        const cq = linux.IoUring.CompletionQueue.init(ring_fd, params, sq) catch return error.NoRing;
        // A forked child gets no copy of these shared pages: it could only do harm with them.
        for ([_][]align(std.heap.page_size_min) u8{ sq.mmap, sq.mmap_sqes }) |pages|
            _ = linux.madvise(pages.ptr, pages.len, linux.MADV.DONTFORK);
        // The indirection of the submission queue is never used: slot i always holds SQE i.
        for (sq.array, 0..) |*slot, i| slot.* = @intCast(i);
        sq.sqe_head = 0;
        return .{ .uring = .{
            .fd = ring_fd,
            .sq = sq,
            .cq = cq,
            .flags = params.flags,
            .features = params.features,
        }, .polls_as = if (params.flags & linux.IORING_SETUP_SQPOLL != 0) .ofThread() else null };
    }

    /// The best that the kernel has, but for what the options ask.
    fn setupFlags(options: *const Options, info: *const Info) u32 {
        const deferred: u32 = linux.IORING_SETUP_DEFER_TASKRUN;
        const coop: u32 = linux.IORING_SETUP_COOP_TASKRUN;
        var flags = info.setup_flags;
        if (options.flags & options_module.flag_no_single_issuer != 0)
            flags = flags & ~(deferred | @as(u32, linux.IORING_SETUP_SINGLE_ISSUER)) | coop;
        if (options.flags & options_module.flag_coop_taskrun != 0) flags = flags & ~deferred | coop;
        if (options.io_uring_sqpoll_idle_ms == 0) return flags;
        // The kernel's thread takes the submissions: how this one is told of task work has no meaning
        // then, and the kernel refuses it.
        flags &= ~(deferred | coop | @as(u32, linux.IORING_SETUP_TASKRUN_FLAG));
        flags |= linux.IORING_SETUP_SQPOLL;
        if (options.io_uring_sqpoll_cpu != options_module.any_cpu) flags |= linux.IORING_SETUP_SQ_AFF;
        return flags;
    }

    /// A thread of the kernel takes what is submitted.
    fn isPolled(self: *const Ring) bool {
        return self.uring.flags & linux.IORING_SETUP_SQPOLL != 0;
    }

    /// What this thread submitted would be done with another's rights. Two calls of the kernel, of
    /// polled rings only: the others take the rights of the submitting thread.
    pub fn submitsAsOther(self: *const Ring) bool {
        assert(self.polls_as == null or self.isPolled());
        const made_by = self.polls_as orelse return false;
        return !std.meta.eql(made_by, Identity.ofThread());
    }

    pub fn deinit(self: *Ring) void {
        self.backlog.deinit(gpa); // What is left there nobody waits for.
        self.backlog = .empty;
        if (self.stand_in) |one| one.destroy(one.ctx);
        self.uring.deinit();
        self.end.deinit();
    }

    /// Closes it, on any thread: true when the kernel has let go of it and of all that its operations use.
    /// False if that cannot be known: nobody watches its end, or the deadline passed.
    pub fn closeAndWait(self: *Ring, deadline_ns: u64) bool {
        if (!self.end.isWatched()) return false;
        var end = self.end;
        self.end = .{};
        defer end.deinit();
        self.deinit();
        return end.wait(deadline_ns);
    }

    pub fn isOpen(self: *const Ring) bool {
        return self.uring.fd >= 0;
    }

    pub fn fd(self: *const Ring) i32 {
        return self.uring.fd;
    }

    /// For what is registered with the kernel: -1 if it knows nothing of this ring.
    pub fn registrable(self: *const Ring) i32 {
        return if (self.stand_in == null) self.uring.fd else -1;
    }

    /// Only the thread that enabled it may enter it.
    pub fn isBound(self: *const Ring) bool {
        return self.stand_in == null and self.uring.flags & linux.IORING_SETUP_SINGLE_ISSUER != 0;
    }

    /// The kernel's answer: a seccomp filter may treat this unlike what was tried before.
    pub fn enable(self: *Ring) linux.E {
        assert(self.isOpen());
        if (self.stand_in != null) return .SUCCESS;
        return linux.errno(linux.io_uring_register(self.uring.fd, .REGISTER_ENABLE_RINGS, null, 0));
    }

    /// Queues one SQE; the kernel sees it at the next `submit` or `wait`.
    pub fn push(self: *Ring, sqe: *const Sqe) error{OutOfMemory}!void {
        assert(self.isOpen());
        if (self.backlog.items.len == 0) {
            if (self.vacant()) |slot| {
                slot.* = sqe.*;
                return;
            }
            self.submit();
            if (self.vacant()) |slot| {
                slot.* = sqe.*;
                return;
            }
        }
        try self.backlog.append(gpa, sqe.*);
        self.sqes_backlogged += 1;
    }

    /// Whether so many bytes of a file may be copied while the next submission goes on.
    pub fn mayCopyInline(self: *Ring, bytes: usize) bool {
        if (bytes <= limits.inline_small) return true; // By far the most: they are not even counted.
        self.inline_bytes +|= bytes;
        return self.inline_bytes <= limits.inline_bytes_max;
    }

    /// True if `push` left something that the kernel has not seen.
    pub fn hasUnsubmitted(self: *const Ring) bool {
        const sq = &self.uring.sq;
        const seen = if (self.isPolled()) sq.tail.* else @atomicLoad(u32, sq.head, .monotonic);
        return sq.sqe_tail != seen or self.backlog.items.len > 0;
    }

    /// True if a call of `submit` would bring completions although nothing is to be submitted.
    pub fn hasTaskWork(self: *const Ring) bool {
        const flags = @atomicLoad(u32, self.uring.sq.flags, .monotonic);
        return flags & (linux.IORING_SQ_TASKRUN | linux.IORING_SQ_CQ_OVERFLOW) != 0;
    }

    /// True if nothing tells that something has come: a stand-in finds it when it is entered.
    pub fn mustBeAsked(self: *const Ring) bool {
        return self.stand_in != null;
    }

    /// True if `submit` must be called now and then although the kernel asks for nothing.
    pub fn needsPolling(self: *const Ring) bool {
        return self.ops_to_poll > 0;
    }

    pub fn hasOverflow(self: *const Ring) bool {
        return @atomicLoad(u32, self.uring.sq.flags, .monotonic) & linux.IORING_SQ_CQ_OVERFLOW != 0;
    }

    pub fn ready(self: *const Ring) bool {
        return self.readyCount() != 0;
    }

    pub fn readyCount(self: *const Ring) u32 {
        // Acquire pairs with the kernel's release of the tail.
        return @atomicLoad(u32, self.uring.cq.tail, .acquire) -% self.uring.cq.head.*;
    }

    /// Copies out CQEs without a system call.
    pub fn reap(self: *Ring, out: []Cqe) []Cqe {
        assert(out.len > 0);
        const cq = &self.uring.cq;
        const head = cq.head.*;
        const count = @min(out.len, @atomicLoad(u32, cq.tail, .acquire) -% head);
        for (out[0..count], 0..) |*slot, i| slot.* = cq.cqes[(head +% @as(u32, @intCast(i))) & cq.mask];
        // Release: the kernel may reuse the entries only after they were copied.
        @atomicStore(u32, cq.head, head +% @as(u32, @intCast(count)), .release);
        return out[0..count];
    }

    /// Hands queued SQEs to the kernel and lets it post what is complete; does not wait.
    pub fn submit(self: *Ring) void {
        assert(self.isOpen());
        _ = self.enter(null);
    }

    /// Returns when the kernel has taken all that was pushed: what its thread has not taken goes
    /// away with the ring.
    pub fn drain(self: *Ring) void {
        const sq = &self.uring.sq;
        while (self.isPolled() and (self.backlog.items.len > 0 or
            sq.sqe_tail != @atomicLoad(u32, sq.head, .acquire)))
        {
            self.submit();
            _ = linux.sched_yield();
        }
    }

    /// The same, then waits for a completion until `deadline_ns`.
    pub fn wait(self: *Ring, deadline_ns: u64) Wake {
        assert(self.isOpen());
        if (clock.nowNs() < deadline_ns) return self.enter(deadline_ns);
        _ = self.enter(null);
        return .timeout;
    }

    /// What the kernel's thread must know, if anything: to wake up, or that there is no room.
    fn pollerFlags(self: *Ring) u32 {
        assert(self.isPolled());
        const sq = &self.uring.sq;
        // A full barrier: it stores that it sleeps and then looks at the tail; here the other way round.
        _ = @atomicRmw(u32, sq.tail, .Xchg, sq.sqe_tail, .seq_cst);
        var flags: u32 = 0;
        const asleep = @atomicLoad(u32, sq.flags, .seq_cst) & linux.IORING_SQ_NEED_WAKEUP != 0;
        if (asleep) flags |= linux.IORING_ENTER_SQ_WAKEUP;
        if (self.backlog.items.len > 0) flags |= linux.IORING_ENTER_SQ_WAIT;
        return flags;
    }

    fn vacant(self: *Ring) ?*Sqe {
        return self.uring.get_sqe() catch null;
    }

    fn refill(self: *Ring) void {
        if (self.backlog.items.len == 0) return;
        var moved: usize = 0;
        for (self.backlog.items) |sqe| {
            const slot = self.vacant() orelse break;
            slot.* = sqe;
            moved += 1;
        }
        const left = self.backlog.items.len - moved;
        std.mem.copyForwards(Sqe, self.backlog.items[0..left], self.backlog.items[moved..]);
        self.backlog.items.len = left;
    }

    fn enter(self: *Ring, deadline_ns: ?u64) Wake {
        const sq = &self.uring.sq;
        self.refill();
        self.inline_bytes = 0;
        // Release: the SQEs are written before the kernel sees the tail.
        @atomicStore(u32, sq.tail, sq.sqe_tail, .release);
        defer {
            const head = @atomicLoad(u32, sq.head, .acquire);
            self.sqes_submitted += head -% self.head_seen;
            self.head_seen = head;
        }
        // What did not fit goes with the next call, and nobody sleeps before that.
        const until_ns = if (self.backlog.items.len > 0) null else deadline_ns;
        if (self.stand_in) |one| return one.enter(one.ctx, self, until_ns);
        return self.enterKernel(until_ns);
    }

    /// The kernel queues work and then notes it, which may be after a call has done the work
    /// already: the note would stay, and `hasTaskWork` would always say so. Taken away before a
    /// call, which does all that is queued by then, it is right again.
    fn clearTaskrun(self: *Ring) bool {
        assert(self.stand_in == null);
        if (@atomicLoad(u32, self.uring.sq.flags, .monotonic) & linux.IORING_SQ_TASKRUN == 0) return false;
        _ = @atomicRmw(u32, self.uring.sq.flags, .And, ~@as(u32, linux.IORING_SQ_TASKRUN), .seq_cst);
        return true;
    }

    fn restoreTaskrun(self: *Ring) void {
        assert(self.stand_in == null);
        _ = @atomicRmw(u32, self.uring.sq.flags, .Or, linux.IORING_SQ_TASKRUN, .seq_cst);
    }

    fn enterKernel(self: *Ring, deadline_ns: ?u64) Wake {
        assert(self.stand_in == null);
        const sq = &self.uring.sq;
        var flags: u32 = linux.IORING_ENTER_GETEVENTS | linux.IORING_ENTER_EXT_ARG;
        var wanted: u32 = if (deadline_ns != null) 1 else 0;
        if (self.isPolled()) {
            const needed = self.pollerFlags();
            if (needed == 0 and wanted == 0 and !self.hasTaskWork()) return .completions;
            if (needed & linux.IORING_ENTER_SQ_WAIT != 0) wanted = 0;
            flags |= needed;
        }
        const queued = sq.sqe_tail -% @atomicLoad(u32, sq.head, .acquire);
        const to_submit = if (builtin.is_test) @min(queued, submit_at_most) else queued;
        var arg = std.mem.zeroes(linux.io_uring_getevents_arg);
        const ts = clock.toTimespec(if (deadline_ns) |deadline| deadline -| clock.nowNs() else 0);
        if (deadline_ns != null) arg.ts = @intFromPtr(&ts);
        const noted = self.clearTaskrun();
        const rc = linux.syscall6(
            .io_uring_enter,
            @intCast(self.uring.fd),
            to_submit,
            wanted,
            flags,
            @intFromPtr(&arg),
            @sizeOf(linux.io_uring_getevents_arg),
        );
        switch (linux.errno(rc)) {
            .SUCCESS => if (noted and rc < to_submit) self.restoreTaskrun(), // It did not come to the work.
            .TIME => return .timeout,
            .INTR => {
                if (noted) self.restoreTaskrun();
                return .interrupted;
            },
            // The kernel is short of memory or of room for completions: what was not taken stays
            // queued and goes with the next call, after completions were reaped.
            .AGAIN, .BUSY, .NOMEM => {
                self.submits_refused += 1;
                if (noted) self.restoreTaskrun();
                if (wanted > 0 and !self.ready()) pause();
                return .completions;
            },
            else => |errno| std.debug.panic("spargio: io_uring_enter failed with {t}: {s}", .{ errno, fatal(errno) }),
        }
        // If anything was submitted, its number hides how a wait ended: by a signal or the time limit.
        if (!self.isPolled() and rc < queued) self.submits_short += 1;
        if (wanted == 0 or self.ready()) return .completions;
        return if (clock.nowNs() >= deadline_ns.?) .timeout else .interrupted;
    }

    /// If a wait did not wait: so that being short of memory does not take the CPU as well.
    pub fn pause() void {
        const ts = clock.toTimespec(limits.refused_pause_ns);
        _ = linux.nanosleep(&ts, null);
    }

    /// Operations are under way, their memory is the kernel's, and there is no way to them any more: the
    /// program cannot go on, but it can learn why.
    fn fatal(errno: linux.E) []const u8 {
        return switch (errno) {
            .BADR => "completions were lost because the kernel had no memory to keep them",
            .BADF, .OPNOTSUPP, .NXIO => "the program closed a descriptor that is not its own",
            .PERM, .ACCES, .NOSYS => "a seccomp filter or a security module took io_uring away after the start; " ++
                "start the runtime after it, or choose SPARGIO_BACKEND=epoll",
            .OWNERDEAD => "the kernel's polling thread (io_uring_sqpoll) was killed",
            else => "unexpected",
        };
    }
};

test "the end of a ring is seen when its operations have ended" {
    const info = probe.probe();
    if (!info.sufficient()) return error.SkipZigTest;
    var failure: Failure = .{};
    var ring = try Ring.init(&.{ .ring_entries = 8 }, &info, &failure);
    try std.testing.expectEqual(.SUCCESS, ring.enable());
    ring.end.watch(ring.fd());
    try std.testing.expect(ring.end.isWatched());
    try std.testing.expect(!ring.end.wait(clock.nowNs() + 1_000_000));
    var pipe: [2]i32 = undefined;
    try std.testing.expectEqual(.SUCCESS, linux.errno(linux.pipe2(&pipe, .{ .CLOEXEC = true })));
    defer for (pipe) |end| {
        _ = linux.close(end);
    };
    var byte: [1]u8 = .{0};
    var sqe: Sqe = undefined;
    sqe.prep_read(pipe[0], &byte, 0);
    try ring.push(&sqe);
    ring.submit();
    const close = struct {
        fn run(one: *Ring, ended: *bool) void {
            ended.* = one.closeAndWait(clock.nowNs() + 10 * std.time.ns_per_s);
        }
    };
    var ended = false;
    const thread = try std.Thread.spawn(.{}, close.run, .{ &ring, &ended });
    thread.join();
    try std.testing.expect(ended and !ring.isOpen());
    // Nobody reads it any more.
    try std.testing.expectEqual(1, linux.write(pipe[1], "x", 1));
    try std.testing.expectEqual(1, linux.read(pipe[0], &byte, 1));
}

fn nopsGoRound(options: *const Options) !void {
    const info = probe.probe();
    if (!info.sufficient()) return error.SkipZigTest;
    var failure: Failure = .{};
    var ring = try Ring.init(options, &info, &failure);
    defer ring.deinit();
    try std.testing.expectEqual(.SUCCESS, ring.enable());
    var sqe: Sqe = undefined;
    for (0..20) |i| { // More than the queue holds: a full queue is submitted, nothing is lost.
        sqe.prep_nop();
        sqe.user_data = i;
        try ring.push(&sqe);
    }
    var cqes: [32]Cqe = undefined;
    var seen: usize = 0;
    while (seen < 20) {
        ring.submit();
        for (ring.reap(&cqes)) |cqe| {
            try std.testing.expectEqual(seen, cqe.user_data);
            seen += 1;
        }
    }
    try std.testing.expectEqual(.timeout, ring.wait(clock.nowNs() + 1_000_000));
    try std.testing.expectEqual(20, ring.sqes_submitted);
    sqe.prep_nop(); // After a pause: a thread of the kernel may be asleep.
    sqe.user_data = 20;
    try ring.push(&sqe);
    while (ring.reap(&cqes).len == 0) _ = ring.wait(clock.nowNs() + 100_000_000);
}

test "a nop goes round, a wait ends at its deadline" {
    var options: Options = .init();
    options.ring_entries = 8;
    try nopsGoRound(&options);
    options.flags = options_module.flag_coop_taskrun;
    try nopsGoRound(&options);
    options.flags = options_module.flag_no_single_issuer;
    try nopsGoRound(&options);
    options.io_uring_sqpoll_idle_ms = 1;
    try nopsGoRound(&options);
}

test "short submissions, a full queue and its backlog: all in order, each counted" {
    const info = probe.probe();
    if (!info.sufficient()) return error.SkipZigTest;
    var options: Options = .init();
    options.ring_entries = 8;
    var failure: Failure = .{};
    var ring = try Ring.init(&options, &info, &failure);
    defer ring.deinit();
    try std.testing.expectEqual(.SUCCESS, ring.enable());
    submit_at_most = 0;
    defer submit_at_most = std.math.maxInt(u32);
    var sqe: Sqe = undefined;
    sqe.prep_nop();
    for (0..100) |i| {
        sqe.user_data = i;
        try ring.push(&sqe);
    }
    try std.testing.expectEqual(100 - 8, ring.sqes_backlogged);
    submit_at_most = 3;
    const short = ring.submits_short;
    var cqes: [32]Cqe = undefined;
    var seen: usize = 0;
    while (seen < 100) {
        ring.submit();
        for (ring.reap(&cqes)) |cqe| {
            try std.testing.expectEqual(seen, cqe.user_data);
            seen += 1;
        }
    }
    try std.testing.expectEqual(100, ring.sqes_submitted);
    try std.testing.expect(ring.submits_short > short + 10);
    try std.testing.expect(!ring.hasUnsubmitted());
    try std.testing.expectEqual(0, ring.submits_refused);
}

test "a note of work that is done already does not stay" {
    const info = probe.probe();
    if (!info.sufficient()) return error.SkipZigTest;
    var failure: Failure = .{};
    var ring = try Ring.init(&.{ .ring_entries = 8 }, &info, &failure);
    defer ring.deinit();
    try std.testing.expectEqual(.SUCCESS, ring.enable());
    ring.restoreTaskrun();
    try std.testing.expect(ring.hasTaskWork());
    ring.submit();
    try std.testing.expect(!ring.hasTaskWork());
}

test "a submission copies so many bytes on this thread, and small ones always" {
    var ring: Ring = undefined;
    ring.inline_bytes = 0;
    const half = limits.inline_bytes_max / 2;
    try std.testing.expect(ring.mayCopyInline(half));
    try std.testing.expect(ring.mayCopyInline(half));
    try std.testing.expect(!ring.mayCopyInline(limits.inline_small + 1));
    try std.testing.expect(ring.mayCopyInline(limits.inline_small));
    try std.testing.expect(!ring.mayCopyInline(std.math.maxInt(usize)));
}
