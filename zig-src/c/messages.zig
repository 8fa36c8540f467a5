//! The C ABI of messages between shards. Any thread may send; only poll functions may call the
//! rest.

const handles = @import("../runtime/runtime_handle.zig");
const tsan = @import("../base/tsan.zig");
const errors = @import("../base/errors.zig");
const messages = @import("../scheduler/messages.zig");
const currentTask = @import("common.zig").currentTask;
const fail = @import("common.zig").fail;
const Scheduler = @import("../scheduler/scheduler.zig").Scheduler;
const Interest = @import("../message/mailbox.zig").Interest;
const Message = messages.Message;
const Shard = @import("../scheduler/shard.zig").Shard;

pub export fn spargio_msg_send(handle: u64, shard: u32, tag: u16, value: u32) i32 {
    const one: Message = .{ .from = 0, .tag = tag, .value = value };
    return spargio_msg_send_many(handle, shard, (&one)[0..1], 1, null);
}

pub export fn spargio_msg_send_many(handle: u64, shard: u32, given: ?[*]const Message, count: u32, sent: ?*u32) i32 {
    if (sent) |out| out.* = 0;
    if (given == null and count > 0) return fail(error.Invalid);
    if (handle == 0) {
        const own = Shard.current() orelse return fail(error.NotOnShard);
        return sendTo(own.scheduler, shard, given, count, sent);
    }
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    return sendTo(&runtime.scheduler, shard, given, count, sent);
}

fn sendTo(scheduler: *Scheduler, shard: u32, given: ?[*]const Message, count: u32, sent: ?*u32) i32 {
    const target = messages.shardOf(scheduler, shard) catch |err| return fail(err);
    if (scheduler.forked()) return fail(error.Forked);
    tsan.release(&target.mailbox);
    var done: u32 = 0;
    while (done < count) {
        var batch: [64]Message = undefined;
        const size: u32 = @min(batch.len, count - done);
        @memcpy(batch[0..size], given.?[done..][0..size]);
        const taken: u32 = @intCast(messages.send(scheduler, target, batch[0..size]));
        done += taken;
        if (sent) |out| out.* = done;
        if (taken < size) return fail(error.Overloaded);
    }
    return errors.ok;
}

pub export fn spargio_msg_send_direct(shard: u32, tag: u16, value: u32) i32 {
    const own = Shard.current() orelse return fail(error.NotOnShard);
    const target = messages.shardOf(own.scheduler, shard) catch |err| return fail(err);
    tsan.release(&target.mailbox);
    const taken = messages.sendDirect(own, target, .{ .from = own.id, .tag = tag, .value = value });
    return if (taken) errors.ok else fail(error.Overloaded);
}

pub export fn spargio_msg_flush(position: ?*u64) i32 {
    const out = position orelse return fail(error.Invalid);
    if (currentTask() == null) return fail(error.NotOnShard);
    const shard = Shard.current().?;
    if (out.* == 0) out.* = messages.flushed(shard) + 1;
    if (shard.mailbox.outbox.reached(out.* - 1)) return errors.ready;
    return listen(.{ .flushed = out.* - 1 });
}

pub export fn spargio_msg_next(message: ?*Message) i32 {
    return next(message, .event);
}

pub export fn spargio_msg_next_hot(message: ?*Message) i32 {
    return next(message, .hot_event);
}

fn next(message: ?*Message, interest: Interest) i32 {
    const out = message orelse return fail(error.Invalid);
    if (currentTask() == null) return fail(error.NotOnShard);
    const shard = Shard.current().?;
    out.* = messages.receive(shard, interest) orelse return listen(interest);
    tsan.acquire(&shard.mailbox);
    return errors.ready;
}

pub export fn spargio_msg_next_hot_count(tag: u16, sum: ?*u64) i32 {
    return takeCount(tag, sum, true);
}

pub export fn spargio_msg_take_hot_count(tag: u16, sum: ?*u64) i32 {
    return takeCount(tag, sum, false);
}

fn takeCount(tag: u16, sum: ?*u64, wait: bool) i32 {
    const out = sum orelse return fail(error.Invalid);
    if (currentTask() == null) return fail(error.NotOnShard);
    const shard = Shard.current().?;
    const counter = switch (shard.scheduler.tags.of(tag)) {
        .counter => |n| n,
        else => return fail(error.Invalid),
    };
    const least = if (wait) shard.mailbox.threshold else 1;
    if (shard.mailbox.takeCount(counter, least)) |taken| {
        tsan.acquire(&shard.mailbox);
        out.* = taken;
        return errors.ready;
    }
    if (wait) return listen(.{ .counter = counter });
    out.* = 0;
    return errors.ready;
}

fn listen(interest: Interest) i32 {
    const shard = Shard.current().?;
    shard.mailbox.listen(shard.current_task.?, interest) catch |err| return fail(err);
    return errors.pending;
}
