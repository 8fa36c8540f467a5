//! A runtime: starts and stops the shards, places work on them. Any thread may spawn; only the
//! holder of the runtime starts and stops it.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const backend = @import("backend.zig");
const clock = @import("../base/clock.zig");
const completions = @import("../scheduler/completions.zig");
const errors = @import("../base/errors.zig");
const Failure = @import("../base/failure.zig").Failure;
const fork = @import("../base/fork.zig");
const limits = @import("../base/limits.zig");
const memlock = @import("../ring/memlock.zig");
const memory = @import("../base/memory.zig");
const gpa = memory.gpa;
const options_module = @import("../base/options.zig");
const Options = options_module.Options;
const probe = @import("../ring/probe.zig");
const signal_mask = @import("../base/signal_mask.zig");
const sync = @import("../base/sync.zig");
const Latency = @import("../scheduler/latency.zig").Latency;
const Monitor = @import("monitor.zig").Monitor;
const flight_recorder = @import("flight_recorder.zig");
const FlightRecorder = flight_recorder.FlightRecorder;
const tracing = @import("../scheduler/tracing.zig");
const search = @import("../scheduler/search.zig");
const Scheduler = @import("../scheduler/scheduler.zig").Scheduler;
const Mailbox = @import("../message/mailbox.zig").Mailbox;
const Interpreter = @import("../scheduler/interpreter.zig").Interpreter;
const Epoll = @import("../epoll/epoll.zig").Epoll;
const Pool = @import("../epoll/pool.zig").Pool;
const PoolCall = @import("pool_call.zig").PoolCall;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;
const Kind = @import("../task/task.zig").Kind;
const platform = @import("../base/platform.zig");
const Ring = @import("../ring/ring.zig").Ring;
const Atomic = platform.Atomic;

pub const Placement = struct { kind: Kind, value: u64 = 0 };

