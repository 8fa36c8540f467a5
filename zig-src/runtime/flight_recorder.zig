//! Keeps a runtime's trace on, and writes it to a file by itself when something went wrong: a shard's pass
//! blocks, a recorder's p99 passes a limit, a signal came. A thread of its own, which needs no shard and
//! no interpreter, so it writes while every shard is blocked.

const std = @import("std");
const linux = std.os.linux;
const clock = @import("../base/clock.zig");
const gpa = @import("../base/memory.zig").gpa;
const histogram = @import("../scheduler/histogram.zig");
const recorders = @import("../scheduler/recorders.zig");
const signals = @import("../base/signals.zig");
const trace_export = @import("trace_export.zig");
const Scheduler = @import("../scheduler/scheduler.zig").Scheduler;
const Shard = @import("../scheduler/shard.zig").Shard;

/// Mirrors `spargio_flight_options`.
pub const Options = extern struct {
    struct_size: u32 = @sizeOf(Options),
    events: u32 = 0,
    folder: ?[*:0]const u8 = null,
    blocked_ns: u64 = 0,
    recorder: ?[*:0]const u8 = null,
    p99_ns: u64 = 0,
    signal: u32 = 0,
    files: u32 = 0,
};

pub const files_default = 16;
pub const files_max = 10_000;
const folder_max = 3800;
/// A percentile is taken over so many records, or more.
const records_min = 100;
/// How often a p99 is looked at, and shards at most and at least.
const p99_every_ns = 500 * std.time.ns_per_ms;
const look_max_ns = 250 * std.time.ns_per_ms;
const look_min_ns = 5 * std.time.ns_per_ms;

pub const StartError = error{ Invalid, OutOfMemory, Overloaded, SetupFailed };

