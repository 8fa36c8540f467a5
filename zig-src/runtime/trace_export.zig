//! Writes a runtime's trace as Chrome's trace events (JSON), which Perfetto and chrome://tracing show: a
//! track per shard with its polls and parks, operations as async slices, and arrows from a spawn by a
//! steal to the first poll, and from a wake-up to the poll that follows. Any thread; needs no interpreter.

const std = @import("std");
const linux = std.os.linux;
const gpa = @import("../base/memory.zig").gpa;
const ticks = @import("../base/ticks.zig");
const trace_ring = @import("../scheduler/trace_ring.zig");
const Event = trace_ring.Event;
const JsonSink = @import("json_sink.zig").JsonSink;
const Poll = @import("../task/task.zig").Poll;
const Scheduler = @import("../scheduler/scheduler.zig").Scheduler;
const Wake = @import("../ring/ring.zig").Wake;

pub const Error = error{ OutOfMemory, NotTraced };

/// The events since `since` (a stamp of Tracing.start; 0: all that are there) to a file or a stream
/// socket. The errno of the write that failed, or 0.
pub fn write(scheduler: *Scheduler, since: u64, fd: i32, to: enum { file, socket }) Error!i32 {
    var export_: Export = .{ .scheduler = scheduler, .sink = .{ .fd = fd, .is_socket = to == .socket } };
    defer export_.deinit();
    try export_.collect(since);
    try export_.writeAll();
    return export_.sink.errno;
}

const Placed = struct { event: Event, track: u16, name: u32 };

/// What is known of a task while the events go by.
const Known = struct {
    /// Its name in `names`; 0: none.
    name: u32 = 0,
    /// The arrow that its next poll ends; 0: none. Those of a spawn go through steals.
    arrow: u64 = 0,
    of_spawn: bool = false,
};

/// What a track is in the middle of.
const Open = struct {
    poll_ns: u64 = 0,
    task: u48 = 0,
    park_ns: u64 = 0,
    bell_arrow: u64 = 0,
};

