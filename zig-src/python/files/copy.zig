//! The bytes of one regular file into another one, with its holes: a clone if the file system
//! shares blocks, else copy_file_range, else read and write. The call blocks, so it is for a thread
//! of a pool.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const object = @import("../cpython/object.zig");
const Object = api.Object;
const py = &api.py;

const ficlone = 0x40049409;
const seek_data = 3;
const seek_hole = 4;

/// At most so much by one call of the kernel.
const call_max = 16 << 20;
const buffer_bytes = 256 << 10;

const Copy = struct {
    source: i32,
    target: i32,
    offset: u64,
    size: u64,
    errno: linux.E = .SUCCESS,
    /// copy_file_range does not do it between these two.
    by_hand: bool = false,

    /// At most `most` bytes of data from `offset` on, which moves.
    fn run(self: *Copy, most: u64) void {
        if (self.offset == 0 and linux.errno(linux.ioctl(self.target, ficlone, @intCast(self.source))) == .SUCCESS) {
            self.offset = self.size;
            return;
        }
        var left = most;
        while (self.offset < self.size and left > 0) {
            const data = self.seek(self.offset, seek_data) orelse return self.endWithHole();
            const end = @min(self.seek(data, seek_hole) orelse self.size, self.size);
            if (data >= self.size) return self.endWithHole();
            self.offset = data;
            while (self.offset < end and left > 0) {
                const count = self.some(@min(end - self.offset, left));
                if (count == 0) return;
                self.offset += count;
                left -= count;
            }
        }
    }

    /// Null: no data (or hole) from there on.
    fn seek(self: *Copy, from: u64, whence: u32) ?u64 {
        const rc: usize = @intCast(linux.lseek(self.source, @intCast(from), whence));
        return switch (linux.errno(rc)) {
            .SUCCESS => rc,
            .NXIO => null,
            // The file system does not tell.
            else => if (whence == seek_data) from else self.size,
        };
    }

    fn endWithHole(self: *Copy) void {
        const end: usize = @intCast(linux.lseek(self.source, 0, linux.SEEK.END));
        if (linux.errno(end) == .SUCCESS) self.size = @max(self.offset, @min(self.size, end)); // It may be shorter now.
        self.errno = linux.errno(linux.ftruncate(self.target, @intCast(self.size)));
        if (self.errno == .SUCCESS) self.offset = self.size;
    }

    /// 0: the end of the file, or an error.
    fn some(self: *Copy, most: u64) u64 {
        if (!self.by_hand) {
            var from: i64 = @intCast(self.offset);
            var to = from;
            const rc = linux.copy_file_range(self.source, &from, self.target, &to, @min(most, call_max), 0);
            switch (linux.errno(rc)) {
                .SUCCESS => if (rc > 0) return rc,
                .INTR => return self.some(most),
                .XDEV, .INVAL, .NOSYS, .OPNOTSUPP, .PERM, .BADF, .TXTBSY => {},
                else => |errno| {
                    self.errno = errno;
                    return 0;
                },
            }
            self.by_hand = true;
        }
        return self.byHand(most);
    }

    fn byHand(self: *Copy, most: u64) u64 {
        const buffer = gpa.alloc(u8, buffer_bytes) catch {
            self.errno = .NOMEM;
            return 0;
        };
        defer gpa.free(buffer);
        const got = linux.pread(self.source, buffer.ptr, @min(buffer.len, most), @intCast(self.offset));
        if (linux.errno(got) != .SUCCESS) {
            if (linux.errno(got) == .INTR) return self.byHand(most);
            self.errno = linux.errno(got);
            return 0;
        }
        var done: usize = 0;
        while (done < got) {
            const put = linux.pwrite(self.target, buffer.ptr + done, got - done, @intCast(self.offset + done));
            switch (linux.errno(put)) {
                .SUCCESS => done += put,
                .INTR => {},
                else => |errno| {
                    self.errno = errno;
                    self.offset += done;
                    return 0;
                },
            }
        }
        return done;
    }
};

/// copy_data(source, target, offset, size, most) -> (offset, errno): both are descriptors of regular files, of which
/// the first has `size` bytes. It copies at most `most` bytes of data, and stops before the end of the file if
/// that has fewer bytes than it says.
fn copyData(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("copy_data", count, 5)) return null;
    const fd_max = std.math.maxInt(i32);
    const number_max = std.math.maxInt(i64);
    const source = object.unsigned(arguments[0], "source", fd_max) orelse return null;
    const target = object.unsigned(arguments[1], "target", fd_max) orelse return null;
    const offset = object.unsigned(arguments[2], "offset", number_max) orelse return null;
    const size = object.unsigned(arguments[3], "size", number_max) orelse return null;
    const most = object.unsigned(arguments[4], "most", number_max) orelse return null;
    var copy: Copy = .{ .source = @intCast(source), .target = @intCast(target), .offset = offset, .size = size };
    const state = py.PyEval_SaveThread();
    copy.run(most);
    py.PyEval_RestoreThread(state);
    const pair = py.PyTuple_New(2) orelse return null;
    for ([_]u64{ copy.offset, @backingInt(copy.errno) }, 0..) |value, i| {
        const number = py.PyLong_FromUnsignedLongLong(value) orelse {
            py.Py_DecRef(pair);
            return null;
        };
        _ = py.PyTuple_SetItem(pair, @intCast(i), number);
    }
    return pair;
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "copy_data",
        &copyData,
        api.meth_fastcall,
        "(source, target, offset, size, most, /)",
        "Blocks: (offset, errno).",
    ),
};
