//! A call of a C program that blocks, as an operation. On the shard, but for the call itself.

const gpa = @import("../base/memory.zig").gpa;
const runtime_of = @import("runtime.zig").runtimeOf;
const Op = @import("../task/op.zig").Op;
const PoolCall = @import("pool_call.zig").PoolCall;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;

pub const Function = *const fn (ctx: ?*anyopaque) callconv(.c) i32;

const BlockingCall = struct {
    call: PoolCall = .{ .perform = perform, .release = release },
    function: Function,
    ctx: ?*anyopaque,

    fn perform(call: *PoolCall) i32 {
        const self: *BlockingCall = @fieldParentPtr("call", call);
        return self.function(self.ctx);
    }

    fn release(call: *PoolCall, _: *const Op, _: bool) void {
        const self: *BlockingCall = @fieldParentPtr("call", call);
        gpa.destroy(self);
    }
};

pub fn start(shard: *Shard, task: *Task, function: Function, ctx: ?*anyopaque) error{OutOfMemory}!*Op {
    const self = try gpa.create(BlockingCall);
    errdefer gpa.destroy(self);
    self.* = .{ .function = function, .ctx = ctx };
    return self.call.start(shard, task, &runtime_of(shard).calls);
}
