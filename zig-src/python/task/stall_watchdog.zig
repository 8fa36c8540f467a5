//! Debug mode: finds the task that blocks a shard. A Python thread waits in `next`, without the
//! interpreter, and compares the shards' poll sequences; each poll writes its task into its shard's
//! spot. Without debug mode none of this exists.

const std = @import("std");
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const gpa = @import("../../base/memory.zig").gpa;
const sync = @import("../../base/sync.zig");
const Scheduler = @import("../../scheduler/scheduler.zig").Scheduler;
const Options = @import("../../base/options.zig").Options;
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const PyTask = @import("py_task.zig").PyTask;
const Object = api.Object;
const py = &api.py;

pub const StallWatchdog = struct {
    spots: []Spot,
    threshold_ns: u64,
    /// How often to look: what is reported is at most a quarter longer than the threshold.
    interval_ns: u64,

    const Spot = struct {
        /// Guards what follows, up to `seen`.
        lock: sync.Lock = .{},
        /// Whose poll it is; null between polls, and in those of C functions.
        task: ?*PyTask = null,
        /// A reference of its own: the task lets its coroutine go before the poll is over.
        coroutine: ?*Object = null,
        /// The shard's thread, as `threading.get_ident` has it.
        thread: u64 = 0,
        /// The watcher waits for the interpreter to ask about this poll ...
        wanted: bool = false,
        /// ... and this is whose it was, if it ended before that.
        late: ?*Object = null,
        /// An asyncio loop runs on the shard.
        has_loop: bool = false,

        // The watcher's own.
        seen: u64 = 0,
        since_ns: u64 = 0,
        told: bool = false,
    };

    pub fn create(options: *const Options) error{OutOfMemory}!*StallWatchdog {
        const self = try gpa.create(StallWatchdog);
        errdefer gpa.destroy(self);
        const spots = try gpa.alloc(Spot, options.shards);
        @memset(spots, .{});
        self.* = .{
            .spots = spots,
            .threshold_ns = options.blocked_threshold_ms * std.time.ns_per_ms,
            .interval_ns = @max(options.blocked_threshold_ms * std.time.ns_per_ms / 4, std.time.ns_per_ms),
        };
        return self;
    }

    pub fn destroy(self: *StallWatchdog) void {
        for (self.spots) |*spot| api.drop(&spot.late);
        gpa.free(self.spots);
        gpa.destroy(self);
    }

    /// An asyncio loop runs on the shard from now on. Each of its turns is one poll of many callbacks,
    /// so a long one says nothing: asyncio's own debug mode names the slow callbacks.
    pub fn addLoop(self: *StallWatchdog, shard: u16) void {
        const spot = &self.spots[shard];
        spot.lock.lock();
        defer spot.lock.unlock();
        spot.has_loop = true;
    }

    fn spotOf(task: *PyTask) *Spot {
        return &PyRuntime.of(task.runtime.?).watchdog.?.spots[task.home().id];
    }

    /// On the shard, in the interpreter, around each poll.
    pub fn begin(task: *PyTask) void {
        task.nameAfterCoroutine();
        const spot = spotOf(task);
        spot.lock.lock();
        defer spot.lock.unlock();
        spot.task = task;
        spot.coroutine = api.ref(task.coroutine.?);
        spot.thread = py.PyThread_get_thread_ident();
    }

    pub fn end(task: *PyTask) void {
        if (task.home().scheduler.forked()) return; // The watcher is the parent's, and may have had the lock.
        const spot = spotOf(task);
        spot.lock.lock();
        var coroutine = spot.coroutine;
        spot.coroutine = null;
        spot.lock.unlock();
        api.drop(&coroutine); // May run code of the user's, which belongs to the poll.
        spot.lock.lock();
        defer spot.lock.unlock();
        spot.task = null;
        if (!spot.wanted) return;
        spot.wanted = false;
        spot.late = api.ref(PyTask.Type.objectOf(task));
    }

    /// Waits for a shard that is in one poll for as long as the threshold, each poll reported once.
    /// Returns (shard, name, coroutine, thread, ns): the name is None for a C function, the coroutine
    /// as well if the poll was over before this thread got the interpreter. None: the runtime has
    /// stopped.
    pub fn next(self: *StallWatchdog, scheduler: *Scheduler) ?*Object {
        const state = py.PyEval_SaveThread();
        const found = self.find(scheduler);
        py.PyEval_RestoreThread(state);
        const id = found orelse return api.none();
        const spot = &self.spots[id];
        const ns = clock.nowNs() - spot.since_ns;
        spot.lock.lock();
        var task = spot.late;
        spot.late = null;
        var coroutine: ?*Object = null;
        if (task == null and spot.wanted) {
            task = api.ref(PyTask.Type.objectOf(spot.task.?));
            if (spot.coroutine) |one| coroutine = api.ref(one);
        }
        spot.wanted = false;
        const thread = spot.thread;
        spot.lock.unlock();
        defer api.drop(&task);
        const name = if (task) |one| PyTask.Type.body(one).name else null;
        return tuple(&.{
            py.PyLong_FromLongLong(id),
            if (name) |one| api.ref(one) else api.none(),
            coroutine orelse api.none(),
            py.PyLong_FromUnsignedLongLong(thread),
            py.PyLong_FromLongLong(@intCast(ns)),
        });
    }

    fn find(self: *StallWatchdog, scheduler: *Scheduler) ?u16 {
        while (scheduler.stop.load(.acquire) == 0) {
            const now = clock.nowNs();
            for (scheduler.shards, self.spots) |*shard, *spot| {
                const sequence = shard.published.poll_sequence.load(.monotonic);
                if (sequence != spot.seen) {
                    spot.seen = sequence;
                    spot.since_ns = now;
                    spot.told = false;
                }
                if (sequence % 2 == 0 or spot.told or now - spot.since_ns < self.threshold_ns) continue;
                spot.told = true;
                spot.lock.lock();
                defer spot.lock.unlock();
                spot.wanted = spot.task != null;
                if (spot.has_loop and !spot.wanted) continue;
                return shard.id;
            }
            sync.wait(&scheduler.stop, 0, now + self.interval_ns);
        }
        return null;
    }

    /// Takes over the references; null if one is missing.
    fn tuple(items: []const ?*Object) ?*Object {
        const result = py.PyTuple_New(@intCast(items.len));
        var complete = result != null;
        for (items, 0..) |item, i| {
            var one = item;
            if (one == null or result == null) {
                complete = false;
                api.drop(&one);
            } else _ = py.PyTuple_SetItem(result.?, @intCast(i), one.?);
        }
        if (complete) return result;
        if (result) |one| py.Py_DecRef(one);
        return null;
    }
};
