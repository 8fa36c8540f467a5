//! The CPUs that this process may use: its affinity mask.

const std = @import("std");
const linux = std.os.linux;

pub fn count() usize {
    return std.Thread.getCpuCount() catch 1;
}

pub fn isUsable(cpu: u32) bool {
    var set: linux.cpu_set_t = undefined;
    @memset(std.mem.asBytes(&set), 0);
    const rc = linux.sched_getaffinity(0, @sizeOf(@TypeOf(set)), &set);
    if (linux.errno(rc) != .SUCCESS) return false;
    const bits = @bitSizeOf(usize);
    if (cpu / bits >= set.len) return false;
    return set[cpu / bits] >> @intCast(cpu % bits) & 1 == 1;
}
