//! The C ABI: thin functions that check, call and map the error. include/spargio.h is the contract.

const std = @import("std");
const builtin = @import("builtin");
const build_options = @import("build_options");
const backend = @import("backend.zig");
const clock = @import("clock.zig");
const errors = @import("errors.zig");
const Failure = @import("failure.zig").Failure;
const fs = @import("ops/fs.zig");
const net = @import("ops/net.zig");
const raw = @import("ops/raw.zig");
const options_module = @import("options.zig");
const Options = options_module.Options;
const probe = @import("probe.zig");
const recorder_cbor = @import("recorder_cbor.zig");
const snapshot = @import("snapshot.zig");
const HandleTableType = @import("handle_table.zig").HandleTableType;
const Kind = @import("task.zig").Kind;
const NativeTask = @import("native_task.zig").NativeTask;
const PollFn = @import("native_task.zig").PollFn;
const joins = &@import("native_task.zig").joins;
const CompleteFn = @import("op.zig").CompleteFn;
const Op = @import("op.zig").Op;
const Placement = @import("runtime.zig").Placement;
const Runtime = @import("runtime.zig").Runtime;
const Shard = @import("shard.zig").Shard;
const Sqe = @import("ring.zig").Sqe;
const Task = @import("task.zig").Task;
const shard_none = @import("task.zig").shard_none;

pub const abi_version = 1;
const version: [:0]const u8 = build_options.version;

/// What a runtime handle names; freed when the last call that uses it returns.
pub const Owner = struct {
    /// Null only where the runtime did not start.
    runtime: ?*Runtime = null,

    pub fn handleClosed(self: *Owner) void {
        if (self.runtime) |runtime| runtime.destroy();
        gpa.destroy(self);
    }

    /// For another front end: a handle that it keeps pinned, so that the memory lives until its unpin.
    pub fn reserve(handle: *u64) error{OutOfMemory}!*Owner {
        const self = try gpa.create(Owner);
        errdefer gpa.destroy(self);
        self.* = .{};
        handle.* = try runtimes.insert(self);
        return runtimes.pin(handle.*).?;
    }
};

/// A pinned runtime of a started owner.
pub fn pinRuntime(handle: u64) ?*Runtime {
    const owner = runtimes.pin(handle) orelse return null;
    return owner.runtime.?;
}

const gpa = @import("memory.zig").gpa;

pub var runtimes: HandleTableType(Owner) = .{};

/// Mirrors `spargio_placement`.
pub const PlacementC = extern struct {
    struct_size: u32 = @sizeOf(PlacementC),
    kind: u32 = @backingInt(Kind.stealable),
    value: u64 = 0,
};

fn fail(err: errors.Error) i32 {
    return errors.fromError(err);
}

pub export fn spargio_abi_version() i32 {
    return abi_version;
}

pub export fn spargio_version() [*:0]const u8 {
    return version.ptr;
}

pub export fn spargio_strerror(result: i32) [*:0]const u8 {
    return errors.describe(result);
}

pub export fn spargio_probe(out: ?*probe.Info) i32 {
    const info = out orelse return fail(error.Invalid);
    const size = info.struct_size;
    if (size < 8 or size > 4096 or size % 4 != 0) return fail(error.Invalid);
    var found = probe.probe();
    found.struct_size = size;
    const bytes: [*]u8 = @ptrCast(info);
    const known = @min(size, @sizeOf(probe.Info));
    @memcpy(bytes[0..known], std.mem.asBytes(&found)[0..known]);
    @memset(bytes[known..size], 0);
    return errors.ok;
}

/// What the struct was in version 0.2: programs of then have room for no more.
const first_options_size = @offsetOf(Options, "blocked_threshold_ms");

/// For who cannot see the header's macro (dlsym, other languages): the struct of this header. When it
/// grows again, this becomes one more old version, of the size it has now.
pub export fn spargio_runtime_options_init(out: ?*Options) i32 {
    return spargio_runtime_options_init_sized(out, @sizeOf(Options));
}

fn initFirst(out: ?*Options) callconv(.c) i32 {
    return spargio_runtime_options_init_sized(out, first_options_size);
}

comptime {
    // A program that was linked with 0.1 or 0.2 asks for the function of that version, and gets it.
    const shared = builtin.output_mode == .Lib and builtin.link_mode == .dynamic;
    if (shared and builtin.zig_backend == .stage2_llvm) // Zig's own linker writes no versions.
        @export(&initFirst, .{ .name = "spargio_runtime_options_init@SPARGIO_0.1" });
}

