//! The C ABI of what threads of a pool do: calls that block, and lookups of names. In a poll function only.

const blocking_call = @import("../runtime/blocking_call.zig");
const fail = @import("common.zig").fail;
const launch = @import("common.zig").launch;
const lookup = @import("../runtime/lookup.zig");
const Lookup = lookup.Lookup;

pub export fn spargio_blocking(function: ?blocking_call.Function, ctx: ?*anyopaque, op: ?*u64) i32 {
    const wanted = function orelse return fail(error.Invalid);
    return launch(op, blocking_call.start, .{ wanted, ctx });
}

pub export fn spargio_resolve(
    host: ?[*:0]const u8,
    service: ?[*:0]const u8,
    hints: ?*const lookup.AddressInfo,
    list: ?*?*lookup.AddressInfo,
    op: ?*u64,
) i32 {
    const out = list orelse return fail(error.Invalid);
    if (host == null and service == null) return fail(error.Invalid);
    return launch(op, Lookup.start, .{ host, service, hints, out });
}
