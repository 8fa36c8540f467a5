//! Large pieces of memory for data on its way: ciphertext that is being sent, and received
//! ciphertext that is being decrypted. The piece that was returned last is taken next, so that it
//! is in the CPU's cache. A connection that waits holds no piece. Any thread.

const std = @import("std");
const forever = @import("../../base/memory.zig").forever;
const sync = @import("../../base/sync.zig");

/// Bytes of each: 64 KiB of plaintext with their records, and some more.
pub const size = 80 * 1024;
const kept_max = 32;

var lock: sync.Lock = .{};
var kept: [kept_max][]u8 = undefined;
var count: usize = 0;

pub fn take() error{OutOfMemory}![]u8 {
    lock.lock();
    if (count > 0) {
        count -= 1;
        defer lock.unlock();
        return kept[count];
    }
    lock.unlock();
    return forever.alloc(u8, size);
}

pub fn give(memory: []u8) void {
    std.debug.assert(memory.len == size);
    lock.lock();
    if (count < kept_max) {
        kept[count] = memory;
        count += 1;
        return lock.unlock();
    }
    lock.unlock();
    forever.free(memory);
}

test "the last one comes first" {
    const one = try take();
    const other = try take();
    give(one);
    give(other);
    try std.testing.expectEqual(other.ptr, (try take()).ptr);
    try std.testing.expectEqual(one.ptr, (try take()).ptr);
    forever.free(one);
    forever.free(other);
}
