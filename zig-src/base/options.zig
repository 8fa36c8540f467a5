//! Runtime options: the C struct, its defaults, and the one place that refuses values.

const std = @import("std");
const limits = @import("limits.zig");
const cpus = @import("cpus.zig");

/// What does the operations; `automatic` is io_uring if a ring can be made, else epoll.
pub const Backend = enum(u32) { automatic = 0, io_uring = 1, epoll = 2, either = 3 };

/// What a runtime got: `automatic` is decided.
pub const ChosenBackend = enum(u32) { io_uring = 1, epoll = 2 };

/// What keeps the stealable tasks of a shard.
pub const QueueBackend = enum(u32) { mutex = 0, lock_free = 1 };

pub const IdleStrategy = enum(u32) { park = 0, spin = 1, yield = 2, sleep = 3 };

pub const flag_no_msg_ring: u32 = 1;
pub const flag_no_single_issuer: u32 = 2;
pub const flag_coop_taskrun: u32 = 4;
pub const flag_scheduler_latency: u32 = 8;
const flags_known = flag_no_msg_ring | flag_no_single_issuer | flag_coop_taskrun | flag_scheduler_latency;

/// For `io_uring_sqpoll_cpu`: the kernel's thread runs where the scheduler puts it.
pub const any_cpu = std.math.maxInt(u32);

/// Mirrors `spargio_runtime_options`; the header documents units and ranges.
pub const Options = extern struct {
    struct_size: u32 = @sizeOf(Options),
    shards: u32 = 0,
    steal_budget: u32 = 64,
    steal_victim_stride: u32 = 1,
    steal_victim_probe_count: u32 = 2,
    steal_batch_size: u32 = 4,
    steal_locality_margin: u32 = 1,
    steal_fail_cost: u32 = 1,
    steal_backoff_min: u32 = 1,
    steal_backoff_max: u32 = 32,
    stealable_queue_capacity: u32 = 4096,
    stealable_queue_backend: u32 = @backingInt(QueueBackend.mutex),
    ring_entries: u32 = 256,
    idle_strategy: u32 = @backingInt(IdleStrategy.park),
    idle_sleep_ns: u64 = std.time.ns_per_ms,
    thread_prefix: ?[*:0]const u8 = null,
    thread_affinity: ?[*]const u32 = null,
    thread_affinity_count: u32 = 0,
    flags: u32 = 0,
    hot_msg_tags: ?[*]const u16 = null,
    hot_msg_tags_count: u32 = 0,
    coalesced_hot_msg_tags_count: u32 = 0,
    coalesced_hot_msg_tags: ?[*]const u16 = null,
    hot_counter_wake_threshold: u64 = 1,
    msg_ring_queue_capacity: u32 = 4096,
    io_uring_sqpoll_idle_ms: u32 = 0,
    io_uring_sqpoll_cpu: u32 = any_cpu,
    backend: u32 = @backingInt(Backend.automatic),
    blocked_threshold_ms: u64 = 100,

    /// The defaults of this machine: one shard per usable CPU.
    pub fn init() Options {
        return .{ .shards = @intCast(std.math.clamp(cpus.count(), 1, limits.shards_max)) };
    }

    pub fn queueBackend(self: *const Options) QueueBackend {
        return @fromBackingInt(@intCast(self.stealable_queue_backend));
    }

    pub fn idle(self: *const Options) IdleStrategy {
        return @fromBackingInt(@intCast(self.idle_strategy));
    }

    pub fn hotTags(self: *const Options) []const u16 {
        return if (self.hot_msg_tags) |tags| tags[0..self.hot_msg_tags_count] else &.{};
    }

    pub fn coalescedTags(self: *const Options) []const u16 {
        return if (self.coalesced_hot_msg_tags) |tags| tags[0..self.coalesced_hot_msg_tags_count] else &.{};
    }

    pub fn prefix(self: *const Options) []const u8 {
        return if (self.thread_prefix) |text| std.mem.span(text) else "spargio";
    }
};

const Range = struct { name: []const u8, min: u64, max: u64 };

