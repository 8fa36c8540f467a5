//! Child processes of C programs: started by posix_spawn(3) on a thread of the pool, because that waits for
//! the child's exec; known by their pidfd from then on. Starts on a shard, the spawn on a pool's thread.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const weak_names = @import("../base/root_settings.zig").weak_names;
const pool_call = @import("pool_call.zig");
const runtime_of = @import("runtime.zig").runtimeOf;
const Op = @import("../task/op.zig").Op;
const PoolCall = pool_call.PoolCall;
const Set = @import("../base/signal_mask.zig").Set;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;

/// Mirrors `spargio_process_options`.
pub const Options = extern struct {
    struct_size: u32 = @sizeOf(Options),
    flags: u32 = 0,
    argv: ?[*:null]const ?[*:0]const u8 = null,
    env: ?[*:null]const ?[*:0]const u8 = null,
    cwd: ?[*:0]const u8 = null,
    stdin_fd: i32 = -1,
    stdout_fd: i32 = -1,
    stderr_fd: i32 = -1,
    reserved: i32 = 0,
};

pub const flag_search_path = 1;
pub const flag_new_group = 2;
pub const flag_new_session = 4;

/// posix_spawnattr_t and posix_spawn_file_actions_t of glibc and musl are smaller.
const Attributes = extern struct { bytes: [512]u8 align(16) };
const Actions = extern struct { bytes: [256]u8 align(16) };
const setpgroup = 0x02;
const setsigmask = 0x08;
const setsid = 0x80;

const c = struct {
    const List = [*:null]?[*:0]u8;
    const Spawn = fn (*i32, [*:0]const u8, *const Actions, *const Attributes, List, List) callconv(.c) c_int;
    extern "c" fn posix_spawnattr_init(*Attributes) c_int;
    extern "c" fn posix_spawnattr_destroy(*Attributes) c_int;
    extern "c" fn posix_spawnattr_setflags(*Attributes, c_short) c_int;
    extern "c" fn posix_spawnattr_setsigmask(*Attributes, *const Set) c_int;
    extern "c" fn posix_spawn_file_actions_init(*Actions) c_int;
    extern "c" fn posix_spawn_file_actions_destroy(*Actions) c_int;
    extern "c" fn posix_spawn_file_actions_adddup2(*Actions, c_int, c_int) c_int;
    const posix_spawn = @extern(*const Spawn, .{ .name = "posix_spawn" });
    const posix_spawnp = @extern(*const Spawn, .{ .name = "posix_spawnp" });

    /// glibc 2.29, newer than what the library asks for. A variable, because it may be missing (base/tsan.zig).
    var addchdir: ?*const fn (*Actions, [*:0]const u8) callconv(.c) c_int = if (weak_names)
        @extern(?*const fn (*Actions, [*:0]const u8) callconv(.c) c_int, .{
            .name = "posix_spawn_file_actions_addchdir_np",
            .linkage = .weak,
        })
    else
        null;
};

