//! What happens to a successful result that nobody takes, because its task ended first: its
//! descriptors are closed. On the shard's thread only.

const std = @import("std");
const linux = std.os.linux;
const system = @import("../base/platform.zig").system;

pub const Disposal = union(enum) {
    nothing,
    /// The result is a descriptor.
    close_descriptor,
    /// Two descriptors were written there (a pipe).
    close_pair: *const [2]i32,
    /// A message was received, and descriptors may have come with it (SCM_RIGHTS).
    close_passed: *const linux.msghdr,

    /// What is pointed to is the operation's memory: it is there until its task is done.
    pub fn apply(self: Disposal, result: i32) void {
        if (result < 0) return;
        switch (self) {
            .nothing => {},
            .close_descriptor => _ = system.close(result),
            .close_pair => |pair| for (pair) |fd| {
                _ = system.close(fd);
            },
            .close_passed => |message| closePassed(message),
        }
    }
};

fn closePassed(message: *const linux.msghdr) void {
    const control: [*]const u8 = @ptrCast(message.control orelse return);
    var rest = control[0..@intCast(message.controllen)];
    while (rest.len >= @sizeOf(linux.cmsghdr)) {
        const header = std.mem.bytesToValue(linux.cmsghdr, rest[0..@sizeOf(linux.cmsghdr)]);
        if (header.len < @sizeOf(linux.cmsghdr) or header.len > rest.len) return;
        var data = rest[@sizeOf(linux.cmsghdr)..header.len];
        if (header.level == linux.SOL.SOCKET and header.type == linux.SCM.RIGHTS) {
            while (data.len >= 4) : (data = data[4..]) _ = system.close(std.mem.bytesToValue(i32, data[0..4]));
        }
        rest = rest[@min(std.mem.alignForward(usize, header.len, linux.cmsg_align), rest.len)..];
    }
}

test "a pair and passed descriptors are closed, other control data is left alone" {
    var pair: [2]i32 = undefined;
    try std.testing.expectEqual(linux.E.SUCCESS, linux.errno(linux.pipe2(&pair, .{ .CLOEXEC = true })));
    (Disposal{ .close_pair = &pair }).apply(-1);
    try std.testing.expect(isOpen(pair[0]) and isOpen(pair[1]));

    const Control = extern struct { first: linux.cmsghdr, number: i32 align(8), second: linux.cmsghdr, fds: [2]i32 };
    var control: Control = .{
        .first = .{ .len = @sizeOf(linux.cmsghdr) + 4, .level = linux.SOL.SOCKET, .type = linux.SCM.RIGHTS + 1 },
        .number = pair[0],
        .second = .{ .len = @sizeOf(linux.cmsghdr) + 8, .level = linux.SOL.SOCKET, .type = linux.SCM.RIGHTS },
        .fds = .{ pair[1], 1 << 20 },
    };
    var message = std.mem.zeroes(linux.msghdr);
    message.control = &control;
    message.controllen = @sizeOf(Control);
    (Disposal{ .close_passed = &message }).apply(0);
    try std.testing.expect(isOpen(pair[0]) and !isOpen(pair[1]));
    (Disposal{ .close_pair = &pair }).apply(0);
    try std.testing.expect(!isOpen(pair[0]));
    message.control = null;
    (Disposal{ .close_passed = &message }).apply(0);
}

fn isOpen(fd: i32) bool {
    return linux.errno(linux.fcntl(fd, linux.F.GETFD, 0)) == .SUCCESS;
}
