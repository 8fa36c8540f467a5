//! Options from a file, so that a program need not be changed to try another value: a line
//! `name = value` each, `#` begins a comment. Names are those of the C struct; its flags bear the names
//! that Python's builder has. `program.NAME` is the program's own and is not looked at. Any thread.

const std = @import("std");
const linux = std.os.linux;
const errno_text = @import("errno_text.zig");
const options_module = @import("options.zig");
const Options = options_module.Options;

/// Bytes of a file.
const size_max = 64 * 1024;

/// Fields that take a number, as it is.
const numbers = [_][]const u8{
    "shards",                     "steal_budget",            "steal_victim_stride",
    "steal_victim_probe_count",   "steal_batch_size",        "steal_locality_margin",
    "steal_fail_cost",            "steal_backoff_min",       "steal_backoff_max",
    "stealable_queue_capacity",   "ring_entries",            "idle_sleep_ns",
    "hot_counter_wake_threshold", "msg_ring_queue_capacity", "io_uring_sqpoll_idle_ms",
    "io_uring_sqpoll_cpu",        "blocked_threshold_ms",
};

const Words = struct { name: []const u8, words: []const []const u8 };

/// Fields that take one of some words, which count from 0. `either` is the file's `auto`: the
/// environment's SPARGIO_BACKEND does not decide what a file decides.
const worded = [_]Words{
    .{ .name = "backend", .words = &.{ "", "io_uring", "epoll", "auto" } },
    .{ .name = "stealable_queue_backend", .words = &.{ "mutex", "lock_free" } },
    .{ .name = "idle_strategy", .words = &.{ "park", "spin", "yield", "sleep" } },
};

const Flag = struct { name: []const u8, bit: u32, set_when: bool };

const flags = [_]Flag{
    .{ .name = "msg_ring", .bit = options_module.flag_no_msg_ring, .set_when = false },
    .{ .name = "io_uring_single_issuer", .bit = options_module.flag_no_single_issuer, .set_when = false },
    .{ .name = "io_uring_coop_taskrun", .bit = options_module.flag_coop_taskrun, .set_when = true },
    .{ .name = "scheduler_latency", .bit = options_module.flag_scheduler_latency, .set_when = true },
};

/// Null in a program with more rights than its caller: what is wrong with a file is said with its text.
extern "c" fn secure_getenv(name: [*:0]const u8) ?[*:0]const u8;

/// Sets what the file that the environment's SPARGIO_OPTIONS_FILE names has; nothing if it is not set.
/// Null, or a sentence in `message` that names the file.
pub fn fromEnvironment(options: *Options, message: []u8) ?[]const u8 {
    const path = secure_getenv("SPARGIO_OPTIONS_FILE") orelse return null;
    return if (path[0] == 0) null else read(options, path, message);
}

