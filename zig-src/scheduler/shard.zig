//! A shard: one thread, one ring, one scheduler. This file is its loop: reap completions -> drain
//! the inbox -> timers -> local tasks (budget) -> own stealable queue (budget) -> steal when there
//! is nothing left -> submit -> park. All fields belong to the shard's thread, except those marked
//! "any thread". How all shards of a runtime stop is written at the head of scheduler.zig, step by
//! step.

const std = @import("std");
const assert = std.debug.assert;
const cancel = @import("cancel_ops.zig");
const completions = @import("completions.zig");
const clock = @import("../base/clock.zig");
const fork = @import("../base/fork.zig");
const gpa = @import("../base/memory.zig").gpa;
const limits = @import("../base/limits.zig");
const Latency = @import("latency.zig").Latency;
const Seats = @import("recorders.zig").Seats;
const Quiet = @import("quiet.zig").Quiet;
const stats = @import("stats.zig");
const Scheduler = @import("scheduler.zig").Scheduler;
const posted = @import("posted.zig");
const Posted = posted.Posted;
const provided_buffers = @import("../ring/provided_buffers.zig");
const Buffers = provided_buffers.Buffers;
const ParkState = @import("park_state.zig").ParkState;
const Fixed = @import("../ring/registered_buffers.zig").Fixed;
const Mailbox = @import("../message/mailbox.zig").Mailbox;
const InboxType = @import("../queue/inbox.zig").InboxType;
const ListType = @import("../queue/list.zig").ListType;
const Room = @import("../task/room.zig").Room;
const Source = @import("../task/source.zig").Source;
const StealableType = @import("../queue/stealable.zig").StealableType;
const Ring = @import("../ring/ring.zig").Ring;
const Task = @import("../task/task.zig").Task;
const Timers = @import("../task/timers.zig").Timers;
const op_module = @import("../task/op.zig");
const Op = op_module.Op;
const OpTable = op_module.OpTable;
const doorbell = @import("doorbell.zig");
const idle = @import("idle.zig");
const interpreter = @import("interpreter.zig");
const search = @import("search.zig");
const steal = @import("steal.zig");
const tracing = @import("tracing.zig");
const platform = @import("../base/platform.zig");
const Atomic = platform.Atomic;

/// A shard that never parks publishes its busy time this often.
const account_every_ns = 10 * std.time.ns_per_ms;

/// The shard whose loop this thread runs.
pub threadlocal var current_shard: ?*Shard = null;

