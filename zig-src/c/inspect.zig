//! The C ABI for looking at what runs: the tasks of a shard, listed there, and the monitor's socket.

const errors = @import("../base/errors.zig");
const handles = @import("../runtime/runtime_handle.zig");
const currentTask = @import("common.zig").currentTask;
const fail = @import("common.zig").fail;
const NativeTask = @import("../runtime/native_task.zig").NativeTask;
const PollFn = @import("../runtime/native_task.zig").PollFn;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;
const writeMessage = @import("common.zig").writeMessage;

pub const State = enum(u32) { ready = 0, running = 1, waiting = 2, ending = 3 };

/// Mirrors `spargio_task_info`.
pub const TaskInfo = extern struct {
    poll: ?PollFn = null,
    ctx: ?*anyopaque = null,
    state: u32,
    operations: u32,
};

pub export fn spargio_tasks_here(list: ?[*]TaskInfo, capacity: u32, count: ?*u32) i32 {
    const out = count orelse return fail(error.Invalid);
    if (list == null and capacity > 0) return fail(error.Invalid);
    if (currentTask() == null) return fail(error.NotOnShard);
    var total: u32 = 0;
    var next = Shard.current().?.live;
    while (next) |task| : (next = task.live_next) {
        if (total < capacity) list.?[total] = describe(task);
        total += 1;
    }
    out.* = total;
    return if (total > capacity) fail(error.BufferTooSmall) else errors.ok;
}

fn describe(task: *Task) TaskInfo {
    const state: State = switch (task.state.load(.monotonic)) {
        .queued => .ready,
        .running, .running_notified => .running,
        .idle => .waiting,
        .ended => .ending,
    };
    var info: TaskInfo = .{ .state = @backingInt(state), .operations = task.flying };
    if (NativeTask.isNative(task)) {
        const work = &NativeTask.of(task).work;
        info.poll = work.poll_fn;
        info.ctx = work.ctx;
    }
    return info;
}

pub export fn spargio_runtime_monitor(handle: u64, name: ?[*]u8, capacity: usize) i32 {
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    if (runtime.scheduler.forked()) return fail(error.Forked);
    const errno = runtime.startMonitor();
    if (errno != 0) return errors.fromErrno(errno);
    const monitor = &runtime.monitor.?;
    writeMessage(monitor.name[0..monitor.name_size], name, capacity);
    return errors.ok;
}
