//! A connect to a port of this machine must fail if nobody listens on it. But the kernel may choose
//! that very port for the client, and TCP then connects the socket to itself.

const std = @import("std");
const linux = std.os.linux;

/// Whether a connected socket of an internet family is its own peer. It is then set to be reset when it is
/// closed, so that the service that may come finds its port free.
pub fn isItself(fd: i32) bool {
    var own: Name = undefined;
    var other: Name = undefined;
    const here = own.ask(.getsockname, fd) orelse return false;
    const peer = other.ask(.getpeername, fd) orelse return false;
    if (!std.mem.eql(u8, here, peer)) return false;
    const linger = [2]u32{ 1, 0 };
    _ = linux.setsockopt(fd, linux.SOL.SOCKET, linux.SO.LINGER, std.mem.asBytes(&linger), @sizeOf(@TypeOf(linger)));
    return true;
}

const Name = struct {
    storage: linux.sockaddr.in6,

    /// Null: it has none, or is of another family.
    fn ask(self: *Name, comptime call: enum { getsockname, getpeername }, fd: i32) ?[]const u8 {
        var len: linux.socklen_t = @sizeOf(linux.sockaddr.in6);
        const rc = switch (call) {
            .getsockname => linux.getsockname(fd, @ptrCast(&self.storage), &len),
            .getpeername => linux.getpeername(fd, @ptrCast(&self.storage), &len),
        };
        if (linux.errno(rc) != .SUCCESS or len > @sizeOf(linux.sockaddr.in6)) return null;
        const family = self.storage.family;
        if (family != linux.AF.INET and family != linux.AF.INET6) return null;
        return std.mem.asBytes(&self.storage)[0..len];
    }
};

test "a socket that is connected to itself" {
    const fd: i32 = @intCast(linux.socket(linux.AF.INET, linux.SOCK.STREAM, 0));
    defer _ = linux.close(fd);
    var address: linux.sockaddr.in = .{ .port = 0, .addr = std.mem.nativeToBig(u32, 0x7f000001) };
    var len: linux.socklen_t = @sizeOf(linux.sockaddr.in);
    try std.testing.expectEqual(0, linux.bind(fd, @ptrCast(&address), len));
    try std.testing.expectEqual(0, linux.getsockname(fd, @ptrCast(&address), &len));
    try std.testing.expect(!isItself(fd));
    try std.testing.expectEqual(0, linux.connect(fd, @ptrCast(&address), len));
    try std.testing.expect(isItself(fd));
}
