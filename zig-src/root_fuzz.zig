//! The library that tests/fuzz works on: all of the Python package's library, and entry points to
//! code that neither the C ABI nor Python reaches with free values. Never shipped.

const std = @import("std");
const runtime_handle = @import("runtime/runtime_handle.zig");
const stats_snapshot = @import("scheduler/stats_snapshot.zig");
const stats = @import("scheduler/stats.zig");
const Scheduler = @import("scheduler/scheduler.zig").Scheduler;
const HandleTableType = @import("base/handle_table.zig").HandleTableType;
const Tags = @import("message/tags.zig").Tags;
const Writer = @import("base/cbor.zig").Writer;

pub const std_options = @import("base/root_settings.zig").std_options;
pub const panic = @import("base/root_settings.zig").panic;

comptime {
    _ = @import("root_python.zig");
}

// ---- coverage ----

/// libFuzzer's entry of a table of program counters.
const Place = extern struct { pc: usize, flags: usize };
const Range = fn (start: *const anyopaque, end: *const anyopaque) callconv(.c) void;

const counters_start = @extern(?[*]u8, .{ .name = "__start___sancov_cntrs", .linkage = .weak });
const counters_end = @extern(?[*]u8, .{ .name = "__stop___sancov_cntrs", .linkage = .weak });
const pcs_start = @extern(?[*]const usize, .{ .name = "__start___sancov_pcs1", .linkage = .weak });

/// Tells libFuzzer of this library's counters, by its own two functions; returns their number, 0 in a
/// build without. The compiler leaves that to us, and its table has no flags.
pub export fn fuzz_register(counters: *const Range, places: *const Range) usize {
    const start = counters_start orelse return 0;
    const count = counters_end.? - start;
    const known = std.heap.c_allocator.alloc(Place, count) catch return 0;
    for (known, pcs_start.?[0..count]) |*slot, pc| slot.* = .{ .pc = pc, .flags = 0 };
    counters(start, counters_end.?);
    places(known.ptr, known.ptr + count);
    return count;
}

// ---- CBOR ----

pub const Item = extern struct { kind: u64, value: u64 };

/// Kinds: 0 number, 1 text (that many bytes of `text`), 2 array, 3 map. Returns the size, also if it
/// does not fit.
pub export fn fuzz_cbor(
    items: [*]const Item,
    count: usize,
    text: [*]const u8,
    buffer: [*]u8,
    capacity: usize,
) usize {
    var writer: Writer = .{ .buffer = buffer[0..capacity] };
    for (items[0..count]) |item| switch (item.kind) {
        0 => writer.uint(item.value),
        1 => writer.text(text[0..@intCast(item.value)]),
        2 => writer.array(item.value),
        else => writer.map(item.value),
    };
    std.debug.assert(writer.fits() == (writer.size <= capacity));
    return writer.size;
}

/// The counters of one shard, or of what is outside, by number.
const sets = .{
    .{ "spawn_counters", stats.SpawnCounters },
    .{ "counters", stats.ShardCounters },
    .{ "gauges", stats.Gauges },
};

/// The name of a counter of a shard; null past the last. Those of `outside` are the first of them.
pub export fn fuzz_counter_name(number: usize) ?[*:0]const u8 {
    var index: usize = 0;
    inline for (sets) |set| inline for (@typeInfo(set[1]).@"struct".field_names) |name| {
        if (index == number) return name ++ "";
        index += 1;
    };
    return null;
}

/// A snapshot of a runtime whose counters are these numbers: first those of `outside`, then of each
/// shard, each followed by its errnos. What is missing is 0.
pub export fn fuzz_snapshot(handle: u64, given: ?[*]const u64, count: usize, buffer: [*]u8, capacity: usize) usize {
    const runtime = runtime_handle.pinRuntime(handle) orelse return 0;
    defer runtime_handle.runtimes.unpin(handle);
    const scheduler: *Scheduler = &runtime.scheduler;
    var numbers: Numbers = .{ .left = if (given) |all| all[0..count] else &.{} };
    numbers.fill(&scheduler.outside);
    numbers.fillErrnos(&scheduler.outside_errnos);
    for (scheduler.shards) |*shard| {
        inline for (sets) |set| numbers.fill(&@field(shard, set[0]));
        numbers.fillErrnos(&shard.errno_counters);
    }
    return stats_snapshot.write(scheduler, "fuzz", buffer[0..capacity]);
}

const Numbers = struct {
    left: []const u64,

    fn next(self: *Numbers) u64 {
        if (self.left.len == 0) return 0;
        defer self.left = self.left[1..];
        return self.left[0];
    }

    fn fill(self: *Numbers, counters: anytype) void {
        inline for (@typeInfo(@TypeOf(counters.*)).@"struct".field_names) |name| {
            @field(counters, name).value.store(self.next(), .monotonic);
        }
    }

    fn fillErrnos(self: *Numbers, counters: *stats.ErrnoCounters) void {
        for (counters) |*counter| counter.value.store(self.next(), .monotonic);
    }
};

// ---- message tags ----

/// What becomes of each of `asked`: -1 regular, -2 hot, else the number of its counter.
pub export fn fuzz_tags(
    hot: [*]const u16,
    hot_count: usize,
    coalesced: [*]const u16,
    coalesced_count: usize,
    asked: [*]const u16,
    answers: [*]i32,
    asked_count: usize,
) void {
    var tags = Tags.init(hot[0..hot_count], coalesced[0..coalesced_count]) catch return;
    defer tags.deinit();
    for (asked[0..asked_count], answers[0..asked_count]) |tag, *answer| answer.* = switch (tags.of(tag)) {
        .regular => -1,
        .hot => -2,
        .counter => |n| n,
    };
}

// ---- handles ----

const Thing = struct {
    closed: u64 = 0,

    pub fn handleClosed(self: *Thing) void {
        self.closed += 1;
    }
};

var handles: HandleTableType(Thing) = .{};

pub export fn fuzz_handle_insert() u64 {
    const thing = std.heap.c_allocator.create(Thing) catch return 0;
    thing.* = .{};
    return handles.insert(thing) catch 0;
}

/// What the handle names, which stays until it is given to fuzz_thing_free.
pub export fn fuzz_handle_pin(handle: u64) ?*Thing {
    return handles.pin(handle);
}

pub export fn fuzz_handle_unpin(handle: u64) void {
    handles.unpin(handle);
}

pub export fn fuzz_handle_close(handle: u64) bool {
    return handles.close(handle);
}

pub export fn fuzz_thing_closed(thing: *const Thing) u64 {
    return thing.closed;
}

pub export fn fuzz_thing_free(thing: *Thing) void {
    std.heap.c_allocator.destroy(thing);
}