pub const Runtime = struct {
    scheduler: Scheduler,
    /// Shards whose ring is enabled (no bell is rung before all are), and threads that are attached.
    ready: Atomic(u32) = .init(0),
    /// The errno of what one of them could not get: then all leave.
    refused: Atomic(i32) = .init(0),
    joining: sync.Lock = .{},
    joined: bool = false,
    /// Without io_uring: for calls that block.
    pool: Pool = .{ .give_back = Epoll.giveBack, .give_more = Epoll.giveMore },
    epolls: Epoll.Group = .{},
    /// For calls of C programs that block, and for the lookups of names.
    calls: Pool = .{
        .give_back = PoolCall.giveBack,
        .most = limits.call_threads_max,
        .name = "spargio-calls",
    },
    lookups: Pool = .{
        .give_back = PoolCall.giveBack,
        .most = limits.lookup_threads_max,
        .name = "spargio-names",
    },
    /// The caller runs shard 0 by `drive`.
    driven: bool,
    /// For a view from outside. The front end sets it, after the start.
    monitor: ?Monitor = null,
    /// With the option `scheduler_latency`.
    latency: ?Latency = null,
    /// Under `joining`.
    flight: ?*FlightRecorder = null,
    prefix: [16]u8 = @splat(0),

    /// `NoRing` and `SetupFailed` come with a `Failure`: io_uring said no; something else did that every
    /// backend needs, a descriptor or a thread.
    pub const StartError = error{ OutOfMemory, Unsupported, NoRing, SetupFailed };

    pub const Start = struct {
        /// They were checked.
        options: *const Options,
        interpreter: ?*const Interpreter = null,
        /// The interpreter's own side of the runtime.
        interpreter_owner: ?*anyopaque = null,
        /// Shard 0 is the calling thread's: it must call `drive`.
        driven: bool = false,
    };

    pub fn start(asked: Start, failure: *Failure) StartError!*Runtime {
        const wanted = backend.wanted(asked.options);
        if (wanted == .epoll) return startOn(.epoll, backend.epollInfo(), asked, failure);
        if (wanted == .automatic and backend.underValgrind()) {
            const self = try startOn(.epoll, backend.epollInfo(), asked, failure);
            self.scheduler.refused_ring.set(.valgrind, .OPNOTSUPP);
            return self;
        }
        if (startOnRings(asked, failure)) |self| {
            return self;
        } else |err| {
            if (wanted == .io_uring) return err;
            // Whatever the kernel said: a list of reasons would be one short somewhere.
            const reason = switch (err) {
                error.NoRing => failure.*,
                error.Unsupported => Failure{ .errno = @backingInt(linux.E.OPNOTSUPP) },
                error.OutOfMemory, error.SetupFailed => return err,
            };
            const self = try startOn(.epoll, backend.epollInfo(), asked, failure);
            self.scheduler.refused_ring = reason;
            return self;
        }
    }

    fn startOnRings(asked: Start, failure: *Failure) StartError!*Runtime {
        const info = memlock.probePatiently(failure);
        if (info.setup_errno != 0 and info.setup_errno != @backingInt(linux.E.INVAL)) return error.NoRing;
        if (!info.sufficient()) return error.Unsupported;
        var sized = asked.options.*;
        var smaller = asked;
        smaller.options = &sized;
        while (true) {
            return startOn(.io_uring, info, smaller, failure) catch |err| {
                if (err != error.NoRing or !failure.is(.NOMEM)) return err;
                sized.ring_entries = memlock.smaller(&sized, info.memlock_limit) orelse return err;
                continue;
            };
        }
    }

    fn startOn(chosen: backend.Chosen, info: probe.Info, asked: Start, failure: *Failure) StartError!*Runtime {
        const given = asked.options;
        fork.registerAtfork(Shard.forgetCurrent);
        memory.armLeakReport();
        const self = try gpa.create(Runtime);
        errdefer gpa.destroy(self);
        self.* = .{
            .scheduler = .{
                .options = given.*,
                .info = info,
                .backend = chosen,
                .interpreter = asked.interpreter,
                .interpreter_owner = asked.interpreter_owner,
                .shards = &.{},
                .generation = fork.generation(),
            },
            .driven = asked.driven,
        };
        errdefer self.pool.end();
        @memcpy(self.prefix[0..given.prefix().len], given.prefix());
        self.scheduler.options.thread_prefix = null;
        self.scheduler.options.thread_affinity = null;
        self.scheduler.tags = try .init(given.hotTags(), given.coalescedTags());
        errdefer self.scheduler.tags.deinit();
        self.scheduler.options.hot_msg_tags = null;
        self.scheduler.options.coalesced_hot_msg_tags = null;
        if (given.flags & options_module.flag_scheduler_latency != 0) self.latency = try .open();
        const shards = try gpa.alloc(Shard, given.shards);
        errdefer gpa.free(shards);
        var made: usize = 0;
        errdefer for (shards[0..made]) |*shard| destroyShard(shard);
        for (shards, 0..) |*shard, id| {
            try self.makeShard(shard, @intCast(id), failure);
            made += 1;
        }
        self.scheduler.shards = shards;
        try self.startThreads(given, failure);
        return self;
    }

    fn makeShard(self: *Runtime, shard: *Shard, id: u16, failure: *Failure) StartError!void {
        const options = &self.scheduler.options;
        var ring = switch (self.scheduler.backend) {
            .io_uring => try memlock.makeRing(options, &self.scheduler.info, failure),
            .epoll => try Epoll.makeRing(options.ring_entries, &self.epolls, &self.pool, failure),
        };
        errdefer ring.deinit();
        const capacity = options.stealable_queue_capacity;
        var stealable = try @TypeOf(shard.stealable).init(gpa, options.queueBackend(), capacity);
        errdefer stealable.deinit(gpa);
        const seen = try gpa.alloc(@typeInfo(@TypeOf(shard.thief.poll_clock.seen)).pointer.child, options.shards);
        errdefer gpa.free(seen);
        @memset(seen, .{});
        var mailbox: Mailbox = try .init(
            options.msg_ring_queue_capacity,
            self.scheduler.tags.counters,
            options.hot_counter_wake_threshold,
        );
        errdefer mailbox.deinit();
        shard.* = .{
            .id = id,
            .scheduler = &self.scheduler,
            .ring = ring,
            .stealable = stealable,
            .mailbox = mailbox,
            .thief = .{ .policy = .init(options, id), .poll_clock = .{ .seen = seen } },
            .latency = if (self.latency) |*latency| latency else null,
        };
        // Also if bells go by MSG_RING: the kernel may refuse one, for want of memory or by a seccomp filter
        // of the thread that rings.
        const rc = platform.system.eventfd(0, linux.EFD.CLOEXEC);
        if (linux.errno(rc) != .SUCCESS) {
            failure.set(.eventfd, linux.errno(rc));
            return error.SetupFailed;
        }
        shard.bell.eventfd = @intCast(rc);
    }

    fn destroyShard(shard: *Shard) void {
        assert(shard.inbox.isEmpty());
        shard.timers.deinit();
        shard.ops.deinit();
        // What is lent stays: the connection may still send from it, and a ring that is gone tells nobody.
        shard.lent.deinit(gpa);
        shard.stealable.deinit(gpa);
        shard.mailbox.deinit();
        gpa.free(shard.thief.poll_clock.seen);
        shard.seats.leave();
        shard.closeRing();
    }

    fn startThreads(self: *Runtime, given: *const Options, failure: *Failure) StartError!void {
        const shards = self.scheduler.shards;
        const first: usize = if (self.driven) 1 else 0;
        // Tasks of an interpreter start threads and children, which inherit the mask of the program. A C program
        // has its handlers run on threads of its own (docs/abi.md).
        if (self.scheduler.interpreter == null) self.scheduler.program_mask = signal_mask.blockAll();
        defer if (self.scheduler.program_mask) |*before| signal_mask.restore(before);
        for (shards[first..], first..) |*shard, id| {
            const cpu: ?u32 = if (given.thread_affinity_count == 0)
                null
            else
                given.thread_affinity.?[id % given.thread_affinity_count];
            shard.thread = platform.Thread.spawn(.{}, threadMain, .{ self, shard, cpu }) catch |err| {
                failure.set(.clone, switch (err) {
                    error.OutOfMemory, error.LockedMemoryLimitExceeded => .NOMEM,
                    else => .AGAIN,
                });
                self.refused.store(failure.errno, .seq_cst);
                self.tellReady(@intCast(shards.len)); // Those that wait for it are let go.
                joinAll(shards[first..id]);
                return error.SetupFailed;
            };
        }
        if (self.driven) self.enable(&shards[0]);
        self.awaitReady(shards.len);
        if (self.refused.load(.seq_cst) != 0) {
            joinAll(shards[first..]);
            failure.* = .{ .errno = self.refused.load(.seq_cst), .call = .io_uring_register };
            return error.NoRing;
        }
        // Also until the threads are in the interpreter: a child that is forked while one enters
        // CPython finds a lock held forever (HEAD_LOCK, up to 3.11; its issue 112275).
        const entering = if (self.scheduler.interpreter == null) 0 else shards.len - first;
        self.awaitReady(shards.len + entering);
    }

    fn joinAll(shards: []Shard) void {
        for (shards) |*shard| shard.thread.?.join();
    }

    fn enable(self: *Runtime, shard: *Shard) void {
        const errno = shard.ring.enable();
        if (errno != .SUCCESS) self.refused.store(@backingInt(errno), .seq_cst);
        self.tellReady(1);
    }

    fn tellReady(self: *Runtime, count: u32) void {
        _ = self.ready.fetchAdd(count, .seq_cst);
        sync.wake(&self.ready, std.math.maxInt(i32));
    }

    fn awaitReady(self: *Runtime, wanted: usize) void {
        while (true) {
            const count = self.ready.load(.seq_cst);
            if (count >= wanted) return;
            sync.wait(&self.ready, count, std.math.maxInt(u64));
        }
    }

    fn threadMain(self: *Runtime, shard: *Shard, cpu: ?u32) void {
        var name: [16]u8 = undefined;
        const text = std.fmt.bufPrintSentinel(&name, "{s}-{d}", .{
            std.mem.sliceTo(&self.prefix, 0), shard.id,
        }, 0) catch unreachable; // 10 bytes of prefix, a dash and 3 digits fit.
        _ = linux.prctl(@backingInt(linux.PR.SET_NAME), @intFromPtr(text.ptr), 0, 0, 0);
        if (cpu) |number| bindTo(number);
        self.enable(shard);
        self.awaitReady(self.scheduler.shards.len);
        if (self.refused.load(.seq_cst) != 0) return;
        const interpreter = self.scheduler.interpreter;
        if (interpreter) |h| {
            h.attach(shard);
            self.tellReady(1);
        }
        shard.run();
        if (interpreter) |h| h.detach(shard);
    }

    /// Another ring for shard 0, of the calling thread, which drives it from here on. The shard does not run,
    /// and the kernel has none of its operations. Without a ring the old one stays.
    pub fn renewRing(self: *Runtime, failure: *Failure) Ring.InitError!void {
        assert(self.driven and self.scheduler.shards.len == 1);
        const shard = &self.scheduler.shards[0];
        assert(shard.ring.isBound() and !shard.hasRingOps());
        const spare: Spare = try .make(&self.scheduler, failure);
        spare.install(shard);
    }

    /// The same with operations under way, for the end of the runtime: they go with the old ring, and end as
    /// cancelled. `RingLives`: the kernel did not say that they are gone, and the runtime must not be used,
    /// nor its memory given back.
    pub fn takeRing(self: *Runtime, failure: *Failure) (Ring.InitError || error{RingLives})!void {
        assert(self.driven and self.scheduler.shards.len == 1);
        const shard = &self.scheduler.shards[0];
        assert(shard.ring.isBound());
        const spare: Spare = try .make(&self.scheduler, failure);
        shard.visit(completions.reapPosted); // A connection that was accepted, say.
        // Without an operation it may be registered memory alone, which the kernel holds by itself.
        if (shard.ops.flying > 0 and !shard.ring.closeAndWait(clock.deadlineNs(limits.ring_end_wait_ns))) {
            spare.drop();
            return error.RingLives;
        }
        spare.install(shard);
        shard.visit(completions.endLost);
    }

    /// A ring of the calling thread, and what belongs to it.
    const Spare = struct {
        ring: Ring,
        eventfd: i32,

        fn make(scheduler: *const Scheduler, failure: *Failure) Ring.InitError!Spare {
            var ring = try memlock.makeRing(&scheduler.options, &scheduler.info, failure);
            errdefer ring.deinit();
            const rc = platform.system.eventfd(0, linux.EFD.CLOEXEC);
            failure.set(.eventfd, linux.errno(rc));
            if (linux.errno(rc) != .SUCCESS) return error.NoRing;
            errdefer _ = platform.system.close(@intCast(rc));
            const enabled = ring.enable();
            failure.set(.io_uring_register, enabled);
            if (enabled != .SUCCESS) return error.NoRing;
            return .{ .ring = ring, .eventfd = @intCast(rc) };
        }

        fn install(self: Spare, shard: *Shard) void {
            var ring = self.ring;
            ring.sqes_submitted = shard.ring.sqes_submitted;
            ring.submits_refused = shard.ring.submits_refused;
            ring.submits_short = shard.ring.submits_short;
            ring.sqes_backlogged = shard.ring.sqes_backlogged;
            // A shard that does not run is not rung; one that was may still be under way.
            while (shard.scheduler.ringing.load(.seq_cst) != 0) std.atomic.spinLoopHint();
            // The old ring's read of the old eventfd must not take a bell of the new one's.
            shard.closeRing();
            shard.buffers = .unasked;
            shard.bell.eventfd = self.eventfd;
            shard.ring = ring;
        }

        fn drop(self: Spare) void {
            var ring = self.ring;
            ring.deinit();
            _ = platform.system.close(self.eventfd);
        }
    };

    /// Runs shard 0 on the calling thread until the runtime is closed and all has ended.
    pub fn drive(self: *Runtime) void {
        assert(self.driven);
        const shard = &self.scheduler.shards[0];
        shard.interruptible = true;
        self.scheduler.interpreter.?.attach(shard);
        shard.run();
        self.scheduler.interpreter.?.detach(shard);
    }

    /// Runs shard 0 on the calling thread until `done` is set, or the runtime has stopped.
    pub fn driveUntil(self: *Runtime, done: *const bool) void {
        assert(self.driven);
        const shard = &self.scheduler.shards[0];
        shard.interruptible = true;
        self.scheduler.interpreter.?.attach(shard);
        shard.runUntil(done);
        shard.releaseInterpreter();
        self.scheduler.interpreter.?.detach(shard);
    }

    /// Stops everything (the steps are at the head of scheduler.zig). False if the time limit passed first:
    /// call again.
    pub fn shutdown(self: *Runtime, deadline_ns: u64) errors.Error!bool {
        if (self.scheduler.forked()) return error.Forked;
        if (Shard.currentOf(&self.scheduler) != null) return error.OnShard;
        self.scheduler.close();
        while (self.scheduler.stop.load(.seq_cst) == 0) {
            if (clock.nowNs() >= deadline_ns) return false;
            sync.wait(&self.scheduler.stop, 0, deadline_ns);
        }
        // Nothing runs any more: joining takes a moment, and of several callers one does it.
        self.joining.lock();
        defer self.joining.unlock();
        if (self.joined) return true;
        for (self.scheduler.shards) |*shard| if (shard.thread) |thread| thread.join();
        // Somebody may still hold the runtime, for its counters: the rings go now all the same.
        while (self.scheduler.ringing.load(.seq_cst) != 0) std.atomic.spinLoopHint();
        // A thread of the pool that has given its last operation back may not have rung the bell yet.
        for ([_]*Pool{ &self.pool, &self.calls, &self.lookups }) |pool| pool.end();
        for (self.scheduler.shards) |*shard| shard.closeRing();
        if (self.monitor) |*monitor| monitor.stop();
        if (self.flight) |flight| flight.stop();
        self.flight = null;
        self.joined = true;
        return true;
    }

    pub const FlightError = flight_recorder.StartError || error{ Forked, Closed };

    /// One at a time: `Overloaded`. It ends with the runtime, or by `stopFlight`. Any thread.
    pub fn startFlight(self: *Runtime, options: *const flight_recorder.Options, errno: *i32) FlightError!void {
        if (self.scheduler.forked()) return error.Forked;
        self.joining.lock();
        defer self.joining.unlock();
        if (self.joined) return error.Closed;
        if (self.flight != null) return error.Overloaded;
        self.flight = try .start(&self.scheduler, options, errno);
    }

    /// False if there is none.
    pub fn stopFlight(self: *Runtime) bool {
        self.joining.lock();
        defer self.joining.unlock();
        const flight = self.flight orelse return false;
        flight.stop();
        self.flight = null;
        return true;
    }

    /// For a front end without threads of its own: a monitor with a thread that serves it, if there is none yet.
    /// Returns an errno.
    pub fn startMonitor(self: *Runtime) i32 {
        self.joining.lock();
        defer self.joining.unlock();
        if (self.monitor != null) return 0;
        if (self.joined) return @backingInt(linux.E.SHUTDOWN);
        var errno: i32 = 0;
        self.monitor = Monitor.open(&errno) orelse return errno;
        self.monitor.?.startThread(self) catch {
            self.monitor.?.close();
            self.monitor = null;
            return @backingInt(linux.E.AGAIN);
        };
        return 0;
    }

    /// After `shutdown`: nothing may use the runtime any more.
    pub fn destroy(self: *Runtime) void {
        assert(self.joined);
        if (self.monitor) |*monitor| monitor.close();
        for (self.scheduler.shards) |*shard| destroyShard(shard);
        self.scheduler.tags.deinit();
        self.scheduler.tracing.deinit();
        gpa.free(self.scheduler.shards);
        gpa.destroy(self);
    }

    /// The shard that a placement means now.
    pub fn place(self: *Runtime, placement: Placement) errors.Error!*Shard {
        const shards = self.scheduler.shards;
        return switch (placement.kind) {
            .pinned, .stealable_preferred => if (placement.value < shards.len)
                &shards[@intCast(placement.value)]
            else
                error.InvalidShard,
            .sticky => &shards[@intCast(mix(placement.value) % shards.len)],
            .round_robin, .stealable => &shards[self.scheduler.round_robin.fetchAdd(1, .monotonic) % shards.len],
        };
    }

    /// Takes over `task`, whose kind and preferred shard are set by `place`: it runs once, or is
    /// cancelled. On an error the caller keeps it.
    pub fn submit(self: *Runtime, task: *Task, target: *Shard) errors.Error!void {
        return self.submitFrom(Shard.currentOf(&self.scheduler), task, target);
    }

    /// `from`: the shard of this runtime that the caller is on, if any. Inline: a spawn pays no more calls.
    pub inline fn submitFrom(self: *Runtime, from: ?*Shard, task: *Task, target: *Shard) errors.Error!void {
        const scheduler = &self.scheduler;
        if (scheduler.forked()) return error.Forked;
        assert(from == Shard.currentOf(scheduler));
        assert(!task.cleanup or from != null);
        countBegun(scheduler, from, task.kind);
        const closed = scheduler.closing.load(.seq_cst) and !task.cleanup;
        if (closed) return refuse(scheduler, from, .spawn_refused, error.Closed);
        if (target.latency != null) task.queued_ns = clock.nowNs();
        if (target.trace.isOn()) tracing.record(scheduler, .spawn, @intFromBool(task.stealable()), task, target.id);
        if (!task.stealable()) {
            if (from == target) {
                target.enqueueLocal(task);
            } else {
                target.inbox.push(task);
                _ = scheduler.notify(target);
            }
        } else {
            const depth = target.stealable.push(task) orelse
                return refuse(scheduler, from, .stealable_backpressure, error.Overloaded);
            if (depth > target.high_water.load(.monotonic)) _ = target.high_water.fetchMax(depth, .monotonic);
            if (from == target or !scheduler.notify(target)) search.wakeOne(scheduler, target);
        }
        scheduler.countSpawn(from, .spawn_accepted);
    }

    /// The same for a task that its caller, on `shard`, polls at once.
    pub fn begin(self: *Runtime, task: *Task, shard: *Shard) errors.Error!void {
        const scheduler = &self.scheduler;
        if (scheduler.forked()) return error.Forked;
        assert(Shard.currentOf(scheduler) == shard and task.kind == .pinned);
        countBegun(scheduler, shard, task.kind);
        if (scheduler.closing.load(.seq_cst)) return refuse(scheduler, shard, .spawn_refused, error.Closed);
        shard.trace.note(.spawn, 0, task, shard.id);
        scheduler.countSpawn(shard, .spawn_accepted);
    }

    fn countBegun(scheduler: *Scheduler, from: ?*Shard, kind: Kind) void {
        scheduler.countBegun(from);
        switch (kind) {
            .pinned => scheduler.countSpawn(from, .spawn_pinned_submitted),
            .round_robin => scheduler.countSpawn(from, .spawn_round_robin_submitted),
            .sticky => scheduler.countSpawn(from, .spawn_sticky_submitted),
            .stealable, .stealable_preferred => scheduler.countSpawn(from, .spawn_stealable_submitted),
        }
    }

    /// Counted as begun, but not taken.
    fn refuse(scheduler: *Scheduler, from: ?*Shard, comptime reason: @EnumLiteral(), err: errors.Error) errors.Error {
        scheduler.countRefused(from, reason);
        if (scheduler.closing.load(.seq_cst)) scheduler.stopIfDone(from);
        return err;
    }
};

/// Of a shard: a scheduler lies in its runtime.
pub fn runtimeOf(shard: *Shard) *Runtime {
    return @fieldParentPtr("scheduler", shard.scheduler);
}

/// Spreads neighbouring keys over the shards (the finalizer of splitmix64).
fn mix(key: u64) u64 {
    var x = key +% 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) *% 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) *% 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

fn bindTo(cpu: u32) void {
    var set: linux.cpu_set_t = @splat(0);
    const bits = @bitSizeOf(usize);
    set[cpu / bits] |= @as(usize, 1) << @intCast(cpu % bits);
    // Checked against the affinity mask at the start; if it changed since, the shard runs unbound.
    linux.sched_setaffinity(0, &set) catch {};
}
