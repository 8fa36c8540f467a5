//! What an operation has behind it, if it is more than one operation of the kernel or a timer: a thread of a
//! pool, another task, several operations in a row. It lives until its operation's slot is free again. On
//! the operation's shard.

const Op = @import("op.zig").Op;

pub const Source = struct {
    /// At most once: the end is wanted. It comes by `endOp`, at once or later. Null: the kernel is asked.
    cancel: ?*const fn (*Source, *Op) void,
    /// Once, after the end: the memory goes. Taken: somebody has the result, else nobody will.
    release: *const fn (*Source, *const Op, taken: bool) void,
    /// There is something to take, although the operation goes on. Null: it has one result.
    ready: ?*const fn (*const Source) bool = null,
    /// Of a zero-copy send. Null: the memory is the caller's, who has it back at the operation's end.
    memory: ?*const Memory = null,

    /// What was sent from may stay where it is after the operation's end, until the kernel lets go of it.
    pub const Memory = struct {
        /// At most once for an operation, before its end: the kernel has the memory still.
        keep: *const fn (*Source) void,
        /// Once after each `keep`, outside any task: the kernel is done with it.
        let_go: *const fn (*Source) void,
    };
};