pub const ranges = [_]Range{
    .{ .name = "shards", .min = 1, .max = limits.shards_max },
    .{ .name = "steal_budget", .min = 1, .max = 65536 },
    .{ .name = "steal_victim_stride", .min = 1, .max = 256 },
    .{ .name = "steal_victim_probe_count", .min = 1, .max = 256 },
    .{ .name = "steal_batch_size", .min = 1, .max = 1024 },
    .{ .name = "steal_locality_margin", .min = 0, .max = 1_000_000 },
    .{ .name = "steal_fail_cost", .min = 0, .max = 1_000_000 },
    .{ .name = "steal_backoff_min", .min = 1, .max = 65536 },
    .{ .name = "steal_backoff_max", .min = 1, .max = 65536 },
    .{ .name = "stealable_queue_capacity", .min = 1, .max = 1 << 24 },
    .{ .name = "stealable_queue_backend", .min = 0, .max = 1 },
    .{ .name = "ring_entries", .min = limits.ring_entries_min, .max = 32768 },
    .{ .name = "idle_strategy", .min = 0, .max = 3 },
    .{ .name = "idle_sleep_ns", .min = 1_000, .max = std.time.ns_per_s },
    .{ .name = "thread_affinity_count", .min = 0, .max = 1024 },
    .{ .name = "flags", .min = 0, .max = flags_known },
    .{ .name = "hot_msg_tags_count", .min = 0, .max = 1 << 16 },
    .{ .name = "coalesced_hot_msg_tags_count", .min = 0, .max = limits.counters_max },
    .{ .name = "hot_counter_wake_threshold", .min = 1, .max = std.math.maxInt(u32) },
    .{ .name = "msg_ring_queue_capacity", .min = 1, .max = 1 << 20 },
    .{ .name = "io_uring_sqpoll_idle_ms", .min = 0, .max = 600_000 },
    .{ .name = "backend", .min = 0, .max = 3 },
    .{ .name = "blocked_threshold_ms", .min = 1, .max = 3_600_000 },
};

/// Linux names a thread with 15 bytes; "-255" and a margin are kept free.
const prefix_bytes_max = 10;

/// Returns null if all is in range, else a sentence in `message`: option, range and value.
pub fn check(options: *const Options, message: []u8) ?[]const u8 {
    inline for (ranges) |range| {
        const value: u64 = @field(options, range.name);
        if (value < range.min or value > range.max) {
            return print(message, "{s} must be between {d} and {d}, got {d}", .{
                range.name, range.min, range.max, value,
            });
        }
    }
    if (options.steal_backoff_max < options.steal_backoff_min) {
        return print(message, "steal_backoff_max must be between steal_backoff_min ({d}) and 65536, got {d}", .{
            options.steal_backoff_min, options.steal_backoff_max,
        });
    }
    if (!std.math.isPowerOfTwo(options.ring_entries)) {
        return print(message, "ring_entries must be a power of two between 8 and 32768, got {d}", .{
            options.ring_entries,
        });
    }
    if (checkBackend(options, message)) |said| return said;
    if (checkPointers(options, message)) |said| return said;
    return checkThreads(options, message);
}

fn checkBackend(options: *const Options, message: []u8) ?[]const u8 {
    const epoll = options.backend == @backingInt(Backend.epoll);
    if (epoll and options.io_uring_sqpoll_idle_ms != 0) return print(
        message,
        "io_uring_sqpoll_idle_ms must be 0 with the backend epoll, got {d}",
        .{options.io_uring_sqpoll_idle_ms},
    );
    if (options.backend == 0 and environment() == null) if (variable()) |text|
        return print(message, "SPARGIO_BACKEND must be auto, io_uring or epoll, got \"{s}\"", .{text});
    return null;
}

/// What SPARGIO_BACKEND says; `automatic` if it is not set, null if it makes no sense.
pub fn environment() ?Backend {
    const text = variable() orelse return .automatic;
    if (std.mem.eql(u8, text, "auto")) return .automatic;
    if (std.mem.eql(u8, text, "io_uring")) return .io_uring;
    return if (std.mem.eql(u8, text, "epoll")) .epoll else null;
}

fn variable() ?[]const u8 {
    const text = std.mem.span(std.c.getenv("SPARGIO_BACKEND") orelse return null);
    return if (text.len == 0) null else text;
}

fn checkPointers(options: *const Options, message: []u8) ?[]const u8 {
    if (options.hot_msg_tags == null and options.hot_msg_tags_count > 0) return print(
        message,
        "hot_msg_tags_count must be 0 if hot_msg_tags is NULL, got {d}",
        .{options.hot_msg_tags_count},
    );
    if (options.coalesced_hot_msg_tags == null and options.coalesced_hot_msg_tags_count > 0) return print(
        message,
        "coalesced_hot_msg_tags_count must be 0 if coalesced_hot_msg_tags is NULL, got {d}",
        .{options.coalesced_hot_msg_tags_count},
    );
    if (options.io_uring_sqpoll_cpu == any_cpu) return null;
    if (options.io_uring_sqpoll_idle_ms == 0)
        return print(message, "io_uring_sqpoll_cpu must be left out if io_uring_sqpoll_idle_ms is 0, got {d}", .{
            options.io_uring_sqpoll_cpu,
        });
    if (!cpus.isUsable(options.io_uring_sqpoll_cpu)) return print(
        message,
        "io_uring_sqpoll_cpu must be a CPU of this process's affinity mask, got {d}",
        .{options.io_uring_sqpoll_cpu},
    );
    return null;
}

