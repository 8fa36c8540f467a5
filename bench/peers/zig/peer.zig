//! A peer of bench/peers/PROTOCOL.md: Zig's own evented std.Io, which on Linux is std.Io.Uring: fibers
//! on a thread and ring per CPU, which steal from each other. The command line, the clock, the file and
//! the frames are those of the C peers (bench/native/common).
//!
//! - Its loop owns the first thread: the clock is read inside. There is no placement, so client and
//!   server, or client and responder, may meet on one thread.
//! - Sockets: netListenIp, netAccept and netConnectIp are ...Unavailable in its table of functions,
//!   net_read fails with NetworkDown and net_write panics ("TODO"). So the connections are made by plain
//!   system calls in the set-up, which is not timed, and go through it as files: file_read_streaming and
//!   file_write_streaming, by the ring.
//! - Messages: std.Io.Queue. Parallel reads: a fiber each, since std.Io.Batch has no read at an offset.

const std = @import("std");
const Io = std.Io;
const Uring = std.Io.Uring;
const c = @import("c.zig");

pub const std_options: std.Options = .{ .log_level = .err };

var evented: Uring = undefined;
var io: Io = undefined;

fn start(threads: u32) !void {
    try evented.init(std.heap.smp_allocator, .{
        .backing_allocator_needs_mutex = false,
        .thread_limit = threads - 1,
        .log2_ring_entries = 8,
    });
    io = evented.io();
}

/// The value, or the end of the program: no workload goes on after an error.
fn must(value: anytype) @typeInfo(@TypeOf(value)).error_union.payload {
    return value catch |err| c.fail("std.Io.Uring", @errorName(err));
}

export const peer_name: [*:0]const u8 = "zig-std-io";

export fn peer_version() [*:0]const u8 {
    return @import("builtin").zig_version_string;
}

export fn peer_option(_: [*:0]const u8, _: [*:0]const u8) c_int {
    return 0;
}

export fn peer_threads(workload: *const c.Workload) u32 {
    return workload.threads;
}

export fn peer_begin(workload: *const c.Workload) c_int {
    start(workload.threads) catch return 3;
    return 0;
}

export fn peer_end() void {
    evented.deinit();
}

// ---- Messages ----

const Message = struct { kind: enum(u32) { ping, ack, data, flush, stop }, value: u32 = 0 };
const Channel = Io.Queue(Message);

const Pair = struct {
    to_responder: Channel,
    to_client: Channel,
    buffers: [2][4096]Message,
    responder: Io.Future(void),

    fn open(self: *Pair) void {
        self.to_responder = .init(&self.buffers[0]);
        self.to_client = .init(&self.buffers[1]);
        self.responder = must(io.concurrent(respond, .{self}));
    }

    fn close(self: *Pair) void {
        must(self.to_responder.putOne(io, .{ .kind = .stop }));
        self.responder.await(io);
    }

    fn respond(self: *Pair) void {
        var sum: u32 = 0;
        while (true) {
            const message = must(self.to_responder.getOne(io));
            switch (message.kind) {
                .ping => must(self.to_client.putOne(io, .{ .kind = .ack, .value = message.value })),
                .data => sum += message.value,
                .flush => {
                    must(self.to_client.putOne(io, .{ .kind = .ack, .value = sum }));
                    sum = 0;
                },
                .ack, .stop => return,
            }
        }
    }

    fn rounds(self: *Pair, count: u32) u64 {
        var sum: u64 = 0;
        for (0..count) |i| {
            must(self.to_responder.putOne(io, .{ .kind = .ping, .value = @intCast(i) }));
            sum += must(self.to_client.getOne(io)).value;
        }
        return sum;
    }
};
var pair: Pair = undefined;

fn openPair() callconv(.c) void {
    pair.open();
}

fn closePair() callconv(.c) void {
    pair.close();
}

fn pingPong() callconv(.c) u64 {
    return pair.rounds(256);
}

fn drain() callconv(.c) u64 {
    var batch: [2049]Message = undefined;
    for (batch[0..2048], 0..) |*message, i| message.* = .{ .kind = .data, .value = @intCast(i) };
    batch[2048] = .{ .kind = .flush };
    must(pair.to_responder.putAll(io, &batch));
    return must(pair.to_client.getOne(io)).value;
}

fn coldStart() callconv(.c) u64 {
    must(start(2));
    pair.open();
    const sum = pair.rounds(64);
    pair.close();
    evented.deinit();
    return sum;
}

// ---- CPU work, tasks, timers ----

fn mix(seed: u64, iterations: u64) u64 {
    var x = seed;
    for (0..iterations) |i| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x = x *% 0x9E3779B97F4A7C15 +% i;
    }
    return x;
}