pub const Shard = struct {
    // ---- what it is; never changes after the start ----
    id: u16,
    scheduler: *Scheduler,
    thread: ?platform.Thread = null,
    /// A caller's thread drives this shard: its waits are short and followed by `Interpreter.interrupted`.
    interruptible: bool = false,

    // ---- what other threads reach it by ----
    park_state: ParkState align(std.atomic.cache_line) = .{}, // any thread
    inbox: InboxType(Task) = .{}, // any thread
    /// Operations that others have ended.
    posted: InboxType(Posted) = .{}, // any thread
    stealable: StealableType(Task), // any thread
    /// Tasks that wait until `stealable` has room.
    room: Room = .{}, // any thread
    mailbox: Mailbox,
    /// The greatest depth that `stealable` had.
    high_water: Atomic(u64) = .init(0), // any thread
    published: steal.Published align(std.atomic.cache_line) = .{}, // any thread reads

    // ---- tasks ----
    /// Ready, to be polled here.
    native: ListType(Task) = .{},
    interpreted: ListType(Task) = .{},
    /// All that began here and are not done.
    live: ?*Task = null,
    current_task: ?*Task = null,
    interpreter: interpreter.State = .{},
    /// The ring has its turn before a task is polled again: a task may be a loop of turns itself.
    ring_first: bool = false,

    // ---- operations ----
    ring: Ring,
    ops: OpTable = .{},
    /// By the number of the operation that has ended: memory of zero-copy sends that the kernel has still.
    lent: std.AutoHashMapUnmanaged(u64, *Source) = .empty,
    timers: Timers = .{},
    /// Made at the first receive that wants one; `none` if the kernel has no such thing.
    buffers: union(enum) { unasked, none, ready: Buffers } = .unasked,
    fixed: Fixed = .{},
    /// Operations that the poll with this number ended without the ring.
    inline_budget: struct { poll: u64 = 0, count: u32 = 0 } = .{},
    rounds_seen: cancel.RoundsSeen = .{},
    /// Memory for work within a poll, if such work was done; it stays in the CPU's cache.
    scratch: []u8 = &.{},

    // ---- idle, wake, steal ----
    idle: idle.Idle = .{},
    quiet: Quiet = .{},
    bell: doorbell.Bell = .{},
    search: search.State = .{},
    thief: steal.Thief,

    // ---- time and counters ----
    /// When this pass began.
    now_ns: u64 = 0,
    /// Until when the time is counted, as busy or idle.
    accounted_ns: u64 = 0,
    counters: stats.ShardCounters align(std.atomic.cache_line) = .{},
    spawn_counters: stats.SpawnCounters = .{},
    /// Spawns made here, refused ones too.
    spawns_begun: stats.Counter = .{},
    errno_counters: stats.ErrnoCounters = @splat(.{}),
    gauges: stats.Gauges = .{},
    seats: Seats = .{},
    /// With the option `scheduler_latency`. Never changes after the start. // any thread
    latency: ?*const Latency = null,
    trace: tracing.Switch = .{}, // any thread

    /// The shard that this thread runs, if any.
    pub fn current() ?*Shard {
        return current_shard;
    }

    /// In a forked child: the shard is the parent's, and this thread runs none.
    pub fn forgetCurrent() void {
        const shard = current_shard orelse return;
        if (shard.scheduler.program_mask) |*program| fork.setMask(program);
        current_shard = null;
    }

    /// Whether this thread runs it: what most of its functions ask of their caller.
    pub fn isHere(self: *const Shard) bool {
        return current_shard == self;
    }

    pub fn currentOf(scheduler: *const Scheduler) ?*Shard {
        const shard = current_shard orelse return null;
        return if (shard.scheduler == scheduler) shard else null;
    }

    /// Runs on the shard's thread until the scheduler stops.
    pub fn run(self: *Shard) void {
        assert(current_shard == null);
        current_shard = self;
        defer current_shard = null;
        self.accounted_ns = clock.nowNs();
        while (self.scheduler.stop.load(.acquire) == 0) self.pass();
        if (self.scheduler.forked()) return;
        // The last task may have ended here: the bells that tell the others must still go out, also if
        // the kernel takes a part at a time, and one that it refuses is rung another way.
        while (true) {
            _ = completions.reapReady(self);
            if (!self.ring.hasUnsubmitted() and !self.ring.hasTaskWork()) break;
            self.submit();
        }
        self.ring.drain();
        self.account();
        if (self.search.searching) search.end(self);
        // What came after the last pass (a task's release, the last look of the language) may have entered.
        self.releaseInterpreter();
        assert(self.live == null and self.ops.flying == 0);
    }

    /// Runs on the calling thread until `done` is set, by a task of this shard or by what the driver does
    /// between passes. The driver comes back, on the same thread, and closes the scheduler at the end.
    pub fn runUntil(self: *Shard, done: *const bool) void {
        assert(current_shard == null and self.interruptible);
        current_shard = self;
        defer current_shard = null;
        self.accounted_ns = clock.nowNs();
        while (!done.* and self.scheduler.stop.load(.acquire) == 0) self.pass();
    }

    /// On a thread that may drive it, while nobody does: what this wakes runs later.
    pub fn visit(self: *Shard, comptime function: fn (*Shard) void) void {
        assert(current_shard == null);
        current_shard = self;
        defer current_shard = null;
        function(self);
        self.releaseInterpreter();
    }

    fn pass(self: *Shard) void {
        assert(self.isHere() and self.current_task == null);
        const now = clock.nowNs();
        if (now - self.accounted_ns > account_every_ns) self.account();
        self.now_ns = now;
        self.ring_first = false;
        self.counters.passes.add(1);
        completions.reap(self);
        self.drainInbox();
        posted.drain(self);
        self.mailbox.deliver(wake);
        if (self.timers.next() <= self.now_ns) _ = self.timers.fireDue(self.now_ns);
        if (self.scheduler.cancel_rounds.load(.seq_cst) != self.rounds_seen.cancel) self.cancelLive();
        search.handOver(self);
        if (self.bell.queued) self.submit(); // Of a steal, or a completion: a task may take long.
        self.bell.rang_ns = 0;
        self.runLocal();
        self.runStealable();
        if (!self.keepsInterpreter()) self.releaseInterpreter();
        if (self.scheduler.forked()) return self.scheduler.stop.store(1, .release); // Ours is a copy.
        self.publishGauges();
        if (self.latency) |latency| latency.record(self, .pass, clock.nowNs() -| now);
        if (self.hasLocalWork()) {
            steal.stealBusy(self);
            idle.checkInterrupts(self);
            if (self.ring.hasUnsubmitted() or self.ring.hasTaskWork() or self.ring.needsPolling()) self.submit();
            return;
        }
        if (steal.steal(self)) return;
        if (self.quiet.first != null and self.quiet.look(self)) return;
        idle.wait(self);
    }

    /// Tasks that nobody else may run.
    pub fn hasReady(self: *const Shard) bool {
        return self.native.head != null or self.interpreted.head != null;
    }

    pub fn hasLocalWork(self: *const Shard) bool {
        return self.hasReady() or
            !self.inbox.isEmpty() or !self.posted.isEmpty() or self.stealable.depth() > 0 or self.mailbox.isDue();
    }

    /// Everything that must keep the shard awake; looked at between `announce` and `commit`.
    pub fn hasWork(self: *Shard) bool {
        return self.hasLocalWork() or self.ring.ready() or self.room.isDue(self.freePlaces()) or
            self.scheduler.stop.load(.seq_cst) != 0 or
            self.scheduler.cancel_rounds.load(.seq_cst) != self.rounds_seen.cancel;
    }

    // ---- tasks ----

    fn drainInbox(self: *Shard) void {
        assert(self.isHere());
        var arrived: ListType(Task) = .{};
        if (self.inbox.drain(&arrived) == 0) return;
        while (arrived.popFront()) |task| self.enqueueLocal(task);
    }

    /// A task that this shard will poll; its state is `queued`.
    pub fn enqueueLocal(self: *Shard, task: *Task) void {
        assert(self.isHere());
        assert(task.state.load(.monotonic) == .queued);
        if (task.vtable.interpreted) self.interpreted.pushBack(task) else self.native.pushBack(task);
    }

    fn runLocal(self: *Shard) void {
        assert(self.isHere() and self.current_task == null);
        self.runList(&self.native);
        self.runList(&self.interpreted);
    }

    /// Those that are ready now, each once; what they make ready goes on while nobody else waits.
    fn runList(self: *Shard, list: *ListType(Task)) void {
        assert(self.isHere());
        var first = list.len;
        var budget: usize = limits.local_budget;
        while (budget > 0) : (budget -= 1) {
            if (first > 0) first -= 1 else if (self.othersWait()) return;
            self.poll(list.popFront() orelse return);
        }
    }

    fn othersWait(self: *const Shard) bool {
        if (self.scheduler.forked()) return true; // The task forked: the child has no view of the ring.
        return self.ring_first or self.stealable.depth() > 0 or !self.inbox.isEmpty() or !self.posted.isEmpty() or
            self.ring.ready();
    }

    fn runStealable(self: *Shard) void {
        assert(self.current_task == null);
        defer if (self.room.isWanted()) self.tellRoom();
        if (self.stealable.depth() == 0) return;
        search.handOver(self);
        const before_ns = self.published.task_ns.load(.monotonic);
        // Two clock reads are a good part of a short pass: most passes go unmeasured.
        const measured = before_ns == 0 or self.counters.passes.get() % 8 == 0;
        const began_ns = if (measured) clock.nowNs() else 0;
        assert(self.scheduler.options.steal_budget > 0);
        var count: u64 = 0;
        while (count < self.scheduler.options.steal_budget) : (count += 1)
            self.poll(self.stealable.popOwner() orelse break);
        if (!measured or count == 0) return;
        const each_ns = (clock.nowNs() - began_ns) / count;
        // Half old, half new: a change of the load shows within a few measurements.
        self.published.task_ns.store(if (before_ns == 0) each_ns else (before_ns + each_ns) / 2, .monotonic);
    }

    /// Of the stealable queue. Any thread.
    pub fn freePlaces(self: *const Shard) usize {
        return self.scheduler.options.stealable_queue_capacity -| self.stealable.depth();
    }

    /// Any thread, after something left the stealable queue.
    pub fn tellRoom(self: *Shard) void {
        self.room.tell(self.freePlaces(), wake);
    }

    /// Any thread: a waiter for room that was told goes on. If it does not spawn here, the shard is to tell the
    /// next one; its look comes in its next pass, mostly after that spawn.
    pub fn roomTried(self: *Shard, waiter: *Room.Waiter) void {
        if (self.room.comeBack(waiter) and current() != self) _ = self.scheduler.notify(self);
    }

    /// One step of a task: started here if it was not, and put where it belongs afterwards.
    pub fn poll(self: *Shard, task: *Task) void {
        // The step with the times is a function of its own, so that this one pays no more than the look.
        const ring = self.trace.on();
        if (self.latency != null or ring != null) self.pollTimed(task, ring) else self.pollOnce(task, null, null);
    }

    noinline fn pollTimed(self: *Shard, task: *Task, ring: ?*tracing.Ring) void {
        self.pollOnce(task, self.latency, ring);
    }

    inline fn pollOnce(self: *Shard, task: *Task, latency: ?*const Latency, ring: ?*tracing.Ring) void {
        if (self.scheduler.forked()) return; // It runs in the parent.
        if (task.vtable.interpreted) self.acquireInterpreter() else self.releaseInterpreter();
        self.published.runs_interpreted.store(task.vtable.interpreted, .monotonic);
        // Sequentially consistent: a waker sets what the task will look at and then looks at the state.
        // It sees `running`, or the task sees what was set.
        _ = task.state.swap(.running, .seq_cst);
        // A bell that waits for the end of the pass would wait for all tasks before it.
        defer if (self.bell.rang_ns != 0) self.sendBells();
        const began_ns = if (latency) |one| one.begin(self, task) else 0;
        const first = !task.started;
        if (first and !self.start(task)) return;
        if (ring) |one| tracing.recordBegin(self, one, task, first);
        const sequence = self.published.poll_sequence.load(.monotonic);
        self.published.poll_sequence.store(sequence +% 1, .monotonic);
        self.current_task = task;
        self.counters.polls.add(1);
        const outcome = task.vtable.poll(task);
        self.current_task = null;
        self.published.poll_sequence.store(sequence +% 2, .monotonic);
        if (self.scheduler.forked()) return; // The poll forked, and came back in the child.
        if (latency) |one| one.end(self, task, began_ns);
        if (ring) |one| one.write(.poll_end, @backingInt(outcome), task, 0);
        switch (outcome) {
            .ended => self.finish(task),
            .yield => self.requeue(task),
            .pending => if (task.state.cmpxchgStrong(.running, .idle, .seq_cst, .seq_cst)) |seen| {
                assert(seen == .running_notified); // Woken while it ran.
                self.requeue(task);
            },
        }
    }

    /// A bell, or a message, lies in the ring's queue. It goes out after the poll, with those that follow: a
    /// task that spawns many mostly waits for them next. If the last such poll had more to do, the bells
    /// of the next one go out at once.
    pub fn bellQueued(self: *Shard) void {
        assert(self.isHere());
        if (self.bell.rang_ns == 0) self.bell.rang_ns = clock.nowNs();
        if (self.bell.at_once) self.submit() else self.bell.queued = true;
    }

    fn sendBells(self: *Shard) void {
        if (self.scheduler.forked()) return;
        assert(self.isHere() and self.bell.rang_ns != 0);
        self.bell.at_once = clock.nowNs() - self.bell.rang_ns > limits.bell_delay_ns;
        self.bell.rang_ns = 0;
        if (self.bell.queued) self.submit();
    }

    fn requeue(self: *Shard, task: *Task) void {
        assert(self.isHere() and task.started);
        // A swap: who notified it while it ran wrote the word before, and the next poll sees what they set.
        _ = task.state.swap(.queued, .seq_cst);
        self.enqueueLocal(task);
    }

    /// False if the task was cancelled before it began; it is done then.
    inline fn start(self: *Shard, task: *Task) bool {
        assert(task.home == null or task.home == @as(?*anyopaque, self)); // A loop names its shard before it starts.
        assert(!task.started and task.live_next == null and task.live_prev == null);
        task.started = true;
        task.home = self;
        task.home_id.store(self.id, .release);
        self.link(task);
        const closing = self.scheduler.closing.load(.seq_cst) and !task.cleanup;
        if ((closing or task.cancel_requested.load(.seq_cst)) and task.vtable.abandon(task)) {
            self.finish(task);
            return false;
        }
        self.counters.tasks_started.add(1);
        if (task.stealable()) {
            self.counters.stealable_executed.add(1);
            if (task.preferred == self.id)
                self.counters.stealable_local_hits.add(1)
            else
                self.counters.stealable_stolen.add(1);
        }
        return true;
    }

    fn link(self: *Shard, task: *Task) void {
        assert(self.live != task);
        task.live_next = self.live;
        if (self.live) |first| first.live_prev = task;
        self.live = task;
    }

    fn unlink(self: *Shard, task: *Task) void {
        assert(task.started and (task.live_prev != null or self.live == task));
        if (task.live_prev) |prev| prev.live_next = task.live_next else self.live = task.live_next;
        if (task.live_next) |next| next.live_prev = task.live_prev;
        task.live_prev = null;
        task.live_next = null;
    }

    /// The task's code has ended; it is done when its operations have ended too.
    fn finish(self: *Shard, task: *Task) void {
        assert(self.isHere() and task.started and !task.draining);
        task.state.store(.ended, .seq_cst);
        self.cancelOps(task);
        var next = task.ops; // A timer's cancellation has ended it already.
        while (next) |op| {
            next = op.next;
            if (op.phase == .ended) completions.discard(self, op);
        }
        if (task.flying > 0) {
            task.draining = true;
            return;
        }
        self.completeTask(task);
    }

    /// Its operations have ended too: it is done.
    pub fn completeTask(self: *Shard, task: *Task) void {
        assert(self.isHere());
        assert(task.flying == 0 and task.ops == null);
        self.mailbox.forget(task);
        self.unlink(task);
        if (task.tells_end) task.vtable.finished.?(task);
        task.latch.publish(wake);
        task.vtable.release(task);
        // Sequentially consistent: counted first, then `closing` is looked at (see Scheduler.liveTasks).
        self.counters.tasks_ended.addShared(1);
        if (self.scheduler.closing.load(.seq_cst)) self.scheduler.stopIfDone(self);
    }

    fn cancelLive(self: *Shard) void {
        assert(self.isHere());
        self.rounds_seen.cancel = self.scheduler.cancel_rounds.load(.seq_cst);
        const rounds = self.scheduler.end_rounds.load(.seq_cst);
        const first = self.rounds_seen.end == 0;
        const all = rounds != self.rounds_seen.end;
        self.rounds_seen.end = rounds;
        var next = self.live;
        while (next) |task| : (next = task.live_next) {
            cancel.cancelClosed(self, task);
            if (!all or (first and (task.cleanup or task.told_of_close.load(.monotonic)))) continue;
            task.cancel_requested.store(true, .seq_cst);
            wake(task);
        }
    }

    /// Any thread: the task is to be polled (again) on its shard.
    pub fn wake(task: *Task) void {
        if (task.claimWake()) enqueueWoken(task);
    }

    /// The same for what a program wrote, by stores of its own.
    pub fn wakeAfterWrites(task: *Task) void {
        if (task.claimWakeAfterWrites()) enqueueWoken(task);
    }

    fn enqueueWoken(task: *Task) void {
        assert(task.started); // Only a task that was polled is idle.
        const home: *Shard = @ptrCast(@alignCast(task.home.?));
        if (home.trace.isOn()) return wakeTraced(home, task);
        queueWoken(home, task);
    }

    noinline fn wakeTraced(home: *Shard, task: *Task) void {
        tracing.record(home.scheduler, .wake, 0, task, home.id);
        queueWoken(home, task);
    }

    /// On its shard, after the trace has the end of the operation that it is for.
    pub fn wakeByOp(self: *Shard, task: *Task) void {
        assert(self.isHere());
        if (task.claimWake()) queueWoken(self, task);
    }

    inline fn queueWoken(home: *Shard, task: *Task) void {
        if (home.latency != null) task.queued_ns = clock.nowNs();
        if (current_shard == home) return home.enqueueLocal(task);
        home.inbox.push(task);
        _ = home.scheduler.notify(home);
    }

    // ---- the interpreter ----

    pub fn acquireInterpreter(self: *Shard) void {
        if (self.interpreter.held) return;
        self.scheduler.interpreter.?.acquire(self);
        self.interpreter.held = true;
    }

    /// With more interpreted tasks to run and nothing to submit, which may take long. A lock that is given
    /// up and taken again at once is one that waiting threads never get: a language hands its lock
    /// over while it is held.
    fn keepsInterpreter(self: *Shard) bool {
        assert(self.current_task == null);
        return self.interpreter.held and self.interpreted.head != null and !self.scheduler.forked() and
            !self.ring.hasUnsubmitted() and !self.scheduler.interpreter.?.wanted(self);
    }

    pub fn releaseInterpreter(self: *Shard) void {
        if (!self.interpreter.held) return;
        self.interpreter.held = false;
        self.scheduler.interpreter.?.release(self);
    }

    // ---- operations ----

    /// Whether one more operation of the present poll may end without a turn of the loop.
    pub fn mayEndAtOnce(self: *Shard, most: u32) bool {
        assert(self.isHere());
        const poll_number = self.counters.polls.get();
        if (self.inline_budget.poll != poll_number) self.inline_budget = .{ .poll = poll_number };
        self.inline_budget.count += 1;
        return self.inline_budget.count <= most;
    }

    pub const launch = completions.launch;
    pub const launchTimer = completions.launchTimer;
    pub const endOp = completions.endOp;
    pub const cancelOp = cancel.cancelOp;
    pub const cancelOps = cancel.cancelOps;
    pub const limitOp = cancel.limitOp;

    /// Null if the kernel cannot pick buffers.
    pub fn providedBuffers(self: *Shard) ?*Buffers {
        assert(self.isHere());
        if (self.buffers == .unasked) {
            self.buffers = if (Buffers.init(self.ring.registrable())) |made| .{ .ready = made } else .none;
            if (self.buffers == .ready) self.ring.buffers = &self.buffers.ready;
        }
        return if (self.buffers == .ready) &self.buffers.ready else null;
    }

    /// The kernel has some of its operations.
    pub fn hasRingOps(self: *const Shard) bool {
        if (self.fixed.used > 0 or self.ring.hasUnsubmitted()) return true;
        var next = self.live;
        while (next) |task| : (next = task.live_next) {
            var ops = task.ops;
            while (ops) |op| : (ops = op.next)
                if (op.phase == .flying and !op.isOurs()) return true;
        }
        return false;
    }

    /// The ring, and what belongs to it.
    pub fn closeRing(self: *Shard) void {
        if (self.ring.isOpen()) self.ring.deinit();
        if (self.buffers == .ready) self.buffers.ready.deinit();
        self.buffers = .none;
        if (self.bell.eventfd >= 0) _ = platform.system.close(self.bell.eventfd);
        self.bell.eventfd = -1;
        self.bell.eventfd_armed = false;
        self.idle.signal_armed = false;
        self.fixed.has_table = false;
        gpa.free(self.scratch);
        self.scratch = &.{};
    }

    /// Gives up registered memory. Transfers that name its place and are only queued go out before.
    pub fn unregister(self: *Shard, slot: usize) void {
        assert(self.isHere());
        if (self.fixed.used > 0 and self.ring.hasUnsubmitted()) self.submit();
        self.fixed.unregister(self.ring.registrable(), slot);
    }

    pub const ringBell = doorbell.ring;
    pub const bellFailed = doorbell.failed;
    pub const countRingFailure = doorbell.countFailure;
    pub const armEventfd = doorbell.armEventfd;
    pub const writeEventfd = doorbell.writeEventfd;

    // ---- time ----

    pub fn submit(self: *Shard) void {
        self.bell.queued = false;
        self.ring.submit();
    }

    /// Adds the time since the last call to the busy time; called at the end of a pass that was long.
    pub fn account(self: *Shard) void {
        assert(self.isHere());
        const now = clock.nowNs();
        const pass_ns = now -| @max(self.accounted_ns, self.now_ns);
        if (pass_ns >= self.scheduler.options.blocked_threshold_ms * std.time.ns_per_ms)
            self.countBlocked(pass_ns);
        self.counters.busy_ns.add(now - self.accounted_ns);
        self.accounted_ns = now;
    }

    fn countBlocked(self: *Shard, pass_ns: u64) void {
        self.counters.blocked_passes.add(1);
        self.trace.note(.blocked, 0, null, pass_ns);
    }

    fn publishGauges(self: *Shard) void {
        assert(self.isHere());
        self.counters.sqes_submitted.value.store(self.ring.sqes_submitted, .monotonic);
        self.counters.submits_refused.value.store(self.ring.submits_refused, .monotonic);
        self.counters.submits_short.value.store(self.ring.submits_short, .monotonic);
        self.counters.sqes_backlogged.value.store(self.ring.sqes_backlogged, .monotonic);
        self.counters.threads_left.value.store(self.ring.threads_left, .monotonic);
        if (self.buffers == .ready) self.gauges.buffers_in_hands.value.store(self.buffers.ready.in_use, .monotonic);
        self.gauges.ops_in_flight.value.store(self.ops.flying, .monotonic);
        self.gauges.timers_set.value.store(self.timers.heap.items.len, .monotonic);
        self.gauges.run_queue_depth.value.store(self.native.len + self.interpreted.len, .monotonic);
    }
};