const Start = struct {
    call: PoolCall = .{ .perform = perform, .release = release },
    memory: std.heap.ArenaAllocator,
    options: Options,
    argv: [:null]?[*:0]u8,
    env: ?[:null]?[*:0]u8,
    cwd: ?[*:0]u8,
    mask: Set,
    pid: i32 = 0,
    out: ?*i32,
    /// Copies of descriptors that stand where another is to be.
    moved: [3]i32 = @splat(-1),

    fn perform(call: *PoolCall) i32 {
        const self: *Start = @fieldParentPtr("call", call);
        const errno = self.spawn();
        if (errno != 0) return -errno;
        const rc = linux.pidfd_open(self.pid, 0);
        if (linux.errno(rc) == .SUCCESS) return @intCast(rc);
        const pidfd_errno = linux.errno(rc);
        _ = linux.kill(self.pid, .KILL);
        reap(.PID, self.pid);
        return errors.negative(pidfd_errno);
    }

    fn spawn(self: *Start) c_int {
        var attributes: Attributes = undefined;
        var actions: Actions = undefined;
        if (c.posix_spawnattr_init(&attributes) != 0) return @backingInt(linux.E.NOMEM);
        defer _ = c.posix_spawnattr_destroy(&attributes);
        if (c.posix_spawn_file_actions_init(&actions) != 0) return @backingInt(linux.E.NOMEM);
        defer _ = c.posix_spawn_file_actions_destroy(&actions);
        var flags: c_short = setsigmask;
        if (self.options.flags & flag_new_group != 0) flags |= setpgroup;
        if (self.options.flags & flag_new_session != 0) flags |= setsid;
        const sent = c.posix_spawnattr_setflags(&attributes, flags);
        if (sent != 0) return sent;
        _ = c.posix_spawnattr_setsigmask(&attributes, &self.mask);
        const failed = self.addActions(&actions);
        if (failed != 0) return failed;
        const run = if (self.options.flags & flag_search_path != 0) c.posix_spawnp else c.posix_spawn;
        const env: [*:null]?[*:0]u8 = if (self.env) |list| list.ptr else @ptrCast(std.c.environ);
        return run(&self.pid, self.argv[0].?, &actions, &attributes, self.argv.ptr, env);
    }

    fn addActions(self: *Start, actions: *Actions) c_int {
        if (self.cwd) |path| {
            const addchdir = c.addchdir orelse return @backingInt(linux.E.NOSYS);
            const errno = addchdir(actions, path);
            if (errno != 0) return errno;
        }
        const wanted = [_]i32{ self.options.stdin_fd, self.options.stdout_fd, self.options.stderr_fd };
        // A source that is one of the three would be overwritten by another's: those are moved away first.
        var sources = wanted;
        for (&sources, 0..) |*source, target| {
            if (source.* < 0 or source.* > 2 or source.* == target) continue;
            const rc = linux.fcntl(source.*, linux.F.DUPFD_CLOEXEC, 3);
            if (linux.errno(rc) != .SUCCESS) return @backingInt(linux.errno(rc));
            source.* = @intCast(rc);
            self.moved[target] = source.*;
        }
        for (sources, 0..) |source, target| {
            if (source < 0) continue;
            // Of a descriptor to itself it takes close-on-exec away.
            const errno = c.posix_spawn_file_actions_adddup2(actions, source, @intCast(target));
            if (errno != 0) return errno;
        }
        return 0;
    }

    fn release(call: *PoolCall, op: *const Op, taken: bool) void {
        const self: *Start = @fieldParentPtr("call", call);
        for (self.moved) |fd| if (fd >= 0) {
            _ = linux.close(fd);
        };
        if (op.result >= 0) {
            if (taken) {
                if (self.out) |out| out.* = self.pid;
            } else {
                _ = linux.pidfd_send_signal(op.result, .KILL, null, 0);
                reap(.PIDFD, op.result);
                _ = linux.close(op.result);
            }
        }
        self.destroy();
    }

    fn destroy(self: *Start) void {
        self.memory.deinit();
        gpa.destroy(self);
    }

    fn copyList(self: *Start, given: [*:null]const ?[*:0]const u8) error{OutOfMemory}![:null]?[*:0]u8 {
        const allocator = self.memory.allocator();
        const list = try allocator.allocSentinel(?[*:0]u8, std.mem.len(given), null);
        for (list, 0..) |*to, i| to.* = (try allocator.dupeSentinel(u8, std.mem.span(given[i].?), 0)).ptr;
        return list;
    }
};

/// After a SIGKILL: what is left is taken by nobody else.
fn reap(kind: linux.P, id: i32) void {
    var info: linux.siginfo_t = undefined;
    while (linux.errno(linux.waitid(kind, id, &info, linux.W.EXITED, null)) == .INTR) {}
}

/// `options` were checked. The result is the pidfd.
pub fn start(shard: *Shard, task: *Task, options: *const Options, out: ?*i32) error{OutOfMemory}!*Op {
    const self = try gpa.create(Start);
    self.* = .{
        .memory = .init(gpa),
        .options = options.*,
        .argv = undefined,
        .env = null,
        .cwd = null,
        .mask = .{},
        .out = out,
    };
    errdefer self.destroy();
    self.argv = try self.copyList(options.argv.?);
    if (options.env) |env| self.env = try self.copyList(env);
    if (options.cwd) |path| self.cwd = (try self.memory.allocator().dupeSentinel(u8, std.mem.span(path), 0)).ptr;
    if (shard.scheduler.program_mask) |*program| self.mask = program.*;
    return self.call.start(shard, task, &runtime_of(shard).calls);
}

/// For ops/readiness.zig: the status of a child that has ended, as wait(2) reports it, which reaps it.
pub fn askStatus(_: ?*anyopaque, pidfd: i32) ?i32 {
    const Info = extern struct {
        signo: i32,
        errno: i32,
        code: i32,
        padding: i32,
        pid: i32,
        uid: u32,
        status: i32,
        rest: [100]u8,
    };
    var info: Info align(8) = std.mem.zeroes(Info);
    while (true) {
        const rc = linux.waitid(.PIDFD, pidfd, @ptrCast(&info), linux.W.EXITED | linux.W.NOHANG, null);
        switch (linux.errno(rc)) {
            .SUCCESS => break,
            .INTR => {},
            else => |errno| return errors.negative(errno),
        }
    }
    if (info.pid == 0) return null;
    const exited = 1;
    const dumped = 3;
    if (info.code == exited) return (info.status & 0xff) << 8;
    return info.status | @as(i32, if (info.code == dumped) 0x80 else 0);
}
