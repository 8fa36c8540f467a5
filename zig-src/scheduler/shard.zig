//! A shard: one thread, one ring, one scheduler. This file is its loop:
//! reap completions -> drain the inbox -> timers -> local tasks (budget) -> own stealable queue
//! (budget) -> steal when there is nothing left -> submit -> park.
//! All fields belong to the shard's thread but for those marked "any thread".

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const cancel = @import("cancel.zig");
const clock = @import("../base/clock.zig");
const fork = @import("../base/fork.zig");
const limits = @import("../base/limits.zig");
const stats = @import("stats.zig");
const Crew = @import("scheduler.zig").Crew;
const buffers_module = @import("../ring/provided_buffers.zig");
const Buffers = buffers_module.Buffers;
const Doorbell = @import("park_state.zig").Doorbell;
const Fixed = @import("../ring/registered_buffers.zig").Fixed;
const Mailbox = @import("../message/mailbox.zig").Mailbox;
const messages = @import("messages.zig");
const InboxType = @import("../queue/inbox.zig").InboxType;
const ListType = @import("../queue/list.zig").ListType;
const Room = @import("../task/room.zig").Room;
const StealableType = @import("../queue/stealable.zig").StealableType;
const Policy = @import("steal_policy.zig").Policy;
const Ring = @import("../ring/ring.zig").Ring;
const Sqe = @import("../ring/ring.zig").Sqe;
const Cqe = @import("../ring/ring.zig").Cqe;
const Task = @import("../task/task.zig").Task;
const Timers = @import("../task/timers.zig").Timers;
const Timer = @import("../task/timers.zig").Timer;
const op_module = @import("../task/op.zig");
const Op = op_module.Op;
const OpTable = op_module.OpTable;
const user_data = @import("../ring/user_data.zig");
const Internal = user_data.Internal;
const bells = @import("doorbell.zig");
const idle = @import("idle.zig");
const thief = @import("steal.zig");
const without_worker = @import("without_worker.zig");
const seam = @import("../base/platform.zig");
const Atomic = seam.Atomic;

/// A shard that never parks publishes its busy time this often.
const account_every_ns = 10 * std.time.ns_per_ms;

/// The shard whose loop this thread runs.
pub threadlocal var current_shard: ?*Shard = null;

