//! The C ABI of signals. Handles on any thread, the wait in a poll function.

const errors = @import("../base/errors.zig");
const readiness = @import("../ops/readiness.zig");
const native_signals = @import("../runtime/native_signals.zig");
const currentTask = @import("common.zig").currentTask;
const fail = @import("common.zig").fail;
const launch = @import("common.zig").launch;
const watches = &native_signals.watches;
const Watch = native_signals.Watch;

pub export fn spargio_signal_open(signals: ?[*]const i32, count: u32, out: ?*u64) i32 {
    const handle = out orelse return fail(error.Invalid);
    const given = signals orelse return fail(error.Invalid);
    if (count == 0 or count > native_signals.most) return fail(error.Invalid);
    var errno: i32 = 0;
    const watch = Watch.create(given[0..count], &errno) catch |err|
        return if (errno != 0) errors.fromErrno(errno) else fail(err);
    handle.* = watches.insert(watch) catch |err| {
        watch.drop();
        return fail(err);
    };
    return errors.ok;
}

pub export fn spargio_signal_next(handle: u64, op: ?*u64) i32 {
    const watch = watches.pin(handle) orelse return fail(error.Closed);
    defer watches.unpin(handle);
    if (currentTask() == null) return fail(error.NotOnShard);
    watch.retain(); // The operation's.
    const status = launch(op, readiness.start, .{readiness.Asked{
        .fd = watch.fd,
        .ask = ask,
        .release = release,
        .untaken = untaken,
        .ctx = watch,
    }});
    if (status != errors.ok) watch.drop();
    return status;
}

fn ask(ctx: ?*anyopaque, _: i32) ?i32 {
    const watch: *Watch = @ptrCast(@alignCast(ctx.?));
    return watch.take();
}

fn untaken(ctx: ?*anyopaque, number: i32) void {
    const watch: *Watch = @ptrCast(@alignCast(ctx.?));
    watch.giveBack(number);
}

fn release(ctx: ?*anyopaque) void {
    const watch: *Watch = @ptrCast(@alignCast(ctx.?));
    watch.drop();
}

pub export fn spargio_signal_close(handle: u64) i32 {
    return if (watches.close(handle)) errors.ok else fail(error.Closed);
}