fn checkThreads(options: *const Options, message: []u8) ?[]const u8 {
    const prefix = options.prefix();
    if (prefix.len == 0 or prefix.len > prefix_bytes_max) {
        return print(message, "thread_prefix must have between 1 and {d} bytes, got {d}", .{
            prefix_bytes_max, prefix.len,
        });
    }
    for (prefix) |byte| {
        if (!std.ascii.isPrint(byte)) {
            return print(message, "thread_prefix must be printable ASCII, got the byte {d}", .{byte});
        }
    }
    if (options.thread_affinity_count == 0) return null;
    const chosen = options.thread_affinity orelse
        return print(message, "thread_affinity must be an array of {d} CPUs, got NULL", .{
            options.thread_affinity_count,
        });
    for (chosen[0..options.thread_affinity_count]) |cpu| {
        if (!cpus.isUsable(cpu)) return print(
            message,
            "thread_affinity must have CPUs of this process's affinity mask, got {d}",
            .{cpu},
        );
    }
    return null;
}

fn print(message: []u8, comptime format: []const u8, arguments: anytype) []const u8 {
    return std.fmt.bufPrint(message, format, arguments) catch message;
}

/// No struct of a header is longer.
pub const size_max = 4096;

pub const ReadError = error{Invalid};

/// Reads a struct of an older, equal or newer header: missing fields take their defaults, unknown
/// bytes must be zero. No header ever ended inside a field: half a pointer would be one to anywhere.
pub fn read(comptime T: type, defaults: T, given: *const T) ReadError!T {
    const size = given.struct_size;
    if (size == @sizeOf(T)) return given.*; // Of this header, as in most programs: each spawn reads one.
    if (size < 2 * @sizeOf(u32) or size > size_max or size % 4 != 0) return error.Invalid;
    inline for (@typeInfo(T).@"struct".field_names) |name| {
        const start = @offsetOf(T, name);
        if (start < size and size < start + @sizeOf(@FieldType(T, name))) return error.Invalid;
    }
    var result = defaults;
    const known = @min(size, @sizeOf(T));
    const bytes: [*]const u8 = @ptrCast(given);
    @memcpy(std.mem.asBytes(&result)[0..known], bytes[0..known]);
    result.struct_size = @sizeOf(T);
    for (bytes[known..size]) |byte| if (byte != 0) return error.Invalid;
    return result;
}

test "defaults are in range, each bound is refused by name" {
    var message: [160]u8 = undefined;
    const defaults = Options.init();
    try std.testing.expectEqual(null, check(&defaults, &message));
    inline for (ranges) |range| {
        var options = defaults;
        @field(options, range.name) = @intCast(range.max + 1);
        const said = check(&options, &message).?;
        try std.testing.expect(std.mem.startsWith(u8, said, range.name));
        if (range.min > 0) {
            @field(options, range.name) = @intCast(range.min - 1);
            try std.testing.expect(check(&options, &message) != null);
        }
    }
}

test "structs of older and newer headers" {
    const defaults = Options.init();
    var given = defaults;
    given.steal_budget = 7;
    given.flags = 1;
    given.struct_size = @offsetOf(Options, "steal_victim_stride");
    const older = try read(Options, defaults, &given);
    try std.testing.expectEqual(7, older.steal_budget);
    try std.testing.expectEqual(0, older.flags);
    var newer: extern struct { options: Options, more: [4]u32 } = .{ .options = defaults, .more = @splat(0) };
    newer.options.struct_size += 16;
    _ = try read(Options, defaults, &newer.options);
    newer.more[3] = 1;
    try std.testing.expectError(error.Invalid, read(Options, defaults, &newer.options));
    given.struct_size = @offsetOf(Options, "thread_prefix") + 4;
    try std.testing.expectError(error.Invalid, read(Options, defaults, &given));
    given.struct_size = 3;
    try std.testing.expectError(error.Invalid, read(Options, defaults, &given));
}
