//! The trace of a runtime in the C ABI: thin functions that check, call and map the error. Any thread.

const errors = @import("../base/errors.zig");
const handles = @import("../runtime/runtime_handle.zig");
const options_module = @import("../base/options.zig");
const Options = @import("../runtime/flight_recorder.zig").Options;
const trace_export = @import("../runtime/trace_export.zig");
const fail = @import("common.zig").fail;

pub export fn spargio_trace_start(handle: u64, events: u32, since: ?*u64) i32 {
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    if (runtime.scheduler.forked()) return fail(error.Forked);
    const stamp = runtime.scheduler.tracing.start(&runtime.scheduler, events) catch |err| return fail(err);
    if (since) |out| out.* = stamp;
    return errors.ok;
}

pub export fn spargio_trace_stop(handle: u64) i32 {
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    if (runtime.scheduler.forked()) return fail(error.Forked);
    return if (runtime.scheduler.tracing.stop(&runtime.scheduler)) errors.ok else fail(error.Invalid);
}

pub export fn spargio_trace_write(handle: u64, since: u64, fd: i32) i32 {
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    if (runtime.scheduler.forked()) return fail(error.Forked);
    const errno = trace_export.write(&runtime.scheduler, since, fd, .file) catch |err| return fail(switch (err) {
        error.NotTraced => error.Invalid,
        error.OutOfMemory => error.OutOfMemory,
    });
    return if (errno == 0) errors.ok else errors.fromErrno(errno);
}

pub export fn spargio_flight_start(handle: u64, given: ?*const Options) i32 {
    const pointer = given orelse return fail(error.Invalid);
    const options = options_module.read(Options, .{}, pointer) catch |err| return fail(err);
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    var errno: i32 = 0;
    runtime.startFlight(&options, &errno) catch |err| return switch (err) {
        error.SetupFailed => errors.fromErrno(errno),
        error.Invalid, error.OutOfMemory, error.Overloaded, error.Forked, error.Closed => |known| fail(known),
    };
    return errors.ok;
}

pub export fn spargio_flight_stop(handle: u64) i32 {
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    if (runtime.scheduler.forked()) return fail(error.Forked);
    return if (runtime.stopFlight()) errors.ok else fail(error.Invalid);
}
