//! Answers programs that look at a runtime from outside: a listener on an abstract Unix socket
//! named after the process's number, and a thread that serves it. The thread is not a shard, takes
//! no lock of a shard and needs no interpreter for the statistics, so it answers while every shard
//! is blocked. It answers only the same user and root. The front end owns the thread; that of a C
//! program is made here.

const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const clock = @import("../base/clock.zig");
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const runtime_handle = @import("runtime_handle.zig");
const Atomic = std.atomic.Value;
const JsonSink = @import("json_sink.zig").JsonSink;
const Runtime = @import("runtime.zig").Runtime;
const sync = @import("../base/sync.zig");
const trace_export = @import("trace_export.zig");

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
    tracer: Tracer = .{},

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
        self.tracer.stop();
    }

    /// After `stop`, when nobody is in `next` any more.
    pub fn close(self: *Monitor) void {
        _ = linux.close(self.listener);
    }

    /// Serves the statistics and traces; another request is the caller's. Null once the runtime has stopped.
    pub fn next(self: *Monitor, runtime: *Runtime) ?Request {
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
            if (std.mem.startsWith(u8, text, "trace ")) {
                self.tracer.begin(runtime, request.fd, text["trace ".len..]);
            } else if (text.len == 0 or std.mem.eql(u8, text, "stats")) {
                answer(request.fd, runtime);
            } else return request;
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

    /// For a front end without threads of its own, and without tasks that it could describe.
    pub fn startThread(self: *Monitor, runtime: *Runtime) !void {
        self.thread = try .spawn(.{ .stack_size = 256 * 1024 }, serve, .{ self, runtime });
    }

    fn serve(self: *Monitor, runtime: *Runtime) void {
        _ = linux.prctl(@backingInt(linux.PR.SET_NAME), @intFromPtr("spargio-monitor"), 0, 0, 0);
        while (self.next(runtime)) |request| {
            const asked = request.text[0..request.size];
            sendAll(request.fd, if (std.mem.eql(u8, std.mem.trim(u8, asked, " \r"), "tasks"))
                no_tasks
            else
                "{\"error\": \"a request must be stats, tasks or trace\"}");
            _ = linux.close(request.fd);
        }
    }

    const no_tasks = "{\"tasks\": []}";
};

/// Answers `trace MILLISECONDS EVENTS`: turns the trace on for so long, or until the client has nothing more to
/// say (shutdown(2)), and writes it. `trace 0 0`: what a trace that is on has so far. One at a time, on a
/// thread of its own, so that others are answered meanwhile.
const Tracer = struct {
    /// Of the fields below. The monitor's thread may be at a request when the runtime stops.
    lock: sync.Lock = .{},
    ended: bool = false,
    thread: ?std.Thread = null,
    asked: Asked = .{},
    /// Its client. Closed by who joins the thread, so that its number is nobody else's before.
    fd: i32 = -1,
    done: Atomic(bool) = .init(false),

    const Asked = struct { milliseconds: u31 = 0, events: u32 = 0 };

    /// On the monitor's thread.
    fn begin(self: *Tracer, runtime: *Runtime, fd: i32, text: []const u8) void {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.take(runtime, fd, text)) |why| {
            say(fd, why);
            _ = linux.close(fd);
        }
    }

    /// Why not.
    fn take(self: *Tracer, runtime: *Runtime, fd: i32, text: []const u8) ?[]const u8 {
        const asked = parse(text) orelse return "a trace must be asked for as `trace MILLISECONDS EVENTS`";
        if (self.ended) return "the runtime has stopped";
        // Acquire: pairs with the release in `run`.
        if (self.thread != null and !self.done.load(.acquire)) return "somebody else is tracing it: try again";
        self.join();
        self.asked = asked;
        self.done.store(false, .monotonic);
        self.fd = fd;
        self.thread = std.Thread.spawn(.{ .stack_size = 256 * 1024 }, run, .{ self, runtime }) catch {
            self.fd = -1;
            return "no thread can be started for it";
        };
        return null;
    }

    fn join(self: *Tracer) void {
        if (self.thread) |thread| thread.join();
        self.thread = null;
        if (self.fd >= 0) _ = linux.close(self.fd);
        self.fd = -1;
    }

    fn parse(text: []const u8) ?Asked {
        var words = std.mem.tokenizeScalar(u8, text, ' ');
        const asked: Asked = .{
            .milliseconds = std.fmt.parseInt(u31, words.next() orelse return null, 10) catch return null,
            .events = std.fmt.parseInt(u32, words.next() orelse return null, 10) catch return null,
        };
        return if (words.next() == null) asked else null;
    }

    fn say(fd: i32, why: []const u8) void {
        var sink: JsonSink = .{ .fd = fd, .is_socket = true };
        sink.print("{{\"error\":\"{s}\"}}", .{why});
        sink.flush();
    }

    fn run(self: *Tracer, runtime: *Runtime) void {
        const fd = self.fd;
        assert(fd >= 0);
        if (self.trace(runtime, fd)) |why| say(fd, why);
        // First, so that the next one may ask once this one sees the end. Release: pairs with the acquire in `take`.
        self.done.store(true, .release);
        _ = linux.shutdown(fd, linux.SHUT.RDWR);
    }

    fn trace(self: *Tracer, runtime: *Runtime, fd: i32) ?[]const u8 {
        const scheduler = &runtime.scheduler;
        var since: u64 = 0;
        const on = self.asked.milliseconds > 0;
        if (on) since = scheduler.tracing.start(scheduler, self.asked.events) catch |err| return switch (err) {
            error.Invalid => "events must be between 64 and 4194304",
            error.OutOfMemory => "no memory for the events",
        };
        if (on) wait(fd, self.asked.milliseconds);
        defer if (on) {
            _ = scheduler.tracing.stop(scheduler);
        };
        _ = trace_export.write(scheduler, since, fd, .socket) catch |err| return switch (err) {
            error.NotTraced => "it is not traced",
            error.OutOfMemory => "no memory for the trace",
        };
        return null;
    }

    const pollrdhup = 0x2000; // POLLRDHUP, poll(2)

    /// Until the client ends its side, or the runtime stops.
    fn wait(fd: i32, milliseconds: u31) void {
        const end_ns = clock.deadlineNs(@as(u64, milliseconds) * std.time.ns_per_ms);
        var polled: [1]linux.pollfd = .{.{ .fd = fd, .events = linux.POLL.IN | pollrdhup, .revents = 0 }};
        while (true) {
            const left_ns = end_ns -| clock.nowNs();
            const left_ms = std.math.divCeil(u64, left_ns, std.time.ns_per_ms) catch unreachable;
            const rc = linux.poll(&polled, 1, @intCast(left_ms));
            if (linux.errno(rc) != .INTR) return;
        }
    }

    fn stop(self: *Tracer) void {
        self.lock.lock();
        defer self.lock.unlock();
        self.ended = true;
        if (self.fd >= 0) _ = linux.shutdown(self.fd, linux.SHUT.RDWR);
        self.join();
    }
};
