//! Messages between shards: (tag, value) pairs that tasks listen for. They lie in a lane of the
//! target (mailbox.zig), and the doorbell wakes it if it sleeps. Direct ones travel by the kernel
//! instead, each as the payload of one MSG_RING.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const lane = @import("../queue/lane.zig");
const outbox = @import("../message/outbox.zig");
const Scheduler = @import("scheduler.zig").Scheduler;
const Internal = @import("../ring/user_data.zig").Internal;
const Lane = lane.Lane;
const Interest = @import("../message/mailbox.zig").Interest;
const Mailbox = @import("../message/mailbox.zig").Mailbox;
const Shard = @import("shard.zig").Shard;

pub const Message = lane.Message;

/// From any thread: as many as there is room for, in their order; returns how many. The sender's
/// number is filled in.
pub fn send(scheduler: *Scheduler, target: *Shard, messages: []Message) usize {
    const from = Shard.currentOf(scheduler);
    const sender = if (from) |shard| shard.id else lane.outside;
    for (messages) |*message| message.from = sender;
    var sent: usize = 0;
    while (sent < messages.len) {
        const count = sendRun(scheduler, &target.mailbox, messages[sent..]);
        if (count == 0) break;
        sent += count;
    }
    scheduler.countMany(from, .messages_sent, sent);
    if (sent < messages.len) scheduler.countMany(from, .ring_msgs_backpressure, messages.len - sent);
    if (sent > 0) _ = scheduler.notify(target);
    return sent;
}

/// Those at the start that go the same way.
fn sendRun(scheduler: *Scheduler, mailbox: *Mailbox, messages: []const Message) usize {
    const class = scheduler.tags.of(messages[0].tag);
    var count: usize = if (scheduler.tags.table == null) messages.len else 1;
    while (count < messages.len and std.meta.eql(class, scheduler.tags.of(messages[count].tag))) count += 1;
    switch (class) {
        .regular => return mailbox.regular.push(messages[0..count]),
        .hot => return mailbox.hot.push(messages[0..count]),
        .counter => |n| {
            for (messages[0..count]) |message| _ = mailbox.counters[n].fetchAdd(message.value, .seq_cst);
            return count;
        },
    }
}

/// On a shard: one message as the payload of a MSG_RING. False if there is no room.
/// If the kernel has no MSG_RING it goes like any other.
pub fn sendDirect(from: *Shard, target: *Shard, given: Message) bool {
    assert(from.isHere());
    var message = given;
    message.from = from.id;
    // A ring cannot be told of itself, and without the kernel's help there is the lane.
    if (from == target or !from.scheduler.usesMsgRing()) return send(from.scheduler, target, (&message)[0..1]) == 1;
    const admitting = laneOf(from.scheduler, target, message.tag);
    if (admitting) |into| if (!into.admit()) return refuseDirect(from);
    const sequence = from.mailbox.outbox.add(message, target.id, from.scheduler.options.msg_ring_queue_capacity) catch {
        if (admitting) |into| into.unadmit();
        return refuseDirect(from);
    };
    var sqe = std.mem.zeroes(linux.io_uring_sqe);
    sqe.opcode = .MSG_RING;
    sqe.fd = target.ring.fd();
    sqe.len = message.value; // Arrives as the result of a completion,
    sqe.off = arrivalOf(message); // and this as its user data.
    sqe.user_data = @backingInt(Internal.message_sent) | @as(u64, sequence) << 8;
    from.spawn_counters.messages_sent.add(1);
    from.spawn_counters.messages_sent_direct.add(1);
    from.ring.push(&sqe) catch return delivered(from, sequence, @backingInt(linux.E.NOMEM));
    from.bellQueued();
    return true;
}

fn refuseDirect(from: *Shard) bool {
    from.spawn_counters.ring_msgs_backpressure.add(1);
    return false;
}

/// Null if the tag only counts.
fn laneOf(scheduler: *const Scheduler, target: *Shard, tag: u16) ?*Lane {
    return switch (scheduler.tags.of(tag)) {
        .regular => &target.mailbox.regular,
        .hot => &target.mailbox.hot,
        .counter => null,
    };
}

fn arrivalOf(message: Message) u64 {
    comptime std.debug.assert(@import("../base/limits.zig").shards_max <= 256); // The sender takes a byte.
    return @backingInt(Internal.message) | @as(u64, message.from) << 8 | @as(u64, message.tag) << 16;
}

/// The target, at the completion that a direct message is.
pub fn arrived(shard: *Shard, user_data: u64, result: i32) void {
    assert(shard.isHere());
    land(shard.scheduler, shard, .{
        .from = @as(u8, @truncate(user_data >> 8)),
        .tag = @truncate(user_data >> 16),
        .value = @bitCast(result),
    });
}

fn land(scheduler: *Scheduler, target: *Shard, message: Message) void {
    switch (scheduler.tags.of(message.tag)) {
        .regular => target.mailbox.regular.land(message),
        .hot => target.mailbox.hot.land(message),
        .counter => |n| _ = target.mailbox.counters[n].fetchAdd(message.value, .seq_cst),
    }
}

/// The sender, at the completion of its MSG_RING. What the kernel refused goes by the lane, where its
/// place is kept: it is late, not lost.
pub fn delivered(from: *Shard, sequence: u32, errno: u16) bool {
    assert(from.isHere());
    const slot = from.mailbox.outbox.done(sequence);
    if (errno == 0) return true;
    from.countRingFailure(@fromBackingInt(errno));
    const target = &from.scheduler.shards[slot.target];
    land(from.scheduler, target, slot.message);
    _ = from.scheduler.notify(target);
    return true;
}

/// On a shard: the oldest message, if there is one.
pub fn receive(shard: *Shard, interest: Interest) ?Message {
    assert(shard.isHere());
    const from = if (interest == .hot_event) &shard.mailbox.hot else &shard.mailbox.regular;
    const message = from.pop() orelse return null;
    shard.counters.messages_received.add(1);
    return message;
}

/// `sequence` for an interest in the arrival of all direct messages sent by now.
pub fn flushed(shard: *const Shard) u64 {
    assert(shard.isHere());
    return shard.mailbox.outbox.next;
}

/// A shard of the scheduler by its number.
pub fn shardOf(scheduler: *Scheduler, number: u64) errors.Error!*Shard {
    return if (number < scheduler.shards.len) &scheduler.shards[@intCast(number)] else error.InvalidShard;
}
