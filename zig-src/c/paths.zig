//! The C ABI of names in the file system. Only poll functions may call these.

const std = @import("std");
const linux = std.os.linux;
const paths = @import("../ops/paths.zig");
const fail = @import("common.zig").fail;
const launch = @import("common.zig").launch;

pub export fn spargio_mkdir(path: ?[*:0]const u8, mode: u32, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    return launch(op, paths.mkdir, .{ std.mem.span(name), mode });
}

pub export fn spargio_rmdir(path: ?[*:0]const u8, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    return launch(op, paths.unlink, .{ std.mem.span(name), @as(u32, linux.AT.REMOVEDIR) });
}

pub export fn spargio_unlink(path: ?[*:0]const u8, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    return launch(op, paths.unlink, .{ std.mem.span(name), @as(u32, 0) });
}

pub export fn spargio_rename(from: ?[*:0]const u8, to: ?[*:0]const u8, flags: u32, op: ?*u64) i32 {
    const old = from orelse return fail(error.Invalid);
    const new = to orelse return fail(error.Invalid);
    return launch(op, paths.rename, .{ std.mem.span(old), std.mem.span(new), flags });
}

pub export fn spargio_link(existing: ?[*:0]const u8, path: ?[*:0]const u8, op: ?*u64) i32 {
    const old = existing orelse return fail(error.Invalid);
    const new = path orelse return fail(error.Invalid);
    return launch(op, paths.link, .{ std.mem.span(old), std.mem.span(new) });
}

pub export fn spargio_symlink(target: ?[*:0]const u8, path: ?[*:0]const u8, op: ?*u64) i32 {
    const old = target orelse return fail(error.Invalid);
    const new = path orelse return fail(error.Invalid);
    return launch(op, paths.symlink, .{ std.mem.span(old), std.mem.span(new) });
}

pub export fn spargio_statx(path: ?[*:0]const u8, flags: u32, mask: u32, out: ?*linux.Statx, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    const buffer = out orelse return fail(error.Invalid);
    return launch(op, paths.statx, .{ std.mem.span(name), flags, mask, buffer });
}