pub export fn spargio_runtime_options_init_sized(out: ?*Options, size: usize) i32 {
    const bytes: [*]u8 = @ptrCast(out orelse return fail(error.Invalid));
    if (size < first_options_size or size > options_module.size_max or size % 4 != 0) return fail(error.Invalid);
    var options: Options = .init();
    options.struct_size = @intCast(@min(size, @sizeOf(Options)));
    _ = options_module.read(Options, options, &options) catch |err| return fail(err); // It ends inside a field.
    @memcpy(bytes[0..options.struct_size], std.mem.asBytes(&options)[0..options.struct_size]);
    @memset(bytes[options.struct_size..size], 0);
    return errors.ok;
}

pub export fn spargio_runtime_options_check(given: ?*const Options, message: ?[*]u8, capacity: usize) i32 {
    const pointer = given orelse {
        writeMessage("options is NULL: allowed is what spargio_runtime_options_init fills", message, capacity);
        return fail(error.Invalid);
    };
    var text: [256]u8 = undefined;
    const said = if (options_module.read(Options, .init(), pointer)) |options|
        options_module.check(&options, &text) orelse return errors.ok
    else |_|
        "the options have unknown bytes or a wrong struct_size: allowed is what " ++
            "spargio_runtime_options_init fills";
    writeMessage(said, message, capacity);
    return fail(error.Invalid);
}

fn writeMessage(said: []const u8, message: ?[*]u8, capacity: usize) void {
    const out = message orelse return;
    if (capacity == 0) return;
    const length = @min(said.len, capacity - 1);
    @memcpy(out[0..length], said[0..length]);
    out[length] = 0;
}

pub export fn spargio_runtime_start(given: ?*const Options, out: ?*u64) i32 {
    const handle = out orelse return fail(error.Invalid);
    var options: Options = .init();
    if (given) |pointer| options = options_module.read(Options, .init(), pointer) catch |err| return fail(err);
    var message: [256]u8 = undefined;
    if (options_module.check(&options, &message) != null) return fail(error.Invalid);
    var reserved: u64 = 0;
    const owner = Owner.reserve(&reserved) catch |err| return fail(err);
    defer runtimes.unpin(reserved);
    var failure: Failure = .{};
    owner.runtime = Runtime.start(&options, null, null, false, &failure) catch |err| {
        std.debug.assert(runtimes.close(reserved));
        return switch (err) {
            error.NoRing, error.SetupFailed => errors.fromErrno(failure.errno),
            error.OutOfMemory, error.Unsupported => |known| fail(known),
        };
    };
    backend.tell(&owner.runtime.?.crew.refused_ring);
    handle.* = reserved;
    return errors.ok;
}

pub export fn spargio_runtime_shutdown(handle: u64, timeout_ns: u64) i32 {
    const runtime = pinRuntime(handle) orelse return fail(error.Closed);
    defer runtimes.unpin(handle);
    const finished = runtime.shutdown(clock.deadlineNs(timeout_ns)) catch |err| return fail(err);
    if (!finished) return fail(error.Timeout);
    return if (runtimes.close(handle)) errors.ok else fail(error.Closed);
}

pub export fn spargio_runtime_backend(handle: u64, chosen: ?*u32, reason: ?*i32) i32 {
    const out = chosen orelse return fail(error.Invalid);
    const runtime = pinRuntime(handle) orelse return fail(error.Closed);
    defer runtimes.unpin(handle);
    out.* = @backingInt(runtime.crew.backend);
    if (reason) |number| number.* = runtime.crew.refused_ring.errno;
    return errors.ok;
}

pub export fn spargio_runtime_shard_count(handle: u64, count: ?*u32) i32 {
    const out = count orelse return fail(error.Invalid);
    const runtime = pinRuntime(handle) orelse return fail(error.Closed);
    defer runtimes.unpin(handle);
    out.* = @intCast(runtime.crew.shards.len);
    return errors.ok;
}

