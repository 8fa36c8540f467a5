//! What a language's executor gives the core, so that hosted tasks run under that language's rules.
//! The core knows nothing else of it.

const Shard = @import("shard.zig").Shard;

pub const Host = struct {
    /// All shards share one lock while they run hosted tasks (an interpreter lock).
    locked: bool,
    /// On a shard's thread, before its first and after its last pass.
    attach: *const fn (*Shard) void,
    detach: *const fn (*Shard) void,
    /// Around a run of hosted polls: take and give up the language's lock.
    enter: *const fn (*Shard) void,
    leave: *const fn (*Shard) void,
    /// Inside: whether to leave now for the sake of another shard, although there is more to run.
    wanted: *const fn (*Shard) bool,
    /// On a shard, while the runtime closes, when all tasks have ended: the place to spawn what cleans
    /// up after them.
    last_task: *const fn (*Shard) void,
    /// On the shard that a caller's thread drives, when a wait ended early or at its backstop.
    interrupted: *const fn (*Shard) void,
};
