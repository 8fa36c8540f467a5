//! Answers programs that look at a runtime from outside: a listener on an abstract Unix socket
//! named after the process's number, and a thread that serves it. The thread is not a shard, takes
//! no lock of a shard and needs no interpreter for the statistics, so it answers while every shard
//! is blocked. It answers only the same user and root. The front end owns the thread; that of a C
//! program is made here.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const runtime_handle = @import("runtime_handle.zig");
const Runtime = @import("runtime.zig").Runtime;

/// Runtimes of one process that can be looked at.
const names_max = 64;
/// A client that says or takes nothing does not keep the others waiting for longer.
const patience_ms = 1000;
pub const request_max = 64;

/// Whether SPARGIO_MONITOR asks for one.
pub fn wanted() bool {
    const text = std.mem.span(std.c.getenv("SPARGIO_MONITOR") orelse return false);
    return text.len > 0 and !std.mem.eql(u8, text, "0");
}

pub const Request = struct {
    /// The caller answers and closes it.
    fd: i32,
    text: [request_max]u8,
    size: usize,
};

pub const Monitor = struct {
    listener: i32,
    name: [32]u8,
    name_size: usize,
    thread: ?std.Thread = null,

    /// The errno of what failed, or the monitor.
    pub fn open(errno: *i32) ?Monitor {
        const rc = linux.socket(linux.AF.UNIX, linux.SOCK.STREAM | linux.SOCK.CLOEXEC, 0);
        errno.* = @backingInt(linux.errno(rc));
        if (errno.* != 0) return null;
        var self: Monitor = .{ .listener = @intCast(rc), .name = undefined, .name_size = 0 };
        for (0..names_max) |n| {
            const words = if (n == 0)
                std.fmt.bufPrint(&self.name, "spargio.{d}", .{linux.getpid()})
            else
                std.fmt.bufPrint(&self.name, "spargio.{d}.{d}", .{ linux.getpid(), n });
            self.name_size = (words catch unreachable).len; // Ten digits, and two.
            errno.* = self.bind();
            if (errno.* != @backingInt(linux.E.ADDRINUSE)) break;
        }
        if (errno.* == 0) errno.* = @backingInt(linux.errno(linux.listen(self.listener, 16)));
        if (errno.* == 0) return self;
        _ = linux.close(self.listener);
        return null;
    }

    fn bind(self: *const Monitor) i32 {
        var address: linux.sockaddr.un = .{ .path = @splat(0) };
        @memcpy(address.path[1..][0..self.name_size], self.name[0..self.name_size]);
        const size: u32 = @intCast(@offsetOf(linux.sockaddr.un, "path") + 1 + self.name_size);
        return @backingInt(linux.errno(linux.bind(self.listener, @ptrCast(&address), size)));
    }

    /// Ends `next` on the monitor's thread.
    pub fn stop(self: *Monitor) void {
        _ = linux.shutdown(self.listener, linux.SHUT.RDWR);
        if (self.thread) |thread| thread.join();
        self.thread = null;
    }

    /// After `stop`, when nobody is in `next` any more.
    pub fn close(self: *Monitor) void {
        _ = linux.close(self.listener);
    }

    /// Serves the statistics; another request is the caller's. Null once the runtime has stopped.
    pub fn next(self: *const Monitor, runtime: *Runtime) ?Request {
        while (true) {
            const rc = linux.accept4(self.listener, null, null, linux.SOCK.CLOEXEC);
            switch (linux.errno(rc)) {
                .SUCCESS => {},
                .INTR, .CONNABORTED => continue,
                .MFILE, .NFILE, .NOBUFS, .NOMEM => { // It is answered once there is room again.
                    const pause: linux.timespec = .{ .sec = 0, .nsec = 100 * std.time.ns_per_ms };
                    _ = linux.nanosleep(&pause, null);
                    continue;
                },
                else => return null, // The listener was shut down.
            }
            var request: Request = .{ .fd = @intCast(rc), .text = undefined, .size = 0 };
            if (!isAllowed(request.fd) or !read(&request)) {
                _ = linux.close(request.fd);
                continue;
            }
            const text = request.text[0..request.size];
            if (text.len > 0 and !std.mem.eql(u8, text, "stats")) return request;
            answer(request.fd, runtime);
        }
    }

    fn isAllowed(fd: i32) bool {
        const limit: linux.timeval = .{ .sec = patience_ms / 1000, .usec = 0 };
        for ([_]u32{ linux.SO.RCVTIMEO, linux.SO.SNDTIMEO }) |option|
            _ = linux.setsockopt(fd, linux.SOL.SOCKET, option, std.mem.asBytes(&limit), @sizeOf(linux.timeval));
        var peer: extern struct { pid: i32, uid: u32, gid: u32 } = undefined;
        var size: u32 = @sizeOf(@TypeOf(peer));
        const rc = linux.getsockopt(fd, linux.SOL.SOCKET, linux.SO.PEERCRED, @ptrCast(&peer), &size);
        if (linux.errno(rc) != .SUCCESS) return false;
        return peer.uid == 0 or peer.uid == linux.geteuid();
    }

    /// A line, without its end; nothing if the client says nothing. False: it is gone.
    fn read(request: *Request) bool {
        while (request.size < request_max) {
            const room = request.text[request.size..];
            const rc = linux.recvfrom(request.fd, room.ptr, room.len, 0, null, null);
            switch (linux.errno(rc)) {
                .SUCCESS => {},
                .INTR => continue,
                .AGAIN => return true,
                else => return false,
            }
            request.size += rc;
            if (std.mem.findScalar(u8, request.text[0..request.size], '\n')) |end| {
                request.size = end;
                return true;
            }
            if (rc == 0) return true;
        }
        return true;
    }

    fn answer(fd: i32, runtime: *Runtime) void {
        defer _ = linux.close(fd);
        var size: usize = 0;
        _ = runtime_handle.statsInto(runtime, null, 0, &size);
        while (true) {
            const buffer = gpa.alloc(u8, size) catch return;
            defer gpa.free(buffer);
            const result = runtime_handle.statsInto(runtime, buffer.ptr, buffer.len, &size);
            if (result == @backingInt(errors.Code.buffer)) continue; // The counters grew meanwhile.
            if (result != errors.ok) return;
            return sendAll(fd, buffer[0..size]);
        }
    }

    fn sendAll(fd: i32, data: []const u8) void {
        var sent: usize = 0;
        while (sent < data.len) {
            const rc = linux.sendto(fd, data[sent..].ptr, data.len - sent, linux.MSG.NOSIGNAL, null, 0);
            switch (linux.errno(rc)) {
                .SUCCESS => sent += rc,
                .INTR => continue,
                else => return, // It is gone, or takes nothing.
            }
        }
    }

    /// For a front end without threads of its own. What it cannot answer is closed.
    pub fn startThread(self: *Monitor, runtime: *Runtime) !void {
        self.thread = try .spawn(.{ .stack_size = 256 * 1024 }, serve, .{ self, runtime });
    }

    fn serve(self: *const Monitor, runtime: *Runtime) void {
        _ = linux.prctl(@backingInt(linux.PR.SET_NAME), @intFromPtr("spargio-monitor"), 0, 0, 0);
        while (self.next(runtime)) |request| _ = linux.close(request.fd);
    }
};