pub const FlightRecorder = struct {
    scheduler: *Scheduler,
    folder: []u8,
    options: Options,
    recorder: ?*recorders.Recorder = null,
    thread: std.Thread = undefined,
    /// Rung by signals, and by `stop`.
    bell: i32,
    signal_key: usize = 0,
    stopping: std.atomic.Value(bool) = .init(false),
    seen: []Seen,
    /// Of the recorder when its p99 was last taken.
    before: []u64 = &.{},
    p99_next_ns: u64 = 0,
    written: u32 = 0,

    const Seen = struct { passes: u64 = std.math.maxInt(u64), since_ns: u64 = 0, told: bool = false };

    /// `errno` says what `SetupFailed` is.
    pub fn start(scheduler: *Scheduler, options: *const Options, errno: *i32) StartError!*FlightRecorder {
        const folder = std.mem.span(options.folder orelse return error.Invalid);
        if (folder.len == 0 or folder.len > folder_max or options.files > files_max) return error.Invalid;
        if (options.blocked_ns == 0 and options.recorder == null and options.signal == 0) return error.Invalid;
        if ((options.recorder == null) != (options.p99_ns == 0)) return error.Invalid;
        const self = try gpa.create(FlightRecorder);
        errdefer gpa.destroy(self);
        self.* = .{ .scheduler = scheduler, .folder = &.{}, .options = options.*, .bell = -1, .seen = &.{} };
        if (self.options.files == 0) self.options.files = files_default;
        errdefer self.free();
        self.folder = try gpa.dupe(u8, folder);
        self.seen = try gpa.alloc(Seen, scheduler.shards.len);
        @memset(self.seen, .{});
        if (options.recorder) |name| try self.follow(std.mem.span(name));
        const rc = linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK);
        errno.* = @backingInt(linux.errno(rc));
        if (errno.* != 0) return error.SetupFailed;
        self.bell = @intCast(rc);
        if (options.signal != 0) self.signal_key = try signals.add(options.signal, self.bell);
        errdefer if (options.signal != 0) signals.remove(self.signal_key);
        _ = try scheduler.tracing.start(scheduler, options.events);
        errdefer _ = scheduler.tracing.stop(scheduler);
        self.thread = std.Thread.spawn(.{ .stack_size = 256 * 1024 }, run, .{self}) catch {
            errno.* = @backingInt(linux.E.AGAIN);
            return error.SetupFailed;
        };
        return self;
    }

    fn follow(self: *FlightRecorder, name: []const u8) StartError!void {
        self.recorder = recorders.open(name) catch |err| return switch (err) {
            error.OutOfMemory => error.OutOfMemory,
            error.Invalid => error.Invalid,
            error.Full => error.Overloaded,
        };
        self.before = try gpa.alloc(u64, histogram.bucket_count);
        @memset(self.before, 0);
    }

    fn free(self: *FlightRecorder) void {
        gpa.free(self.folder);
        gpa.free(self.seen);
        gpa.free(self.before);
        if (self.bell >= 0) _ = linux.close(self.bell);
    }

    /// Files it has written. Any thread.
    pub fn files(self: *const FlightRecorder) u32 {
        return @atomicLoad(u32, &self.written, .monotonic);
    }

    /// Once.
    pub fn stop(self: *FlightRecorder) void {
        self.stopping.store(true, .release);
        const one: u64 = 1;
        _ = linux.write(self.bell, std.mem.asBytes(&one), 8);
        self.thread.join();
        if (self.options.signal != 0) signals.remove(self.signal_key);
        _ = self.scheduler.tracing.stop(self.scheduler);
        self.free();
        gpa.destroy(self);
    }

    fn run(self: *FlightRecorder) void {
        _ = linux.prctl(@backingInt(linux.PR.SET_NAME), @intFromPtr("spargio-flight"), 0, 0, 0);
        // Signals of the program are for its own threads.
        if (self.recorder != null) _ = self.tookTooLong(); // What was before it began does not count.
        while (!self.stopping.load(.acquire)) {
            if (self.options.signal != 0) {
                if ((signals.take(self.signal_key) catch 0) > 0) self.write("signal");
            }
            if (self.options.blocked_ns != 0 and self.somethingBlocks()) self.write("blocked");
            if (self.recorder != null and self.tookTooLong()) self.write("p99");
            self.wait();
        }
    }

    fn wait(self: *FlightRecorder) void {
        const for_blocks = if (self.options.blocked_ns == 0) look_max_ns else self.options.blocked_ns / 4;
        const pause_ns = std.math.clamp(for_blocks, look_min_ns, look_max_ns);
        var polled: [1]linux.pollfd = .{.{ .fd = self.bell, .events = linux.POLL.IN, .revents = 0 }};
        _ = linux.poll(&polled, 1, @intCast(pause_ns / std.time.ns_per_ms));
        var rung: u64 = 0;
        _ = linux.read(self.bell, std.mem.asBytes(&rung), 8);
    }

    /// Once for each pass that does.
    fn somethingBlocks(self: *FlightRecorder) bool {
        const now = clock.nowNs();
        var found = false;
        for (self.scheduler.shards, self.seen) |*shard, *seen| {
            const passes = shard.counters.passes.get();
            if (passes != seen.passes or shard.park_state.isParked()) {
                seen.* = .{ .passes = passes, .since_ns = now };
            } else if (!seen.told and now - seen.since_ns >= self.options.blocked_ns and isInPoll(shard)) {
                seen.told = true;
                found = true;
            }
        }
        return found;
    }

    /// Else it waits for the interpreter's lock, or for the CPU.
    fn isInPoll(shard: *const Shard) bool {
        return shard.published.poll_sequence.load(.monotonic) % 2 == 1;
    }

    fn tookTooLong(self: *FlightRecorder) bool {
        const now = clock.nowNs();
        if (now < self.p99_next_ns) return false;
        self.p99_next_ns = now + p99_every_ns;
        recorders.lock.lock();
        defer recorders.lock.unlock();
        const sum: recorders.Sum = .of(self.recorder.?);
        var count: u64 = 0;
        var used = sum.used();
        while (used.next()) |i| count += sum.buckets[i] - self.before[i];
        if (count < records_min) return false;
        var over: u64 = 0;
        used = sum.used();
        while (used.next()) |i| {
            if (histogram.lowestOf(i) > self.options.p99_ns) over += sum.buckets[i] - self.before[i];
            self.before[i] = sum.buckets[i];
        }
        return over * 100 > count;
    }

    /// PREFIX-PID-NUMBER-REASON.json, complete or not there.
    fn write(self: *FlightRecorder, reason: []const u8) void {
        if (self.written == self.options.files) return;
        var path: [folder_max + 128:0]u8 = undefined;
        var final: [folder_max + 128:0]u8 = undefined;
        const stem = .{ self.folder, linux.getpid(), self.written, reason };
        _ = std.fmt.bufPrintSentinel(&final, "{s}/spargio-{d}-{d}-{s}.json", stem, 0) catch return;
        _ = std.fmt.bufPrintSentinel(&path, "{s}/.spargio-{d}-{d}-{s}.json", stem, 0) catch return;
        const flags: linux.O = .{ .ACCMODE = .WRONLY, .CREAT = true, .TRUNC = true, .CLOEXEC = true };
        const rc = linux.open(&path, flags, 0o600);
        if (linux.errno(rc) != .SUCCESS) return; // The folder may be there the next time.
        const fd: i32 = @intCast(rc);
        const errno = trace_export.write(self.scheduler, 0, fd, .file) catch 1;
        _ = linux.close(fd);
        if (errno != 0 or linux.errno(linux.rename(&path, &final)) != .SUCCESS) {
            _ = linux.unlink(&path);
            return;
        }
        @atomicStore(u32, &self.written, self.written + 1, .monotonic);
    }
};
