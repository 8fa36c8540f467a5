//! The end of a descriptor on the epoll backend. A number may be closed only when nobody uses it, on
//! any shard of the runtime: epoll and the pool know a file by its number alone, while io_uring keeps
//! the file for those that use it. So a close goes round:
//!
//!     owner           begin: nobody uses the number: it is closed at once
//!       | visit       ends what waits for it here, and waits for what the pool does with it
//!       v passOn      to the next shard that uses it; from there the same
//!     peer ... peer
//!       | passOn      nobody is left: back to the owner
//!       v
//!     owner           arrived: closes the number, and completes the operation
//!
//! A close is in one place at a time. Each function runs on the thread of the ring that it is given.

const assert = @import("std").debug.assert;
const linux = @import("std").os.linux;
const errors = @import("../base/errors.zig");
const attempts = @import("attempt.zig");
const blocking = @import("blocking.zig");
const Epoll = @import("epoll.zig").Epoll;
const Pending = @import("pending.zig").Pending;
const Sqe = @import("../ring/ring.zig").Sqe;

/// The operation of a shard's own.
pub fn begin(self: *Epoll, sqe: *const Sqe) void {
    const pending = if (isUsed(self, sqe.fd)) self.take(sqe) else null;
    const closing = pending orelse return self.complete(sqe, closed(sqe.fd), 0);
    closing.stage = .closing;
    if (!self.remember(closing)) return self.outOfMemory(closing);
    visit(self, closing);
}

/// One that a peer has passed on.
pub fn arrived(self: *Epoll, closing: *Pending) void {
    assert(closing.stage == .closing);
    if (ownerOf(closing) == self) finish(self, closing) else visit(self, closing);
}

fn isUsed(self: *Epoll, fd: i32) bool {
    if (self.users.get(fd) != null) return true;
    var peer = self.next_peer;
    while (peer != self) : (peer = peer.next_peer) if (peer.users.has(fd)) return true;
    return false;
}

fn visit(self: *Epoll, closing: *Pending) void {
    const fd = closing.sqe.fd;
    if (self.users.get(fd)) |found| {
        endWaiting(self, found.takeWaiting());
        const users = self.users.get(fd).?;
        if (users.pooled > 0) {
            closing.next = users.closing;
            users.closing = closing;
            return stopPooled(self, fd);
        }
        self.users.dropIfUnused(fd);
    }
    passOn(self, closing);
}

/// Ends what lasts on a descriptor that is being closed; what is done in a file ends by itself. Again
/// and again: a signal may be too early.
pub fn stopPooled(self: *Epoll, fd: i32) void {
    var lasts = false;
    var under_way = self.by_id.valueIterator();
    while (under_way.next()) |entry| {
        const pending = entry.*;
        if (pending.stage != .pooled) continue;
        const held = blocking.descriptors(&pending.sqe);
        if ((held[0] != fd and held[1] != fd) or !self.pool.lasts(pending)) continue;
        self.pool.interrupt(pending);
        lasts = true;
    }
    if (lasts) _ = self.coolDown(fd);
}

/// It returns what is there, such as the end of data that was shut down just before.
fn endWaiting(self: *Epoll, first: ?*Pending) void {
    var next = first;
    while (next) |pending| {
        next = pending.next;
        pending.next = null;
        switch (attempts.attempt(pending)) {
            .done => |result| self.end(pending, result),
            .wait, .block => self.fail(pending, .CANCELED),
        }
    }
}

/// Nobody on this shard uses the number any more.
pub fn passOn(self: *Epoll, closing: *Pending) void {
    const owner = ownerOf(closing);
    var peer = self.next_peer;
    while (peer != owner) : (peer = peer.next_peer) {
        if (peer.users.has(closing.sqe.fd)) return peer.send(closing);
    }
    if (self == owner) finish(self, closing) else owner.send(closing);
}

fn ownerOf(closing: *const Pending) *Epoll {
    return @ptrCast(@alignCast(closing.owner));
}

fn finish(self: *Epoll, closing: *Pending) void {
    self.end(closing, closed(closing.sqe.fd));
}

fn closed(fd: i32) i32 {
    return errors.resultOf(linux.close(fd));
}
