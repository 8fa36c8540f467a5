//! The functions that a language's executor passes to the core, so that interpreted tasks run under
//! that language's rules. The core knows nothing else of the language.

const Shard = @import("shard.zig").Shard;

pub const Interpreter = struct {
    /// All shards share one lock while they run interpreted tasks (an interpreter lock).
    locked: bool,
    /// On a shard's thread, before its first and after its last pass.
    attach: *const fn (*Shard) void,
    detach: *const fn (*Shard) void,
    /// Around a run of interpreted polls: take and give up the language's lock.
    acquire: *const fn (*Shard) void,
    release: *const fn (*Shard) void,
    /// Inside: whether to leave now for the sake of another shard, although there is more to run.
    wanted: *const fn (*Shard) bool,
    /// On a shard, while the runtime closes, when all tasks have ended: the place to spawn what cleans
    /// up after them.
    last_task: *const fn (*Shard) void,
    /// On the shard that a caller's thread drives, when a wait ended early or at its backstop.
    interrupted: *const fn (*Shard) void,
};

/// A shard's.
pub const State = struct {
    /// What the language's executor keeps per shard.
    data: ?*anyopaque = null,
    /// The shard's thread has the language's lock.
    held: bool = false,
};