pub const Shard = struct {
    id: u16,
    crew: *Crew,
    ring: Ring,
    /// Never changes after the start.
    eventfd: i32 = -1,
    eventfd_value: u64 = 0,
    /// The read of it is under way or queued.
    eventfd_armed: bool = false,
    thread: ?seam.Thread = null,
    /// What a language's executor keeps per shard.
    host_data: ?*anyopaque = null,
    /// A caller's thread drives this shard: its waits are short and followed by `Host.interrupted`.
    interruptible: bool = false,

    doorbell: Doorbell align(std.atomic.cache_line) = .{}, // any thread
    inbox: InboxType(Task) = .{}, // any thread
    stealable: StealableType(Task), // any thread
    room: Room = .{}, // any thread
    mailbox: Mailbox,
    granted_search: Atomic(bool) = .init(false), // any thread
    high_water: Atomic(u64) = .init(0), // any thread

    /// Even: between tasks; odd: in one. Read by thieves to see how long. // any thread reads
    poll_sequence: Atomic(u64) align(std.atomic.cache_line) = .init(0),
    /// Usual time of one stealable task, ns. // any thread reads
    task_ns: Atomic(u64) = .init(0),
    /// It last ran hosted tasks. // any thread reads
    runs_hosted: Atomic(bool) = .init(false),

    native: ListType(Task) = .{},
    hosted: ListType(Task) = .{},
    live: ?*Task = null,
    current_task: ?*Task = null,
    timers: Timers = .{},
    ops: OpTable = .{},
    /// Made at the first receive that wants one; `none` where the kernel has no such thing.
    buffers: union(enum) { unasked, none, ready: Buffers } = .unasked,
    fixed: Fixed = .{},
    policy: Policy,
    watch: thief.Watch,
    searching: bool = false,
    /// Since the last pass: maybe for a stealable task, and nobody else was woken for that.
    rung: bool = false,
    in_host: bool = false,
    bells_queued: bool = false,
    /// The last poll that rang a bell went on for long after it.
    bells_at_once: bool = false,
    /// When the first bell since the last poll was rung; 0: there is none.
    rang_ns: u64 = 0,
    cancel_rounds_seen: u32 = 0,
    end_rounds_seen: u32 = 0,
    idle: idle.Idle = .{},
    /// Operations that the poll with this number ended without the ring.
    at_once: struct { poll: u64 = 0, count: u32 = 0 } = .{},
    now_ns: u64 = 0,
    accounted_ns: u64 = 0,

    counters: stats.ShardCounters align(std.atomic.cache_line) = .{},
    spawn_counters: stats.SpawnCounters = .{},
    /// Spawns made here, refused ones too.
    spawns_begun: stats.Counter = .{},
    errno_counters: stats.ErrnoCounters = @splat(.{}),
    gauges: stats.Gauges = .{},

    /// The shard that this thread runs, if any.
    pub fn current() ?*Shard {
        return current_shard;
    }

    /// In a forked child: the shard is the parent's, and this thread runs none.
    pub fn forgetCurrent() void {
        const shard = current_shard orelse return;
        if (shard.crew.program_mask) |*program| fork.setMask(program);
        current_shard = null;
    }

    pub fn currentOf(crew: *const Crew) ?*Shard {
        const shard = current_shard orelse return null;
        return if (shard.crew == crew) shard else null;
    }

    /// Runs on the shard's thread until the crew stops.
    pub fn run(self: *Shard) void {
        assert(current_shard == null);
        current_shard = self;
        defer current_shard = null;
        self.accounted_ns = clock.nowNs();
        while (self.crew.stop.load(.acquire) == 0) self.pass();
        if (self.crew.forked()) return;
        // The last task may have ended here: the bells that tell the others must still go out, also where
        // the kernel takes a part at a time, and one that it refuses is rung another way.
        while (true) {
            _ = self.reapReady();
            if (!self.ring.hasUnsubmitted() and !self.ring.hasTaskWork()) break;
            self.submit();
        }
        self.ring.drain();
        self.account();
        if (self.searching) thief.release(self);
        // What came after the last pass (a task's release, the last look of the language) may have entered.
        self.leaveHost();
        assert(self.live == null and self.ops.flying == 0);
    }

    /// Runs on the calling thread until `done` is set, by a task of this shard or by what the driver does
    /// between passes. The driver comes back, on the same thread, and closes the crew at the end.
    pub fn runUntil(self: *Shard, done: *const bool) void {
        assert(current_shard == null and self.interruptible);
        current_shard = self;
        defer current_shard = null;
        self.accounted_ns = clock.nowNs();
        while (!done.* and self.crew.stop.load(.acquire) == 0) self.pass();
    }

    fn pass(self: *Shard) void {
        const now = clock.nowNs();
        if (now - self.accounted_ns > account_every_ns) self.account();
        self.now_ns = now;
        self.counters.passes.add(1);
        self.reap();
        self.drainInbox();
        self.mailbox.deliver(wake);
        if (self.timers.next() <= self.now_ns) _ = self.timers.fireDue(self.now_ns);
        if (self.crew.cancel_rounds.load(.seq_cst) != self.cancel_rounds_seen) self.cancelLive();
        thief.giveUp(self);
        if (self.bells_queued) self.submit(); // Of a steal, or a completion: a task may take long.
        self.rang_ns = 0;
        self.runLocal();
        self.runStealable();
        if (!self.staysInHost()) self.leaveHost();
        if (self.crew.forked()) return self.crew.stop.store(1, .release); // Ours is a copy.
        self.publishGauges();
        if (self.hasLocalWork()) {
            thief.stealBusy(self);
            idle.checkInterrupts(self);
            if (self.ring.hasUnsubmitted() or self.ring.hasTaskWork() or self.ring.mustBeAsked()) self.submit();
            return;
        }
        if (thief.steal(self)) return;
        idle.wait(self);
    }

    /// Tasks that nobody else may run.
    pub fn hasReady(self: *const Shard) bool {
        return self.native.head != null or self.hosted.head != null;
    }

    pub fn hasLocalWork(self: *const Shard) bool {
        return self.hasReady() or
            !self.inbox.isEmpty() or self.stealable.depth() > 0 or self.mailbox.isDue();
    }

    /// Everything that must keep the shard awake; looked at between `announce` and `commit`.
    pub fn hasWork(self: *Shard) bool {
        return self.hasLocalWork() or self.ring.ready() or
            self.crew.stop.load(.seq_cst) != 0 or
            self.crew.cancel_rounds.load(.seq_cst) != self.cancel_rounds_seen;
    }

    // ---- tasks ----

    fn drainInbox(self: *Shard) void {
        var arrived: ListType(Task) = .{};
        if (self.inbox.drain(&arrived) == 0) return;
        while (arrived.popFront()) |task| self.enqueueLocal(task);
    }

    /// A task that this shard will poll; its state is `queued`.
    pub fn enqueueLocal(self: *Shard, task: *Task) void {
        assert(task.state.load(.monotonic) == .queued);
        if (task.vtable.hosted) self.hosted.pushBack(task) else self.native.pushBack(task);
    }

    fn runLocal(self: *Shard) void {
        self.runList(&self.native);
        self.runList(&self.hosted);
    }

    /// Those that are ready now, each once; what they make ready goes on while nobody else waits.
    fn runList(self: *Shard, list: *ListType(Task)) void {
        var first = list.len;
        var budget: usize = limits.local_budget;
        while (budget > 0) : (budget -= 1) {
            if (first > 0) first -= 1 else if (self.othersWait()) return;
            self.poll(list.popFront() orelse return);
        }
    }

    fn othersWait(self: *const Shard) bool {
        if (self.crew.forked()) return true; // The task forked: the child has no view of the ring.
        return self.stealable.depth() > 0 or !self.inbox.isEmpty() or self.ring.ready();
    }

    fn runStealable(self: *Shard) void {
        defer if (self.room.isWanted()) self.tellRoom();
        if (self.stealable.depth() == 0) return;
        const before_ns = self.task_ns.load(.monotonic);
        // Two clock reads are a good part of a short pass: most passes go unmeasured.
        const measured = before_ns == 0 or self.counters.passes.get() % 8 == 0;
        const began_ns = if (measured) clock.nowNs() else 0;
        var count: u64 = 0;
        while (count < self.crew.options.steal_budget) : (count += 1)
            self.poll(self.stealable.popOwner() orelse break);
        if (!measured or count == 0) return;
        const each_ns = (clock.nowNs() - began_ns) / count;
        // Half old, half new: a change of the load shows within a few measurements.
        self.task_ns.store(if (before_ns == 0) each_ns else (before_ns + each_ns) / 2, .monotonic);
    }

    /// Of the stealable queue. Any thread.
    pub fn freePlaces(self: *const Shard) usize {
        return self.crew.options.stealable_queue_capacity -| self.stealable.depth();
    }

    /// Any thread, after something left the stealable queue.
    pub fn tellRoom(self: *Shard) void {
        self.room.tell(self.freePlaces(), wake);
    }

    /// One step of a task: started here if it was not, and put where it belongs afterwards.
    pub fn poll(self: *Shard, task: *Task) void {
        if (self.crew.forked()) return; // It runs in the parent.
        if (task.vtable.hosted) self.enterHost() else self.leaveHost();
        self.runs_hosted.store(task.vtable.hosted, .monotonic);
        // Sequentially consistent: a waker sets what the task will look at and then looks at the state.
        // It sees `running`, or the task sees what was set.
        _ = task.state.swap(.running, .seq_cst);
        // A bell that waits for the end of the pass would wait for all tasks before it.
        defer if (self.rang_ns != 0) self.sendBells();
        if (!task.started and !self.start(task)) return;
        const sequence = self.poll_sequence.load(.monotonic);
        self.poll_sequence.store(sequence +% 1, .monotonic);
        self.current_task = task;
        self.counters.polls.add(1);
        const outcome = task.vtable.poll(task);
        self.current_task = null;
        self.poll_sequence.store(sequence +% 2, .monotonic);
        if (self.crew.forked()) return; // The poll forked, and came back in the child.
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
    /// task that spawns many mostly waits for them next. Where the last such poll had more to do, the bells
    /// of the next one go out at once.
    pub fn bellQueued(self: *Shard) void {
        if (self.rang_ns == 0) self.rang_ns = clock.nowNs();
        if (self.bells_at_once) self.submit() else self.bells_queued = true;
    }

    fn sendBells(self: *Shard) void {
        if (self.crew.forked()) return;
        self.bells_at_once = clock.nowNs() - self.rang_ns > limits.bell_delay_ns;
        self.rang_ns = 0;
        if (self.bells_queued) self.submit();
    }

    fn requeue(self: *Shard, task: *Task) void {
        task.state.store(.queued, .monotonic);
        self.enqueueLocal(task);
    }

    /// False where the task was cancelled before it began; it is done then.
    fn start(self: *Shard, task: *Task) bool {
        task.started = true;
        task.home = self;
        task.home_id.store(self.id, .release);
        const closing = self.crew.closing.load(.seq_cst) and !task.cleanup;
        if (closing or task.cancel_requested.load(.seq_cst)) {
            self.link(task);
            task.vtable.abandon(task);
            self.finish(task);
            return false;
        }
        self.link(task);
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
        task.live_next = self.live;
        if (self.live) |first| first.live_prev = task;
        self.live = task;
    }

    fn unlink(self: *Shard, task: *Task) void {
        if (task.live_prev) |prev| prev.live_next = task.live_next else self.live = task.live_next;
        if (task.live_next) |next| next.live_prev = task.live_prev;
        task.live_prev = null;
        task.live_next = null;
    }

    /// The task's code has ended; it is done when its operations have ended too.
    fn finish(self: *Shard, task: *Task) void {
        task.state.store(.ended, .seq_cst);
        self.cancelOps(task);
        var next = task.ops; // A timer's cancellation has ended it already.
        while (next) |op| {
            next = op.next;
            if (op.phase == .ended) self.discard(op);
        }
        if (task.flying > 0) {
            task.draining = true;
            return;
        }
        self.complete(task);
    }

    fn complete(self: *Shard, task: *Task) void {
        assert(task.flying == 0 and task.ops == null);
        self.mailbox.forget(task);
        self.unlink(task);
        task.completion.publish(wake);
        task.vtable.release(task);
        // Sequentially consistent: counted first, then `closing` is looked at (see Crew.liveTasks).
        self.counters.tasks_ended.addShared(1);
        if (self.crew.closing.load(.seq_cst)) self.crew.stopIfDone(self);
    }

    fn cancelLive(self: *Shard) void {
        self.cancel_rounds_seen = self.crew.cancel_rounds.load(.seq_cst);
        const rounds = self.crew.end_rounds.load(.seq_cst);
        const first = self.end_rounds_seen == 0;
        const all = rounds != self.end_rounds_seen;
        self.end_rounds_seen = rounds;
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
        if (!task.claimWake()) return;
        const home: *Shard = @ptrCast(@alignCast(task.home.?));
        if (current_shard == home) return home.enqueueLocal(task);
        home.inbox.push(task);
        _ = home.crew.notify(home);
    }

    // ---- the language host ----

    pub fn enterHost(self: *Shard) void {
        if (self.in_host) return;
        self.crew.host.?.enter(self);
        self.in_host = true;
    }

    /// With more hosted tasks to run and nothing to submit, which may take long. A lock that is given
    /// up and taken again at once is one that waiting threads never get: a language hands its lock
    /// over while it is held.
    fn staysInHost(self: *Shard) bool {
        return self.in_host and self.hosted.head != null and !self.crew.forked() and
            !self.ring.hasUnsubmitted() and !self.crew.host.?.wanted(self);
    }

    pub fn leaveHost(self: *Shard) void {
        if (!self.in_host) return;
        self.in_host = false;
        self.crew.host.?.leave(self);
    }

    // ---- operations ----

    /// Whether one more operation of the present poll may end without a turn of the loop.
    pub fn mayEndAtOnce(self: *Shard, most: u32) bool {
        const poll_number = self.counters.polls.get();
        if (self.at_once.poll != poll_number) self.at_once = .{ .poll = poll_number };
        self.at_once.count += 1;
        return self.at_once.count <= most;
    }

    /// Hands an operation of the current task to the kernel; it ends exactly once.
    pub fn launch(self: *Shard, op: *Op, sqe: Sqe) void {
        assert(current_shard == self and op.phase == .flying);
        op.sqe = sqe;
        op.sqe.user_data = op.id();
        if (self.ring.submitsAsOther()) return self.unseen(op, .PERM);
        self.ring.push(&op.sqe) catch self.unseen(op, .NOMEM); // Of the backlog.
    }

    /// The kernel never saw it, so it ends here. A close must not fail by that: the caller has given the
    /// descriptor up.
    fn unseen(self: *Shard, op: *Op, reason: linux.E) void {
        if (op.sqe.opcode != .CLOSE or op.verbatim) return self.endOp(op, -@as(i32, @backingInt(reason)), 0);
        const rc = seam.system.close(op.sqe.fd);
        self.endOp(op, @truncate(@as(isize, @bitCast(rc))), 0);
    }

    pub fn launchTimer(self: *Shard, op: *Op, deadline_ns: u64) void {
        op.is_timer = true;
        op.timer.fire = timerFired;
        self.timers.set(&op.timer, Timers.rounded(deadline_ns, self.now_ns)) catch
            self.endOp(op, -@as(i32, @backingInt(linux.E.NOMEM)), 0);
    }

    fn timerFired(timer: *Timer) void {
        const op: *Op = @fieldParentPtr("timer", timer);
        const self: *Shard = @ptrCast(@alignCast(op.shard));
        self.endOp(op, 0, 0);
    }

    pub const cancelOp = cancel.cancelOp;
    pub const cancelOps = cancel.cancelOps;

    pub fn endOp(self: *Shard, op: *Op, result: i32, cqe_flags: u32) void {
        const task = op.task;
        if (op.timer.isSet()) self.timers.cancel(&op.timer); // It would have asked for this end again.
        self.ops.end(op, result, cqe_flags);
        if (op.complete) |function| {
            const ctx = op.complete_ctx;
            _ = self.ops.consume(op);
            function(ctx, result, cqe_flags);
        } else if (task.draining) self.discard(op);
        if (!task.draining) return wake(task);
        if (task.flying == 0) self.complete(task);
    }

    /// Nobody takes what it brought.
    fn discard(self: *Shard, op: *Op) void {
        if (buffers_module.idOf(op.cqe_flags)) |id| self.buffers.ready.giveBack(id);
        self.ops.discard(op);
    }

    /// Null where the kernel cannot pick buffers.
    pub fn pickable(self: *Shard) ?*Buffers {
        if (self.buffers == .unasked) {
            self.buffers = if (Buffers.init(self.ring.registrable())) |made| .{ .ready = made } else .none;
            if (self.buffers == .ready) self.ring.buffers = &self.buffers.ready;
        }
        return if (self.buffers == .ready) &self.buffers.ready else null;
    }

    /// Gives up registered memory. Transfers that name its place and are only queued go out before.
    pub fn unregister(self: *Shard, slot: usize) void {
        if (self.fixed.used > 0 and self.ring.hasUnsubmitted()) self.submit();
        self.fixed.unregister(self.ring.registrable(), slot);
    }

    /// The kernel runs a part of the deferred work at a time (20, in newer ones). A pass takes
    /// more of it, because what a pass costs (an interpreter's lock) does not grow with them.
    fn reap(self: *Shard) void {
        if (self.ring.hasOverflow()) self.counters.cq_overflows.add(1);
        var rounds: usize = 0;
        while (true) : (rounds += 1) {
            const count = self.reapReady();
            if (count < limits.deferred_batch or rounds == limits.deferred_rounds) return;
            if (!self.ring.hasTaskWork()) return;
            self.submit();
        }
    }

    fn reapReady(self: *Shard) usize {
        var count: usize = 0;
        var cqes: [limits.reap_batch]Cqe = undefined;
        while (true) {
            const batch = self.ring.reap(&cqes);
            if (batch.len == 0) return count;
            count += batch.len;
            self.counters.cqes_reaped.add(batch.len);
            for (batch) |cqe| {
                if (cqe.user_data <= user_data.internal_max) self.internal(cqe) else self.completed(cqe);
            }
        }
    }

    fn completed(self: *Shard, cqe: Cqe) void {
        if (cqe.flags & linux.IORING_CQE_F_BUFFER != 0) self.buffers.ready.in_hands += 1;
        const op = self.ops.find(cqe.user_data) orelse return self.counters.stale_completions.add(1);
        // It has ended, and nobody took the result yet: a second end would be a fault of the kernel's.
        if (op.phase != .flying) return self.counters.stale_completions.add(1);
        if (cqe.res >= 0 and cqe.flags == 0 and op.more == null) return self.endOp(op, cqe.res, 0); // By far the most.
        if (cqe.flags & linux.IORING_CQE_F_MORE != 0) {
            if (op.more) |function| function(op.complete_ctx, cqe.res, cqe.flags) else op.result = cqe.res;
            return;
        }
        const result = finalOf(op, cqe);
        const exhausted = op.picks and result == -@as(i32, @backingInt(linux.E.NOBUFS));
        if (exhausted) self.counters.buffers_exhausted.add(1);
        if (op.more != null and (result > 0 or exhausted)) self.counters.multishots_cut.add(1);
        self.landed(op, result, cqe.flags);
    }

    /// What a signal or the kernel's own work came in between was not begun, and is asked for again:
    /// unless its end is wanted, or it is a close, which has happened all the same (close(2)).
    fn landed(self: *Shard, op: *Op, result: i32, cqe_flags: u32) void {
        const interrupted = result == -@as(i32, @backingInt(linux.E.INTR)) and !op.verbatim and !op.cancel_sent;
        if (without_worker.isMissing(self, op, result)) {
            return self.endOp(op, without_worker.retry(self, op, result) orelse return, cqe_flags);
        }
        if (!interrupted) return self.endOp(op, result, cqe_flags);
        if (op.sqe.opcode == .CLOSE) return self.endOp(op, 0, cqe_flags);
        self.ring.push(&op.sqe) catch self.endOp(op, result, cqe_flags);
    }

    /// A notification only says that the buffer is free; the result came before. What a system call
    /// would have restarted (a splice that was cancelled) ends by the kernel's own number for that.
    fn finalOf(op: *const Op, cqe: Cqe) i32 {
        if (cqe.flags & linux.IORING_CQE_F_NOTIF != 0) return op.result;
        return switch (cqe.res) {
            -516...-512 => -@as(i32, @backingInt(linux.E.INTR)),
            else => cqe.res,
        };
    }

    fn internal(self: *Shard, cqe: Cqe) void {
        const kind: Internal = @fromBackingInt(@intCast(@as(u8, @truncate(cqe.user_data))));
        switch (kind) {
            .ignore => {},
            .cancel => cancel.refused(self, cqe),
            .doorbell => self.counters.ring_msgs_completed.add(1),
            .eventfd => self.eventfd_armed = false,
            .signal => idle.signalled(self, cqe.res),
            .msg_ring => self.bellFailed(cqe),
            .message => {
                self.counters.ring_msgs_completed.add(1);
                messages.arrived(self, cqe.user_data, cqe.res);
            },
            .message_sent => _ = messages.delivered(self, @intCast(cqe.user_data >> 8), bells.errnoOf(cqe.res)),
            _ => self.counters.stale_completions.add(1),
        }
    }

    pub const ringBell = bells.ring;
    pub const bellFailed = bells.failed;
    pub const countRingFailure = bells.countFailure;
    pub const armEventfd = bells.armEventfd;
    pub const writeEventfd = bells.writeEventfd;

    // ---- time ----

    pub fn submit(self: *Shard) void {
        self.bells_queued = false;
        self.ring.submit();
    }

    /// Adds the time since the last call to the busy time; called at the end of a pass that was long.
    pub fn account(self: *Shard) void {
        const now = clock.nowNs();
        const pass_ns = now -| @max(self.accounted_ns, self.now_ns);
        if (pass_ns >= self.crew.options.blocked_threshold_ms * std.time.ns_per_ms)
            self.counters.blocked_passes.add(1);
        self.counters.busy_ns.add(now - self.accounted_ns);
        self.accounted_ns = now;
    }

    fn publishGauges(self: *Shard) void {
        self.counters.sqes_submitted.value.store(self.ring.sqes_submitted, .monotonic);
        self.counters.submits_refused.value.store(self.ring.submits_refused, .monotonic);
        self.counters.submits_short.value.store(self.ring.submits_short, .monotonic);
        self.counters.sqes_backlogged.value.store(self.ring.sqes_backlogged, .monotonic);
        self.counters.threads_left.value.store(self.ring.threads_left, .monotonic);
        if (self.buffers == .ready) self.gauges.buffers_in_hands.value.store(self.buffers.ready.in_hands, .monotonic);
        self.gauges.ops_in_flight.value.store(self.ops.flying, .monotonic);
        self.gauges.timers_set.value.store(self.timers.heap.items.len, .monotonic);
        self.gauges.run_queue_depth.value.store(self.native.len + self.hosted.len, .monotonic);
    }
};