fn fan(skewed: bool) u64 {
    var sum: u64 = 0;
    for (0..64) |r| {
        var branches: [16]Io.Future(u64) = undefined;
        for (&branches, 0..) |*branch, b| {
            const iterations: u64 = if (!skewed) 2000 else if (b == r % 16) 20_000 else 500;
            branch.* = io.async(mix, .{ r * 31 + b + 1, iterations });
        }
        for (&branches) |*branch| sum +%= branch.await(io);
    }
    return sum;
}

fn balanced() callconv(.c) u64 {
    return fan(false);
}

fn imbalancedFan() callconv(.c) u64 {
    return fan(true);
}

fn same(i: u64) u64 {
    return i;
}

fn spawnJoin() callconv(.c) u64 {
    var sum: u64 = 0;
    var begun: u64 = 0;
    while (begun < 100_000) {
        var tasks: [64]Io.Future(u64) = undefined;
        const count = @min(tasks.len, 100_000 - begun);
        for (tasks[0..count], begun..) |*task, i| task.* = io.async(same, .{i});
        for (tasks[0..count]) |*task| sum += task.await(io);
        begun += count;
    }
    return sum;
}

noinline fn plain(n: u64) u64 {
    return if (n < 2) n else plain(n - 1) + plain(n - 2);
}

fn fib(n: u64) u64 {
    if (n < 12) return plain(n);
    var larger = io.async(fib, .{n - 1});
    const smaller = fib(n - 2);
    return larger.await(io) + smaller;
}

fn fib27() callconv(.c) u64 {
    return fib(27);
}

var ended: std.atomic.Value(u64) = .init(0);

fn nap(ms: i64) Io.Cancelable!void {
    try io.sleep(.fromMilliseconds(ms), .awake);
    _ = ended.fetchAdd(1, .monotonic);
}

fn timers() callconv(.c) u64 {
    ended.store(0, .monotonic);
    var group: Io.Group = .init;
    for (0..10_000) |i| must(group.concurrent(io, nap, .{@as(i64, @intCast(1 + i % 50))}));
    must(group.await(io));
    return ended.load(.monotonic);
}

// ---- Files ----

var file: Io.File = undefined;
var buffers: [c.depth][c.block]u8 align(c.block) = undefined;

fn openFile() callconv(.c) void {
    file = .{ .handle = c.file_open(), .flags = .{ .nonblocking = false } };
}

fn closeFile() callconv(.c) void {
    file.close(io);
}

fn readOne(i: u64, buffer: *[c.block]u8) u64 {
    const offset = i * 2654435761 % c.blocks * c.block;
    const got = must(file.readPositional(io, &.{buffer}, offset));
    if (got != c.block) c.fail("a read", "short");
    return std.mem.readInt(u64, buffer[0..8], .little) ^ i;
}

fn readSingle() u64 {
    var sum: u64 = 0;
    for (0..256) |i| sum +%= readOne(i, &buffers[0]);
    return sum;
}

fn readMany() u64 {
    var sum: u64 = 0;
    var begun: u64 = 0;
    while (begun < c.blocks) : (begun += c.depth) {
        var reads: [c.depth]Io.Future(u64) = undefined;
        for (&reads, &buffers, begun..) |*read, *buffer, i| {
            read.* = must(io.concurrent(readOne, .{ i, buffer }));
        }
        for (&reads) |*read| sum +%= read.await(io);
    }
    return sum;
}

fn inTask(comptime function: fn () u64) u64 {
    var task = must(io.concurrent(function, .{}));
    return task.await(io);
}

fn oneByOne() callconv(.c) u64 {
    return inTask(readSingle);
}

fn many() callconv(.c) u64 {
    return inTask(readMany);
}

// ---- Network ----

const Owned = Io.Queue(u32);

const Stream = struct {
    client: Io.File,
    server: Io.File,
    servant: Io.Future(void),
    frames: c.Frames,
    buffer: [c.read_size]u8,

    fn serve(self: *Stream) void {
        while (true) {
            const got = self.server.readStreaming(io, &.{&self.buffer}) catch |err| switch (err) {
                error.EndOfStream => return,
                else => c.fail("the server's read", @errorName(err)),
            };
            must(self.server.writeStreamingAll(io, self.buffer[0..got]));
        }
    }

    /// A window: its frames as one vectored write (of at most 8 buffers at a time), then its echo.
    fn exchange(self: *Stream) void {
        const frames = &self.frames;
        const size = c.frames_build(frames);
        must(self.client.writeStreamingAll(io, frames.out[0..size]));
        var got: usize = 0;
        while (got < size) got += must(self.client.readStreaming(io, &.{frames.in[got..size]}));
        c.frames_take(frames);
    }

    fn talk(self: *Stream) u64 {
        const frames = &self.frames;
        const shape = frames.shape;
        while (true) {
            const count = frames.left;
            while (frames.left > 0) self.exchange();
            if (shape.keyed != 0) tellOwner(frames.step % 2, 16 * count);
            if (frames.step + 1 == shape.steps) break;
            c.frames_step(frames, frames.step + 1);
        }
        if (shape.keyed != 0) for (&owners) |*owner| must(owner.queue.putOne(io, 0));
        return frames.sum;
    }
};
var streams: [c.streams_max]Stream = undefined;
var stream_count: u32 = 0;

