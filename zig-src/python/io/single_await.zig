//! Things that one await starts and no second one may: the first task that claims one owns it.
//! Without an interpreter's lock, tasks of two shards may await one object at the same time.
//! `SingleOp` is the whole protocol for an object that is one operation at a time.

const api = @import("../cpython/api.zig");
const CoreOp = @import("../../task/op.zig").Op;
const PyTask = @import("../task/py_task.zig").PyTask;
const Object = api.Object;
const py = &api.py;

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

/// The step of an object that one task awaits once. `Body`: an object's, with a `state`, and
/// - `noun`: "an operation", for errors;
/// - `isShielded()`: it is not to be cancelled;
/// - `cancelledBefore(me)`: the task was cancelled before it began; raises that;
/// - `mayBegin()`: false with an exception set: it may be awaited again;
/// - `begin(me, instance, suspended)`: it is this task's: starts it, or ends it;
/// - `completed(me, op, instance, suspended)`: its operation has ended: a value, an exception, or another round;
/// - `waiter()`, if it is there: the task that waits for something before the kernel is asked, or null;
///   `resumed(me, suspended)`: that task was resumed;
/// - `awaitedBefore()`: raises that;
/// - `finish()`: the kernel is done with it, for good.
pub fn SingleOp(comptime Body: type) type {
    return struct {
        pub fn step(instance: *Object, suspended: *bool) ?*Object {
            const self = Body.Type.body(instance);
            const me = PyTask.demand("await of " ++ Body.noun) orelse {
                ask(&self.state);
                return null;
            };
            switch (seen(&self.state)) {
                .new, .asked => {
                    if (!self.isShielded() and me.cancelWanted()) {
                        ask(&self.state);
                        return self.cancelledBefore(me);
                    }
                    if (!self.mayBegin()) {
                        ask(&self.state);
                        return null;
                    }
                    if (!claim(&self.state)) return twice();
                    return self.begin(me, instance, suspended);
                },
                .flying => {
                    if (@hasDecl(Body, "waiter")) if (self.waiter()) |task|
                        return if (task == me) self.resumed(me, suspended) else twice();
                    // The task that started it, and no later one at the same address, owns it.
                    if (me.op_owner != instance) return twice();
                    const op: *CoreOp = me.op orelse return twice();
                    if (op.phase == .flying) { // Resumed by something else than its completion.
                        suspended.* = true;
                        return me.suspendForOp(op, instance, self.isShielded());
                    }
                    return self.completed(me, op, instance, suspended);
                },
                .finished => return self.awaitedBefore(),
            }
        }

        fn twice() ?*Object {
            return api.raise(py.PyExc_RuntimeError.*, Body.noun ++ " is awaited by two tasks");
        }

        /// close(): it is not to be awaited.
        pub fn giveUp(instance: *Object) void {
            const self = Body.Type.body(instance);
            if (claim(&self.state)) self.finish();
        }
    };
}
