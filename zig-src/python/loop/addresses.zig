//! Addresses of sockets as Python has them: a tuple of IPv4 or IPv6, the name of a Unix socket. Those that
//! were seen last are kept, so that an answer to one finds it again without a look into the tuple.
//! Only the loop's thread uses it.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const Object = api.Object;
const py = &api.py;

extern "c" fn inet_ntop(family: c_int, source: *const anyopaque, text: [*]u8, size: linux.socklen_t) ?[*:0]const u8;
extern "c" fn inet_pton(family: c_int, text: [*:0]const u8, target: *anyopaque) c_int;

/// sun_path is the longest: 108 bytes, and one more that the kernel may put behind it.
const room = @sizeOf(linux.sockaddr.un) + 2;
/// inet_ntop's.
const text_max = 46;
/// Of each loop. A power of two.
const kept = 64;

/// A sockaddr.
pub const Name = struct {
    len: linux.socklen_t = 0,
    bytes: [room]u8 align(8) = undefined,

    pub fn family(self: *const Name) u16 {
        return if (self.len < 2) linux.AF.UNSPEC else std.mem.bytesToValue(u16, self.bytes[0..2]);
    }

    fn slice(self: *const Name) []const u8 {
        return self.bytes[0..self.len];
    }

    /// Numbers alone. False, without an exception: it needs the resolver, or is wrong.
    pub fn parse(self: *Name, wanted: u16, address: *Object) bool {
        if (!isTuple(address)) return false;
        const size = py.PyTuple_Size(address);
        switch (wanted) {
            linux.AF.INET => if (size != 2) return false,
            linux.AF.INET6 => if (size < 2 or size > 4) return false,
            else => return false,
        }
        const port = numberOf(address, 1, std.math.maxInt(u16)) orelse return false;
        const host = hostOf(py.PyTuple_GetItem(address, 0).?) orelse return false;
        if (wanted == linux.AF.INET) {
            const in: *linux.sockaddr.in = @ptrCast(&self.bytes);
            in.* = .{ .port = std.mem.nativeToBig(u16, @intCast(port)), .addr = undefined };
            self.len = @sizeOf(linux.sockaddr.in);
            return inet_pton(linux.AF.INET, host, &in.addr) == 1;
        }
        const flow = if (size > 2) numberOf(address, 2, 0xfffff) orelse return false else 0;
        const scope = if (size > 3) numberOf(address, 3, std.math.maxInt(u32)) orelse return false else 0;
        const in6: *linux.sockaddr.in6 = @ptrCast(&self.bytes);
        in6.* = .{
            .port = std.mem.nativeToBig(u16, @intCast(port)),
            .flowinfo = std.mem.nativeToBig(u32, flow),
            .addr = undefined,
            .scope_id = scope,
        };
        self.len = @sizeOf(linux.sockaddr.in6);
        return inet_pton(linux.AF.INET6, host, &in6.addr) == 1;
    }

    /// As Python's recvfrom() returns it: None if the sender has no address.
    fn toObject(self: *const Name) ?*Object {
        switch (self.family()) {
            linux.AF.INET => {
                const in: *const linux.sockaddr.in = @ptrCast(&self.bytes);
                return tupleOf(linux.AF.INET, &in.addr, &.{std.mem.bigToNative(u16, in.port)});
            },
            linux.AF.INET6 => {
                const in6: *const linux.sockaddr.in6 = @ptrCast(&self.bytes);
                const port = std.mem.bigToNative(u16, in6.port);
                return tupleOf(linux.AF.INET6, &in6.addr, &.{
                    port,
                    std.mem.bigToNative(u32, in6.flowinfo),
                    in6.scope_id,
                });
            },
            linux.AF.UNIX => {
                const path = self.slice()[2..];
                if (path.len > 0 and path[0] == 0) return py.PyBytes_FromStringAndSize(path.ptr, @intCast(path.len));
                const text = std.mem.sliceTo(path, 0);
                return py.PyUnicode_DecodeFSDefaultAndSize(text.ptr, @intCast(text.len));
            },
            else => return api.none(),
        }
    }
};

fn isTuple(object: *Object) bool {
    const class = py.PyObject_Type(object);
    defer py.Py_DecRef(class);
    return class == py.PyTuple_Type;
}

fn numberOf(tuple: *Object, index: isize, max: u32) ?u32 {
    const value = py.PyLong_AsLongLong(py.PyTuple_GetItem(tuple, index).?);
    if (value == -1 and py.PyErr_Occurred() != null) py.PyErr_Clear();
    return if (value < 0 or value > max) null else @intCast(value);
}

fn hostOf(host: *Object) ?[*:0]const u8 {
    var size: isize = 0;
    const text = py.PyUnicode_AsUTF8AndSize(host, &size) orelse {
        py.PyErr_Clear();
        return null;
    };
    const all = text[0..@intCast(size)];
    return if (std.mem.indexOfScalar(u8, all, 0) == null) @ptrCast(text) else null;
}

fn tupleOf(family: c_int, address: *const anyopaque, numbers: []const u32) ?*Object {
    var text: [text_max]u8 = undefined;
    const host = inet_ntop(family, address, &text, text.len) orelse unreachable; // It has room.
    const tuple = py.PyTuple_New(@intCast(numbers.len + 1)) orelse return null;
    var made: [4]?*Object = @splat(null);
    made[0] = api.string(std.mem.span(host));
    for (numbers, 1..) |number, i| made[i] = py.PyLong_FromLongLong(number);
    for (made[0 .. numbers.len + 1], 0..) |one, i| {
        const item = one orelse {
            for (made[i + 1 ..]) |*later| api.drop(later);
            py.Py_DecRef(tuple);
            return null;
        };
        _ = py.PyTuple_SetItem(tuple, @intCast(i), item);
    }
    return tuple;
}

/// The last addresses. Their objects never change: tuples of texts and numbers, texts, bytes.
pub const Known = struct {
    entries: [kept]Entry = @splat(.{}),
    /// The place of the entry whose object has this hash.
    by_object: [kept]u8 = @splat(0),

    const Entry = struct { object: ?*Object = null, name: Name = .{} };

    /// A new reference; null with the exception set.
    pub fn objectOf(self: *Known, name: *const Name) ?*Object {
        if (name.len <= 2) return if (name.family() == linux.AF.UNIX) api.string("") else api.none();
        const place: u8 = @intCast(std.hash.Wyhash.hash(0, name.slice()) & (kept - 1));
        const entry = &self.entries[place];
        if (entry.object) |known| if (std.mem.eql(u8, entry.name.slice(), name.slice())) return api.ref(known);
        const object = name.toObject() orelse return null;
        var before = entry.object;
        entry.* = .{ .object = api.ref(object), .name = name.* };
        self.by_object[hashOf(object)] = place;
        api.drop(&before);
        return object;
    }

    /// What this object is, if it is one of those that were returned last.
    pub fn find(self: *const Known, object: *Object) ?*const Name {
        const entry = &self.entries[self.by_object[hashOf(object)]];
        return if (entry.object == object) &entry.name else null;
    }

    pub fn clear(self: *Known) void {
        for (&self.entries) |*entry| api.drop(&entry.object);
    }

    fn hashOf(object: *const Object) usize {
        const address = @intFromPtr(object) >> 4;
        return (address ^ address >> 6) & (kept - 1);
    }
};

comptime {
    assert(std.math.isPowerOfTwo(kept));
    assert(@sizeOf(linux.sockaddr.in6) <= room);
}