const Export = struct {
    scheduler: *Scheduler,
    sink: JsonSink,
    scale: ticks.Scale = undefined,
    events: std.ArrayList(Placed) = .empty,
    names: std.ArrayList([]const u8) = .empty,
    tasks: std.AutoHashMapUnmanaged(u48, Known) = .empty,
    open: []Open = &.{},
    lost: []u64 = &.{},
    zero_ns: u64 = 0,
    arrows: u64 = 0,

    fn deinit(self: *Export) void {
        for (self.names.items) |name| gpa.free(name);
        self.names.deinit(gpa);
        self.events.deinit(gpa);
        self.tasks.deinit(gpa);
        gpa.free(self.open);
        gpa.free(self.lost);
    }

    /// All rings in the order of time.
    fn collect(self: *Export, since: u64) Error!void {
        const tracing = &self.scheduler.tracing;
        tracing.lock.lock();
        defer tracing.lock.unlock();
        const rings = tracing.rings();
        if (rings.len == 0) return error.NotTraced;
        self.open = try gpa.alloc(Open, rings.len);
        @memset(self.open, .{});
        self.lost = try gpa.alloc(u64, rings.len);
        try self.names.append(gpa, try gpa.dupe(u8, ""));
        const copied = try gpa.alloc(Event, rings[0].slots.len);
        defer gpa.free(copied);
        for (rings, 0..) |*ring, track| {
            const found = ring.copy(copied);
            const kept = copied[0..found.count];
            self.lost[track] = if (kept.len > 0 and kept[0].stamp < since) 0 else found.lost;
            try self.addTrack(kept, since, @intCast(track));
        }
        self.scale = .{ .from = tracing.began, .to = .take() };
        std.sort.block(Placed, self.events.items, {}, isEarlier);
        try self.nameEarlier();
        self.zero_ns = if (self.events.items.len > 0) self.scale.toNs(self.events.items[0].event.stamp) else 0;
    }

    fn addTrack(self: *Export, events: []const Event, since: u64, track: u16) Error!void {
        var begun: ?usize = null;
        var text: [trace_ring.pieces_max * trace_ring.piece_bytes]u8 = undefined;
        var size: usize = 0;
        for (events) |*event| {
            if (event.kind == .name) {
                var bytes: [16]u8 = undefined;
                const piece = trace_ring.pieceOf(event, &bytes);
                if (begun == null or size + piece.len > text.len) continue;
                @memcpy(text[size..][0..piece.len], piece);
                size += piece.len;
                continue;
            }
            try self.nameTask(begun, text[0..size]);
            size = 0;
            begun = null;
            if (event.stamp < since) continue;
            if (event.kind == .first_poll or event.kind == .poll) begun = self.events.items.len;
            try self.events.append(gpa, .{ .event = event.*, .track = track, .name = 0 });
        }
        try self.nameTask(begun, text[0..size]);
    }

    fn nameTask(self: *Export, begun: ?usize, text: []const u8) Error!void {
        const index = begun orelse return;
        if (text.len == 0) return;
        self.events.items[index].name = @intCast(self.names.items.len);
        const name = try gpa.dupe(u8, text);
        errdefer gpa.free(name);
        try self.names.append(gpa, name);
    }

    /// A name stands for the task's polls before it too, back to its first one: before that its address was
    /// another task's.
    fn nameEarlier(self: *Export) Error!void {
        var names: std.AutoHashMapUnmanaged(u48, u32) = .empty;
        defer names.deinit(gpa);
        var n = self.events.items.len;
        while (n > 0) {
            n -= 1;
            const placed = &self.events.items[n];
            const kind = placed.event.kind;
            if (kind != .first_poll and kind != .poll) continue;
            if (placed.name == 0) placed.name = names.get(placed.event.task) orelse 0;
            if (kind == .first_poll) {
                _ = names.remove(placed.event.task);
            } else if (placed.name != 0) try names.put(gpa, placed.event.task, placed.name);
        }
    }

    fn isEarlier(_: void, a: Placed, b: Placed) bool {
        return a.event.stamp < b.event.stamp;
    }

    fn writeAll(self: *Export) Error!void {
        const out = &self.sink;
        out.print("{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", .{});
        const pid = linux.getpid();
        const head = "{{\"ph\":\"M\",\"pid\":{d},\"tid\":{d},\"name\":\"";
        out.print(head ++ "process_name\",\"args\":{{\"name\":\"spargio {d}\"}}}}", .{ pid, 0, pid });
        for (self.open, 0..) |_, track| {
            out.print(",\n" ++ head ++ "thread_name\",\"args\":{{\"name\":\"", .{ pid, track });
            const is_shard = track < self.scheduler.shards.len;
            if (is_shard) out.print("shard {d}", .{track}) else out.print("other threads", .{});
            out.print("\"}}}}", .{});
        }
        for (self.events.items) |*placed| try self.one(placed);
        const now_ns = self.scale.to.ns;
        for (self.open, 0..) |*open, track| {
            if (open.poll_ns != 0) self.poll(@intCast(track), open, now_ns, "running");
            if (open.park_ns == 0) continue;
            self.slice(@intCast(track), "parked", open.park_ns, now_ns -| open.park_ns, "\"by\":\"nothing yet\"");
        }
        out.print("\n],\"otherData\":{{\"start_monotonic_ns\":{d},\"events\":{d},\"overwritten\":[", .{
            self.zero_ns, self.events.items.len,
        });
        for (self.lost, 0..) |lost, i| out.print("{s}{d}", .{ if (i == 0) "" else ",", lost });
        out.print("]}}}}\n", .{});
        out.flush();
    }

    fn one(self: *Export, placed: *const Placed) Error!void {
        const event = &placed.event;
        const track = placed.track;
        const open = &self.open[track];
        const ns = self.scale.toNs(event.stamp);
        switch (event.kind) {
            .spawn => {
                try self.tasks.put(gpa, event.task, .{ .of_spawn = true, .arrow = self.newArrow() });
                self.mark(track, "spawn", ns, event);
                self.arrow("s", "spawn", track, ns, self.arrows);
            },
            .steal => {
                self.mark(track, "steal", ns, event);
                const known = self.tasks.getPtr(event.task) orelse return;
                if (known.arrow != 0 and known.of_spawn) self.arrow("t", "spawn", track, ns, known.arrow);
            },
            .first_poll, .poll => try self.beginPoll(placed, ns),
            .poll_end => {
                if (open.poll_ns == 0 or open.task != event.task) return; // Its beginning was overwritten.
                const how = std.enums.fromInt(Poll, event.arg) orelse .pending;
                self.poll(track, open, ns, @tagName(how));
                open.poll_ns = 0;
                if (how == .ended) _ = self.tasks.remove(event.task);
            },
            .wake => try self.wake(track, "wake", ns, event),
            .doorbell => {
                self.mark(track, "doorbell", ns, event);
                if (event.value >= self.open.len) return;
                self.open[event.value].bell_arrow = self.newArrow();
                self.arrow("s", "doorbell", track, ns, self.arrows);
            },
            .park => open.park_ns = ns,
            .unpark => self.unpark(track, open, ns, event),
            .submit => self.operation("b", track, ns, event),
            .complete => {
                self.operation("e", track, ns, event);
                try self.wake(track, "complete", ns, event);
            },
            .blocked => self.slice(track, "blocked pass", ns -| event.value, event.value, ""),
            .name => unreachable, // They were put to their tasks.
        }
    }

    fn newArrow(self: *Export) u64 {
        self.arrows += 1;
        return self.arrows;
    }

    fn beginPoll(self: *Export, placed: *const Placed, ns: u64) Error!void {
        const event = &placed.event;
        const open = &self.open[placed.track];
        open.* = .{ .poll_ns = ns, .task = event.task, .bell_arrow = open.bell_arrow };
        const found = try self.tasks.getOrPut(gpa, event.task);
        const known = found.value_ptr;
        if (!found.found_existing) known.* = .{};
        if (placed.name != 0) known.name = placed.name;
        if (known.arrow == 0) return;
        self.arrow("f", if (known.of_spawn) "spawn" else "wake", placed.track, ns, known.arrow);
        known.arrow = 0;
        known.of_spawn = false;
    }

    fn wake(self: *Export, track: u16, name: []const u8, ns: u64, event: *const Event) Error!void {
        if (event.task == 0) return;
        const found = try self.tasks.getOrPut(gpa, event.task);
        if (!found.found_existing) found.value_ptr.* = .{};
        if (found.value_ptr.arrow != 0) return; // It is to be polled already.
        found.value_ptr.arrow = self.newArrow();
        self.mark(track, name, ns, event);
        self.arrow("s", "wake", track, ns, self.arrows);
    }

    fn unpark(self: *Export, track: u16, open: *Open, ns: u64, event: *const Event) void {
        const by = std.enums.fromInt(Wake, event.arg) orelse .completions;
        var buffer: [32]u8 = undefined;
        const words = std.fmt.bufPrint(&buffer, "\"by\":\"{t}\"", .{by}) catch unreachable; // A short name.
        if (open.park_ns != 0) self.slice(track, "parked", open.park_ns, ns -| open.park_ns, words);
        open.park_ns = 0;
        if (open.bell_arrow == 0) return;
        self.mark(track, "rung", ns, event);
        self.arrow("f", "doorbell", track, ns, open.bell_arrow);
        open.bell_arrow = 0;
    }

    fn poll(self: *Export, track: u16, open: *const Open, end_ns: u64, how: []const u8) void {
        const known = self.tasks.get(open.task) orelse Known{};
        var buffer: [64]u8 = undefined;
        const words = std.fmt.bufPrint(&buffer, "\"task\":\"{x}\",\"ends\":\"{s}\"", .{ open.task, how }) catch
            unreachable; // 12 digits and a short word.
        const name = if (known.name == 0) "task" else self.names.items[known.name];
        self.slice(track, name, open.poll_ns, end_ns -| open.poll_ns, words);
    }

    /// What takes no time: as short as a slice can be, for the arrows to hold on to.
    fn mark(self: *Export, track: u16, name: []const u8, ns: u64, event: *const Event) void {
        var buffer: [64]u8 = undefined;
        const words = switch (event.kind) {
            .spawn, .wake => std.fmt.bufPrint(&buffer, "\"task\":\"{x}\",\"shard\":{d}", .{ event.task, event.value }),
            .steal => std.fmt.bufPrint(&buffer, "\"task\":\"{x}\",\"victim\":{d}", .{ event.task, event.value }),
            .doorbell => std.fmt.bufPrint(&buffer, "\"shard\":{d}", .{event.value}),
            .complete => std.fmt.bufPrint(&buffer, "\"task\":\"{x}\",\"result\":{d}", .{
                event.task, trace_ring.numberOf(event.value),
            }),
            else => std.fmt.bufPrint(&buffer, "", .{}),
        };
        self.slice(track, name, ns, 1, words catch unreachable); // Two numbers.
    }

    fn slice(self: *Export, track: u16, name: []const u8, ns: u64, long_ns: u64, arguments: []const u8) void {
        const out = &self.sink;
        out.print(",\n{{\"ph\":\"X\",\"pid\":{d},\"tid\":{d},\"ts\":", .{ linux.getpid(), track });
        out.micros(ns -| self.zero_ns);
        out.print(",\"dur\":", .{});
        out.micros(@max(long_ns, 1));
        out.print(",\"name\":\"", .{});
        out.text(name);
        out.print("\",\"args\":{{{s}}}}}", .{arguments});
    }

    fn arrow(self: *Export, phase: []const u8, category: []const u8, track: u16, ns: u64, id: u64) void {
        const out = &self.sink;
        out.print(",\n{{\"ph\":\"{s}\",\"pid\":{d},\"tid\":{d},\"ts\":", .{ phase, linux.getpid(), track });
        out.micros(ns -| self.zero_ns);
        const binding = if (phase[0] == 'f') ",\"bp\":\"e\"" else "";
        out.print(",\"name\":\"{s}\",\"cat\":\"{s}\",\"id\":{d}{s}}}", .{ category, category, id, binding });
    }

    fn operation(self: *Export, phase: []const u8, track: u16, ns: u64, event: *const Event) void {
        const out = &self.sink;
        out.print(",\n{{\"ph\":\"{s}\",\"pid\":{d},\"tid\":{d},\"ts\":", .{ phase, linux.getpid(), track });
        out.micros(ns -| self.zero_ns);
        const id = trace_ring.operationOf(event.value);
        out.print(",\"cat\":\"operation\",\"id\":\"{d}:{x}\"", .{ track, id });
        // Without a name, which Perfetto would compare with that of the beginning.
        if (event.kind == .complete) return out.print(",\"args\":{{\"result\":{d}}}}}", .{
            trace_ring.numberOf(event.value),
        });
        const name = if (event.arg == trace_ring.timer_opcode)
            "TIMER"
        else if (std.enums.fromInt(linux.IORING_OP, event.arg)) |opcode|
            std.enums.tagName(linux.IORING_OP, opcode) orelse "operation"
        else
            "operation";
        const fd = trace_ring.numberOf(event.value);
        out.print(",\"name\":\"{s}\",\"args\":{{\"fd\":{d},\"task\":\"{x}\"}}}}", .{ name, fd, event.task });
    }
};
