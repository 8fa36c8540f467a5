//! Threads for calls that block, such as those on files: at most `most` of a pool, made when there is
//! work for one more. A call that may last forever, such as the opening of a FIFO, does not count,
//! because the call that would end it may be in the queue. First come, first served. Any thread.

const std = @import("std");
const assert = std.debug.assert;
const gpa = @import("../base/memory.zig").gpa;
const limits = @import("../base/limits.zig");
const platform = @import("../base/platform.zig");
const signal_mask = @import("../base/signal_mask.zig");
const sync = @import("../base/sync.zig");
const blocking = @import("blocking.zig");
const Pending = @import("pending.zig").Pending;
const Worker = @import("worker.zig").Worker;
const wakeup = @import("wakeup.zig");

pub const Pool = struct {
    lock: sync.Lock = .{},
    first: ?*Pending = null,
    last: ?*Pending = null,
    queued: u32 = 0,
    idle: u32 = 0,
    made: u32 = 0,
    /// In calls that may last forever.
    lasting: u32 = 0,
    workers: ?*Worker = null,
    /// What ends their calls; null: nothing does.
    signal: ?std.os.linux.SIG = null,
    prepared: bool = false,
    /// Changes with each hand-over and with the end; idle threads wait on it.
    changes: platform.Atomic(u32) = .init(0),
    ending: bool = false,
    most: u32 = limits.pool_threads_max,
    /// Of its threads.
    name: [:0]const u8 = "spargio-files",
    /// Gives an ended operation back to its owner.
    give_back: *const fn (pending: *Pending) void,
    /// Gives one result of an operation that goes on; false: it cannot be remembered.
    give_more: ?*const fn (pending: *Pending, result: i32) bool = null,

    /// False if there is no thread and none can be made: the caller must do it itself.
    pub fn submit(self: *Pool, pending: *Pending) bool {
        self.lock.lock();
        defer self.lock.unlock();
        assert(!self.ending and pending.next == null);
        if (self.queued >= self.idle) self.addThread();
        if (self.made == 0) return false;
        pending.prev = self.last;
        if (self.last) |last| last.next = pending else self.first = pending;
        self.last = pending;
        self.queued += 1;
        if (self.idle > 0) self.wake(1);
        return true;
    }

    /// Takes one back that no thread has begun.
    pub fn withdraw(self: *Pool, pending: *Pending) bool {
        self.lock.lock();
        defer self.lock.unlock();
        if (pending.prev == null and self.first != pending) return false; // A thread has it.
        self.unlink(pending);
        return true;
    }

    fn unlink(self: *Pool, pending: *Pending) void {
        if (pending.prev) |prev| prev.next = pending.next else self.first = pending.next;
        if (pending.next) |next| next.prev = pending.prev else self.last = pending.prev;
        pending.next = null;
        pending.prev = null;
        self.queued -= 1;
    }

    /// Whether a thread is in it for as long as nobody else does something.
    pub fn lasts(self: *Pool, pending: *Pending) bool {
        assert(pending.call == null);
        if (blocking.lastsAlways(&pending.sqe)) return true;
        self.lock.lock();
        defer self.lock.unlock();
        const worker = self.find(pending) orelse return false;
        return worker.lasts;
    }

    /// Its call is to end: it may not have begun it yet, so it is signalled again until it has ended.
    pub fn interrupt(self: *Pool, pending: *Pending) void {
        self.lock.lock();
        defer self.lock.unlock();
        const worker = self.find(pending) orelse return; // About to be given back.
        worker.unwanted.store(true, .seq_cst);
        if (self.signal) |signal| _ = wakeup.send(worker.id, signal);
    }

    /// Gives up a call that nothing ends, and the thread that is in it. True: the operation is the caller's.
    pub fn leave(self: *Pool, pending: *Pending) bool {
        self.lock.lock();
        defer self.lock.unlock();
        const worker = self.find(pending) orelse return false;
        var link = &self.workers;
        while (link.*.? != worker) link = &link.*.?.next;
        const next = worker.next;
        const lasts_now = worker.lasts;
        if (!worker.abandon(.alone)) return false;
        link.* = next; // It may be gone by now.
        self.made -= 1;
        if (lasts_now) self.lasting -= 1;
        return true;
    }

    /// Gives up a call that nothing ends; its thread stays one of `most`, or calls in vain would leave behind any
    /// number of them. True: the operation is the caller's.
    pub fn letGo(self: *Pool, pending: *Pending) bool {
        self.lock.lock();
        defer self.lock.unlock();
        const worker = self.find(pending) orelse return false;
        return worker.letGo();
    }

    fn find(self: *Pool, pending: *Pending) ?*Worker {
        var next = self.workers;
        while (next) |worker| : (next = worker.next) if (worker.job == pending) return worker;
        return null;
    }

    /// After all operations have ended: nobody submits any more. Calls that were let go are not waited for.
    pub fn end(self: *Pool) void {
        self.lock.lock();
        assert(self.first == null);
        self.ending = true;
        self.wake(std.math.maxInt(i32));
        self.lock.unlock();
        while (self.workers) |worker| {
            self.workers = worker.next;
            if (worker.abandon(.kept)) continue;
            worker.thread.join();
            gpa.destroy(worker);
        }
        if (self.prepared) wakeup.release();
        self.prepared = false;
    }

    fn wake(self: *Pool, count: u32) void {
        _ = self.changes.fetchAdd(1, .monotonic);
        sync.wake(&self.changes, count);
    }

    /// With fewer threads than wanted, those that there are do it.
    fn addThread(self: *Pool) void {
        if (self.made - self.lasting >= self.most or self.made == self.most + limits.pool_lasting_max) return;
        if (!self.prepared) self.signal = wakeup.acquire();
        self.prepared = true;
        const worker = gpa.create(Worker) catch return;
        worker.* = .{ .pool = self };
        const before = signal_mask.blockAll();
        defer signal_mask.restore(&before);
        // It takes the lock before it looks at anything.
        worker.thread = std.Thread.spawn(.{}, Worker.main, .{worker}) catch return gpa.destroy(worker);
        worker.next = self.workers;
        self.workers = worker;
        self.made += 1;
    }

    /// If others wait for a thread, there is one in place of this.
    pub fn beginLasting(self: *Pool, worker: *Worker) void {
        self.lock.lock();
        defer self.lock.unlock();
        worker.lasts = true;
        self.lasting += 1;
        if (self.queued > self.idle) self.addThread();
    }

    pub fn endLasting(self: *Pool, worker: *Worker) void {
        self.lock.lock();
        defer self.lock.unlock();
        worker.lasts = false;
        self.lasting -= 1;
    }

    /// Nobody may interrupt it for that operation any more.
    pub fn finish(self: *Pool, worker: *Worker) void {
        self.lock.lock();
        defer self.lock.unlock();
        worker.job = null;
    }

    /// The next one for this thread; null: it is to end.
    pub fn take(self: *Pool, worker: *Worker) ?*Pending {
        self.lock.lock();
        defer self.lock.unlock();
        while (true) {
            if (self.first) |pending| {
                self.unlink(pending);
                worker.unwanted.store(false, .monotonic);
                worker.job = pending;
                // From now on, or a cancellation before its first step would find it held, and be lost.
                if (pending.call) |call| if (call.left != null) worker.state.store(.alone, .release);
                return pending;
            }
            if (self.ending) return null;
            const seen = self.changes.load(.monotonic);
            self.idle += 1;
            self.lock.unlock();
            sync.wait(&self.changes, seen, std.math.maxInt(u64));
            self.lock.lock();
            self.idle -= 1;
        }
    }
};