pub export fn spargio_spawn(
    handle: u64,
    placement: ?*const PlacementC,
    poll: ?PollFn,
    ctx: ?*anyopaque,
    join: ?*u64,
) i32 {
    if (join) |out| out.* = 0;
    const function = poll orelse return fail(error.Invalid);
    const where = readPlacement(placement) catch |err| return fail(err);
    const runtime = pinRuntime(handle) orelse return fail(error.Closed);
    defer runtimes.unpin(handle);
    NativeTask.spawn(runtime, handle, where, function, ctx, join) catch |err| return fail(err);
    return errors.ok;
}

fn readPlacement(given: ?*const PlacementC) errors.Error!Placement {
    const pointer = given orelse return .{ .kind = .stealable };
    const read = try options_module.read(PlacementC, .{}, pointer);
    if (read.kind > @backingInt(Kind.stealable_preferred)) return error.Invalid;
    return .{ .kind = @fromBackingInt(@intCast(read.kind)), .value = read.value };
}

pub export fn spargio_join_wait(join: u64, timeout_ns: u64, result: ?*i64) i32 {
    if (Shard.current() != null) return fail(error.OnShard);
    const native = joins.pin(join) orelse return fail(error.Closed);
    defer joins.unpin(join);
    const deadline = clock.deadlineNs(timeout_ns);
    if (!native.task.isDone()) {
        // A runtime that is gone has ended all its tasks; in a forked child they never end.
        if (pinRuntime(native.runtime)) |runtime| {
            defer runtimes.unpin(native.runtime);
            if (runtime.crew.forked()) return fail(error.Forked);
        }
    }
    while (!native.task.completion.waitThread(deadline)) {
        if (deadline != std.math.maxInt(u64) and clock.nowNs() >= deadline) return fail(error.Timeout);
    }
    return outcome(&native.task, result);
}

pub export fn spargio_join_poll(join: u64, result: ?*i64) i32 {
    const task = currentTask() orelse return fail(error.NotOnShard);
    const native = joins.pin(join) orelse return fail(error.Closed);
    defer joins.unpin(join);
    if (task == &native.task) return fail(error.Invalid); // A task that waits for itself never ends.
    const waiting = NativeTask.of(task).awaitTask(native) catch |err| return fail(err);
    return if (waiting) errors.pending else outcome(&native.task, result);
}

fn outcome(task: *const Task, result: ?*i64) i32 {
    if (task.status == errors.ok) if (result) |out| {
        out.* = task.result;
    };
    return task.status;
}

pub export fn spargio_join_cancel(join: u64) i32 {
    const native = joins.pin(join) orelse return fail(error.Closed);
    defer joins.unpin(join);
    // A runtime that is gone has ended all its tasks.
    const runtime = pinRuntime(native.runtime) orelse return errors.ok;
    defer runtimes.unpin(native.runtime);
    if (runtime.crew.forked()) return fail(error.Forked);
    native.task.cancel_requested.store(true, .seq_cst);
    Shard.wake(&native.task);
    return errors.ok;
}

pub export fn spargio_join_shard(join: u64, shard: ?*u32) i32 {
    const out = shard orelse return fail(error.Invalid);
    const native = joins.pin(join) orelse return fail(error.Closed);
    defer joins.unpin(join);
    const id = native.task.home_id.load(.acquire);
    if (id == shard_none) return errors.pending;
    out.* = id;
    return errors.ok;
}

pub export fn spargio_join_release(join: u64) i32 {
    return if (joins.close(join)) errors.ok else fail(error.Closed);
}

pub export fn spargio_current_shard(shard: ?*u32) i32 {
    const out = shard orelse return fail(error.Invalid);
    const current = Shard.current() orelse return fail(error.NotOnShard);
    if (current.current_task == null) return fail(error.NotOnShard);
    out.* = current.id;
    return errors.ok;
}

pub export fn spargio_task_cancelled() i32 {
    const task = currentTask() orelse return fail(error.NotOnShard);
    return @intFromBool(task.cancel_requested.load(.acquire));
}

/// The native task that this thread polls.
pub fn currentTask() ?*Task {
    const shard = Shard.current() orelse return null;
    const task = shard.current_task orelse return null;
    return if (NativeTask.isNative(task)) task else null;
}

pub export fn spargio_op_poll(handle: u64, result: ?*i32) i32 {
    const out = result orelse return fail(error.Invalid);
    const op = findOp(handle) catch |err| return fail(err);
    if (op.phase == .flying) return errors.pending;
    out.* = Shard.current().?.ops.consume(op);
    return errors.ready;
}

