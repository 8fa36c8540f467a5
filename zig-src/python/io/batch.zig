//! The common part of awaitables with several operations under way: they keep a window of slots
//! busy, and the coroutine is resumed once, when all is over. Whenever operations have ended, their
//! shard takes the results and begins the next ones without running Python. On the shard of the
//! task that awaits, attached to the interpreter.

const api = @import("../cpython/api.zig");
const forgotten = @import("../cpython/forgotten.zig");
const single_await = @import("single_await.zig");
const shown = @import("shown.zig");
const Poll = @import("../../task/task.zig").Poll;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// Begins as zero bytes.
pub const Progress = struct {
    state: single_await.State,
    /// The task is to end, and its operations were cancelled.
    cancelling: bool,
    /// Something was not done because of that.
    cut: bool,
    /// One failed, and with it the whole: nothing new is begun.
    stopped: bool,
    /// There is more to do at once, after a turn of the loop.
    again: bool,
    count: usize,
    /// The first that was not begun.
    next: usize,
    /// Operations that the kernel has, or whose result is not taken yet.
    busy: usize,

    /// Whether something may be begun.
    pub fn open(self: *const Progress) bool {
        return self.next < self.count and !self.cancelling and !self.stopped and !self.again;
    }
};

/// `Body`: an object's, with a `progress`, and
/// - `title` and `about()`, a descriptor or null: what it is called;
/// - `start()`: before the first operation; false with an exception set;
/// - `window()`: its slots, each with `op: ?*Op`;
/// - `begin(shard, me, slot)`: puts the next operation into a free slot, unless it ends by itself;
/// - `advance(shard, me, slot, result)`: one has ended; the next one of it may be in the slot after;
/// - `tell()`, if it is there: after each round;
/// - `outcome()`: the result, or an exception.
pub fn Batch(comptime Body: type) type {
    return struct {
        pub fn step(instance: *Object, suspended: *bool) ?*Object {
            const self = Body.Type.body(instance);
            const progress = &self.progress;
            const me = PyTask.demand("await of an operation") orelse {
                single_await.ask(&progress.state);
                return null;
            };
            if (progress.state == .finished) {
                return shown.raiseAwaitedBefore(Body.title, self.about());
            } else if (single_await.seen(&progress.state) != .flying) {
                if (me.cancelWanted()) {
                    single_await.ask(&progress.state);
                    return me.raiseCancel();
                }
                if (!single_await.claim(&progress.state)) return twice();
                if (!self.start()) {
                    progress.state = .finished;
                    return null;
                }
            } else if (me.op_owner != instance) return twice();
            if (work(self, me)) |verdict| {
                suspended.* = true;
                const value = me.suspendForMany(instance, between) orelse return null;
                me.yielded = verdict == .yield;
                return value;
            }
            progress.state = .finished;
            me.endMany(instance);
            // If all was done in spite of it, or it failed, the cancellation comes at the next await.
            const cut = progress.cut or progress.next < progress.count;
            if (progress.cancelling and cut and !progress.stopped) return me.raiseCancel();
            return self.outcome();
        }

        fn twice() ?*Object {
            return api.raise(py.PyExc_RuntimeError.*, "an operation is awaited by two tasks");
        }

        fn between(owner: *Object, me: *PyTask) ?Poll {
            return work(Body.Type.body(owner), me);
        }

        /// Null: all is over.
        fn work(self: *Body, me: *PyTask) ?Poll {
            const shard = Shard.current().?;
            const progress = &self.progress;
            progress.again = false;
            if (!progress.cancelling and me.cancelWanted()) {
                progress.cancelling = true;
                me.cut = me.heldNow();
                if (progress.busy > 0) shard.cancelOps(&me.task);
            }
            for (self.window()) |*slot| {
                if (slot.op) |op| if (op.phase == .ended) {
                    slot.op = null;
                    progress.busy -= 1;
                    self.advance(shard, me, slot, shard.ops.consume(op));
                };
                if (slot.op == null and progress.open()) self.begin(shard, me, slot);
            }
            if (@hasDecl(Body, "tell")) self.tell();
            if (progress.again) return .yield;
            return if (progress.busy > 0) .pending else null;
        }
    };
}

/// What it says of itself.
pub fn Told(comptime Body: type) type {
    return struct {
        /// close(): it is not to be awaited.
        pub fn giveUp(instance: *Object) void {
            const state = &Body.Type.body(instance).progress.state;
            if (single_await.claim(state)) state.* = .finished;
        }

        /// Of the deallocator.
        pub fn told(instance: *Object) void {
            const self = Body.Type.body(instance);
            if (self.progress.state != .new) return forgotten.used(instance);
            var text: [shown.room]u8 = undefined;
            forgotten.warn(instance, shown.operation(&text, "operation ", Body.title, self.about()));
        }

        pub fn show(instance: *Object) callconv(.c) ?*Object {
            const self = Body.Type.body(instance);
            return shown.ofOperation("Operation", Body.title, self.about(), single_await.seen(&self.progress.state));
        }
    };
}
