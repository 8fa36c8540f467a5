//! A file descriptor that Python owns. It counts the operations under way on all shards, so that a
//! close waits for their end and the number is not reused under them. It is closed exactly once: by
//! `close`, by the last operation, or by the finalizer with a ResourceWarning.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const page_cache = @import("page_cache.zig");
const fs = @import("../../ops/fs.zig");
const callbacks = @import("../cpython/callbacks.zig");
const PyTask = @import("../task/py_task.zig").PyTask;
const raiseErrno = @import("../cpython/callbacks.zig").raiseErrno;
const object = @import("../cpython/object.zig");
const Shard = @import("../../scheduler/shard.zig").Shard;
const Spare = @import("spare.zig").Spare;
const Object = api.Object;
const py = &api.py;

const closing_bit = @import("../../task/op.zig").closing_bit;
const recall_bit = @import("../../task/op.zig").recall_bit;

/// A receive gets a new bytes object before anything has arrived: its size follows what the peer
/// sends, so that many quiet connections do not hold much, and a fast one is not cut into pieces.
const room_min = 4 * 1024;
const room_first = 16 * 1024;
const room_max = 1024 * 1024;

/// Closes it without keeping the interpreter, if that may take long. It is closed at once (who connects
/// next is to know) but for a socket that lingers, for which a shard has no time.
pub fn closeAside(fd: i32, is_socket: bool) void {
    if (is_socket) {
        if (!lingers(fd)) {
            _ = linux.close(fd);
            return;
        }
        if (Shard.current()) |shard| return fs.closeSoon(shard, fd);
    }
    const state = py.PyEval_SaveThread();
    _ = linux.close(fd);
    py.PyEval_RestoreThread(state);
}

fn lingers(fd: i32) bool {
    var value: [2]u32 = .{ 0, 0 }; // struct linger: whether, and how many seconds.
    var size: u32 = @sizeOf(@TypeOf(value));
    const rc = linux.getsockopt(fd, linux.SOL.SOCKET, linux.SO.LINGER, std.mem.asBytes(&value), &size);
    return linux.errno(rc) == .SUCCESS and value[0] != 0 and value[1] != 0;
}

/// What a descriptor is, as the caller of `adopt` says.
pub const Kind = enum(u8) {
    /// Has positions: any number of writes at a time.
    file,
    /// A stream socket or a listener.
    stream,
    /// Each transfer is a message, which may be empty: datagrams.
    messages,
    pipe,

    pub fn isSocket(self: Kind) bool {
        return self == .stream or self == .messages;
    }

    fn noun(self: Kind) []const u8 {
        return if (self.isSocket()) "socket" else @tagName(self);
    }

    /// Bytes follow each other: two writes at a time would mix theirs.
    pub fn flows(self: Kind) bool {
        return self == .stream or self == .pipe;
    }
};