pub export fn spargio_op_cancel(handle: u64) i32 {
    const op = findOp(handle) catch |err| return fail(err);
    Shard.current().?.cancelOp(op);
    return errors.ok;
}

/// An op of the current task; another's handle is as good as stale.
fn findOp(handle: u64) errors.Error!*Op {
    const task = currentTask() orelse return error.NotOnShard;
    const op = Shard.current().?.ops.find(handle) orelse return error.Closed;
    return if (op.task == task) op else error.Closed;
}

/// Runs one of the functions of ops/ for the current task and gives out the op's handle.
pub fn launch(out: ?*u64, comptime function: anytype, arguments: anytype) i32 {
    const handle = out orelse return fail(error.Invalid);
    const task = currentTask() orelse return fail(error.NotOnShard);
    const op = @call(.auto, function, .{ Shard.current().?, task } ++ arguments) catch |err| return fail(err);
    handle.* = op.id();
    return errors.ok;
}

pub export fn spargio_nop(op: ?*u64) i32 {
    return launch(op, fs.nop, .{});
}

pub export fn spargio_sleep(duration_ns: u64, op: ?*u64) i32 {
    return launch(op, sleepFor, .{duration_ns});
}

fn sleepFor(shard: *Shard, task: *Task, duration_ns: u64) error{OutOfMemory}!*Op {
    const op = try shard.ops.take(task, shard);
    shard.launchTimer(op, clock.deadlineNs(duration_ns));
    return op;
}

pub export fn spargio_open(path: ?[*:0]const u8, flags: i32, mode: u32, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    return launch(op, fs.open, .{ std.mem.span(name), flags, mode });
}

pub export fn spargio_read_at(fd: i32, buffer: ?[*]u8, length: u32, offset: u64, op: ?*u64) i32 {
    const room = sliceOf([]u8, buffer, length) orelse return fail(error.Invalid);
    if (offset > offset_max) return fail(error.Invalid);
    return launch(op, fs.readAt, .{ fd, room, offset });
}

pub export fn spargio_write_at(fd: i32, buffer: ?[*]const u8, length: u32, offset: u64, op: ?*u64) i32 {
    const data = sliceOf([]const u8, buffer, length) orelse return fail(error.Invalid);
    if (offset > offset_max) return fail(error.Invalid);
    return launch(op, fs.writeAt, .{ fd, data, offset });
}

/// A file's greatest offset. To the kernel UINT64_MAX is the descriptor's own position, which pread(2)
/// never uses: a negative number of the caller's must not become that.
pub const offset_max = std.math.maxInt(i64);

/// NULL is a buffer only where nothing is to be transferred.
fn sliceOf(comptime Slice: type, buffer: anytype, length: u32) ?Slice {
    const pointer = buffer orelse return if (length == 0) &.{} else null;
    return pointer[0..length];
}

pub export fn spargio_fsync(fd: i32, data_only: i32, op: ?*u64) i32 {
    return launch(op, fs.fsync, .{ fd, data_only != 0 });
}

pub export fn spargio_close(fd: i32, op: ?*u64) i32 {
    return launch(op, fs.close, .{fd});
}

pub export fn spargio_tcp_listen(address: ?[*:0]const u8, port: u16, backlog: u32, out: ?*i32) i32 {
    const name = address orelse return fail(error.Invalid);
    const descriptor = out orelse return fail(error.Invalid);
    const parsed = net.Address.parse(name, port) catch |err| return fail(err);
    const fd = net.listen(&parsed, backlog, false);
    if (fd < 0) return errors.fromErrno(-fd);
    descriptor.* = fd;
    return errors.ok;
}

pub export fn spargio_local_port(fd: i32, port: ?*u16) i32 {
    const out = port orelse return fail(error.Invalid);
    const found = net.localPort(fd);
    if (found < 0) return errors.fromErrno(-found);
    out.* = @intCast(found);
    return errors.ok;
}

pub export fn spargio_accept(fd: i32, op: ?*u64) i32 {
    return launch(op, net.accept, .{fd});
}

pub export fn spargio_tcp_connect(address: ?[*:0]const u8, port: u16, op: ?*u64) i32 {
    const name = address orelse return fail(error.Invalid);
    if (currentTask() == null) return fail(error.NotOnShard);
    const parsed = net.Address.parse(name, port) catch |err| return fail(err);
    const fd = net.socket(&parsed);
    if (fd < 0) return errors.fromErrno(-fd);
    const status = launch(op, net.connectNew, .{ fd, @as([]const u8, parsed.bytes()) });
    if (status != errors.ok) _ = std.os.linux.close(fd);
    return status;
}

