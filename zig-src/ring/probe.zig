//! What the kernel offers: one small ring is opened and closed, its probe read. Also the one place
//! that decides which setup flags the shards' rings get. Any thread.

const std = @import("std");
const linux = std.os.linux;
const Failure = @import("../base/failure.zig").Failure;
const limits = @import("../base/limits.zig");
const platform = @import("../base/platform.zig");
const cpus = @import("../base/cpus.zig");

pub const Capabilities = packed struct(u64) {
    defer_taskrun: bool = false,
    single_issuer: bool = false,
    msg_ring: bool = false,
    send_msg_ring: bool = false,
    ext_arg: bool = false,
    cancel_fd: bool = false,
    no_sqarray: bool = false,
    send_zc: bool = false,
    recv_multishot: bool = false,
    pbuf_ring: bool = false,
    _: u54 = 0,
};

/// Mirrors `spargio_probe_info`.
pub const Info = extern struct {
    struct_size: u32 = @sizeOf(Info),
    setup_errno: i32 = 0,
    kernel_major: u32 = 0,
    kernel_minor: u32 = 0,
    features: u32 = 0,
    setup_flags: u32 = 0,
    capabilities: u64 = 0,
    opcodes: [4]u64 = @splat(0),
    memlock_limit: u64 = 0,
    nofile_limit: u64 = 0,
    usable_cpus: u32 = 0,
    disabled: i32 = -1,

    pub fn can(self: *const Info) Capabilities {
        return @bitCast(self.capabilities);
    }

    pub fn supports(self: *const Info, op: linux.IORING_OP) bool {
        const n = @backingInt(op);
        return self.opcodes[n / 64] >> @intCast(n % 64) & 1 == 1;
    }

    /// What every shard needs: waits with a time limit and the operations of Linux 5.19.
    pub fn sufficient(self: *const Info) bool {
        return self.setup_errno == 0 and self.can().ext_arg and self.can().cancel_fd;
    }
};

const base_flags = linux.IORING_SETUP_CLAMP | linux.IORING_SETUP_SUBMIT_ALL | linux.IORING_SETUP_CQSIZE;

/// From the best to what Linux 5.19 has; a kernel refuses flags it does not know with EINVAL.
const flag_ladder = [_]u32{
    linux.IORING_SETUP_SINGLE_ISSUER | linux.IORING_SETUP_DEFER_TASKRUN | linux.IORING_SETUP_TASKRUN_FLAG,
    linux.IORING_SETUP_SINGLE_ISSUER | linux.IORING_SETUP_COOP_TASKRUN | linux.IORING_SETUP_TASKRUN_FLAG,
    linux.IORING_SETUP_COOP_TASKRUN | linux.IORING_SETUP_TASKRUN_FLAG,
};

/// What the first probe that succeeded found. Not under a lock: a fork could leave it held.
var remembered: Info = undefined;
var memory: std.atomic.Value(enum(u8) { empty, writing, full }) = .init(.empty);

/// For a runtime's start: a kernel does not unlearn what it could, so one ring is tried per process.
/// If rings have been forbidden meanwhile, those of the shards will report it.
pub fn known(failure: *Failure) Info {
    if (comptime platform.simulated) return platform.machine.probe();
    // Acquire pairs with the release below.
    if (memory.load(.acquire) == .full) {
        var info = remembered;
        readSystem(&info);
        return info;
    }
    const info = probeInto(failure);
    if (info.setup_errno == 0 and memory.cmpxchgStrong(.empty, .writing, .monotonic, .monotonic) == null) {
        remembered = info;
        memory.store(.full, .release);
    }
    return info;
}

pub fn probe() Info {
    var ignored: Failure = .{};
    return probeInto(&ignored);
}

/// With a `setup_errno`, `failure` says which call it was.
fn probeInto(failure: *Failure) Info {
    var info: Info = .{};
    readSystem(&info);
    for (flag_ladder) |flags| {
        var params = std.mem.zeroes(linux.io_uring_params);
        params.flags = flags | base_flags;
        params.cq_entries = 16;
        const rc = linux.io_uring_setup(8, &params);
        const errno = linux.errno(rc);
        info.setup_errno = @backingInt(errno);
        if (errno == .INVAL) continue;
        failure.set(.io_uring_setup, errno);
        if (errno != .SUCCESS) return info;
        const fd: i32 = @intCast(rc);
        defer _ = linux.close(fd);
        if (!mayUse(fd, failure)) {
            info.setup_errno = failure.errno;
            return info;
        }
        info.features = params.features;
        info.setup_flags = flags | base_flags;
        readOpcodes(fd, &info);
        info.capabilities = @bitCast(capabilities(&info, flags));
        return info;
    }
    return info;
}

