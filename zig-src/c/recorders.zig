//! Recorders in the C ABI: thin functions that check, call and map the error.

const std = @import("std");
const clock = @import("../base/clock.zig");
const errors = @import("../base/errors.zig");
const recorder_cbor = @import("../scheduler/recorder_cbor.zig");
const recorders = @import("../scheduler/recorders.zig");
const recording = @import("../scheduler/recording.zig");
const fail = @import("common.zig").fail;
const Writer = @import("../base/cbor.zig").Writer;

pub export fn spargio_recorder_open(name: ?[*:0]const u8, out: ?*u32) i32 {
    const number = out orelse return fail(error.Invalid);
    const text = name orelse return fail(error.Invalid);
    const recorder = recorders.open(std.mem.span(text)) catch |err| return fail(switch (err) {
        error.OutOfMemory => error.OutOfMemory,
        error.Invalid => error.Invalid,
        error.Full => error.Overloaded,
    });
    number.* = recorder.index + 1;
    return errors.ok;
}

pub export fn spargio_recorder_error(number: u32, kind: ?[*:0]const u8, outcome: ?*u32) i32 {
    const out = outcome orelse return fail(error.Invalid);
    const text = kind orelse return fail(error.Invalid);
    const recorder = recorders.byNumber(number) orelse return fail(error.Closed);
    out.* = recorder.outcomeOf(std.mem.span(text));
    return errors.ok;
}

pub export fn spargio_recorder_record(number: u32, ns: u64) i32 {
    const recorder = recorders.byNumber(number) orelse return fail(error.Closed);
    recording.record(recorder, .{ .ns = ns });
    return errors.ok;
}

pub export fn spargio_recorder_record_from(number: u32, intended_start_ns: u64) i32 {
    const recorder = recorders.byNumber(number) orelse return fail(error.Closed);
    recording.record(recorder, .{ .ns = clock.nowNs() -| intended_start_ns });
    return errors.ok;
}

pub export fn spargio_recorder_record_corrected(number: u32, ns: u64, expected_interval_ns: u64) i32 {
    const recorder = recorders.byNumber(number) orelse return fail(error.Closed);
    recording.recordCorrected(recorder, .{ .ns = ns }, expected_interval_ns);
    return errors.ok;
}

pub export fn spargio_recorder_record_outcome(
    number: u32,
    ns: u64,
    outcome: u32,
    bytes: u64,
    operations: u64,
) i32 {
    const recorder = recorders.byNumber(number) orelse return fail(error.Closed);
    // Acquire: pairs with the release in `outcomeOf`.
    if (outcome >= recorders.first_kind + recorder.kind_count.load(.acquire)) return fail(error.Invalid);
    recording.record(recorder, .{ .ns = ns, .outcome = outcome, .bytes = bytes, .operations = operations });
    return errors.ok;
}

/// Nothing is written if it does not fit: one run measures, the next writes.
pub export fn spargio_recorders_cbor(buffer: ?[*]u8, capacity: usize, needed: ?*usize) i32 {
    if (buffer == null and capacity != 0) return fail(error.Invalid);
    var measure: Writer = .{ .buffer = &.{} };
    recorder_cbor.write(&measure);
    const size = measure.size + recorder_cbor.slack();
    if (needed) |out| out.* = size;
    if (capacity < size) return fail(error.BufferTooSmall);
    var writer: Writer = .{ .buffer = buffer.?[0..capacity] };
    recorder_cbor.write(&writer);
    if (!writer.fits()) return fail(error.BufferTooSmall); // They grew more than that.
    if (needed) |out| out.* = writer.size;
    return errors.ok;
}
