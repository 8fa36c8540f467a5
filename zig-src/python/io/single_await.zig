//! What an await starts and no second one may: the first to claim it owns it. Without an interpreter's
//! lock, tasks of two shards may await one object at the same time.

/// `asked`: awaited, by a task that was cancelled at once. It may be awaited again.
pub const State = enum(u8) { new, asked, flying, finished };

/// As seen now; `new` and `asked` are no promise.
pub fn seen(state: *const State) State {
    return @atomicLoad(State, state, .acquire); // Pairs with `claim`.
}

/// Whether it was not begun, and is the caller's to start.
pub fn claim(state: *State) bool {
    return swap(state, .new, .flying) or swap(state, .asked, .flying);
}

/// Somebody wanted it, so that it is not forgotten.
pub fn ask(state: *State) void {
    _ = swap(state, .new, .asked);
}

fn swap(state: *State, from: State, to: State) bool {
    return @cmpxchgStrong(State, state, from, to, .acq_rel, .acquire) == null;
}