/// Sets what the file has. Null, or a sentence in `message`; then some options may be set already.
pub fn read(options: *Options, path: [*:0]const u8, message: []u8) ?[]const u8 {
    var buffer: [size_max]u8 = undefined;
    const name = std.mem.span(path);
    const rc = linux.open(path, .{ .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return unreadable(message, name, linux.errno(rc));
    const fd: i32 = @intCast(rc);
    defer _ = linux.close(fd);
    var size: usize = 0;
    while (size < buffer.len) {
        const got = linux.read(fd, buffer[size..].ptr, buffer.len - size);
        switch (linux.errno(got)) {
            .SUCCESS => if (got == 0) break,
            .INTR => continue,
            else => |errno| return unreadable(message, name, errno),
        }
        size += got;
    }
    if (size == buffer.len)
        return print(message, "options file {s} must have fewer than {d} bytes", .{ name, size_max });
    return parse(options, buffer[0..size], name, message);
}

fn unreadable(message: []u8, name: []const u8, errno: linux.E) []const u8 {
    return print(message, "options file {s} cannot be read: {s}", .{ name, errno_text.of(@backingInt(errno)) });
}

fn parse(options: *Options, text: []const u8, path: []const u8, message: []u8) ?[]const u8 {
    var said: [160]u8 = undefined;
    var lines = std.mem.splitScalar(u8, text, '\n');
    var number: usize = 0;
    while (lines.next()) |whole| {
        number += 1;
        const line = std.mem.trim(u8, until(whole, '#'), " \t\r");
        if (line.len == 0) continue;
        const wrong = take(options, line, &said) orelse continue;
        return print(message, "options file {s}, line {d}: {s}", .{ path, number, wrong });
    }
    const wrong = options_module.check(options, &said) orelse return null;
    if (lineOf(text, wrong)) |line| return print(message, "options file {s}, line {d}: {s}", .{ path, line, wrong });
    return print(message, "options file {s}: {s}", .{ path, wrong });
}

/// The last line that sets the option with which the sentence begins, or else one that it names: two bounds
/// may be compared, of which the file has one. Null: the file sets neither.
fn lineOf(text: []const u8, sentence: []const u8) ?usize {
    var found: ?usize = null;
    var is_first = false;
    var lines = std.mem.splitScalar(u8, text, '\n');
    var number: usize = 0;
    while (lines.next()) |line| {
        number += 1;
        const name = std.mem.trim(u8, until(until(line, '#'), '='), " \t\r");
        var words = std.mem.tokenizeAny(u8, sentence, " ,");
        var place: usize = 0;
        while (words.next()) |word| : (place += 1) {
            if (!std.mem.eql(u8, word, name) or (is_first and place > 0)) continue;
            found = number;
            is_first = place == 0;
        }
    }
    return found;
}

fn take(options: *Options, line: []const u8, said: []u8) ?[]const u8 {
    const equals = std.mem.findScalar(u8, line, '=') orelse
        return print(said, "a line must be name = value, got \"{s}\"", .{line});
    const name = std.mem.trim(u8, line[0..equals], " \t");
    const value = std.mem.trim(u8, line[equals + 1 ..], " \t");
    if (std.mem.startsWith(u8, name, "program.")) return null;
    inline for (numbers) |known| {
        if (std.mem.eql(u8, name, known)) {
            const Field = @FieldType(Options, known);
            @field(options, known) = std.fmt.parseInt(Field, value, 10) catch return wrongNumber(known, value, said);
            return null;
        }
    }
    inline for (worded) |known| {
        if (std.mem.eql(u8, name, known.name)) {
            for (known.words, 0..) |word, n| {
                if (word.len == 0 or !std.mem.eql(u8, word, value)) continue;
                @field(options, known.name) = @intCast(n);
                return null;
            }
            return wrongWord(name, known.words, value, said);
        }
    }
    return takeFlag(options, name, value, said);
}

fn takeFlag(options: *Options, name: []const u8, value: []const u8, said: []u8) ?[]const u8 {
    for (flags) |known| {
        if (!std.mem.eql(u8, name, known.name)) continue;
        const on = std.mem.eql(u8, value, "true");
        if (!on and !std.mem.eql(u8, value, "false"))
            return print(said, "{s} must be true or false, got \"{s}\"", .{ name, value });
        options.flags = if (on == known.set_when) options.flags | known.bit else options.flags & ~known.bit;
        return null;
    }
    if (nearest(name)) |near|
        return print(said, "\"{s}\" is no option that a file may have, maybe {s} is meant", .{ name, near });
    return print(said, "\"{s}\" is no option that a file may have", .{name});
}

/// One that the field cannot hold.
fn wrongNumber(comptime name: []const u8, value: []const u8, said: []u8) []const u8 {
    inline for (options_module.ranges) |range| if (comptime std.mem.eql(u8, range.name, name))
        return print(said, "{s} must be a whole number between {d} and {d}, got \"{s}\"", .{
            name, range.min, range.max, value,
        });
    return print(said, "{s} must be a whole number, got \"{s}\"", .{ name, value });
}

/// The option that has nearly this name.
fn nearest(name: []const u8) ?[]const u8 {
    var best: ?[]const u8 = null;
    var least = 2 + name.len / 6;
    inline for (numbers) |known| consider(name, known, &best, &least);
    inline for (worded) |known| consider(name, known.name, &best, &least);
    inline for (flags) |known| consider(name, known.name, &best, &least);
    return best;
}

fn consider(name: []const u8, known: []const u8, best: *?[]const u8, least: *usize) void {
    const far = distance(name, known);
    if (far >= least.*) return;
    least.* = far;
    best.* = known;
}

/// How many letters must be put in, left out or changed.
fn distance(one: []const u8, other: []const u8) usize {
    const most = 40; // Longer than every option's name.
    if (one.len > most or other.len > most) return most;
    var row: [most + 1]usize = undefined;
    for (&row, 0..) |*cell, n| cell.* = n;
    for (one, 1..) |letter, above| {
        var diagonal = row[0];
        row[0] = above;
        for (other, 1..) |same, n| {
            const changed = diagonal + @intFromBool(letter != same);
            diagonal = row[n];
            row[n] = @min(changed, row[n] + 1, row[n - 1] + 1);
        }
    }
    return row[other.len];
}

fn wrongWord(name: []const u8, words: []const []const u8, value: []const u8, said: []u8) []const u8 {
    var listed: [64]u8 = undefined;
    var writer: std.Io.Writer = .fixed(&listed);
    var separator: []const u8 = "";
    for (words) |word| {
        if (word.len == 0) continue;
        writer.print("{s}{s}", .{ separator, word }) catch break;
        separator = ", ";
    }
    return print(said, "{s} must be one of {s}, got \"{s}\"", .{ name, writer.buffered(), value });
}

fn until(text: []const u8, end: u8) []const u8 {
    return text[0 .. std.mem.findScalar(u8, text, end) orelse text.len];
}

/// Cut at the room that there is.
fn print(message: []u8, comptime format: []const u8, arguments: anytype) []const u8 {
    var writer: std.Io.Writer = .fixed(message);
    writer.print(format, arguments) catch {};
    return writer.buffered();
}

fn expectWrong(text: []const u8, wanted: []const u8) !void {
    var options = Options.init();
    var message: [256]u8 = undefined;
    const said = parse(&options, text, "f", &message) orelse return error.NotRefused;
    try std.testing.expectEqualStrings(wanted, said);
}

test "each kind of option is set, the others stay" {
    var options = Options.init();
    var message: [256]u8 = undefined;
    const text = "# as tuned\nshards = 3\r\n\n steal_backoff_max=7 # ticks\nidle_strategy = sleep\n" ++
        "stealable_queue_backend = lock_free\nbackend = auto\nmsg_ring = false\nscheduler_latency = true\n" ++
        "program.placement = anything = at all\nidle_sleep_ns = 2000";
    try std.testing.expectEqual(null, parse(&options, text, "f", &message));
    var wanted = Options.init();
    wanted.shards = 3;
    wanted.steal_backoff_max = 7;
    wanted.idle_strategy = @backingInt(options_module.IdleStrategy.sleep);
    wanted.stealable_queue_backend = @backingInt(options_module.QueueBackend.lock_free);
    wanted.backend = @backingInt(options_module.Backend.either);
    wanted.flags = options_module.flag_no_msg_ring | options_module.flag_scheduler_latency;
    wanted.idle_sleep_ns = 2000;
    try std.testing.expectEqualDeep(wanted, options);
    try std.testing.expectEqual(null, parse(&options, "msg_ring = true", "f", &message));
    try std.testing.expectEqual(options_module.flag_scheduler_latency, options.flags);
}

test "what is wrong is named with its line" {
    try expectWrong("shards = 2\nshards", "options file f, line 2: a line must be name = value, got \"shards\"");
    const whole = "options file f, line 1: shards must be a whole number between 1 and 256, got ";
    try expectWrong("shards = -1", whole ++ "\"-1\"");
    try expectWrong("shards = x", whole ++ "\"x\"");
    try expectWrong("io_uring_sqpoll_cpu = x", "options file f, line 1: io_uring_sqpoll_cpu must be a whole number, " ++
        "got \"x\"");
    try expectWrong("shard = 1", "options file f, line 1: \"shard\" is no option that a file may have, maybe " ++
        "shards is meant");
    try expectWrong("steal_backof_max = 1", "options file f, line 1: \"steal_backof_max\" is no option that a file " ++
        "may have, maybe steal_backoff_max is meant");
    try expectWrong("thread_prefix = x", "options file f, line 1: \"thread_prefix\" is no option that a file may have");
    try expectWrong("msg_ring = 1", "options file f, line 1: msg_ring must be true or false, got \"1\"");
    try expectWrong("idle_strategy = nap", "options file f, line 1: idle_strategy must be one of park, spin, " ++
        "yield, sleep, got \"nap\"");
    try expectWrong("backend = ", "options file f, line 1: backend must be one of io_uring, epoll, auto, got \"\"");
    try expectWrong("# a\nshards = 0\n", "options file f, line 2: shards must be between 1 and 256, got 0");
    try expectWrong("shards = 2\nshards = 300", "options file f, line 2: shards must be between 1 and 256, got 300");
    const backoff = "steal_backoff_max must be between steal_backoff_min (40) and 65536, got ";
    try expectWrong("steal_backoff_max = 9\nsteal_backoff_min = 40", "options file f, line 1: " ++ backoff ++ "9");
    try expectWrong("shards = 2\nsteal_backoff_min = 40", "options file f, line 2: " ++ backoff ++ "32");
}

test "a file that is not there is named" {
    var options = Options.init();
    var message: [256]u8 = undefined;
    try std.testing.expectEqualStrings(
        "options file /nowhere/at/all cannot be read: ENOENT: no such file or directory",
        read(&options, "/nowhere/at/all", &message).?,
    );
}