/// Adds up its messages until all streams have said, by a zero, that they are done.
const Owner = struct {
    queue: Owned,
    buffer: [4096]u32,

    fn own(self: *Owner) u64 {
        var sum: u64 = 0;
        var done: u32 = 0;
        var batch: [256]u32 = undefined;
        while (done < c.streams_max) {
            for (batch[0..must(self.queue.get(io, &batch, 1))]) |value| {
                sum += value;
                done += @intFromBool(value == 0);
            }
        }
        return sum;
    }
};
var owners: [2]Owner = undefined;

fn tellOwner(number: u32, count: u32) void {
    const ones: [512]u32 = @splat(1);
    must(owners[number].queue.putAll(io, ones[0..count]));
}

fn connect(count: u32) void {
    var clients: [c.streams_max]c_int = undefined;
    var servers: [c.streams_max]c_int = undefined;
    c.connect_streams(count, &clients, &servers);
    stream_count = count;
    for (streams[0..count], clients[0..count], servers[0..count]) |*stream, client, server| {
        stream.client = .{ .handle = client, .flags = .{ .nonblocking = false } };
        stream.server = .{ .handle = server, .flags = .{ .nonblocking = false } };
        stream.servant = must(io.concurrent(Stream.serve, .{stream}));
    }
}

fn connectOne() callconv(.c) void {
    connect(1);
}

fn connectAll() callconv(.c) void {
    connect(c.streams_max);
}

fn disconnect() callconv(.c) void {
    for (streams[0..stream_count]) |*stream| {
        _ = std.os.linux.shutdown(stream.client.handle, std.os.linux.SHUT.RDWR);
        stream.servant.await(io);
        stream.client.close(io);
        stream.server.close(io);
    }
}

fn repeat(comptime shape: *const c.Shape) *const fn () callconv(.c) u64 {
    return struct {
        fn run() callconv(.c) u64 {
            var owns: [owners.len]Io.Future(u64) = undefined;
            if (shape.keyed != 0) for (&owners, &owns) |*owner, *own| {
                owner.queue = .init(&owner.buffer);
                own.* = must(io.concurrent(Owner.own, .{owner}));
            };
            var talks: [c.streams_max]Io.Future(u64) = undefined;
            for (streams[0..stream_count], talks[0..stream_count], 0..) |*stream, *talk, s| {
                c.frames_begin(&stream.frames, shape, @intCast(s));
                talk.* = must(io.concurrent(Stream.talk, .{stream}));
            }
            var sum: u64 = 0;
            for (talks[0..stream_count]) |*talk| sum +%= talk.await(io);
            if (shape.keyed != 0) for (&owns) |*own| {
                sum +%= own.await(io);
            };
            return sum;
        }
    }.run;
}

// ---- The table ----

const workloads = [_]c.Workload{
    .{ .name = "steady_ping_pong_rtt", .set_up = openPair, .repeat = pingPong, .tear_down = closePair },
    .{ .name = "steady_one_way_send_drain", .set_up = openPair, .repeat = drain, .tear_down = closePair },
    .{ .name = "cold_start_ping_pong", .repeat = coldStart, .own_runtime = 1 },
    .{ .name = "fanout_fanin_balanced", .threads = 4, .repeat = balanced },
    .{ .name = "fanout_fanin_skewed", .threads = 4, .repeat = imbalancedFan },
    .{ .name = "spawn_join", .repeat = spawnJoin },
    .{ .name = "fib27_fork_join", .repeat = fib27 },
    .{ .name = "timers_10k", .repeat = timers },
    .{ .name = "fs_read_rtt_4k", .set_up = openFile, .repeat = oneByOne, .tear_down = closeFile },
    .{ .name = "fs_read_throughput_4k_qd32", .set_up = openFile, .repeat = many, .tear_down = closeFile },
    net("net_echo_rtt_256b", connectOne, &c.echo),
    net("net_stream_throughput_4k_window32", connectOne, &c.throughput),
    net("net_stream_imbalanced_4k_hot1_light7", connectAll, &c.imbalanced),
    net("net_stream_hotspot_rotation_4k", connectAll, &c.rotation),
    net("net_pipeline_hotspot_rotation_4k_window32", connectAll, &c.pipeline),
    net("net_keyed_hotspot_rotation_4k", connectAll, &c.keyed),
    .{},
};
export const peer_families = [_]?*const [workloads.len]c.Workload{ &workloads, null };

fn net(name: [*:0]const u8, set_up: *const fn () callconv(.c) void, comptime shape: *const c.Shape) c.Workload {
    return .{ .name = name, .set_up = set_up, .repeat = repeat(shape), .tear_down = disconnect };
}
