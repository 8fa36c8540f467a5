//! One TLS connection over OpenSSL's own functions: the `SSL*` of CPython's SSLObject, with our own
//! BIO under it, which reads from one queue of ciphertext and appends to another. The SSLObject
//! stays, so that callbacks, sessions and certificates are CPython's. Any thread, under `lock`:
//! OpenSSL's objects have no lock. No thread waits for the lock while attached to the interpreter,
//! because callbacks of the context attach while it is held.

const std = @import("std");
const api = @import("../cpython/api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const openssl = @import("openssl.zig");
const pool = @import("pool.zig");
const sync = @import("../../base/sync.zig");
const Queue = @import("queue.zig").Queue;
const Object = api.Object;
const py = &api.py;
const fns = &openssl.fns;

/// Plaintext bytes of one record at most.
pub const record_max = 16384;

/// From so many bytes on what is sealed lies in memory that all connections share in turn.
const pooled_min = 24 * 1024;

threadlocal var here: u8 = 0;

pub const Fault = struct {
    kind: enum { none, truncated, failed } = .none,
    code: c_ulong = 0,
};

pub const Engine = struct {
    lock: sync.Lock,
    /// The address of a variable of the thread that has the lock: a callback of the context, or a signal
    /// handler, may come to the same connection.
    owner: std.atomic.Value(usize),
    depth: u32,
    ssl: ?*openssl.Ssl,
    bio: ?*openssl.Bio,
    /// CPython's object that owns it, which has no Python code that could let go of it earlier.
    owner_object: ?*Object,
    /// How often something came; any thread may look.
    fed: std.atomic.Value(u32),
    queue: Queue,
    /// Sealed and not sent.
    out: []u8,
    out_len: usize,
    /// Plaintext that was given back, or had to be taken out.
    ahead: []u8,
    ahead_at: usize,
    at_eof: bool,
    /// The handshake was begun, and has ended well.
    spoken: bool,
    shaken: bool,
    /// After the peer's close_notify.
    ended: bool,
    /// An end without it is an end like any other.
    lenient: bool,
    fault: Fault,
    /// What the fault is in Python.
    failure: ?*Object,
    /// How much longer a record is than its plaintext, the least that was seen.
    overhead: u16,
    /// Nothing more is read or written. Any thread.
    closing: std.atomic.Value(bool),
    /// close_notify was sent.
    shut: std.atomic.Value(bool),
    /// Exchanges of one unit each: the right to receive, to send, to write.
    receiving: ?*Object,
    sending: ?*Object,
    writing: ?*Object,
    /// () -> an object whose `_flush_aside()` sends what is sealed, or None.
    aside: ?*Object,

    // ---- the lock ----

    fn me() usize {
        return @intFromPtr(&here);
    }

    /// Attached.
    pub fn enter(self: *Engine) void {
        if (self.again()) return;
        if (!self.lock.tryLock()) {
            const state = py.PyEval_SaveThread();
            self.lock.lock();
            py.PyEval_RestoreThread(state);
        }
        self.owner.store(me(), .monotonic);
        self.depth = 1;
    }

    /// Not attached.
    pub fn enterDetached(self: *Engine) void {
        if (self.again()) return;
        self.lock.lock();
        self.owner.store(me(), .monotonic);
        self.depth = 1;
    }

    fn again(self: *Engine) bool {
        if (self.owner.load(.monotonic) != me()) return false;
        self.depth += 1;
        return true;
    }

    pub fn leave(self: *Engine) void {
        self.depth -= 1;
        if (self.depth > 0) return;
        self.owner.store(0, .monotonic);
        self.lock.unlock();
    }

    // ---- plaintext; under the lock, attached or not ----

    pub const Status = enum { data, want, ended, failed };
    pub const Opened = struct { count: usize, status: Status };

    /// Whether a read may return something now.
    pub fn mayRead(self: *Engine) bool {
        return self.ahead.len > 0 or self.ended or self.fault.kind != .none or self.queue.hasWhole() or
            self.at_eof or fns.SSL_pending(self.ssl.?) > 0;
    }

    /// How much plaintext there is, of at most `most`. 0 says nothing.
    pub fn plainSize(self: *Engine, most: usize) usize {
        if (self.ahead.len > 0) return self.ahead.len - self.ahead_at;
        const overhead = if (self.overhead == 0) 17 else self.overhead;
        const pending: usize = @intCast(fns.SSL_pending(self.ssl.?));
        if (pending >= most) return pending;
        return pending + self.queue.plainSize(overhead, most - pending);
    }

    /// Opens what is there into `room`; at the end of the data no record of another kind.
    pub fn open(self: *Engine, room: []u8) Opened {
        const given = self.takeAhead(room);
        if (given > 0) return .{ .count = given, .status = .data };
        var count: usize = 0;
        while (count < room.len) {
            if (self.ended or self.fault.kind != .none) break;
            const pending = fns.SSL_pending(self.ssl.?) > 0;
            if (!pending and !self.queue.hasWhole() and !self.at_eof) break;
            if (!pending and count > 0 and !self.queue.startsWithData()) break;
            const before = self.queue.end - self.queue.start;
            openssl.forgetErrors();
            const wanted: c_int = @intCast(@min(room.len - count, 1 << 30));
            const got = fns.SSL_read(self.ssl.?, room[count..].ptr, wanted);
            if (got > 0) {
                if (!pending) self.learn(before, @intCast(got));
                count += @intCast(got);
            } else self.stopped(got);
        }
        if (count > 0) return .{ .count = count, .status = .data };
        if (self.ended) return .{ .count = 0, .status = .ended };
        return .{ .count = 0, .status = if (self.fault.kind == .none) .want else .failed };
    }

    fn learn(self: *Engine, before: usize, got: usize) void {
        if (fns.SSL_pending(self.ssl.?) > 0) return;
        const taken = before - @min(before, self.queue.end - self.queue.start);
        const more = taken -| (got + 5);
        if (more > 0 and more < 300 and (self.overhead == 0 or more < self.overhead)) self.overhead = @intCast(more);
    }

    /// A read or write that gave nothing: what that means.
    fn stopped(self: *Engine, result: c_int) void {
        switch (fns.SSL_get_error(self.ssl.?, result)) {
            // A record without data, or an end within one, where the next round finds it.
            openssl.want_read => {},
            openssl.zero_return => self.ended = true,
            else => {
                const code = fns.ERR_peek_last_error();
                const library = code >> 23 & 0xff;
                const is_unexpected = library == openssl.lib_ssl and code & 0x7fffff == openssl.unexpected_eof;
                const eof = code == 0 or is_unexpected;
                if (self.at_eof and eof and self.queue.isEmpty()) {
                    if (self.lenient) self.ended = true else self.fault = .{ .kind = .truncated };
                } else self.fault = .{ .kind = .failed, .code = code };
                fns.ERR_clear_error();
            },
        }
    }

    pub const Step = enum { wants, stopped };

    /// Whether a step of the handshake would find something to do: a client speaks first.
    pub fn mayShake(self: *Engine) bool {
        return self.queue.hasWhole() or self.at_eof or self.shaken or
            (!self.spoken and fns.SSL_is_server(self.ssl.?) == 0);
    }

    /// The handshake, as far as it goes. Stopped: it is done or has failed, and CPython is to say which by
    /// the same call, on this thread: OpenSSL's errors stay for it.
    pub fn shake(self: *Engine) Step {
        self.spoken = true;
        openssl.forgetErrors();
        const result = fns.SSL_do_handshake(self.ssl.?);
        self.shaken = result == 1;
        if (self.shaken) return .stopped;
        return if (fns.SSL_get_error(self.ssl.?, result) == openssl.want_read) .wants else .stopped;
    }

    /// Seals `data` in records; how much. Less if something has to be fed first, or it has failed.
    pub fn seal(self: *Engine, data: []const u8) usize {
        var count: usize = 0;
        self.reserveOut(data.len + (data.len / record_max + 1) * 64);
        while (count < data.len) {
            if (self.fault.kind != .none) break;
            openssl.forgetErrors();
            const piece: c_int = @intCast(@min(data.len - count, record_max));
            const got = fns.SSL_write(self.ssl.?, data[count..].ptr, piece);
            if (got > 0) {
                count += @intCast(got);
                continue;
            }
            if (fns.SSL_get_error(self.ssl.?, got) != openssl.want_read) {
                self.stopped(got);
                if (self.ended and self.fault.kind == .none) self.fault = .{ .kind = .failed };
                break;
            }
            // The peer began a handshake anew. Data may come before its records: only a read takes it.
            if (!self.readAhead()) break;
        }
        return count;
    }

    /// One record is read, and kept. False: none is here.
    fn readAhead(self: *Engine) bool {
        if (!self.queue.hasWhole() and fns.SSL_pending(self.ssl.?) == 0) return false;
        const room = gpa.alloc(u8, record_max) catch return false;
        defer gpa.free(room);
        const got = fns.SSL_read(self.ssl.?, room.ptr, record_max);
        if (got <= 0) {
            self.stopped(got);
            return self.fault.kind == .none and !self.ended;
        }
        self.keepBehind(room[0..@intCast(got)]) catch return false;
        return true;
    }

    /// Nothing is written any more.
    pub fn closeNotify(self: *Engine) void {
        if (self.shut.swap(true, .acq_rel) or self.fault.kind != .none) return;
        openssl.forgetErrors();
        _ = fns.SSL_shutdown(self.ssl.?);
        fns.ERR_clear_error();
    }

    // ---- bytes that were read and not used ----

    fn takeAhead(self: *Engine, room: []u8) usize {
        const left = self.ahead[self.ahead_at..];
        const count = @min(left.len, room.len);
        @memcpy(room[0..count], left[0..count]);
        self.ahead_at += count;
        if (self.ahead_at == self.ahead.len) self.dropAhead();
        return count;
    }

    pub fn dropAhead(self: *Engine) void {
        gpa.free(self.ahead);
        self.ahead = &.{};
        self.ahead_at = 0;
    }

    fn keepBehind(self: *Engine, bytes: []const u8) error{OutOfMemory}!void {
        try self.keep(self.ahead[self.ahead_at..], bytes);
    }

    /// The next read gets them first.
    pub fn keepBefore(self: *Engine, bytes: []const u8) error{OutOfMemory}!void {
        try self.keep(bytes, self.ahead[self.ahead_at..]);
    }

    fn keep(self: *Engine, one: []const u8, other: []const u8) error{OutOfMemory}!void {
        const joined = try gpa.alloc(u8, one.len + other.len);
        @memcpy(joined[0..one.len], one);
        @memcpy(joined[one.len..], other);
        self.dropAhead();
        self.ahead = joined;
    }

    // ---- ciphertext to send ----

    pub const Flight = struct { memory: []u8 = &.{}, len: usize = 0 };

    /// What is sealed, which is the caller's from now on.
    pub fn takeOut(self: *Engine) Flight {
        const flight: Flight = .{ .memory = self.out, .len = self.out_len };
        self.out = &.{};
        self.out_len = 0;
        return flight;
    }

    /// Of a flight, what was not sent: it goes first.
    pub fn putBack(self: *Engine, rest: []const u8) error{OutOfMemory}!void {
        if (rest.len == 0) return;
        const joined = try ownOut(rest.len + self.out_len);
        @memcpy(joined[0..rest.len], rest);
        @memcpy(joined[rest.len..][0..self.out_len], self.out[0..self.out_len]);
        freeOut(self.out);
        self.out_len += rest.len;
        self.out = joined;
    }

    /// So that the records of one write lie in one piece that is not moved. Without memory they tell.
    fn reserveOut(self: *Engine, size: usize) void {
        self.growOut(self.out_len + size) catch return;
    }

    fn growOut(self: *Engine, needed: usize) error{OutOfMemory}!void {
        if (self.out.len >= needed) return;
        const pooled = needed > pooled_min and needed <= pool.size;
        const larger = if (pooled) try pool.take() else try ownOut(needed);
        @memcpy(larger[0..self.out_len], self.out[0..self.out_len]);
        freeOut(self.out);
        self.out = larger;
    }

    /// Of another size than the pool's, by which they are known apart.
    fn ownOut(needed: usize) error{OutOfMemory}![]u8 {
        return gpa.alloc(u8, if (needed == pool.size) needed + 1 else needed);
    }

    pub fn freeOut(memory: []u8) void {
        if (memory.len == pool.size) pool.give(memory) else gpa.free(memory);
    }

    fn appendOut(self: *Engine, bytes: []const u8) error{OutOfMemory}!void {
        const needed = self.out_len + bytes.len;
        if (needed > self.out.len) try self.growOut(needed + needed / 2);
        @memcpy(self.out[self.out_len..needed], bytes);
        self.out_len = needed;
    }

    // ---- the BIO ----

    pub fn bioRead(bio: *openssl.Bio, memory: [*]u8, size: c_int) callconv(.c) c_int {
        fns.BIO_clear_flags(bio, 0x0f);
        const self: *Engine = @ptrCast(@alignCast(fns.BIO_get_data(bio) orelse return 0));
        if (size <= 0) return 0;
        const count = self.queue.read(memory[0..@intCast(size)], self.at_eof);
        if (count > 0) return @intCast(count);
        if (self.at_eof) return 0;
        fns.BIO_set_flags(bio, openssl.retry_read);
        return -1;
    }

    pub fn bioWrite(bio: *openssl.Bio, memory: [*]const u8, size: c_int) callconv(.c) c_int {
        fns.BIO_clear_flags(bio, 0x0f);
        const self: *Engine = @ptrCast(@alignCast(fns.BIO_get_data(bio) orelse return -1));
        if (size <= 0) return 0;
        self.appendOut(memory[0..@intCast(size)]) catch return -1;
        return size;
    }

    pub fn bioControl(bio: *openssl.Bio, command: c_int, _: c_long, _: ?*anyopaque) callconv(.c) c_long {
        const self: *Engine = @ptrCast(@alignCast(fns.BIO_get_data(bio) orelse return 0));
        return switch (command) {
            2 => @intFromBool(self.at_eof and self.queue.isEmpty()), // BIO_CTRL_EOF
            11 => 1, // BIO_CTRL_FLUSH
            else => 0,
        };
    }

    /// With `ssl` caught; false without memory.
    pub fn attachTo(self: *Engine, ssl: *openssl.Ssl) bool {
        const bio = openssl.newBio(self) orelse return false;
        self.ssl = ssl;
        self.bio = bio;
        fns.SSL_set_bio(ssl, bio, bio); // It has the reference, and frees those that were there.
        return true;
    }

    /// The last use. The SSL object may live on, in hands of the program's.
    pub fn deinit(self: *Engine) void {
        if (self.bio) |bio| fns.BIO_set_data(bio, null);
        self.queue.deinit();
        freeOut(self.out);
        self.dropAhead();
    }
};
