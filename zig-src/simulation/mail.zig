//! Messages of the simulation: each sender counts what it sends to a shard, by lane; the shard
//! expects the numbers in that order. Coalesced values are summed on both sides.

const std = @import("std");
const arena = @import("arena.zig");
const c_messages = @import("../c/messages.zig");
const errors = @import("../base/errors.zig");
const kernel = @import("kernel.zig");
const lane = @import("../queue/lane.zig");
const report = @import("report.zig");
const Shard = @import("../scheduler/shard.zig").Shard;
const trial = @import("trial.zig");

const Message = lane.Message;

/// Tags by what they do; a sender from outside adds its number.
const regular: u16 = 0;
const hot: u16 = 16;
const direct: u16 = 32;
const direct_hot: u16 = 33;
pub const counting: u16 = 34;
pub const hot_tags = [_]u16{ hot, hot + 8, hot + 9, hot + 10, hot + 11, hot + 12, direct_hot };
pub const counting_tags = [_]u16{counting};

const streams = 4;
const direct_max = 512;

const Stream = struct {
    sent: u32 = 0,
    received: u32 = 0,
    next: u32 = 0,
    seen: std.StaticBitSet(direct_max) = .empty,
};

/// By sender, target and lane.
var table: [trial.senders_max][trial.shards_max][streams]Stream = undefined;
var added: [trial.shards_max]u64 = undefined;
var taken: [trial.shards_max]u64 = undefined;

pub fn reset() void {
    for (&table) |*row| for (row) |*each| {
        each.* = @splat(.{});
    };
    added = @splat(0);
    taken = @splat(0);
}

pub fn send(prng: *std.Random.DefaultPrng, sender: usize) void {
    const r = prng.random();
    const target = r.uintLessThan(u32, trial.shards);
    const outside = sender >= trial.shards_max;
    const own: u16 = if (outside) @intCast(sender) else 0;
    const handle = if (outside) trial.handle else 0;
    switch (r.uintLessThan(u8, 5)) {
        0, 1 => |which| {
            const stream = &table[sender][target][which];
            var batch: [4]Message = undefined;
            const tag = if (which == 0) regular + own else hot + own;
            const count = 1 + r.uintLessThan(u32, batch.len);
            for (&batch, 0..) |*message, n| message.* = .{
                .from = 0,
                .tag = tag,
                .value = stream.sent + @as(u32, @intCast(n)),
            };
            var sent: u32 = 0;
            _ = c_messages.spargio_msg_send_many(handle, target, &batch, count, &sent);
            stream.sent += sent;
        },
        2 => {
            const value = r.uintLessThan(u32, 100);
            if (c_messages.spargio_msg_send(handle, target, counting, value) == errors.ok) added[target] += value;
        },
        else => |which| if (!outside) {
            const stream = &table[sender][target][which - 1];
            if (stream.sent == direct_max) return;
            const tag = if (which == 3) direct else direct_hot;
            if (c_messages.spargio_msg_send_direct(target, tag, stream.sent) == errors.ok) stream.sent += 1;
        },
    }
}

pub const Lane = enum { event, hot_event };

/// False if it is empty: the job listens.
pub fn receive(shard: usize, which: Lane) bool {
    var message: Message = undefined;
    const said = switch (which) {
        .event => c_messages.spargio_msg_next(&message),
        .hot_event => c_messages.spargio_msg_next_hot(&message),
    };
    if (said == errors.pending) return false;
    if (said == errors.ready) check(shard, &message);
    return true;
}

fn check(shard: usize, message: *const Message) void {
    const is_direct = message.tag == direct or message.tag == direct_hot;
    const number: usize = if (is_direct) message.tag - direct + 2 else message.tag / hot;
    const sender: usize = if (message.from == lane.outside) message.tag % hot else message.from;
    const stream = &table[sender][shard][number];
    if (is_direct) {
        const first = !stream.seen.isSet(message.value);
        report.expect(first, "a direct message comes twice", .{});
        stream.seen.set(message.value);
    }
    // What the kernel refuses its sender lands later; `push` without memory is a refusal as well.
    const ordered = !is_direct or kernel.faults.refuse_bell_every == 0 and arena.refused == 0;
    report.expect(!ordered or message.value == stream.next, "message {d} of {d} instead of {d}", .{
        message.value, sender, stream.next,
    });
    stream.next += 1;
    stream.received += 1;
}

pub fn takeCount(shard: usize) bool {
    var sum: u64 = 0;
    const said = c_messages.spargio_msg_next_hot_count(counting, &sum);
    if (said == errors.pending) return false;
    if (said == errors.ready) taken[shard] += sum;
    return true;
}

/// All shards sleep: whose place is kept in a lane is with the kernel.
pub fn checkAsleep(shards: []Shard) void {
    for (shards, 0..) |*shard, target| {
        const mailbox = &shard.mailbox;
        const kept = mailbox.regular.admitted.raw - mailbox.regular.landed.raw +
            mailbox.hot.admitted.raw - mailbox.hot.landed.raw;
        const travelling = kernel.travelling(target);
        report.expect(kept == travelling, "shard {d}: {d} direct messages on their way, {d} with the kernel", .{
            target, kept, travelling,
        });
    }
}

/// After the end: what was sent was received, or lies there still.
pub fn checkAtEnd(shards: []Shard) void {
    for (shards, 0..) |*shard, target| {
        var sent: u64 = 0;
        var received: u64 = 0;
        for (&table) |*row| for (&row[target]) |*stream| {
            sent += stream.sent;
            received += stream.received;
        };
        const mailbox = &shard.mailbox;
        var there: u64 = 0;
        for ([_]*lane.Lane{ &mailbox.regular, &mailbox.hot }) |each| {
            there += each.depth() + each.admitted.raw - each.landed.raw; // Some never arrive now.
        }
        report.expect(sent == received + there, "of {d} messages {d} were received and {d} are there", .{
            sent, received, there,
        });
        const left = mailbox.counters[0].raw;
        report.expect(added[target] == taken[target] + left, "a counter lost something", .{});
    }
}
