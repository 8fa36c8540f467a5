//! How a `user_data` tells an operation from what the shard itself submits.

const std = @import("std");

/// Low byte of a `user_data` that belongs to no op; the next three bytes are its argument. Generations
/// start at 1, so every op id is above these.
pub const Internal = enum(u8) {
    ignore = 0,
    doorbell = 1,
    eventfd = 2,
    /// One of our bells that failed.
    msg_ring = 3,
    /// A message from another shard, and the end of one that this shard sent.
    message = 4,
    message_sent = 5,
    /// The kernel's refusal to cancel the operation at this place.
    cancel = 6,
    /// Something to read where signal handlers write.
    signal = 7,
    _,
};
pub const internal_max = std.math.maxInt(u32);
