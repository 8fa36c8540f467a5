//! getaddrinfo(3) as an operation, on threads of its own: a slow name server keeps no other call
//! waiting. A cancelled lookup is left to its thread: nobody waits for that, not even the runtime's end; but
//! the thread stays one of the pool's, so that a silent name server costs no more than these. All that it uses
//! lies in the lookup's own memory.

const std = @import("std");
const gpa = @import("../base/memory.zig").gpa;
const runtime_of = @import("runtime.zig").runtimeOf;
const Op = @import("../task/op.zig").Op;
const PoolCall = @import("pool_call.zig").PoolCall;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;

/// Mirrors `struct addrinfo` of glibc and musl.
pub const AddressInfo = extern struct {
    flags: i32,
    family: i32,
    socktype: i32,
    protocol: i32,
    addrlen: u32 = 0,
    addr: ?*anyopaque = null,
    canonname: ?[*:0]u8 = null,
    next: ?*AddressInfo = null,
};

/// Results that are no errno: minus this, and the EAI number, which is negative.
pub const eai_base = 65536;

/// AI_NUMERICHOST of both: no name server is asked.
const ai_numeric_host = 0x4;
/// AI_V4MAPPED and AI_ADDRCONFIG.
const ai_default = 0x8 | 0x20;
/// EAI_NONAME of both.
const eai_noname = -2;
/// EAI_SYSTEM of both: the reason is in errno.
const eai_system = -11;

extern "c" fn getaddrinfo(?[*:0]const u8, ?[*:0]const u8, ?*const AddressInfo, found: *?*AddressInfo) c_int;
extern "c" fn freeaddrinfo(list: *AddressInfo) void;

pub const Lookup = struct {
    call: PoolCall = .{ .perform = perform, .left = left, .release = release },
    host: ?[:0]u8 = null,
    service: ?[:0]u8 = null,
    hints: ?AddressInfo = null,
    found: ?*AddressInfo = null,
    /// The caller's, written when the result is taken.
    out: *?*AddressInfo,

    /// On the shard. What needs no name server is answered at once.
    pub fn start(
        shard: *Shard,
        task: *Task,
        host: ?[*:0]const u8,
        service: ?[*:0]const u8,
        hints: ?*const AddressInfo,
        out: *?*AddressInfo,
    ) error{OutOfMemory}!*Op {
        const self = try gpa.create(Lookup);
        self.* = .{ .out = out };
        errdefer self.destroy();
        if (host) |text| self.host = try gpa.dupeSentinel(u8, std.mem.span(text), 0);
        if (service) |text| self.service = try gpa.dupeSentinel(u8, std.mem.span(text), 0);
        if (hints) |given| self.hints = .{
            .flags = given.flags,
            .family = given.family,
            .socktype = given.socktype,
            .protocol = given.protocol,
        };
        if (self.isNumeric()) {
            const result = self.look(ai_numeric_host);
            // "999.1.2.3" looks like an address, and may be a name.
            const asked = if (self.hints) |given| given.flags & ai_numeric_host != 0 else false;
            if (result != eai_noname - eai_base or asked) return self.call.endNow(shard, task, result);
        }
        return self.call.start(shard, task, &runtime_of(shard).lookups);
    }

    fn isNumeric(self: *const Lookup) bool {
        if (self.service) |text| for (text) |byte| if (!std.ascii.isDigit(byte)) return false;
        const text = self.host orelse return true;
        // An IPv4 address, or one of IPv6, which alone has a colon.
        var dots_and_digits = true;
        for (text) |byte| {
            if (byte == ':') return true;
            if (!std.ascii.isDigit(byte) and byte != '.') dots_and_digits = false;
        }
        return dots_and_digits;
    }

    fn look(self: *Lookup, more_flags: i32) i32 {
        const host = if (self.host) |text| text.ptr else null;
        const service = if (self.service) |text| text.ptr else null;
        // Without hints getaddrinfo(3) of glibc takes these flags.
        var hints = self.hints orelse AddressInfo{
            .flags = ai_default,
            .family = 0,
            .socktype = 0,
            .protocol = 0,
        };
        hints.flags |= more_flags;
        const is_plain = self.hints == null and more_flags == 0;
        const code = getaddrinfo(host, service, if (is_plain) null else &hints, &self.found);
        if (code == 0) return 0;
        self.found = null;
        if (code == eai_system) return -std.c._errno().*;
        return code - eai_base;
    }

    fn perform(call: *PoolCall) i32 {
        const self: *Lookup = @fieldParentPtr("call", call);
        return self.look(0);
    }

    fn left(call: *PoolCall) void {
        const self: *Lookup = @fieldParentPtr("call", call);
        self.destroy();
    }

    fn release(call: *PoolCall, op: *const Op, taken: bool) void {
        const self: *Lookup = @fieldParentPtr("call", call);
        if (taken and op.result == 0) {
            self.out.* = self.found;
            self.found = null;
        }
        self.destroy();
    }

    fn destroy(self: *Lookup) void {
        if (self.host) |text| gpa.free(text);
        if (self.service) |text| gpa.free(text);
        if (self.found) |list| freeaddrinfo(list);
        gpa.destroy(self);
    }
};
