//! A runtime: starts and stops the shards, places work on them. Spawning may be done from any
//! thread; starting and stopping belongs to whoever holds the runtime.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const backend = @import("backend.zig");
const clock = @import("../base/clock.zig");
const errors = @import("../base/errors.zig");
const Failure = @import("../base/failure.zig").Failure;
const fork = @import("../base/fork.zig");
const locked_memory = @import("../ring/memlock.zig");
const memory = @import("../base/memory.zig");
const gpa = memory.gpa;
const options_module = @import("../base/options.zig");
const Options = options_module.Options;
const probe = @import("../ring/probe.zig");
const signal_mask = @import("../base/signal_mask.zig");
const sync = @import("../base/sync.zig");
const Crew = @import("../scheduler/scheduler.zig").Crew;
const Mailbox = @import("../message/mailbox.zig").Mailbox;
const Host = @import("../scheduler/interpreter.zig").Host;
const Epoll = @import("../epoll/epoll.zig").Epoll;
const Pool = @import("../epoll/pool.zig").Pool;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;
const Kind = @import("../task/task.zig").Kind;
const seam = @import("../base/platform.zig");
const Atomic = seam.Atomic;

pub const Placement = struct { kind: Kind, value: u64 = 0 };

pub const Runtime = struct {
    crew: Crew,
    /// Shards whose ring is enabled (no bell is rung before all are), and threads that are in the host.
    ready: Atomic(u32) = .init(0),
    /// The errno of what one of them could not get: then all leave.
    refused: Atomic(i32) = .init(0),
    joining: sync.Lock = .{},
    joined: bool = false,
    /// Without io_uring: for calls that block.
    pool: Pool = .{ .give_back = Epoll.giveBack },
    epolls: Epoll.Group = .{},
    /// The caller runs shard 0 by `drive`.
    driven: bool,
    prefix: [16]u8 = @splat(0),

    /// `NoRing` and `SetupFailed` come with a `Failure`: io_uring said no; something else did that every
    /// backend needs, a descriptor or a thread.
    pub const StartError = error{ OutOfMemory, Unsupported, NoRing, SetupFailed };

    /// `given` was checked. With `driven`, shard 0 is the calling thread's: it must call `drive`.
    pub fn start(
        given: *const Options,
        host: ?*const Host,
        host_owner: ?*anyopaque,
        driven: bool,
        failure: *Failure,
    ) StartError!*Runtime {
        const wanted = backend.wanted(given);
        if (wanted == .epoll) return startOn(.epoll, backend.epollInfo(), given, host, host_owner, driven, failure);
        if (startOnRings(given, host, host_owner, driven, failure)) |self| {
            return self;
        } else |err| {
            if (wanted == .io_uring) return err;
            // Whatever the kernel said: a list of reasons would be one short somewhere.
            const reason = switch (err) {
                error.NoRing => failure.*,
                error.Unsupported => Failure{ .errno = @backingInt(linux.E.OPNOTSUPP) },
                error.OutOfMemory, error.SetupFailed => return err,
            };
            const self = try startOn(.epoll, backend.epollInfo(), given, host, host_owner, driven, failure);
            self.crew.refused_ring = reason;
            return self;
        }
    }

    fn startOnRings(
        given: *const Options,
        host: ?*const Host,
        host_owner: ?*anyopaque,
        driven: bool,
        failure: *Failure,
    ) StartError!*Runtime {
        const info = locked_memory.probePatiently(failure);
        if (info.setup_errno != 0 and info.setup_errno != @backingInt(linux.E.INVAL)) return error.NoRing;
        if (!info.sufficient()) return error.Unsupported;
        var sized = given.*;
        while (true) {
            return startOn(.io_uring, info, &sized, host, host_owner, driven, failure) catch |err| {
                if (err != error.NoRing or !failure.is(.NOMEM)) return err;
                sized.ring_entries = locked_memory.smaller(&sized, info.memlock_limit) orelse return err;
                continue;
            };
        }
    }

    fn startOn(
        chosen: backend.Chosen,
        info: probe.Info,
        given: *const Options,
        host: ?*const Host,
        host_owner: ?*anyopaque,
        driven: bool,
        failure: *Failure,
    ) StartError!*Runtime {
        fork.watch(Shard.forgetCurrent);
        memory.watch();
        const self = try gpa.create(Runtime);
        errdefer gpa.destroy(self);
        self.* = .{
            .crew = .{
                .options = given.*,
                .info = info,
                .backend = chosen,
                .host = host,
                .host_owner = host_owner,
                .shards = &.{},
                .generation = fork.generation(),
            },
            .driven = driven,
        };
        errdefer self.pool.end();
        @memcpy(self.prefix[0..given.prefix().len], given.prefix());
        self.crew.options.thread_prefix = null;
        self.crew.options.thread_affinity = null;
        self.crew.tags = try .init(given.hotTags(), given.coalescedTags());
        errdefer self.crew.tags.deinit();
        self.crew.options.hot_msg_tags = null;
        self.crew.options.coalesced_hot_msg_tags = null;
        const shards = try gpa.alloc(Shard, given.shards);
        errdefer gpa.free(shards);
        var made: usize = 0;
        errdefer for (shards[0..made]) |*shard| destroyShard(shard);
        for (shards, 0..) |*shard, id| {
            try self.makeShard(shard, @intCast(id), failure);
            made += 1;
        }
        self.crew.shards = shards;
        try self.startThreads(given, failure);
        return self;
    }

    fn makeShard(self: *Runtime, shard: *Shard, id: u16, failure: *Failure) StartError!void {
        const options = &self.crew.options;
        var ring = switch (self.crew.backend) {
            .io_uring => try locked_memory.makeRing(options, &self.crew.info, failure),
            .epoll => try Epoll.makeRing(options.ring_entries, &self.epolls, &self.pool, failure),
        };
        errdefer ring.deinit();
        const capacity = options.stealable_queue_capacity;
        var stealable = try @TypeOf(shard.stealable).init(gpa, options.queueBackend(), capacity);
        errdefer stealable.deinit(gpa);
        const seen = try gpa.alloc(@typeInfo(@TypeOf(shard.watch.seen)).pointer.child, options.shards);
        errdefer gpa.free(seen);
        @memset(seen, .{});
        var mailbox: Mailbox = try .init(
            options.msg_ring_queue_capacity,
            self.crew.tags.counters,
            options.hot_counter_wake_threshold,
        );
        errdefer mailbox.deinit();
        shard.* = .{
            .id = id,
            .crew = &self.crew,
            .ring = ring,
            .stealable = stealable,
            .mailbox = mailbox,
            .policy = .init(options, id),
            .watch = .{ .seen = seen },
        };
        // Also where bells go by MSG_RING: the kernel may refuse one, for want of memory or by a seccomp filter
        // of the thread that rings.
        const rc = seam.system.eventfd(0, linux.EFD.CLOEXEC);
        if (linux.errno(rc) != .SUCCESS) {
            failure.set(.eventfd, linux.errno(rc));
            return error.SetupFailed;
        }
        shard.eventfd = @intCast(rc);
    }

    fn destroyShard(shard: *Shard) void {
        assert(shard.inbox.isEmpty());
        shard.timers.deinit();
        shard.ops.deinit();
        shard.stealable.deinit(gpa);
        shard.mailbox.deinit();
        gpa.free(shard.watch.seen);
        closeDescriptors(shard);
    }

    fn closeDescriptors(shard: *Shard) void {
        if (shard.ring.isOpen()) shard.ring.deinit();
        if (shard.buffers == .ready) shard.buffers.ready.deinit();
        shard.buffers = .none;
        if (shard.eventfd >= 0) _ = seam.system.close(shard.eventfd);
        shard.eventfd = -1;
    }

    fn startThreads(self: *Runtime, given: *const Options, failure: *Failure) StartError!void {
        const shards = self.crew.shards;
        const first: usize = if (self.driven) 1 else 0;
        // Tasks of a host language start threads and children, which inherit the mask of the program. A C program
        // has its handlers run on threads of its own (docs/abi.md).
        if (self.crew.host == null) self.crew.program_mask = signal_mask.blockAll();
        defer if (self.crew.program_mask) |*before| signal_mask.restore(before);
        for (shards[first..], first..) |*shard, id| {
            const cpu: ?u32 = if (given.thread_affinity_count == 0)
                null
            else
                given.thread_affinity.?[id % given.thread_affinity_count];
            shard.thread = seam.Thread.spawn(.{}, threadMain, .{ self, shard, cpu }) catch |err| {
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
        // Also until the threads are in the host: a child that is forked while one enters CPython finds a lock
        // held for ever (HEAD_LOCK, up to 3.11; its issue 112275).
        const entering = if (self.crew.host == null) 0 else shards.len - first;
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
        self.awaitReady(self.crew.shards.len);
        if (self.refused.load(.seq_cst) != 0) return;
        const host = self.crew.host;
        if (host) |h| {
            h.attach(shard);
            self.tellReady(1);
        }
        shard.run();
        if (host) |h| h.detach(shard);
    }

    /// Runs shard 0 on the calling thread until the runtime is closed and all has ended.
    pub fn drive(self: *Runtime) void {
        assert(self.driven);
        const shard = &self.crew.shards[0];
        shard.interruptible = true;
        self.crew.host.?.attach(shard);
        shard.run();
        self.crew.host.?.detach(shard);
    }

    /// Stops everything; false where the time limit passed first: call again.
    pub fn shutdown(self: *Runtime, deadline_ns: u64) errors.Error!bool {
        if (self.crew.forked()) return error.Forked;
        if (Shard.currentOf(&self.crew) != null) return error.OnShard;
        self.crew.close();
        while (self.crew.stop.load(.seq_cst) == 0) {
            if (clock.nowNs() >= deadline_ns) return false;
            sync.wait(&self.crew.stop, 0, deadline_ns);
        }
        // Nothing runs any more: joining takes a moment, and of several callers one does it.
        self.joining.lock();
        defer self.joining.unlock();
        if (self.joined) return true;
        for (self.crew.shards) |*shard| if (shard.thread) |thread| thread.join();
        // Somebody may still hold the runtime, for its counters: the rings go now all the same.
        while (self.crew.ringing.load(.seq_cst) != 0) std.atomic.spinLoopHint();
        // A thread of the pool that has given its last operation back may not have rung the bell yet.
        self.pool.end();
        for (self.crew.shards) |*shard| closeDescriptors(shard);
        self.joined = true;
        return true;
    }

    /// After `shutdown`: nothing may use the runtime any more.
    pub fn destroy(self: *Runtime) void {
        assert(self.joined);
        for (self.crew.shards) |*shard| destroyShard(shard);
        self.crew.tags.deinit();
        gpa.free(self.crew.shards);
        gpa.destroy(self);
    }

    /// The shard that a placement means now.
    pub fn place(self: *Runtime, placement: Placement) errors.Error!*Shard {
        const shards = self.crew.shards;
        return switch (placement.kind) {
            .pinned, .stealable_preferred => if (placement.value < shards.len)
                &shards[@intCast(placement.value)]
            else
                error.InvalidShard,
            .sticky => &shards[@intCast(mix(placement.value) % shards.len)],
            .round_robin, .stealable => &shards[self.crew.round_robin.fetchAdd(1, .monotonic) % shards.len],
        };
    }

    /// Takes over `task`, whose kind and preferred shard are set by `place`: it runs once, or is
    /// cancelled. On an error the caller keeps it.
    pub fn submit(self: *Runtime, task: *Task, target: *Shard) errors.Error!void {
        const crew = &self.crew;
        if (crew.forked()) return error.Forked;
        const from = Shard.currentOf(crew);
        assert(!task.cleanup or from != null);
        countBegun(crew, from, task.kind);
        if (crew.closing.load(.seq_cst) and !task.cleanup) return refuse(crew, from, .spawn_refused, error.Closed);
        if (!task.stealable()) {
            if (from == target) {
                target.enqueueLocal(task);
            } else {
                target.inbox.push(task);
                _ = crew.notify(target);
            }
        } else {
            const depth = target.stealable.push(task) orelse
                return refuse(crew, from, .stealable_backpressure, error.Overloaded);
            if (depth > target.high_water.load(.monotonic)) _ = target.high_water.fetchMax(depth, .monotonic);
            if (from == target or !crew.notify(target)) crew.wakeSearcher(target);
        }
        crew.countSpawn(from, .spawn_accepted);
    }

    /// The same for a task that its caller, on `shard`, polls at once.
    pub fn begin(self: *Runtime, task: *Task, shard: *Shard) errors.Error!void {
        const crew = &self.crew;
        if (crew.forked()) return error.Forked;
        assert(Shard.currentOf(crew) == shard and task.kind == .pinned);
        countBegun(crew, shard, task.kind);
        if (crew.closing.load(.seq_cst)) return refuse(crew, shard, .spawn_refused, error.Closed);
        crew.countSpawn(shard, .spawn_accepted);
    }

    fn countBegun(crew: *Crew, from: ?*Shard, kind: Kind) void {
        crew.countBegun(from);
        switch (kind) {
            .pinned => crew.countSpawn(from, .spawn_pinned_submitted),
            .round_robin => crew.countSpawn(from, .spawn_round_robin_submitted),
            .sticky => crew.countSpawn(from, .spawn_sticky_submitted),
            .stealable, .stealable_preferred => crew.countSpawn(from, .spawn_stealable_submitted),
        }
    }

    /// Counted as begun, but not taken.
    fn refuse(crew: *Crew, from: ?*Shard, comptime reason: @EnumLiteral(), err: errors.Error) errors.Error {
        crew.countRefused(from, reason);
        if (crew.closing.load(.seq_cst)) crew.stopIfDone(from);
        return err;
    }
};

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
    // Checked against the affinity mask at the start; where it changed since, the shard runs unbound.
    linux.sched_setaffinity(0, &set) catch {};
}
