//! What an await starts and no second one may: the first to claim it owns it. Without an interpreter's
//! lock, tasks of two shards may await one object at the same time.

pub const State = enum(u8) { new, flying, finished };

/// As seen now; `new` is no promise.
pub fn seen(state: *const State) State {
    return @atomicLoad(State, state, .acquire); // Pairs with `claim`.
}

/// Whether it was new, and is the caller's to start.
pub fn claim(state: *State) bool {
    return @cmpxchgStrong(State, state, .new, .flying, .acq_rel, .acquire) == null;
}
