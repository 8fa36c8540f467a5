//! Why a start failed: the system call and its errno. One errno may stand for different limits.

const std = @import("std");
const linux = std.os.linux;

pub const Failure = struct {
    errno: i32 = 0,
    call: Call = .io_uring_setup,

    pub const Call = enum {
        io_uring_setup,
        io_uring_enter,
        io_uring_register,
        mmap,
        epoll_create1,
        epoll_ctl,
        epoll_pwait,
        eventfd,
        /// The start of a thread.
        clone,
        /// None: the process runs under valgrind, which io_uring stops.
        valgrind,
    };

    pub fn set(self: *Failure, call: Call, errno: linux.E) void {
        self.* = .{ .errno = @backingInt(errno), .call = call };
    }

    pub fn is(self: *const Failure, errno: linux.E) bool {
        return self.errno == @backingInt(errno);
    }

    /// Which limit it was, and how to raise it.
    pub fn advice(self: *const Failure) []const u8 {
        const errno: linux.E = @fromBackingInt(@as(u16, @intCast(self.errno)));
        return switch (errno) {
            .PERM, .ACCES => "Allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, " ++
                "or set the sysctl kernel.io_uring_disabled to 0.",
            .NOSYS => if (self.call == .io_uring_setup)
                "It needs Linux 5.19 or newer, with CONFIG_IO_URING, and no seccomp profile that hides it."
            else
                "A seccomp profile hides io_uring_enter or io_uring_register: allow them.",
            .NOMEM => if (self.call == .io_uring_setup)
                "Raise the limit of locked memory (ulimit -l, /etc/security/limits.d, LimitMEMLOCK= of systemd), " ++
                    "which the rings of all processes of a user share, or use fewer shards."
            else
                "Raise the limit of address space (ulimit -v) or of the control group's memory.",
            .MFILE => "Raise the limit of open files (ulimit -n).",
            .NFILE => "Raise the system's limit of open files (the sysctl fs.file-max).",
            else => "It needs Linux 5.19 or newer, with CONFIG_IO_URING, and no sandbox that hides it.",
        };
    }
};