pub export fn spargio_recv(fd: i32, buffer: ?[*]u8, length: u32, flags: i32, op: ?*u64) i32 {
    const slice = sliceOf([]u8, buffer, length) orelse return fail(error.Invalid);
    return launch(op, net.recv, .{ fd, slice, @as(u32, @bitCast(flags)), false });
}

pub export fn spargio_send(fd: i32, buffer: ?[*]const u8, length: u32, flags: i32, op: ?*u64) i32 {
    const slice = sliceOf([]const u8, buffer, length) orelse return fail(error.Invalid);
    return launch(op, net.send, .{ fd, slice, @as(u32, @bitCast(flags)) });
}

pub export fn spargio_shutdown(fd: i32, how: i32, op: ?*u64) i32 {
    if (how < 0 or how > 2) return fail(error.Invalid);
    return launch(op, net.shutdown, .{ fd, @as(u32, @intCast(how)) });
}

pub export fn spargio_sqe_check(given: ?*const anyopaque, message: ?[*]u8, capacity: usize) i32 {
    const sqe = readSqe(given orelse {
        writeMessage("sqe is NULL: allowed is a struct io_uring_sqe", message, capacity);
        return fail(error.Invalid);
    });
    var text: [256]u8 = undefined;
    const said = raw.refusal(&sqe, &text) orelse return errors.ok;
    writeMessage(said, message, capacity);
    return fail(error.Invalid);
}

pub export fn spargio_submit_sqe(
    given: ?*const anyopaque,
    complete: ?CompleteFn,
    ctx: ?*anyopaque,
    out: ?*u64,
) i32 {
    const sqe = readSqe(given orelse return fail(error.Invalid));
    if (complete == null and out == null) return fail(error.Invalid); // Nobody would get the result.
    var text: [256]u8 = undefined;
    if (raw.refusal(&sqe, &text) != null) return fail(error.Invalid);
    const task = currentTask() orelse return fail(error.NotOnShard);
    if (!raw.supported(Shard.current().?, &sqe)) return fail(error.Unsupported);
    const op = raw.submit(Shard.current().?, task, &sqe) catch |err| return fail(err);
    const id = op.id();
    if (complete != null and op.phase == .ended) { // It never began.
        const result = Shard.current().?.ops.consume(op);
        if (result == -@as(i32, @backingInt(std.os.linux.E.NOMEM))) return fail(error.OutOfMemory);
        return errors.fromErrno(-result);
    }
    op.complete = complete;
    op.complete_ctx = ctx;
    if (out) |handle| handle.* = id;
    return errors.ok;
}

/// Copied: the caller's need not be aligned, or stay.
fn readSqe(given: *const anyopaque) Sqe {
    var sqe: Sqe = undefined;
    const bytes: [*]const u8 = @ptrCast(given);
    @memcpy(std.mem.asBytes(&sqe), bytes[0..@sizeOf(Sqe)]);
    return sqe;
}

pub export fn spargio_stats_cbor(handle: u64, buffer: ?[*]u8, capacity: usize, needed: ?*usize) i32 {
    if (buffer == null and capacity != 0) return fail(error.Invalid);
    const runtime = pinRuntime(handle) orelse return fail(error.Closed);
    defer runtimes.unpin(handle);
    return statsInto(runtime, buffer, capacity, needed);
}

/// Nothing is written where it does not fit: one run measures, the next writes.
pub fn statsInto(runtime: *Runtime, buffer: ?[*]u8, capacity: usize, needed: ?*usize) i32 {
    // Counters grow between the runs, a few bytes at most per number: room is kept for that.
    const slack = 64 * (1 + runtime.crew.shards.len) + recorder_cbor.slack();
    const size = snapshot.write(&runtime.crew, version, &.{}) + slack;
    if (needed) |out| out.* = size;
    if (capacity < size) return fail(error.BufferTooSmall);
    const written = snapshot.write(&runtime.crew, version, buffer.?[0..capacity]);
    if (written > capacity) return fail(error.BufferTooSmall); // They grew more than that.
    if (needed) |out| out.* = written;
    return errors.ok;
}
