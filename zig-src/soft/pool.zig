//! Threads for calls that block, as those on files do: at most `limits.pool_threads_max` per runtime,
//! made when there is work for one more. A call that may last for ever, such as the opening of a FIFO,
//! does not count: what would end it may be in the queue. First come, first served. Any thread.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const limits = @import("../limits.zig");
const seam = @import("../seam.zig");
const signal_mask = @import("../signal_mask.zig");
const sync = @import("../sync.zig");
const blocking = @import("blocking.zig");
const interrupt = @import("interrupt.zig");
const Pending = @import("pending.zig").Pending;

pub const Pool = struct {
    lock: sync.Lock = .{},
    first: ?*Pending = null,
    last: ?*Pending = null,
    queued: u32 = 0,
    idle: u32 = 0,
    made: u32 = 0,
    /// In calls that may last for ever.
    lasting: u32 = 0,
    threads: [limits.pool_threads_max + limits.pool_lasting_max]seam.Thread = undefined,
    /// Changes with each hand-over and with the end; idle threads wait on it.
    signal: seam.Atomic(u32) = .init(0),
    ending: bool = false,
    /// Gives an ended operation back to its owner.
    give_back: *const fn (pending: *Pending) void,

    /// False where no thread can be made, and there is none: the caller must do it itself.
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

    /// One that a thread is in, and that may last: its call ends by EINTR. Whether it is such a one; to be
    /// repeated until it has ended.
    pub fn stop(self: *Pool, pending: *Pending) bool {
        self.lock.lock();
        defer self.lock.unlock();
        // One that a thread has taken and not begun will see it before its call.
        if (pending.thread == 0 and !blocking.lastsAlways(&pending.sqe)) return false;
        pending.stopped.store(true, .release);
        if (pending.thread != 0) interrupt.send(pending.thread);
        return true;
    }

    /// After all operations have ended: nobody submits any more.
    pub fn end(self: *Pool) void {
        self.lock.lock();
        assert(self.first == null);
        self.ending = true;
        self.wake(std.math.maxInt(i32));
        self.lock.unlock();
        for (self.threads[0..self.made]) |thread| thread.join();
    }

    fn wake(self: *Pool, count: u32) void {
        _ = self.signal.fetchAdd(1, .monotonic);
        sync.wake(&self.signal, count);
    }

    fn addThread(self: *Pool) void {
        if (self.made - self.lasting >= limits.pool_threads_max or self.made == self.threads.len) return;
        interrupt.prepare();
        const before = signal_mask.blockAll();
        defer signal_mask.restore(&before);
        // With fewer threads than wanted, those that there are do it.
        self.threads[self.made] = seam.Thread.spawn(.{}, main, .{self}) catch return;
        self.made += 1;
    }

    fn main(self: *Pool) void {
        _ = linux.prctl(@backingInt(linux.PR.SET_NAME), @intFromPtr("spargio-files"), 0, 0, 0);
        interrupt.admit();
        while (self.take()) |pending| {
            const lasts = blocking.mayLast(&pending.sqe);
            if (lasts) self.beginLasting(pending);
            pending.result = blocking.perform(pending);
            if (lasts) self.endLasting(pending);
            self.give_back(pending);
        }
    }

    /// Where others wait for a thread, there is one in place of this.
    fn beginLasting(self: *Pool, pending: *Pending) void {
        self.lock.lock();
        defer self.lock.unlock();
        pending.thread = linux.gettid();
        self.lasting += 1;
        if (self.queued > self.idle) self.addThread();
    }

    fn endLasting(self: *Pool, pending: *Pending) void {
        self.lock.lock();
        defer self.lock.unlock();
        pending.thread = 0;
        self.lasting -= 1;
    }

    fn take(self: *Pool) ?*Pending {
        self.lock.lock();
        defer self.lock.unlock();
        while (true) {
            if (self.first) |pending| {
                self.unlink(pending);
                return pending;
            }
            if (self.ending) return null;
            const seen = self.signal.load(.monotonic);
            self.idle += 1;
            self.lock.unlock();
            sync.wait(&self.signal, seen, std.math.maxInt(u64));
            self.lock.lock();
            self.idle -= 1;
        }
    }
};