/// A seccomp filter may allow the first of the three calls and none of the others: asked before a ring is used.
pub fn mayUse(ring_fd: i32, failure: *Failure) bool {
    var nothing = std.mem.zeroes(linux.io_uring_probe);
    const registered = linux.io_uring_register(ring_fd, .REGISTER_PROBE, &nothing, 0);
    failure.set(.io_uring_register, linux.errno(registered));
    if (!failure.is(.SUCCESS)) return false;
    // What the kernel could not do just now it does the next time; a filter says the same again.
    for (0..limits.refused_tries) |_| {
        const entered = linux.syscall6(.io_uring_enter, @intCast(ring_fd), 0, 0, 0, 0, 0);
        failure.set(.io_uring_enter, linux.errno(entered));
        switch (linux.errno(entered)) {
            .AGAIN, .BUSY, .INTR, .NOMEM => {},
            else => break,
        }
    }
    return failure.is(.SUCCESS) or failure.is(.BADFD); // What the kernel says of a ring that is disabled.
}

fn readOpcodes(fd: i32, info: *Info) void {
    var table = std.mem.zeroes(linux.io_uring_probe);
    const rc = linux.io_uring_register(fd, .REGISTER_PROBE, &table, table.ops.len);
    if (linux.errno(rc) != .SUCCESS) return;
    for (table.ops, 0..) |op, n| {
        if (op.flags & 1 == 1) info.opcodes[n / 64] |= @as(u64, 1) << @intCast(n % 64);
    }
}

fn capabilities(info: *const Info, flags: u32) Capabilities {
    return .{
        .defer_taskrun = flags & linux.IORING_SETUP_DEFER_TASKRUN != 0,
        .single_issuer = flags & linux.IORING_SETUP_SINGLE_ISSUER != 0,
        .msg_ring = info.supports(.MSG_RING),
        .send_msg_ring = hasSendMsgRing(),
        .ext_arg = info.features & linux.IORING_FEAT_EXT_ARG != 0,
        // SOCKET arrived with 5.19, as cancel by descriptor did; that has no bit of its own.
        .cancel_fd = info.supports(.SOCKET),
        // FUTEX_WAITV came one release (6.7) after NO_SQARRAY, and WAITID with it.
        .no_sqarray = info.supports(.WAITID),
        .send_zc = info.supports(.SEND_ZC),
        .recv_multishot = info.supports(.SEND_ZC),
        .pbuf_ring = info.supports(.SOCKET),
    };
}

/// To the descriptor -1: a kernel that knows the command (6.13) looks at it and says EBADF, an older
/// one says EINVAL to the command.
fn hasSendMsgRing() bool {
    var sqe = std.mem.zeroes(linux.io_uring_sqe);
    sqe.opcode = .MSG_RING;
    sqe.fd = -1;
    const rc = linux.io_uring_register(-1, .REGISTER_SEND_MSG_RING, &sqe, 1);
    return linux.errno(rc) == .BADF;
}

fn kernelVersion() [2]u32 {
    var name: linux.utsname = undefined;
    if (linux.errno(linux.uname(&name)) != .SUCCESS) return .{ 0, 0 };
    var parts = std.mem.tokenizeAny(u8, std.mem.sliceTo(&name.release, 0), ".-+");
    const major = std.fmt.parseInt(u32, parts.next() orelse "", 10) catch 0;
    const minor = std.fmt.parseInt(u32, parts.next() orelse "", 10) catch 0;
    return .{ major, minor };
}

pub fn readSystem(info: *Info) void {
    const version = kernelVersion();
    info.kernel_major = version[0];
    info.kernel_minor = version[1];
    info.usable_cpus = @intCast(cpus.count());
    info.memlock_limit = readLimit(.MEMLOCK);
    info.nofile_limit = readLimit(.NOFILE);
    info.disabled = readDisabled();
}

fn readLimit(resource: linux.rlimit_resource) u64 {
    var limit: linux.rlimit = undefined;
    if (linux.errno(linux.getrlimit(resource, &limit)) != .SUCCESS) return 0;
    return limit.cur;
}

fn readDisabled() i32 {
    const rc = linux.open("/proc/sys/kernel/io_uring_disabled", .{ .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return -1;
    const fd: i32 = @intCast(rc);
    defer _ = linux.close(fd);
    var digit: [1]u8 = undefined;
    if (linux.read(fd, &digit, 1) != 1) return -1;
    return if (std.ascii.isDigit(digit[0])) digit[0] - '0' else -1;
}

test "what is remembered is what a new probe finds" {
    const info = probe();
    var failure: Failure = .{};
    for (0..2) |_| try std.testing.expectEqualDeep(info, known(&failure));
}

test "this kernel can be probed" {
    const info = probe();
    try std.testing.expect(info.kernel_major >= 2);
    if (info.setup_errno != 0) return error.SkipZigTest;
    try std.testing.expect(info.supports(.NOP));
    try std.testing.expect(info.setup_flags != 0);
}
