//! The scheduler's own latencies, if the option `scheduler_latency` is set: recorders of the
//! process, in which each shard has a tally of its own. Without the option a shard has no
//! `Latency`, and pays for one test of a pointer per poll, wake-up and pass.

const clock = @import("../base/clock.zig");
const recorders = @import("recorders.zig");
const Recorder = recorders.Recorder;
const Shard = @import("shard.zig").Shard;
const Task = @import("../task/task.zig").Task;

/// Recorders that begin so say what each shard has, besides the sum (recorder_cbor.zig).
const prefix = "spargio ";

pub const Latency = struct {
    /// From a spawn to the first poll.
    spawn: *Recorder,
    /// From a wake-up to the poll that follows.
    wake: *Recorder,
    poll: *Recorder,
    /// Of the shard's loop, without the wait at its end.
    pass: *Recorder,
    /// A look at others that took something.
    steal: *Recorder,

    /// For a runtime's start.
    pub fn open() error{OutOfMemory}!Latency {
        var self: Latency = undefined;
        inline for (@typeInfo(Latency).@"struct".field_names) |name|
            @field(self, name) = recorders.open(prefix ++ name) catch |err| switch (err) {
                error.OutOfMemory => return error.OutOfMemory,
                error.Full => return error.OutOfMemory, // 256 of the program's own: no room is left.
                error.Invalid => unreachable,
            };
        return self;
    }

    pub fn record(self: *const Latency, shard: *Shard, comptime what: @EnumLiteral(), ns: u64) void {
        if (shard.seats.of(@field(self, @tagName(what)))) |tally| {
            if (tally.shard == recorders.shard_none) tally.shard = shard.id;
            tally.record(.one, .{ .ns = ns });
        }
    }

    /// Before a poll; when that was.
    pub fn begin(self: *const Latency, shard: *Shard, task: *Task) u64 {
        const now = clock.nowNs();
        if (task.queued_ns != 0) {
            const waited_ns = now -| task.queued_ns;
            if (task.started) self.record(shard, .wake, waited_ns) else self.record(shard, .spawn, waited_ns);
        }
        task.queued_ns = 0;
        return now;
    }

    /// After it. The task is not looked at by anybody else: it has not been put anywhere yet.
    pub fn end(self: *const Latency, shard: *Shard, task: *Task, began_ns: u64) void {
        const now = clock.nowNs();
        task.queued_ns = now; // If it goes on at once; a wake-up says otherwise.
        self.record(shard, .poll, now -| began_ns);
    }
};
