//! The C ABI of the library and of runtimes: versions, what the kernel offers, options, start and
//! end. include/spargio.h is the contract. Any thread.

const std = @import("std");
const backend = @import("../runtime/backend.zig");
const clock = @import("../base/clock.zig");
const errors = @import("../base/errors.zig");
const handles = @import("../runtime/runtime_handle.zig");
const options_module = @import("../base/options.zig");
const options_file = @import("../base/options_file.zig");
const monitor = @import("../runtime/monitor.zig");
const probe = @import("../ring/probe.zig");
const exportVersion = @import("common.zig").exportVersion;
const fail = @import("common.zig").fail;
const Failure = @import("../base/failure.zig").Failure;
const Runtime = @import("../runtime/runtime.zig").Runtime;
const writeMessage = @import("common.zig").writeMessage;
const Options = options_module.Options;

pub const abi_version = 1;

/// Bytes of a sentence that says what is wrong.
const message_max = 384;

pub export fn spargio_abi_version() i32 {
    return abi_version;
}

pub export fn spargio_version() [*:0]const u8 {
    return handles.version.ptr;
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

/// For callers that cannot see the header's macro (dlsym, other languages): the struct of this
/// header. When it grows again, this becomes one more old version, of the size it has now.
pub export fn spargio_runtime_options_init(out: ?*Options) i32 {
    return spargio_runtime_options_init_sized(out, @sizeOf(Options));
}

fn initFirst(out: ?*Options) callconv(.c) i32 {
    return spargio_runtime_options_init_sized(out, first_options_size);
}

comptime {
    // A program that was linked with 0.1 or 0.2 asks for the function of that version, and gets it.
    exportVersion(&initFirst, "spargio_runtime_options_init@SPARGIO_0.1");
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
        writeMessage("options must be filled by spargio_runtime_options_init, got NULL", message, capacity);
        return fail(error.Invalid);
    };
    var text: [message_max]u8 = undefined;
    const said = if (options_module.read(Options, .init(), pointer)) |options|
        options_module.check(&options, &text) orelse return errors.ok
    else |_|
        "options must be filled by spargio_runtime_options_init, got unknown bytes or a " ++
            "wrong struct_size";
    writeMessage(said, message, capacity);
    return fail(error.Invalid);
}

/// `path` NULL: the file that the environment names, if it names one.
pub export fn spargio_runtime_options_load(
    given: ?*Options,
    path: ?[*:0]const u8,
    message: ?[*]u8,
    capacity: usize,
) i32 {
    var text: [message_max]u8 = undefined;
    const said = load(given, path, &text) orelse return errors.ok;
    writeMessage(said, message, capacity);
    return fail(error.Invalid);
}

fn load(given: ?*Options, path: ?[*:0]const u8, text: []u8) ?[]const u8 {
    const unfit = "options must be what spargio_runtime_options_init fills";
    const pointer = given orelse return unfit;
    var options = options_module.read(Options, .init(), pointer) catch return unfit;
    const size = @min(pointer.struct_size, @sizeOf(Options));
    const wrong = if (path) |name|
        options_file.read(&options, name, text)
    else
        options_file.fromEnvironment(&options, text);
    if (wrong) |said| return said;
    options.struct_size = pointer.struct_size;
    const bytes: [*]u8 = @ptrCast(pointer);
    @memcpy(bytes[0..size], std.mem.asBytes(&options)[0..size]);
    return null;
}

fn sayOnStderr(said: []const u8) void {
    var buffer: [message_max + 16]u8 = undefined;
    const line = std.fmt.bufPrint(&buffer, "spargio: {s}\n", .{said}) catch return;
    _ = std.os.linux.write(2, line.ptr, line.len);
}

pub export fn spargio_runtime_start(given: ?*const Options, out: ?*u64) i32 {
    const handle = out orelse return fail(error.Invalid);
    var options: Options = .init();
    if (given) |pointer| options = options_module.read(Options, .init(), pointer) catch |err| return fail(err);
    var message: [message_max]u8 = undefined;
    if (options_module.check(&options, &message) != null) return fail(error.Invalid);
    if (options_file.fromEnvironment(&options, &message)) |said| {
        sayOnStderr(said); // The program cannot know it: it did not write the file.
        return fail(error.Invalid);
    }
    var reserved: u64 = 0;
    const owner = handles.Owner.reserve(&reserved) catch |err| return fail(err);
    defer handles.runtimes.unpin(reserved);
    var failure: Failure = .{};
    owner.runtime = Runtime.start(.{ .options = &options }, &failure) catch |err| {
        std.debug.assert(handles.runtimes.close(reserved));
        return switch (err) {
            error.NoRing, error.SetupFailed => errors.fromErrno(failure.errno),
            error.OutOfMemory, error.Unsupported => |known| fail(known),
        };
    };
    backend.tell(&owner.runtime.?.scheduler.refused_ring);
    // It is for looking at a program that must run without it too.
    if (monitor.wanted()) _ = owner.runtime.?.startMonitor();
    handle.* = reserved;
    return errors.ok;
}

pub export fn spargio_runtime_shutdown(handle: u64, timeout_ns: u64) i32 {
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    const finished = runtime.shutdown(clock.deadlineNs(timeout_ns)) catch |err| return fail(err);
    if (!finished) return fail(error.Timeout);
    return if (handles.runtimes.close(handle)) errors.ok else fail(error.Closed);
}

pub export fn spargio_runtime_backend(handle: u64, chosen: ?*u32, reason: ?*i32) i32 {
    const out = chosen orelse return fail(error.Invalid);
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    out.* = @backingInt(runtime.scheduler.backend);
    if (reason) |number| number.* = runtime.scheduler.refused_ring.errno;
    return errors.ok;
}

pub export fn spargio_runtime_shard_count(handle: u64, count: ?*u32) i32 {
    const out = count orelse return fail(error.Invalid);
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    out.* = @intCast(runtime.scheduler.shards.len);
    return errors.ok;
}
