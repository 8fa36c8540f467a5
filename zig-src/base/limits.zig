//! Bounds and fixed sizes of the runtime, each with its unit. Option ranges live in options.zig.

const std = @import("std");

/// Coalesced message tags of one runtime: one byte distinguishes them, "regular" and "hot".
pub const counters_max = 254;

/// Latency recorders of one process. Each costs a shard that uses it up to 264 KiB, of which only the pages
/// around the values that came are ever written.
pub const recorders_max = 256;

/// Threads that are no shards and have a tally of their own in each recorder, in one process; the others share
/// one. See `recorders_max` for what that takes.
pub const recording_threads_max = 32;

/// Shards of one runtime; also the width of the parked-shard bitmap.
pub const shards_max = 256;

/// Local tasks polled in one pass before the ring is looked at again.
pub const local_budget = 256;

/// Awaits of one poll that may end without a turn of the others: joins of tasks that are done, channels that
/// hold something, free permits. Tokio's budget has the same number.
pub const awaits_at_once_max = 128;

/// CQEs copied out of the ring at a time.
pub const reap_batch = 128;

/// Ops per slab of a shard's op table; slabs are added on demand and kept.
pub const op_slab = 256;
pub const op_slabs_max = 4096;

/// Slots per slab of the process-wide handle tables.
pub const handle_slab = 1024;
pub const handle_slabs_max = 16384;

/// The park's backstop: no shard sleeps longer, so a lost doorbell costs latency, never progress.
pub const park_backstop_ns = 500 * std.time.ns_per_ms;

/// The same for a shard on a thread that must look for signals of its language.
pub const interruptible_backstop_ns = 100 * std.time.ns_per_ms;

/// So many completions at once may mean that the kernel has more; it is asked so often. Together
/// they are fewer than the buffers that receives of one pass can hold.
pub const deferred_batch = 20;
pub const deferred_rounds = 4;

/// How long a start waits for memory of rings that were closed: the kernel gives it back by a worker
/// of its own. 39 ms were seen.
pub const ring_memory_wait_ns = 100 * std.time.ns_per_ms;

/// How long the kernel may take to end the operations of a ring that was closed by another thread than its
/// own. It takes some milliseconds, unless a forked process has the ring too.
pub const ring_end_wait_ns = 2 * std.time.ns_per_s;

/// Fewest entries of a submission queue: the shard's own operations need some of them.
pub const ring_entries_min = 8;

/// Without io_uring: connections that a multishot accept takes before others have their turn.
pub const accepts_in_a_row_max = 64;

/// Before the kernel is asked again that could not take a submission just now.
pub const refused_pause_ns = 100 * std.time.ns_per_us;

/// A start asks so often whether the kernel takes a submission, before it believes that it never does.
pub const refused_tries = 3;

/// A cancellation that met its operation at work is repeated after so long.
pub const cancel_again_ns = 10 * std.time.ns_per_ms;

/// A thread of the pool that was signalled so often, at these intervals, to end its call is left behind.
pub const calls_told_max = 100;

/// So many bytes the kernel moves at a time at most (MAX_RW_COUNT).
pub const transfer_max = 0x7ffff000;

/// Transfers of files are copied on the shard's thread if the page cache has them. Of one submission
/// so many bytes are, which takes less than a millisecond; what comes on top is for a thread of the
/// kernel or the pool, unless it is so small that handing it on costs more.
pub const inline_bytes_max = 1 << 20;
pub const inline_small = 16 * 1024;

/// Buffers of one transfer; the kernel refuses more (UIO_MAXIOV).
pub const vectors_max = 1024;

/// Threads of one runtime for blocking calls, if there is no io_uring.
pub const pool_threads_max = 8;
/// Besides, threads in a call that may last forever: it ends when somebody else does something.
pub const pool_lasting_max = 248;

/// Threads of one runtime for calls of C programs that block, and for the lookups of names.
pub const call_threads_max = 32;
pub const lookup_threads_max = 32;

/// Without io_uring: so many tries in a row that brought nothing, although the descriptor was said to be
/// ready, and it is left alone for so long.
pub const spurious_max = 16;
pub const cooldown_ns = std.time.ns_per_ms;

/// If a poll runs for longer than this after it rang a bell, the next bell goes out at once.
pub const bell_delay_ns = 20 * std.time.ns_per_us;

/// Longest adaptive spin before a park. Beyond it the wake-up through the kernel is cheaper.
pub const spin_ns_max = 20 * std.time.ns_per_us;
/// The same while another shard is awake: what comes next may be the end of its task, and a bell would
/// cost that shard some microseconds and this one a thread's wake-up. Waiting for the network alone, a
/// shard that spun so long would take a CPU for some 20,000 requests a second.
pub const spin_beside_others_ns_max = 60 * std.time.ns_per_us;

/// One tick of `steal_backoff_min` and `steal_backoff_max`.
pub const steal_tick_ns = 50 * std.time.ns_per_us;

/// What moving a task between shards is taken to cost (queue transfer, cold cache, wake-up).
pub const steal_migration_ns = 3 * std.time.ns_per_us;

/// The same for a task of a language whose lock all shards share: it pays only while the victim is
/// stuck outside the interpreter, which shows as one task that does not end.
pub const steal_locked_interpreter_ns = 500 * std.time.ns_per_us;

/// Scans in a row without result that `steal_fail_cost` is counted for. Without an end a quiet day would
/// add up to seconds, for which a blocked shard keeps its tasks.
pub const steal_streak_counted_max = 64;

/// A shard that never runs out of work of its own looks this often whether another one is stuck.
pub const steal_busy_look_ns = std.time.ns_per_ms;
