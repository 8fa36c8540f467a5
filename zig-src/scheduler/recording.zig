//! Where a record goes: to the tally of the shard that runs on this thread, or of the thread itself; if
//! many threads record, to one that the rest of them share. Any thread; no lock, no error, and no memory
//! but at the first record of a shard or thread.

const std = @import("std");
const fork = @import("../base/fork.zig");
const limits = @import("../base/limits.zig");
const memory = @import("../base/memory.zig");
const recorders = @import("recorders.zig");
const Recorder = recorders.Recorder;
const Sample = recorders.Sample;
const Seats = recorders.Seats;
const Shard = @import("shard.zig").Shard;
const Tally = recorders.Tally;

pub fn record(recorder: *Recorder, sample: Sample) void {
    if (tallyOf(recorder)) |tally| return tally.record(.one, sample);
    recorder.outside.record(.many, sample);
}

pub fn recordCorrected(recorder: *Recorder, sample: Sample, interval_ns: u64) void {
    if (tallyOf(recorder)) |tally| return tally.recordCorrected(.one, sample, interval_ns);
    recorder.outside.recordCorrected(.many, sample, interval_ns);
}

inline fn tallyOf(recorder: *Recorder) ?*Tally {
    if (Shard.current()) |shard| return shard.seats.of(recorder);
    const seats = own orelse takeSeats() orelse return null;
    return seats.of(recorder);
}

/// Of a thread that is no shard: an atomic addition costs some 20 ns, and a record needs three.
threadlocal var own: ?*Seats = null;
/// It shares: there was no place, or it is about to end.
threadlocal var shares = false;

var threads_seated: std.atomic.Value(u32) = .init(0);
/// Its destructor gives a thread's seats back. Under the recorders' lock.
var key: std.c.pthread_key_t = undefined;
var has_key = false;

fn takeSeats() ?*Seats {
    @branchHint(.cold);
    if (shares) return null;
    shares = true;
    if (!makeKey()) return null;
    // Monotonic: it only counts.
    if (threads_seated.fetchAdd(1, .monotonic) < limits.recording_threads_max) own = newSeats();
    if (own == null) _ = threads_seated.fetchSub(1, .monotonic);
    return own;
}

fn newSeats() ?*Seats {
    const seats = memory.forever.create(Seats) catch return null;
    seats.* = .{};
    if (std.c.pthread_setspecific(key, seats) == 0) return seats;
    memory.forever.destroy(seats);
    return null;
}

fn makeKey() bool {
    recorders.lock.lock();
    defer recorders.lock.unlock();
    if (has_key) return true;
    fork.keepLoaded(); // A thread may end after a dlclose.
    has_key = std.c.pthread_key_create(&key, giveBack) == .SUCCESS;
    return has_key;
}

/// What the thread counted stays.
fn giveBack(given: ?*anyopaque) callconv(.c) void {
    const seats: *Seats = @ptrCast(@alignCast(given.?));
    own = null;
    seats.leave();
    memory.forever.destroy(seats);
    _ = threads_seated.fetchSub(1, .monotonic);
}

test "threads have tallies of their own, up to a number, and what they counted stays" {
    const S = struct {
        fn run(recorder: *Recorder, arrived: *std.atomic.Value(u32), leave: *std.atomic.Value(bool)) void {
            for (0..1000) |n| record(recorder, .{ .ns = n });
            _ = arrived.fetchAdd(1, .seq_cst);
            while (!leave.load(.seq_cst)) std.atomic.spinLoopHint();
        }
    };
    const recorder = try recorders.open("many threads");
    const count = limits.recording_threads_max + 3;
    var arrived: std.atomic.Value(u32) = .init(0);
    var leave: std.atomic.Value(bool) = .init(false);
    var threads: [count]std.Thread = undefined;
    for (&threads) |*thread| thread.* = try .spawn(.{}, S.run, .{ recorder, &arrived, &leave });
    while (arrived.load(.seq_cst) < count) std.Thread.yield() catch {};
    try std.testing.expectEqual(1000 * count, total(recorder));
    leave.store(true, .seq_cst);
    for (threads) |thread| thread.join();
    try std.testing.expectEqual(1000 * count, total(recorder));
    try std.testing.expectEqual(null, recorder.tallies);
    try std.testing.expectEqual(0, threads_seated.load(.seq_cst));
}

fn total(recorder: *Recorder) u64 {
    recorders.lock.lock();
    defer recorders.lock.unlock();
    return recorders.Sum.of(recorder).count;
}