pub const Descriptor = struct {
    fd: i32,
    /// Operations under way, and the closing bit. Any thread.
    users: std.atomic.Value(u32),
    kind: Kind,
    /// The task that writes to a stream. Only compared; any thread.
    writer: std.atomic.Value(?*PyTask),
    /// Connections that were accepted ahead, and left by their consumer.
    spare: Spare,
    /// The last receive took all there was. A hint; any thread.
    drained: std.atomic.Value(bool),
    /// How many bytes the next receive makes room for, if its caller allows more. A hint as well.
    room: std.atomic.Value(u32),
    cache: page_cache.Hint,
    /// Bytes that were read and not taken; the next read gets them. Exchanged atomically.
    leftover: ?*Object,
    /// Path or peer, for messages; may be null.
    name: ?*Object,

    pub const Type = object.TypeOf(Descriptor);

    /// Takes over `fd`; `name` is borrowed. Closes `fd` on failure.
    pub fn create(fd: i32, kind: Kind, name: ?*Object) ?*Object {
        const instance = Type.create() orelse {
            _ = linux.close(fd);
            return null;
        };
        const self = Type.body(instance);
        self.* = .{
            .fd = fd,
            .users = .init(0),
            .kind = kind,
            .writer = .init(null),
            .spare = .{},
            .drained = .init(false),
            .room = .init(room_first),
            .cache = .{},
            .leftover = null,
            .name = null,
        };
        if (name) |n| self.name = api.ref(n);
        return instance;
    }

    /// After a receive of `count` bytes into room for `length`.
    pub fn received(self: *Descriptor, count: usize, length: usize) void {
        self.drained.store(count < length, .monotonic);
        const room = self.room.load(.monotonic);
        if (count >= room) {
            self.room.store(@min(room * 4, room_max), .monotonic);
        } else if (count < room / 4 and room > room_min) {
            self.room.store(room / 2, .monotonic);
        }
    }

    /// A bytes object, whose reference is handed over; null for none.
    pub fn swapLeftover(self: *Descriptor, bytes: ?*Object) ?*Object {
        return @atomicRmw(?*Object, &self.leftover, .Xchg, bytes, .acq_rel);
    }

    /// Before a write of a stream: false, with the exception set, while another task writes. True for one
    /// inside a longer write of the same task as well; `claimed` says whether it is to be given up.
    pub fn claimWriter(self: *Descriptor, me: *PyTask, claimed: *bool) bool {
        if (!self.kind.flows()) return true;
        const before = self.writer.cmpxchgStrong(null, me, .acq_rel, .acquire) orelse {
            claimed.* = true;
            return true;
        };
        if (before == me) return true;
        _ = api.raise(callbacks.table.BusyError, "another task writes to this stream: one may at a time");
        return false;
    }

    pub fn endWriter(self: *Descriptor) void {
        self.writer.store(null, .release);
    }

    /// begin_write(): the stream is this task's to write to until end_write(), over several operations.
    pub fn beginWrite(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const me = PyTask.demand("a write") orelse return null;
        var claimed = false;
        const self = Type.body(instance);
        if (!self.claimWriter(me, &claimed)) return null;
        if (claimed or !self.kind.flows()) return api.none();
        return api.raise(callbacks.table.BusyError, "this task is writing to the stream already");
    }

    pub fn endWrite(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        Type.body(instance).endWriter();
        return api.none();
    }

    pub const words_room = api.clip_bytes + 64;

    /// "socket 7", "file 5 '/etc/hosts'", "closed file '/etc/hosts'".
    pub fn inWords(self: *const Descriptor, buffer: *[words_room]u8) []const u8 {
        const what = self.kind.noun();
        const name = if (self.name) |one| api.textOf(one) else null;
        defer if (name) |text| text.drop();
        const before = if (name == null) "" else " '";
        const after = if (name == null) "" else "'";
        const words = if (name) |text| api.clipped(text.bytes) else "";
        const fd = @atomicLoad(i32, &self.fd, .acquire);
        const made = if (self.isClosing() or fd < 0)
            std.fmt.bufPrint(buffer, "closed {s}{s}{s}{s}", .{ what, before, words, after })
        else
            std.fmt.bufPrint(buffer, "{s} {d}{s}{s}{s}", .{ what, fd, before, words, after });
        return made catch unreachable;
    }

    /// ClosedError: "the socket WHAT", "the file '/etc/hosts' WHAT"; null, as a function's result.
    pub fn raiseClosed(self: *const Descriptor, what: []const u8) ?*Object {
        const noun = self.kind.noun();
        const name = (if (self.name) |one| api.textOf(one) else null) orelse
            return api.raiseFormat(callbacks.table.ClosedError, "the {s} {s}", .{ noun, what });
        defer name.drop();
        const clipped = api.clipped(name.bytes);
        return api.raiseFormat(callbacks.table.ClosedError, "the {s} '{s}' {s}", .{ noun, clipped, what });
    }

    /// The same for an operation that was under way.
    pub fn raiseClosedMeanwhile(self: *const Descriptor) ?*Object {
        return self.raiseClosed("was closed while the operation waited");
    }

    pub fn show(instance: *Object) callconv(.c) ?*Object {
        var text: [words_room]u8 = undefined;
        var whole: [words_room + 16]u8 = undefined;
        const words = Type.body(instance).inWords(&text);
        return api.string(std.fmt.bufPrint(&whole, "<Descriptor {s}>", .{words}) catch unreachable);
    }

    /// Counts an operation in; false, with the exception set, if it is closed.
    pub fn acquire(self: *Descriptor) bool {
        const before = self.users.fetchAdd(1, .acq_rel);
        if (before & closing_bit == 0) return true;
        self.release();
        _ = self.raiseClosed("is closed");
        return false;
    }

    pub fn release(self: *Descriptor) void {
        const before = self.users.fetchSub(1, .acq_rel);
        std.debug.assert(before & ~(closing_bit | recall_bit) > 0);
        if (before & ~recall_bit == closing_bit | 1) self.closeNow();
    }

    pub fn isClosing(self: *const Descriptor) bool {
        return self.users.load(.acquire) & closing_bit != 0;
    }

    /// On a shard: sets the closing bit. Returns the number if the caller is to close it: nothing is
    /// under way. Otherwise the last operation closes it.
    pub fn beginClose(self: *Descriptor) ?i32 {
        // Counted in, so that the number is ours until those that wait are told.
        _ = self.users.fetchAdd(1, .acq_rel);
        defer self.release();
        const before = self.users.fetchOr(closing_bit, .seq_cst);
        if (before & closing_bit != 0) return null;
        if (before & ~recall_bit == 1) {
            self.spare.closeAll(&self.users);
            return self.takeFd();
        }
        self.endWaits();
        return null;
    }

    /// Ends the operations that wait on any shard: only our own, because the socket may be others'
    /// too (shutdown(2) would end it for them). What is done in a file ends by itself, and is not
    /// cut short.
    fn endWaits(self: *Descriptor) void {
        if (!self.endsByItself()) Shard.current().?.scheduler.endClosed();
    }

    /// Connections that were accepted and not taken: the next accept gets them, or one that waits already,
    /// on whatever shard. Takes the queue over.
    pub fn leaveAccepted(self: *Descriptor, queue: *Spare.Queue) void {
        if (queue.count() == 0 or self.isClosing()) return queue.destroy();
        self.spare.give(queue, &self.users);
        const shard = Shard.current() orelse return; // The last reference goes: nobody waits.
        shard.scheduler.endClosed();
    }

    /// One of those, if there is one.
    pub fn takeAccepted(self: *Descriptor) ?i32 {
        return self.spare.take(&self.users);
    }

    /// Whether no operation on it waits for anybody. While it is ours: counted in.
    pub fn endsByItself(self: *const Descriptor) bool {
        var info: linux.Statx = undefined;
        const flags: u32 = linux.AT.EMPTY_PATH | linux.AT.STATX_DONT_SYNC;
        const errno = linux.errno(linux.statx(self.fd, "", flags, .{ .TYPE = true }, &info));
        return errno == .SUCCESS and info.mode & linux.S.IFMT == linux.S.IFREG;
    }

    fn closeNow(self: *Descriptor) void {
        const fd = @atomicRmw(i32, &self.fd, .Xchg, -1, .acq_rel);
        if (fd >= 0) closeAside(fd, self.kind.isSocket());
        self.spare.closeAll(&self.users);
    }

    /// The number, given up to a close operation.
    pub fn takeFd(self: *Descriptor) i32 {
        return @atomicRmw(i32, &self.fd, .Xchg, -1, .acq_rel);
    }

    pub fn fileno(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        if (self.isClosing()) return py.PyLong_FromLongLong(-1);
        return py.PyLong_FromLongLong(self.fd);
    }

    /// detach() -> the number; it is the caller's from now on.
    pub fn detach(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        if (self.wouldLose()) |what| return api.raise(py.PyExc_RuntimeError.*, what);
        const idle = self.users.load(.acquire) & recall_bit;
        // Counted in, so that one that finds it closed just now is not the last one, which closes.
        if (self.users.cmpxchgStrong(idle, idle | closing_bit | 1, .acq_rel, .acquire)) |seen| {
            if (seen & closing_bit != 0) return self.raiseClosed("is closed");
            var text: [words_room]u8 = undefined;
            return api.raiseFormat(py.PyExc_RuntimeError.*, "detach() while operations are under way on {s}", .{
                self.inWords(&text),
            });
        }
        defer self.release();
        return py.PyLong_FromLongLong(self.takeFd());
    }

    fn wouldLose(self: *Descriptor) ?[*:0]const u8 {
        if (@atomicLoad(?*Object, &self.leftover, .acquire) != null)
            return "detach() with bytes that were read and not used: take_unread() has them";
        if (!self.spare.isEmpty())
            return "detach() with connections that were accepted and not taken: accept() has them";
        return null;
    }

    /// Bytes that the next read gets before anything else, and before what was left earlier. False with an
    /// exception set.
    pub fn leave(self: *Descriptor, bytes: *Object) bool {
        var joined: ?*Object = api.ref(bytes);
        while (true) {
            var older = self.swapLeftover(null);
            if (older) |bytes_before| {
                py.PyBytes_Concat(&joined, bytes_before);
                api.drop(&older);
                if (joined == null) return false;
            }
            // Only if two tasks read at once there are some again; there is no order to keep then.
            joined = self.swapLeftover(joined) orelse return true;
        }
    }

    /// unread(bytes): the next read gets them before anything else. For the one task that reads.
    pub fn unread(instance: *Object, bytes: *Object) callconv(.c) ?*Object {
        if (py.PyBytes_AsString(bytes) == null) return null;
        if (py.PyBytes_Size(bytes) == 0) return api.none();
        return if (Type.body(instance).leave(bytes)) api.none() else null;
    }

    /// take_unread(): what the next read would get first; b"" for nothing.
    pub fn takeUnread(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return Type.body(instance).swapLeftover(null) orelse py.PyBytes_FromStringAndSize(null, 0);
    }

    pub fn setNodelay(instance: *Object, flag: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        const value = object.unsigned(flag, "enabled", 1) orelse return null;
        if (!self.acquire()) return null;
        defer self.release();
        const on: u32 = @intCast(value);
        const rc = linux.setsockopt(self.fd, linux.IPPROTO.TCP, linux.TCP.NODELAY, std.mem.asBytes(&on), 4);
        const errno = linux.errno(rc);
        if (errno != .SUCCESS) return raiseErrno(@backingInt(errno), null, null);
        return api.none();
    }

    pub fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        if (!self.isClosing() and self.fd >= 0) {
            const aside: api.Aside = .take();
            defer aside.restore();
            var text: [96]u8 = undefined;
            const words = std.fmt.bufPrintSentinel(&text, "unclosed spargio {s}, descriptor {d}: close it, or use " ++
                "'async with'", .{ if (self.kind.isSocket()) "socket" else "file", self.fd }, 0) catch unreachable;
            if (py.PyErr_WarnEx(py.PyExc_ResourceWarning.*, words.ptr, 1) != 0) py.PyErr_WriteUnraisable(null);
        }
        self.closeNow();
        api.drop(&self.name);
        api.drop(&self.leftover);
        Type.free(instance, false);
    }
};

/// adopt(fd, kind) -> Descriptor
pub fn adopt(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("adopt", count, 2)) return null;
    const fd = object.unsigned(arguments[0], "fd", std.math.maxInt(i32)) orelse return null;
    const kind = object.unsigned(arguments[1], "kind", @backingInt(Kind.pipe)) orelse return null;
    return Descriptor.create(@intCast(fd), @fromBackingInt(@intCast(kind)), null);
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "adopt",
        &adopt,
        api.meth_fastcall,
        "(fd, kind, /)",
        "A Descriptor that owns `fd`.",
    ),
};
