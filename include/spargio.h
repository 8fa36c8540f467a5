/*
 * spargio: a work-stealing async runtime for Linux on io_uring.
 *
 * This header is the contract; a test proves the library equal to it. The order: results, what the
 * kernel offers, runtimes, tasks, operations, files, paths, sockets, messages, your own SQEs,
 * statistics.
 *
 * A task is a function that is called again whenever something that it waits for has ended:
 *
 *     struct job { int fd; char text[4096]; spargio_op op; };
 *
 *     static int32_t read_some(void *ctx, int64_t *result) {
 *         struct job *job = ctx;
 *         int32_t count, status;
 *         if (job->op == 0) {
 *             status = spargio_read_at(job->fd, job->text, sizeof job->text, 0, &job->op);
 *             return status == SPARGIO_OK ? SPARGIO_PENDING : status;
 *         }
 *         status = spargio_op_poll(job->op, &count);
 *         if (status == SPARGIO_READY) *result = count;
 *         return status;
 *     }
 *
 *     struct job job = {.fd = fd};
 *     spargio_spawn(runtime, NULL, read_some, &job, &join);
 *     spargio_join_wait(join, SPARGIO_FOREVER, &result);
 *
 * Conventions
 *  - Every function returns int32_t: SPARGIO_OK (0), a positive status if documented
 *    (SPARGIO_PENDING), or a negative error. There is no global error slot.
 *  - Handles are plain integers (slot and generation). A stale or forged handle is
 *    SPARGIO_E_CLOSED, never a crash. 0 is never a valid handle.
 *  - Times are nanoseconds on CLOCK_MONOTONIC. SPARGIO_FOREVER waits without limit.
 *  - Structs that may grow start with `struct_size`; fill them with their _init function.
 *    A shorter struct of an older header is accepted, its missing fields take their
 *    defaults; a longer one is accepted when the bytes this library does not know are zero.
 *  - Unless a comment says otherwise a function may be called from any thread.
 *
 * io_uring needs Linux 5.19 or newer; older kernels get the epoll backend.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_H
#define SPARGIO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Raised on every incompatible change of this header. Compare with spargio_abi_version(). */
#define SPARGIO_ABI_VERSION 1u

/* ---- results ------------------------------------------------------------------------- */

#define SPARGIO_OK 0      /**< done */
#define SPARGIO_READY 0   /**< a poll function's result is final; an op or join has ended */
#define SPARGIO_PENDING 1 /**< not yet: poll again after the next wake-up */
#define SPARGIO_YIELD 2   /**< poll function only: run the others, then poll me again */

#define SPARGIO_E_INVALID (-1)      /**< an argument or option is out of range */
#define SPARGIO_E_CLOSED (-2)       /**< the handle is stale, or the runtime is shutting down */
#define SPARGIO_E_NOMEM (-3)        /**< out of memory */
#define SPARGIO_E_OVERLOADED (-4)   /**< the stealable queue is full: nothing was accepted */
#define SPARGIO_E_TIMEOUT (-5)      /**< the time limit passed; nothing was undone */
#define SPARGIO_E_CANCELLED (-6)    /**< the task was cancelled before it ended */
#define SPARGIO_E_NOT_ON_SHARD (-7) /**< allowed only inside a poll function of a task */
#define SPARGIO_E_ON_SHARD (-8)     /**< would block a shard: not allowed inside a task */
#define SPARGIO_E_INVALID_SHARD (-9) /**< no shard has this number */
#define SPARGIO_E_BUFFER (-10)      /**< the buffer is too small; *needed is the size */
#define SPARGIO_E_UNSUPPORTED (-11) /**< the kernel or the epoll backend lacks something needed */
#define SPARGIO_E_FORKED (-12)      /**< the runtime belongs to the parent of this process */

/** An error number of the kernel as a result of this library: SPARGIO_E_ERRNO(ENOMEM). */
#define SPARGIO_E_ERRNO(number) (-4096 - (number))
/** The error number inside such a result, or 0 if the result is not of that kind. */
#define SPARGIO_ERRNO_OF(result) ((result) <= -4096 ? -4096 - (result) : 0)

/** A time limit that never passes. */
#define SPARGIO_FOREVER UINT64_MAX

/** Version of this library's C ABI; equals SPARGIO_ABI_VERSION of the header it was built from. */
int32_t spargio_abi_version(void);

/** Version of the library as static text, "0.4.0". Never NULL. */
const char *spargio_version(void);

/**
 * Describes a result of this library, for example "ENOENT: no such file or directory". Static text,
 * never NULL. spargio_op_poll writes the kernel's own result: pass SPARGIO_E_ERRNO(-result) for it.
 */
const char *spargio_strerror(int32_t result);

/* ---- what the kernel offers ------------------------------------------------------------ */

#define SPARGIO_CAP_DEFER_TASKRUN (1ull << 0)   /**< 6.1: completions run when the shard asks */
#define SPARGIO_CAP_SINGLE_ISSUER (1ull << 1)   /**< 6.0 */
#define SPARGIO_CAP_MSG_RING (1ull << 2)        /**< 5.18: doorbells from shard to shard */
#define SPARGIO_CAP_SEND_MSG_RING (1ull << 3)   /**< 6.13: doorbells from threads without a ring */
#define SPARGIO_CAP_EXT_ARG (1ull << 4)         /**< 5.11: waits with a time limit */
#define SPARGIO_CAP_CANCEL_FD (1ull << 5)       /**< 5.19: cancel by descriptor */
#define SPARGIO_CAP_NO_SQARRAY (1ull << 6)      /**< 6.6 */
#define SPARGIO_CAP_SEND_ZC (1ull << 7)         /**< 6.0: zero-copy send */
#define SPARGIO_CAP_RECV_MULTISHOT (1ull << 8)  /**< 6.0 */
#define SPARGIO_CAP_PBUF_RING (1ull << 9)       /**< 5.19: provided buffer rings */

typedef struct spargio_probe_info {
    uint32_t struct_size;
    int32_t setup_errno;    /**< 0, or why io_uring_setup(2) failed: EPERM, ENOSYS, ENOMEM, ... */
    uint32_t kernel_major;  /**< from uname(2), for messages only */
    uint32_t kernel_minor;
    uint32_t features;      /**< IORING_FEAT_* as the kernel returned them */
    uint32_t setup_flags;   /**< IORING_SETUP_* that spargio uses on this kernel */
    uint64_t capabilities;  /**< SPARGIO_CAP_* */
    uint64_t opcodes[4];    /**< bit n of word n/64: IORING_OP n is supported */
    uint64_t memlock_limit; /**< RLIMIT_MEMLOCK, bytes; UINT64_MAX: unlimited */
    uint64_t nofile_limit;  /**< RLIMIT_NOFILE */
    uint32_t usable_cpus;   /**< CPUs in this process's affinity mask */
    int32_t disabled;       /**< sysctl kernel.io_uring_disabled: 0, 1, 2; -1: no such file */
} spargio_probe_info;

/**
 * Fills `info` by opening and closing one small ring. `info->struct_size` must be set.
 * Returns SPARGIO_OK even if io_uring is not available: `setup_errno` says why.
 */
int32_t spargio_probe(spargio_probe_info *info);

/* ---- runtime --------------------------------------------------------------------------- */

typedef uint64_t spargio_runtime;

#define SPARGIO_QUEUE_MUTEX 0u     /**< a deque under a lock; thieves take the newest */
#define SPARGIO_QUEUE_LOCK_FREE 1u /**< a ring of atomic cells; thieves take the oldest */

#define SPARGIO_IDLE_PARK 0u  /**< a short adaptive spin, then wait in the kernel */
#define SPARGIO_IDLE_SPIN 1u  /**< never sleep: lowest latency, one CPU per shard */
#define SPARGIO_IDLE_YIELD 2u /**< sched_yield(2) between passes */
#define SPARGIO_IDLE_SLEEP 3u /**< wait in the kernel for at most idle_sleep_ns */

#define SPARGIO_RUNTIME_NO_MSG_RING 1u      /**< wake shards by eventfd, as older kernels do */
#define SPARGIO_RUNTIME_NO_SINGLE_ISSUER 2u /**< rings without SINGLE_ISSUER and DEFER_TASKRUN */
#define SPARGIO_RUNTIME_COOP_TASKRUN 4u     /**< COOP_TASKRUN even if DEFER_TASKRUN is available */
/** The recorders "spargio spawn", "spargio wake", "spargio poll", "spargio pass" and
    "spargio steal" have the scheduler's latencies. Since 0.4. */
#define SPARGIO_RUNTIME_SCHEDULER_LATENCY 8u

/* AUTO takes what SPARGIO_BACKEND in the environment says (auto, io_uring, epoll). If it says auto
   or nothing: io_uring if rings can be made, else epoll. */
#define SPARGIO_BACKEND_AUTO 0u
#define SPARGIO_BACKEND_IO_URING 1u /**< io_uring, or an error */
#define SPARGIO_BACKEND_EPOLL 2u    /**< epoll(7), eventfd(2), threads for files; no io_uring */
/** io_uring if rings can be made, else epoll, whatever the environment says. Since 0.4 */
#define SPARGIO_BACKEND_EITHER 3u

#define SPARGIO_ANY_CPU 4294967295u /**< for io_uring_sqpoll_cpu */

typedef struct spargio_runtime_options {
    uint32_t struct_size;
    uint32_t shards;                   /**< 1..256; default: usable CPUs */
    uint32_t steal_budget;             /**< stealable tasks run per pass, 1..65536; 64 */
    uint32_t steal_victim_stride;      /**< cursor step between scans, 1..256; 1 */
    uint32_t steal_victim_probe_count; /**< victims looked at per scan, 1..256; 2 */
    uint32_t steal_batch_size;         /**< most tasks per steal, 1..1024; 4 */
    uint32_t steal_locality_margin;    /**< us a move must gain beyond its cost, 0..1000000; 1 */
    uint32_t steal_fail_cost;          /**< us added per low-value scan in a row, 0..1000000; 1 */
    uint32_t steal_backoff_min;        /**< ticks of 50 us between scans, 1..65536; 1 */
    uint32_t steal_backoff_max;        /**< ticks, steal_backoff_min..65536; 32 */
    uint32_t stealable_queue_capacity; /**< tasks per shard, 1..16777216; 4096 */
    uint32_t stealable_queue_backend;  /**< SPARGIO_QUEUE_*; MUTEX */
    uint32_t ring_entries;             /**< power of two, 8..32768; 256 */
    uint32_t idle_strategy;            /**< SPARGIO_IDLE_*; PARK */
    uint64_t idle_sleep_ns;            /**< for SPARGIO_IDLE_SLEEP, 1000..1000000000; 1000000 */
    const char *thread_prefix;         /**< threads are prefix-N; 1..10 bytes of ASCII; "spargio" */
    const uint32_t *thread_affinity;   /**< CPU of shard i is entry i modulo count; NULL: unbound */
    uint32_t thread_affinity_count;    /**< 0..1024 */
    uint32_t flags;                    /**< SPARGIO_RUNTIME_* */
    const uint16_t *hot_msg_tags;      /**< tags of messages with a lane of their own; copied */
    uint32_t hot_msg_tags_count;       /**< 0..65536 */
    uint32_t coalesced_hot_msg_tags_count;  /**< 0..254 */
    const uint16_t *coalesced_hot_msg_tags; /**< tags whose values only add up; copied */
    uint64_t hot_counter_wake_threshold; /**< sum that spargio_msg_next_hot_count waits for,
                                              1..4294967295; 1 */
    uint32_t msg_ring_queue_capacity;    /**< messages per lane of a shard, 1..1048576; 4096 */
    uint32_t io_uring_sqpoll_idle_ms;    /**< above 0: a kernel thread per ring takes submissions;
                                              it sleeps after so long without any, 0..600000; 0. It
                                              keeps the credentials of the thread that started the
                                              runtime: operations of a thread with another file
                                              system uid or gid end as -EPERM */
    uint32_t io_uring_sqpoll_cpu;        /**< CPU of these threads; SPARGIO_ANY_CPU */
    uint32_t backend;                    /**< SPARGIO_BACKEND_*; AUTO. Since 0.3 */
    uint64_t blocked_threshold_ms;       /**< a pass of a shard that takes so long counts in
                                              blocked_passes, 1..3600000; 100. Since 0.3 */
} spargio_runtime_options;

/**
 * Writes the defaults, then zeros up to `size`. Sets struct_size to the part that this library
 * understands. Returns SPARGIO_E_INVALID if no released header had that size. Since 0.3.
 */
int32_t spargio_runtime_options_init_sized(spargio_runtime_options *options, size_t size);

/**
 * The same for the struct of this header. In C and C++ it is a macro, which passes the size. The
 * function of this name is for bindings that see no macros, and fills the struct of the version
 * that it is linked with: a program that was linked with 0.2 still gets that of 0.2; dlsym(3), and
 * the static library, have the newest one. A binding that may meet a newer library calls
 * spargio_runtime_options_init_sized with the size of its own struct, which is always right.
 */
int32_t spargio_runtime_options_init(spargio_runtime_options *options);
#define spargio_runtime_options_init(options) \
    spargio_runtime_options_init_sized((options), sizeof *(options))

/**
 * Checks `options` without starting anything. Returns SPARGIO_OK or SPARGIO_E_INVALID. In the
 * second case, and if `message` is not NULL, writes a sentence there that names the option, the
 * allowed range and the value, NUL-terminated and cut at `capacity` bytes.
 */
int32_t spargio_runtime_options_check(const spargio_runtime_options *options, char *message,
                                      size_t capacity);

/**
 * Sets the options that the file at `path` names, and leaves the others; docs/tuning.md, "Options
 * from a file", has the format. With `path` NULL it is the file that SPARGIO_OPTIONS_FILE in the
 * environment names, if that is set. SPARGIO_E_INVALID: `options` is as before, and `message`, if
 * it is not NULL, has a sentence that names file and line, cut at `capacity` bytes. Fields that the
 * header of the program does not have are not written. Since 0.4.
 */
int32_t spargio_runtime_options_load(spargio_runtime_options *options, const char *path,
                                     char *message, size_t capacity);

/**
 * Starts a runtime: one thread and one ring per shard. `options` may be NULL for the defaults. The
 * options of the file that SPARGIO_OPTIONS_FILE in the environment names win over `options`: the
 * user of the program sets it, as `spargio tune` does (since 0.4). If that file is wrong, one line
 * goes to stderr and the result is SPARGIO_E_INVALID; spargio_runtime_options_load says why. If the
 * memlock limit (RLIMIT_MEMLOCK) is too low for the rings, they are smaller: see
 * `ring_entries` in the statistics. If no ring can be made and the backend is AUTO, it starts on
 * epoll, and one line on stderr says why. Nothing is left behind on an error: SPARGIO_E_INVALID,
 * _NOMEM, _UNSUPPORTED, or the kernel's error number: SPARGIO_E_ERRNO(EPERM) if io_uring is
 * forbidden, ENOMEM: RLIMIT_MEMLOCK, EMFILE: RLIMIT_NOFILE, EAGAIN: RLIMIT_NPROC, or no more
 * threads in the cgroup.
 */
int32_t spargio_runtime_start(const spargio_runtime_options *options, spargio_runtime *runtime);

/**
 * Refuses new tasks, cancels what runs, waits until all of it has ended, stops the threads and
 * frees the runtime. SPARGIO_E_TIMEOUT: tasks are still running; the handle stays valid, call
 * again. SPARGIO_E_ON_SHARD when called from a task of the runtime. A second call:
 * SPARGIO_E_CLOSED.
 */
int32_t spargio_runtime_shutdown(spargio_runtime runtime, uint64_t timeout_ns);

/**
 * Which backend the runtime has: `*backend` becomes SPARGIO_BACKEND_IO_URING or _EPOLL. `*reason`,
 * which may be NULL, becomes the error number for which AUTO did not take io_uring, else 0. Any
 * thread. Since 0.3.
 */
int32_t spargio_runtime_backend(spargio_runtime runtime, uint32_t *backend, int32_t *reason);

/** Number of shards. */
int32_t spargio_runtime_shard_count(spargio_runtime runtime, uint32_t *count);

/* ---- tasks ----------------------------------------------------------------------------- */

#define SPARGIO_PLACE_PINNED 0u              /**< on shard `value`, never elsewhere */
#define SPARGIO_PLACE_ROUND_ROBIN 1u         /**< on the next shard in turn, then it stays there */
#define SPARGIO_PLACE_STICKY 2u              /**< equal `value`, equal shard */
#define SPARGIO_PLACE_STEALABLE 3u           /**< preferred shard in turn; others may steal it */
#define SPARGIO_PLACE_STEALABLE_PREFERRED 4u /**< preferred shard `value`; others may steal it */

typedef struct spargio_placement {
    uint32_t struct_size;
    uint32_t kind; /**< SPARGIO_PLACE_* */
    uint64_t value;
} spargio_placement;

typedef uint64_t spargio_join;

/**
 * A task: called on a shard until it returns something other than SPARGIO_PENDING or
 * SPARGIO_YIELD.
 *  SPARGIO_READY    ended; *result (0 at entry) is the join handle's result.
 *  SPARGIO_PENDING  called again when one of the task's operations or joins ends, when it is woken
 *                   (spargio_task_wake), or when it is cancelled.
 *  SPARGIO_YIELD    called again after the other tasks that are ready now.
 *  negative         ended with this error, which spargio_join_wait returns.
 * Between its calls a task stays on the shard it started on. A plain function that runs once and
 * returns SPARGIO_READY is the simple case. When it ends with operations still under way they are
 * cancelled, and the join ends after the last of them: `ctx` and buffers may then be freed.
 */
typedef int32_t (*spargio_poll_fn)(void *ctx, int64_t *result);

/**
 * Accepts a task; it then runs exactly once, or ends as SPARGIO_E_CANCELLED. `placement` NULL
 * means SPARGIO_PLACE_STEALABLE. `join` NULL detaches the task. *join is written before the task
 * can run, which finds its own handle there and may free that memory; after an error it is 0.
 * SPARGIO_E_OVERLOADED: the preferred shard's stealable queue is full, nothing was accepted.
 *
 * A detached task is always called, because nobody else could free its `ctx`: if the runtime's
 * shutdown begins before the task does, spargio_task_cancelled() is 1 from its first call on, and
 * operations of that call are cancelled. (Since 0.4; a program that was linked with an older
 * version has such a task ended without a call.)
 */
int32_t spargio_spawn(spargio_runtime runtime, const spargio_placement *placement,
                      spargio_poll_fn poll, void *ctx, spargio_join *join);

/** Called once for a `ctx`; of a task: on a shard, but outside any task. */
typedef void (*spargio_drop_fn)(void *ctx);

/**
 * As spargio_spawn, and `drop(ctx)` is called exactly once, when the runtime is done with `ctx`:
 * after the task's last call and after its last operation, or without any call if the task was
 * cancelled before it began; always before its join ends. Return quickly: it blocks the shard. It
 * may call what any thread may call. After an error it is not called: `ctx` is still the caller's.
 * Since 0.4.
 */
int32_t spargio_spawn_owned(spargio_runtime runtime, const spargio_placement *placement,
                            spargio_poll_fn poll, void *ctx, spargio_drop_fn drop,
                            spargio_join *join);

/**
 * Waits for the task's end. Returns SPARGIO_OK and *result (may be NULL), the task's own negative
 * error, SPARGIO_E_TIMEOUT, or SPARGIO_E_ON_SHARD inside a task (use spargio_join_poll there).
 * The handle stays valid until spargio_join_release.
 */
int32_t spargio_join_wait(spargio_join join, uint64_t timeout_ns, int64_t *result);

/**
 * Inside a poll function: SPARGIO_READY and *result, SPARGIO_PENDING (a later poll follows), or an
 * error.
 */
int32_t spargio_join_poll(spargio_join join, int64_t *result);

/**
 * Asks the task to end. Not started yet: it ends as SPARGIO_E_CANCELLED without a call. Started:
 * its operations are cancelled and it is polled; spargio_task_cancelled() then returns 1. The task
 * should check it before it starts new operations: those that are started after the cancellation
 * are not cancelled. Idempotent.
 */
int32_t spargio_join_cancel(spargio_join join);

/** The shard the task started on; SPARGIO_PENDING while it is still queued. */
int32_t spargio_join_shard(spargio_join join, uint32_t *shard);

/** Releases the handle; the task goes on. Later use of the handle is SPARGIO_E_CLOSED. */
int32_t spargio_join_release(spargio_join join);

/**
 * A task as any thread may wake it: valid from spargio_task_self until the task has ended, then
 * SPARGIO_E_CLOSED. Nothing is to be given back.
 */
typedef uint64_t spargio_task;

/**
 * Inside a poll function: the handle of this task, the same at each call. SPARGIO_E_NOT_ON_SHARD
 * elsewhere, _NOMEM. Since 0.4.
 */
int32_t spargio_task_self(spargio_task *task);

/**
 * Has the task polled (again), whatever it waits for. Any thread, callbacks included; never waits.
 * What the caller wrote before is seen by the poll that follows, by whatever stores: no wake-up is
 * lost, and those that come before that poll begins are one. So a task that finds nothing to do
 * stores its handle where others find it, looks once more, and returns SPARGIO_PENDING.
 * SPARGIO_E_CLOSED: the task has ended. Since 0.4.
 */
int32_t spargio_task_wake(spargio_task task);

/** Inside a task: the shard's number. Elsewhere SPARGIO_E_NOT_ON_SHARD. */
int32_t spargio_current_shard(uint32_t *shard);

/**
 * Inside a task: 1 after its cancellation was asked for, else 0. Elsewhere SPARGIO_E_NOT_ON_SHARD.
 */
int32_t spargio_task_cancelled(void);

/* ---- operations ------------------------------------------------------------------------
 *
 * Inside a poll function only; elsewhere SPARGIO_E_NOT_ON_SHARD. Each call queues one operation on
 * the shard's ring and writes a handle; the task is polled again when the operation ends. `op` must
 * not be NULL. Memory that an operation names must stay valid until it has ended (spargio_op_poll
 * returned SPARGIO_READY, or the task's join ended); names and addresses are copied. The result in
 * spargio_op_poll is the kernel's: a count, a descriptor or 0, and -errno on failure.
 */

typedef uint64_t spargio_op;

/**
 * Called at the end of an operation: `result` is the kernel's (a negative one is -errno), and
 * `cqe_flags` are those of the completion. It runs on the shard, outside any task, and blocks the
 * shard, so return quickly. It may call the functions that any thread may call; operations return
 * SPARGIO_E_NOT_ON_SHARD.
 */
typedef void (*spargio_complete_fn)(void *ctx, int32_t result, uint32_t cqe_flags);

/**
 * SPARGIO_READY: the op ended, *result is the kernel's, the handle is used up. Else
 * SPARGIO_PENDING.
 */
int32_t spargio_op_poll(spargio_op op, int32_t *result);

/** Asks the kernel to cancel; the op still ends exactly once, as -ECANCELED or with its result. */
int32_t spargio_op_cancel(spargio_op op);

/**
 * Limits the time of an operation: if it has not ended by then it is cancelled, and ends as -ETIME,
 * or with its result if the kernel was faster. A later call sets another limit, counted from now.
 * The limit is late by at most 1/16 of it and 0.26 ms. SPARGIO_E_INVALID: it is a spargio_sleep, or
 * a spargio_close, which nothing cancels. SPARGIO_E_CLOSED, _NOMEM (no limit was set). Since 0.4.
 */
int32_t spargio_op_timeout(spargio_op op, uint64_t timeout_ns);

/**
 * Has `complete` called at the operation's end in place of spargio_op_poll, exactly once: even if
 * the task was cancelled or has ended meanwhile, and then before the task's join ends. It is called
 * before this function returns if the operation has ended by now. The result, a descriptor too, is
 * the function's; the handle is used up then, and the task is polled as after any operation.
 * SPARGIO_E_INVALID: `complete` is NULL, or the operation has one. SPARGIO_E_CLOSED. Since 0.4.
 */
int32_t spargio_op_on_complete(spargio_op op, spargio_complete_fn complete, void *ctx);

/**
 * Which of these operations of the task has ended? SPARGIO_READY: *index is the first of them that
 * has; spargio_op_poll takes its result. SPARGIO_PENDING: none has. Entries of 0 are left out;
 * SPARGIO_E_INVALID if all are. SPARGIO_E_CLOSED: that of *index is not an operation of this task.
 * A look at each: for hundreds of operations use spargio_op_on_complete. Since 0.4.
 */
int32_t spargio_wait_any(const spargio_op *ops, uint32_t count, uint32_t *index);

/** IORING_OP_NOP: a round trip through the ring. */
int32_t spargio_nop(spargio_op *op);

/**
 * Ends with 0 after `duration_ns`, late by at most 1/16 of it and 0.26 ms (so that timers close to
 * each other end together); a cancelled one with -ECANCELED. The shard's timer queue, no kernel
 * op.
 */
int32_t spargio_sleep(uint64_t duration_ns, spargio_op *op);

/**
 * After SPARGIO_E_OVERLOADED: an operation that ends with 0 when the stealable queue that a spawn
 * with this placement goes to has room (SPARGIO_PLACE_STEALABLE: that of the next shard in turn).
 * No promise: others may be faster, so spawn and, if need be, wait again. If several wait, as many
 * go on as there are places; the next one does when one of these took its result. `runtime` is that
 * of the task that calls. SPARGIO_E_NOT_ON_SHARD, _INVALID, _INVALID_SHARD, _CLOSED, _NOMEM. Since
 * 0.4.
 */
int32_t spargio_room(spargio_runtime runtime, const spargio_placement *placement, spargio_op *op);

/* ---- calls that block ------------------------------------------------------------------
 *
 * Operations that threads of the runtime do, so that no shard is blocked. Nothing of the kernel's
 * ring.
 */

/** Runs on a thread of the pool; what it returns is the operation's result. */
typedef int32_t (*spargio_blocking_fn)(void *ctx);

/**
 * Calls `function(ctx)` on a thread: at most 32 of a runtime at a time, the others wait in their
 * order. Its result is the operation's: by convention a count or -errno. Cancelled before a thread
 * took it, it ends as -ECANCELED and is never called; after that it ends when the function returns,
 * as does a task that has ended meanwhile. -EAGAIN: no thread could be made. The threads block all
 * signals. `ctx` is yours. SPARGIO_E_INVALID: `function` is NULL; _NOMEM. Since 0.4.
 */
int32_t spargio_blocking(spargio_blocking_fn function, void *ctx, spargio_op *op);

struct addrinfo;

/**
 * getaddrinfo(3): the addresses of `host` and `service`; either may be NULL, `hints` too. All three
 * are copied. The result is 0, and *list (valid until then) is yours to free with freeaddrinfo(3);
 * -errno; or one with SPARGIO_EAI_OF, for gai_strerror(3). *list is written by spargio_op_poll with
 * SPARGIO_READY, or before the completion callback. Names go to threads of their own, at most 32;
 * numeric addresses are answered at once. A cancelled lookup ends at once, as -ECANCELED. Its
 * thread goes on until getaddrinfo(3) returns, and is one of the 32 until then: with a name server
 * that is silent, other names wait. spargio_runtime_shutdown waits for no lookup.
 * SPARGIO_E_INVALID, _NOMEM. Since 0.4.
 */
int32_t spargio_resolve(const char *host, const char *service, const struct addrinfo *hints,
                        struct addrinfo **list, spargio_op *op);

/** The EAI_* number inside a result of spargio_resolve, or 0 if it is none. Since 0.4. */
#define SPARGIO_EAI_OF(result) ((result) <= -65536 ? (result) + 65536 : 0)

/* ---- signals -------------------------------------------------------------------------- */

typedef uint64_t spargio_signal;

/**
 * Watches `count` signals (1..64, SIGINT, ...) until spargio_signal_close: while somebody does, the
 * process's handler of the signal is the library's, whatever thread it arrives on; the one before
 * comes back with the last close. A program may watch 256 in all, one signal several times: each
 * watcher gets it. SPARGIO_E_INVALID: none such, SIGKILL or SIGSTOP; _OVERLOADED; _NOMEM; errno.
 * Any thread. Since 0.4.
 */
int32_t spargio_signal_open(const int32_t *signals, uint32_t count, spargio_signal *handle);

/**
 * Operation: the number of the next signal that came. Each one that the kernel delivered is given
 * once (it merges equal ones that are pending), to one of those that wait on this handle; one that
 * nobody takes goes back. IORING_OP_POLL_ADD, 5.1. Since 0.4.
 */
int32_t spargio_signal_next(spargio_signal handle, spargio_op *op);

/** Any thread. Operations that wait go on until they are cancelled. Since 0.4. */
int32_t spargio_signal_close(spargio_signal handle);

/* ---- child processes ------------------------------------------------------------------- */

#define SPARGIO_PROCESS_SEARCH_PATH 1u /**< argv[0] is looked up in PATH, as execvp(3) does */
#define SPARGIO_PROCESS_NEW_GROUP 2u   /**< it leads a process group of its own */
#define SPARGIO_PROCESS_NEW_SESSION 4u /**< it leads a session of its own: setsid(2) */

typedef struct spargio_process_options {
    uint32_t struct_size;
    uint32_t flags;          /**< SPARGIO_PROCESS_* */
    const char *const *argv; /**< ends with NULL; argv[0] is the program */
    const char *const *env;  /**< ends with NULL; NULL: this process's */
    const char *cwd;         /**< NULL: this process's. glibc 2.29 or musl 1.1.24 */
    int32_t stdin_fd;        /**< what it has as 0, 1 and 2; -1: this process's */
    int32_t stdout_fd;
    int32_t stderr_fd;
    int32_t reserved;        /**< 0 */
} spargio_process_options;

/**
 * Operation: starts a child by posix_spawn(3) on a thread of the pool. The result is its pidfd,
 * close-on-exec and the caller's to close; *pid (may be NULL) is written when the result is taken.
 * The child gets the signal mask of the thread that started the runtime, and default actions for
 * the signals that spargio_signal_open watches. All strings are copied; descriptors must stay open
 * until then. One that nobody takes is killed and reaped. -ENOENT, -EACCES, ... of the program;
 * -ENOSYS: no pidfd (5.3), or no posix_spawn_file_actions_addchdir_np for `cwd`. SPARGIO_E_INVALID,
 * _NOMEM. Since 0.4.
 */
int32_t spargio_process_start(const spargio_process_options *options, int32_t *pid,
                              spargio_op *op);

/**
 * Operation: waits for the end of a child, and reaps it. The result is its status for WIFEXITED,
 * WEXITSTATUS, WIFSIGNALED and WTERMSIG of wait(2). -ECHILD: it is not our child any more.
 * Several may wait; one gets the status. IORING_OP_POLL_ADD, 5.3 (pidfd). Since 0.4.
 */
int32_t spargio_process_wait(int32_t pidfd, spargio_op *op);

/** Any thread: pidfd_send_signal(2), 5.1; it never meets another process. Since 0.4. */
int32_t spargio_process_signal(int32_t pidfd, int32_t signal);

/* ---- files ---------------------------------------------------------------------------
 *
 * Operations, except the registration of buffers, which is done at once.
 */

/** openat(2) relative to the working directory, O_CLOEXEC added. IORING_OP_OPENAT, 5.6. */
int32_t spargio_open(const char *path, int32_t flags, uint32_t mode, spargio_op *op);

/**
 * close(2). IORING_OP_CLOSE, 5.6. It cannot be cancelled. Operations under way on the descriptor
 * are not ended by it: cancel them, or shut a socket down, first.
 */
int32_t spargio_close(int32_t fd, spargio_op *op);

/**
 * pread(2); an offset above INT64_MAX is SPARGIO_E_INVALID, here and below. IORING_OP_READ, 5.6.
 */
int32_t spargio_read_at(int32_t fd, void *buffer, uint32_t length, uint64_t offset, spargio_op *op);

/** pwrite(2); may write less than `length`. IORING_OP_WRITE, 5.6. */
int32_t spargio_write_at(int32_t fd, const void *buffer, uint32_t length, uint64_t offset,
                         spargio_op *op);

/** preadv(2); `vectors` are `count` struct iovec, at most 1024. IORING_OP_READV, 5.1. Since 0.2. */
int32_t spargio_readv_at(int32_t fd, const void *vectors, uint32_t count, uint64_t offset,
                         spargio_op *op);

/** pwritev(2), likewise. IORING_OP_WRITEV, 5.1. Since 0.2. */
int32_t spargio_writev_at(int32_t fd, const void *vectors, uint32_t count, uint64_t offset,
                          spargio_op *op);

/** fsync(2), or fdatasync(2) if `data_only` is not 0. IORING_OP_FSYNC, 5.1. */
int32_t spargio_fsync(int32_t fd, int32_t data_only, spargio_op *op);

/** ftruncate(2). IORING_OP_FTRUNCATE, 6.9; -EINVAL before. Since 0.2. */
int32_t spargio_truncate(int32_t fd, uint64_t length, spargio_op *op);

/** fallocate(2) with its mode. IORING_OP_FALLOCATE, 5.6. Since 0.2. */
int32_t spargio_allocate(int32_t fd, int32_t mode, uint64_t offset, uint64_t length,
                         spargio_op *op);

/**
 * splice(2); an offset of UINT64_MAX is a pipe's, or the file's own position. IORING_OP_SPLICE,
 * 5.7. Since 0.2.
 */
int32_t spargio_splice(int32_t from, uint64_t from_offset, int32_t to, uint64_t to_offset,
                       uint32_t length, uint32_t flags, spargio_op *op);

/**
 * Inside a poll function: registers memory (at most 1 GiB) with the ring of this shard, until
 * spargio_buffer_unregister with *index on the same shard. spargio_read_at and spargio_write_at of
 * tasks here whose buffer lies in it then spare the kernel the look-up of its pages (READ_FIXED,
 * WRITE_FIXED; table: 5.19). It must not be freed or unmapped before that: transfers to another
 * object at the same address would go to the old pages. Errors: ENOBUFS (64 at a time), ENOMEM
 * (the memlock limit), EINVAL (before 5.19). Since 0.2.
 */
int32_t spargio_buffer_register(void *memory, size_t length, uint32_t *index);

/** Frees the index; operations under way end as usual. Since 0.2. */
int32_t spargio_buffer_unregister(uint32_t index);

/* ---- paths ---------------------------------------------------------------------------
 *
 * Operations. Names are relative to the working directory.
 */

/** mkdir(2). IORING_OP_MKDIRAT, 5.15. Since 0.2. */
int32_t spargio_mkdir(const char *path, uint32_t mode, spargio_op *op);

/** rmdir(2). IORING_OP_UNLINKAT, 5.11. Since 0.2. */
int32_t spargio_rmdir(const char *path, spargio_op *op);

/** unlink(2). IORING_OP_UNLINKAT, 5.11. Since 0.2. */
int32_t spargio_unlink(const char *path, spargio_op *op);

/** renameat2(2) with its flags (RENAME_NOREPLACE, ...). IORING_OP_RENAMEAT, 5.11. Since 0.2. */
int32_t spargio_rename(const char *from, const char *to, uint32_t flags, spargio_op *op);

/** link(2): `path` is a new name of `existing`. IORING_OP_LINKAT, 5.15. Since 0.2. */
int32_t spargio_link(const char *existing, const char *path, spargio_op *op);

/** symlink(2): `path` points to `target`. IORING_OP_SYMLINKAT, 5.15. Since 0.2. */
int32_t spargio_symlink(const char *target, const char *path, spargio_op *op);

/**
 * statx(2) into `out`, a struct statx, with its AT_* flags and STATX_* mask. IORING_OP_STATX, 5.6.
 * Since 0.2.
 */
int32_t spargio_statx(const char *path, uint32_t flags, uint32_t mask, void *out, spargio_op *op);

/* ---- sockets -------------------------------------------------------------------------
 *
 * What makes listening and bound sockets does not wait and may be called from any thread, and so
 * may spargio_local_port; the others are operations.
 */

/**
 * A listening TCP socket on a numeric IPv4 or IPv6 address, SO_REUSEADDR and close-on-exec set.
 * Does not wait; may be called from any thread. Returns SPARGIO_OK, _INVALID (not a numeric
 * address) or errno.
 */
int32_t spargio_tcp_listen(const char *address, uint16_t port, uint32_t backlog, int32_t *fd);

#define SPARGIO_LISTEN_REUSE_PORT 1u /**< SO_REUSEPORT: each listener of the port has its share */
#define SPARGIO_LISTEN_V6_ONLY 2u    /**< an IPv6 socket takes no IPv4 connections */
#define SPARGIO_LISTEN_DUAL_STACK 4u /**< it takes both ("::"); without either: the system's way */

typedef struct spargio_listen_options {
    uint32_t struct_size;
    uint32_t backlog;  /**< of listen(2); the kernel cuts it to net.core.somaxconn */
    uint32_t flags;    /**< SPARGIO_LISTEN_* */
    uint32_t reserved; /**< 0 */
} spargio_listen_options;

/**
 * spargio_tcp_listen with options. `options` NULL: a backlog of 4096, no flags. Any thread. Since
 * 0.4.
 */
int32_t spargio_tcp_listen_with(const char *address, uint16_t port,
                                const spargio_listen_options *options, int32_t *fd);

/**
 * A listening Unix socket on a path of at most 107 bytes, or on an abstract name if the first byte
 * of `path` is '@'. Close-on-exec. Does not wait; may be called from any thread. Returns
 * SPARGIO_OK, _INVALID (too long, or empty) or errno. Since 0.2.
 */
int32_t spargio_unix_listen(const char *path, uint32_t backlog, int32_t *fd);

/** A UDP socket on a numeric address; port 0: any. As spargio_tcp_listen. Since 0.2. */
int32_t spargio_udp_bind(const char *address, uint16_t port, int32_t *fd);

/** The local port of a socket, in host order. */
int32_t spargio_local_port(int32_t fd, uint16_t *port);

/**
 * accept4(2) with SOCK_CLOEXEC; the result is the new descriptor. It takes one connection, and no
 * other before it is asked for: those stay where other tasks, shards and processes can take them.
 * So a task that accepts one after the other takes one in each pass of its shard, which is long
 * beside busy connections. A server uses spargio_accept_multishot, or has several of these under
 * way. IORING_OP_ACCEPT, 5.5.
 */
int32_t spargio_accept(int32_t fd, spargio_op *op);

/**
 * The same with the peer's address: *length is the room at `address` (a struct sockaddr), and when
 * the operation has ended the size of what is there. Both must stay valid until then. Since 0.4.
 */
int32_t spargio_accept_from(int32_t fd, void *address, uint32_t *length, spargio_op *op);

/**
 * Accepts until it is ended: spargio_accept_next takes one connection after the other, and the task
 * is polled when there is one. The way for a server: it takes what has queued up in one pass. The
 * kernel is stopped while 64 connections wait to be taken. It ends with the first error but
 * ECONNABORTED, or by spargio_op_cancel; what nobody took is closed when the task ends, or with
 * spargio_op_poll. IORING_ACCEPT_MULTISHOT, 5.19. Since 0.4.
 */
int32_t spargio_accept_multishot(int32_t fd, spargio_op *op);

/**
 * SPARGIO_READY: *result is the next connection, close-on-exec; or negative, -errno: it has ended
 * (-ECANCELED, -EMFILE, ...), nothing is left, and the handle is used up. Else SPARGIO_PENDING.
 * Call it until it says so. SPARGIO_E_INVALID: another kind of operation. Since 0.4.
 */
int32_t spargio_accept_next(spargio_op op, int32_t *result);

/**
 * Makes a TCP socket and connects it to a numeric address; the result is its descriptor.
 * IORING_OP_CONNECT, 5.5.
 */
int32_t spargio_tcp_connect(const char *address, uint16_t port, spargio_op *op);

/**
 * Makes a Unix stream socket and connects it; names as above; the result is its descriptor.
 * IORING_OP_CONNECT, 5.5. Since 0.2.
 */
int32_t spargio_unix_connect(const char *path, spargio_op *op);

/**
 * connect(2) of the caller's socket to a sockaddr of `length` bytes, which is copied.
 * IORING_OP_CONNECT, 5.5. Since 0.2.
 */
int32_t spargio_connect(int32_t fd, const void *address, uint32_t length, spargio_op *op);

/**
 * A flag of spargio_recv: the last receive took all that there was, because it brought less than it
 * had room for. The kernel then waits at once, instead of a try in vain
 * (IORING_RECVSEND_POLL_FIRST, 5.19). A wrong guess costs a little time, never data. Since 0.4.
 */
#define SPARGIO_RECV_DRAINED 268435456

/**
 * recv(2), `flags` are its own and SPARGIO_RECV_DRAINED; 0 means end of stream. IORING_OP_RECV,
 * 5.6.
 */
int32_t spargio_recv(int32_t fd, void *buffer, uint32_t length, int32_t flags, spargio_op *op);

/**
 * send(2) with MSG_NOSIGNAL; with MSG_WAITALL in `flags` the kernel goes on after a short send
 * (5.19).
 */
int32_t spargio_send(int32_t fd, const void *buffer, uint32_t length, int32_t flags,
                     spargio_op *op);

/**
 * Receives until it is ended, in buffers that the kernel picks when something has come: a
 * connection that waits holds no memory. spargio_recv_next takes one piece after the other, and the
 * task is polled when there is one. The kernel is stopped while 16 pieces wait to be taken: what is
 * not received yet stays in the socket. IORING_RECV_MULTISHOT, 6.0; single receives before that.
 * Since 0.4.
 */
int32_t spargio_recv_multishot(int32_t fd, spargio_op *op);

/**
 * SPARGIO_READY: *result bytes at *data, at most 16 KiB, which may be read until the next call for
 * this operation, or its end: copy what is to stay, send what is to be sent, before. *result 0: the
 * end of the stream; negative: -errno, -ECANCELED after spargio_op_cancel; *data is NULL then, all
 * pieces were taken, and the handle is used up. Else SPARGIO_PENDING. SPARGIO_E_INVALID: another
 * kind of operation. Since 0.4.
 */
int32_t spargio_recv_next(spargio_op op, const void **data, int32_t *result);

/**
 * spargio_send without a copy into the kernel: it ends when nobody refers to the buffer any more,
 * mostly when the peer has it. Worth it from some 16 KiB on. Without kernel support
 * (SPARGIO_CAP_SEND_ZC) it is spargio_send. IORING_OP_SEND_ZC, 6.0. Since 0.4.
 *
 * A cancellation or a time limit stops the sending at once. But the operation ends (with what was
 * sent, or -ECANCELED, -ETIME) when the kernel lets go of the buffer, because the connection may
 * still send from it; the end of the task and of the runtime waits for that. A peer that does not
 * read holds it back for as long as the connection lives, also after shutdown(2). To end it, abort
 * the connection: SO_LINGER with a time of 0, and spargio_close.
 */
int32_t spargio_send_zc(int32_t fd, const void *buffer, uint32_t length, int32_t flags,
                        spargio_op *op);

/**
 * sendto(2) with MSG_NOSIGNAL; the address (a struct sockaddr) is copied, and may be NULL with
 * length 0 on a connected socket. IORING_OP_SENDMSG, 5.3. Since 0.4.
 */
int32_t spargio_sendto(int32_t fd, const void *buffer, uint32_t length, int32_t flags,
                       const void *address, uint32_t address_length, spargio_op *op);

/**
 * recvfrom(2): *address_length is the room at `address`, and becomes the size of the sender's when
 * the result is taken (spargio_op_poll, or before the completion callback). Both may be NULL. With
 * MSG_TRUNC in `flags` the result is the datagram's whole size. IORING_OP_RECVMSG, 5.3. Since 0.4.
 */
int32_t spargio_recvfrom(int32_t fd, void *buffer, uint32_t length, int32_t flags, void *address,
                         uint32_t *address_length, spargio_op *op);

/**
 * Sends the buffer as datagrams of `segment` bytes each (the last may be shorter) by one call: at
 * most 64 of them, 65,507 bytes, and each with room in the route's MTU (-EMSGSIZE, -EINVAL). The
 * address as with spargio_sendto. UDP_SEGMENT, 4.18. Since 0.4.
 */
int32_t spargio_udp_send_batch(int32_t fd, const void *buffer, uint32_t length, uint16_t segment,
                               const void *address, uint32_t address_length, spargio_op *op);

/**
 * Whether the kernel may give several datagrams of one sender, one after the other, in one buffer.
 * Receive by spargio_udp_recv_batch then, with room for 65,535 bytes. Does not wait; any thread.
 * UDP_GRO, 5.0. Since 0.4.
 */
int32_t spargio_udp_set_batches(int32_t fd, int32_t on);

/**
 * spargio_recvfrom of such a batch: when the result is taken, *segment is the size of each datagram
 * in the buffer but the last, which may be shorter; of a single one its size. Since 0.4.
 */
int32_t spargio_udp_recv_batch(int32_t fd, void *buffer, uint32_t length, uint32_t *segment,
                               void *address, uint32_t *address_length, spargio_op *op);

/** recvmsg(2) into a struct msghdr. IORING_OP_RECVMSG, 5.3. Since 0.2. */
int32_t spargio_recvmsg(int32_t fd, void *message, int32_t flags, spargio_op *op);

/**
 * sendmsg(2) with MSG_NOSIGNAL; `message` is a struct msghdr. IORING_OP_SENDMSG, 5.3. Since 0.2.
 */
int32_t spargio_sendmsg(int32_t fd, const void *message, int32_t flags, spargio_op *op);

/** shutdown(2). IORING_OP_SHUTDOWN, 5.11. */
int32_t spargio_shutdown(int32_t fd, int32_t how, spargio_op *op);

/**
 * poll(2) for one descriptor, once: the result is what is ready (POLLIN, ...). IORING_OP_POLL_ADD,
 * 5.1. Since 0.2.
 */
int32_t spargio_poll(int32_t fd, uint32_t events, spargio_op *op);

/* ---- what tasks share --------------------------------------------------------------------
 *
 * Semaphores, channels and groups, for tasks of any shards and runtimes of the process, and for
 * threads. The waits are operations: time limits, spargio_wait_any and callbacks work with them,
 * and one that is cancelled took nothing. A result that nobody takes because the task ended goes
 * back: permits, and the value of a channel. Handles are closed once; those that wait then get
 * -EPIPE.
 */

typedef uint64_t spargio_semaphore;

/** With so many permits, 0..INT64_MAX. Any thread. SPARGIO_E_INVALID, _NOMEM. Since 0.4. */
int32_t spargio_semaphore_open(uint64_t permits, spargio_semaphore *semaphore);

/**
 * Operation: 0 when the task has so many permits, at least 1. First come, first served: who wants
 * few does not overtake who wants many. Since 0.4.
 */
int32_t spargio_semaphore_acquire(spargio_semaphore semaphore, uint64_t permits, spargio_op *op);

/** Any thread: SPARGIO_READY, or SPARGIO_PENDING: they are not there, or others wait. Since 0.4. */
int32_t spargio_semaphore_try_acquire(spargio_semaphore semaphore, uint64_t permits);

/** Any thread: gives permits back, or new ones. _INVALID: more than INT64_MAX. Since 0.4. */
int32_t spargio_semaphore_release(spargio_semaphore semaphore, uint64_t permits);

/** Any thread. Since 0.4. */
int32_t spargio_semaphore_close(spargio_semaphore semaphore);

typedef uint64_t spargio_channel;

/**
 * A queue of pointers with room for `capacity` of them, at least 1. `drop`, which may be NULL, is
 * called for each value that nobody will have, on the thread that closes. Any thread. Since 0.4.
 */
int32_t spargio_channel_open(uint64_t capacity, spargio_drop_fn drop, spargio_channel *channel);

/**
 * Operation: 0 when the value is in the channel or with its receiver; -EPIPE: the channel is
 * finished or closed, and the value is still the caller's, as it is with -ECANCELED. Since 0.4.
 */
int32_t spargio_channel_send(spargio_channel channel, void *value, spargio_op *op);

/** Any thread: SPARGIO_READY; SPARGIO_PENDING: no room; SPARGIO_E_CLOSED. Since 0.4. */
int32_t spargio_channel_try_send(spargio_channel channel, void *value);

/**
 * Operation: 0 and *value, or -EPIPE: there is none and will be none. *value is written when the
 * result is taken (spargio_op_poll, or before the completion callback). Since 0.4.
 */
int32_t spargio_channel_recv(spargio_channel channel, void **value, spargio_op *op);

/** Any thread: SPARGIO_READY and *value; SPARGIO_PENDING: none now; SPARGIO_E_CLOSED. Since 0.4. */
int32_t spargio_channel_try_recv(spargio_channel channel, void **value);

/**
 * Any thread, for those who send: no send begins any more. What is there can be received, and so
 * can what waits for room: a send that had begun ends as ever. Since 0.4.
 */
int32_t spargio_channel_finish(spargio_channel channel);

/**
 * Any thread, for those who receive: drops what is there; sends that wait end as -EPIPE. Since 0.4.
 */
int32_t spargio_channel_close(spargio_channel channel);

#define SPARGIO_GROUP_CANCEL_ON_ERROR 1u /**< a task that ends with an error cancels the others */

typedef uint64_t spargio_group;

/**
 * A group of tasks of one runtime; `flags` are SPARGIO_GROUP_* or 0. Any thread. Since 0.4.
 */
int32_t spargio_group_open(spargio_runtime runtime, uint32_t flags, spargio_group *group);

/**
 * As spargio_spawn_owned, but `drop` may be NULL, and so may `join`: the group waits for the task.
 * In a group that was cancelled it ends as SPARGIO_E_CANCELLED, and only `drop` is called. Since
 * 0.4.
 */
int32_t spargio_group_spawn(spargio_group group, const spargio_placement *placement,
                            spargio_poll_fn poll, void *ctx, spargio_drop_fn drop,
                            spargio_join *join);

/** Any thread: cancels all tasks of the group, and those that are spawned later. Since 0.4. */
int32_t spargio_group_cancel(spargio_group group);

/**
 * Operation: 0 when no task of the group is left, and `drop` was called for each; at once if there
 * is none. spargio_group_status has what became of them. Cancelled, it ends; the tasks go on.
 * SPARGIO_E_ERRNO(EDEADLK) in a task of the group, which would wait for itself. Since 0.4.
 */
int32_t spargio_group_wait(spargio_group group, spargio_op *op);

/**
 * The same for a thread outside: the group's status, SPARGIO_E_TIMEOUT, or _ON_SHARD inside a task.
 * Since 0.4.
 */
int32_t spargio_group_join(spargio_group group, uint64_t timeout_ns);

/**
 * SPARGIO_OK, or what the first task that failed ended with (cancelled ones do not count). Any
 * thread. Since 0.4.
 */
int32_t spargio_group_status(spargio_group group);

/** Gives the handle back; tasks go on. Any thread. Since 0.4. */
int32_t spargio_group_close(spargio_group group);

/* ---- messages between shards -----------------------------------------------------------
 *
 * A message is a tag and a value for the tasks of one shard. It lies in a lane of that shard until
 * a task there takes it; each sender's messages arrive in the order they were sent. A lane holds
 * at most msg_ring_queue_capacity of them: one that does not fit is SPARGIO_E_OVERLOADED, is not
 * sent, and counts in ring_msgs_backpressure. Messages that no task takes end with the runtime. Hot
 * tags (options) have a lane of their own. Coalesced hot tags only add up: their values are summed,
 * without a bound on the number of messages.
 */

#define SPARGIO_MSG_OUTSIDE 65535u /**< `from` of a message that no shard sent */

typedef struct spargio_msg {
    uint16_t from; /**< the sender's shard or SPARGIO_MSG_OUTSIDE; ignored when it is sent */
    uint16_t tag;
    uint32_t value;
} spargio_msg;

/**
 * Any thread: sends one message to `shard`. `runtime` 0 is that of the task that calls. SPARGIO_OK,
 * SPARGIO_E_INVALID_SHARD, _OVERLOADED, _CLOSED, or _NOT_ON_SHARD for 0 outside a shard. Since 0.2.
 */
int32_t spargio_msg_send(spargio_runtime runtime, uint32_t shard, uint16_t tag, uint32_t value);

/**
 * The same for `count` messages in their order, with one look at the doorbell per 64. *sent (may be
 * NULL) is how many were taken, less than `count` with SPARGIO_E_OVERLOADED. Since 0.2.
 */
int32_t spargio_msg_send_many(spargio_runtime runtime, uint32_t shard, const spargio_msg *messages,
                              uint32_t count, uint32_t *sent);

/**
 * On a shard: sends one message as the payload of an IORING_OP_MSG_RING (5.18; without it as
 * spargio_msg_send does). Direct messages keep their order among themselves, not with others. A
 * message that the kernel refuses goes by the lane, late but not lost. Since 0.2.
 */
int32_t spargio_msg_send_direct(uint32_t shard, uint16_t tag, uint32_t value);

/**
 * Inside a poll function: SPARGIO_READY when all direct messages that this shard sent before have
 * arrived at their shards, else SPARGIO_PENDING. Set *position to 0 for the first call, and pass
 * the same variable to the next ones. Since 0.2.
 */
int32_t spargio_msg_flush(uint64_t *position);

/**
 * Inside a poll function: takes the oldest message of this shard. SPARGIO_READY and *message, or
 * SPARGIO_PENDING: the task is polled again when there is one. Of several tasks that wait, the one
 * that has waited longest is polled. Since 0.2.
 */
int32_t spargio_msg_next(spargio_msg *message);

/** The same for messages with a hot tag. Since 0.2. */
int32_t spargio_msg_next_hot(spargio_msg *message);

/**
 * Inside a poll function: takes the sum of a coalesced hot tag when it has reached
 * hot_counter_wake_threshold; else SPARGIO_PENDING. SPARGIO_E_INVALID for another tag. Since 0.2.
 */
int32_t spargio_msg_next_hot_count(uint16_t tag, uint64_t *sum);

/** Takes whatever the sum is now, 0 included; never waits. Since 0.2. */
int32_t spargio_msg_take_hot_count(uint16_t tag, uint64_t *sum);

/* ---- your own SQEs: operations that spargio does not wrap ---------------------------- */

/**
 * Returns SPARGIO_OK if spargio_submit_sqe would take the SQE, else SPARGIO_E_INVALID. In the
 * second case, and if `message` is not NULL, writes a sentence there that names field, value and
 * reason, NUL-terminated and cut at `capacity` bytes. Only the kernel knows whether it would take
 * the SQE. Any thread. Since 0.2.
 */
int32_t spargio_sqe_check(const void *sqe, char *message, size_t capacity);

/**
 * Queues an SQE (64 bytes, struct io_uring_sqe of linux/io_uring.h; copied, need not be aligned)
 * as an operation of this task. Inside a poll function only.
 *
 * `complete`, if not NULL, is called exactly once, at the completion: even if the task was
 * cancelled or has ended meanwhile, and then before the task's join ends. The result is the
 * function's; the task is polled as after any operation, and spargio_op_poll returns
 * SPARGIO_E_CLOSED from then on. `op` may be NULL. If `complete` is NULL, spargio_op_poll returns
 * the result, and descriptors (of OPENAT, OPENAT2, ACCEPT, SOCKET, FIXED_FD_INSTALL, PIPE, or
 * received by RECVMSG) that nobody takes because the task ended are closed.
 *
 * All memory that the SQE names, paths too, must stay valid until the completion (`complete` was
 * called, spargio_op_poll returned SPARGIO_READY, or the task's join ended).
 *
 * SPARGIO_E_INVALID, nothing was queued: `user_data` is not 0, a flag other than IOSQE_ASYNC, an
 * opcode or flag that has more than one completion (multishot, zero-copy send), that names other
 * operations or rings, or an opcode newer than this library; spargio_sqe_check says which.
 * SPARGIO_E_UNSUPPORTED: the runtime's backend is epoll, which has no such operation.
 * SPARGIO_E_NOMEM, SPARGIO_E_ERRNO(EPERM) (see io_uring_sqpoll_idle_ms). After any error
 * `complete` is not called. Since 0.2.
 */
int32_t spargio_submit_sqe(const void *sqe, spargio_complete_fn complete, void *ctx,
                           spargio_op *op);

/* ---- statistics ------------------------------------------------------------------------ */

/**
 * Writes one snapshot as CBOR (RFC 8949), described by docs/stats.cddl. *needed (may be NULL) is
 * its size. SPARGIO_E_BUFFER: `capacity` is too small, nothing was written; buffer NULL with
 * capacity 0 asks for the size. Counters are monotonic; a snapshot is not one instant across
 * shards.
 */
int32_t spargio_stats_cbor(spargio_runtime runtime, uint8_t *buffer, size_t capacity,
                           size_t *needed);

/* ---- what runs ------------------------------------------------------------------------- */

#define SPARGIO_TASK_READY 0u   /**< it waits for its turn */
#define SPARGIO_TASK_RUNNING 1u /**< the one that asks */
#define SPARGIO_TASK_WAITING 2u /**< for an operation, a join, a wake-up, a message, ... */
#define SPARGIO_TASK_ENDING 3u  /**< it has returned, and its last operations end */

typedef struct spargio_task_info {
    spargio_poll_fn poll; /**< NULL: a task of another language */
    void *ctx;
    uint32_t state;      /**< SPARGIO_TASK_* */
    uint32_t operations; /**< under way */
} spargio_task_info;

/**
 * Inside a poll function: the tasks that began on this shard and have not ended, the youngest
 * first. *count is their number; SPARGIO_E_BUFFER if it is above `capacity`, and the first ones are
 * written. A pinned task on each shard lists a runtime. Since 0.4.
 */
int32_t spargio_tasks_here(spargio_task_info *list, uint32_t capacity, uint32_t *count);

/**
 * Answers `spargio top` and others that look from outside, as SPARGIO_MONITOR=1 in the environment
 * does: a thread of its own serves the statistics on an abstract Unix socket, to the same user and
 * root alone. `name`, if not NULL, becomes the socket's name, NUL-terminated and cut at `capacity`.
 * Idempotent. Any thread. Returns errno of what failed. Since 0.4.
 */
int32_t spargio_runtime_monitor(spargio_runtime runtime, char *name, size_t capacity);

/* ---- recorders: what users feel ---------------------------------------------------------- */

/**
 * Latencies under a name: a log-linear histogram from 1 ns to 1 hour with three significant digits,
 * with outcomes, bytes and operations. Recorders belong to the process and live as long as it does;
 * a snapshot has them all. A process has at most 256. Since 0.4, as all of this section.
 */
typedef uint32_t spargio_recorder;

#define SPARGIO_OUTCOME_OK 0u
#define SPARGIO_OUTCOME_TIMEOUT 1u
#define SPARGIO_OUTCOME_OVERLOADED 2u
#define SPARGIO_OUTCOME_ERROR 3u /**< of a kind without a number of its own */

/**
 * Writes the recorder of that name (1 to 64 bytes of UTF-8), which the first call makes. The same
 * name is the same recorder. SPARGIO_E_INVALID: the name is empty, too long or no UTF-8;
 * SPARGIO_E_OVERLOADED: there are 256 others.
 */
int32_t spargio_recorder_open(const char *name, spargio_recorder *recorder);

/**
 * Writes the outcome number of a kind of error, for spargio_recorder_record_outcome. A kind is cut
 * after 64 bytes; once a recorder has 32 of them, the number of a new one is SPARGIO_OUTCOME_ERROR.
 */
int32_t spargio_recorder_error(spargio_recorder recorder, const char *kind, uint32_t *outcome);

/**
 * Records one duration, as one operation that went well. Takes no lock and, except for a shard's
 * first record, no memory: a shard writes to a histogram of its own. Longer than an hour counts as
 * an hour. A number that spargio_recorder_open did not write is SPARGIO_E_CLOSED.
 */
int32_t spargio_recorder_record(spargio_recorder recorder, uint64_t ns);

/**
 * The same for the time since `intended_start_ns`, when the operation should have begun
 * (CLOCK_MONOTONIC).
 */
int32_t spargio_recorder_record_from(spargio_recorder recorder, uint64_t intended_start_ns);

/**
 * The same, and also the durations of the operations that could not begin meanwhile: `ns` less
 * `expected_interval_ns`, less twice that, and so on. For a loop that waits for each answer.
 */
int32_t spargio_recorder_record_corrected(spargio_recorder recorder, uint64_t ns,
                                          uint64_t expected_interval_ns);

/**
 * The same with an outcome (SPARGIO_E_INVALID: an unknown one), bytes moved and operations done.
 */
int32_t spargio_recorder_record_outcome(spargio_recorder recorder, uint64_t ns, uint32_t outcome,
                                        uint64_t bytes, uint64_t operations);

/**
 * Writes the array `recorders` of a snapshot alone, without a runtime; otherwise as
 * spargio_stats_cbor.
 */
int32_t spargio_recorders_cbor(uint8_t *buffer, size_t capacity, size_t *needed);

/* ---- trace -----------------------------------------------------------------------------
 *
 * What the shards did last: spawns, polls, steals, bells, parks, wake-ups, operations. Each shard
 * has a ring of events, whose oldest are overwritten. Off, it costs a look at one word at each of
 * these places. docs/performance.md says what it costs when it is on. */

/**
 * Turns the trace on. `events` is the size of each ring: 64..4194304, rounded up to a power of two;
 * 0: 65536, of 24 bytes each. Callers are counted: it is on until each has stopped it. A ring that
 * is in use already stays as it is. `*since`, which may be NULL, names the moment for
 * spargio_trace_write. SPARGIO_E_INVALID, _NOMEM, _CLOSED, _FORKED. Any thread. Since 0.4.
 */
int32_t spargio_trace_start(spargio_runtime runtime, uint32_t events, uint64_t *since);

/**
 * Undoes one start; what was traced can still be written. SPARGIO_E_INVALID: it is not on. Any
 * thread. Since 0.4.
 */
int32_t spargio_trace_stop(spargio_runtime runtime);

/**
 * Writes the events since `since` (0: all that are there) to `fd` as Chrome's trace events (JSON),
 * for https://ui.perfetto.dev and chrome://tracing. "overwritten" in "otherData" says for each
 * shard how many events were lost. Also while shards run. SPARGIO_E_INVALID: it was never on;
 * _NOMEM; the error number of the write. Any thread but a shard's, which would wait meanwhile.
 * Since 0.4.
 */
int32_t spargio_trace_write(spargio_runtime runtime, uint64_t since, int fd);

/** When a trace writes itself. Fields that are 0 or NULL: never for that reason. Since 0.4. */
typedef struct spargio_flight_options {
    uint32_t struct_size;
    uint32_t events;      /**< as in spargio_trace_start */
    const char *folder;   /**< of the files spargio-PID-NUMBER-REASON.json; copied */
    uint64_t blocked_ns;  /**< one poll, or more in one pass of a shard, lasts so long: "blocked" */
    const char *recorder; /**< name of a recorder whose p99, over each 100 records or more, ... */
    uint64_t p99_ns;      /**< ... is above this: "p99" */
    uint32_t signal;      /**< number of a signal that asks for a file: "signal" */
    uint32_t files;       /**< at most so many are written, 1..10000; 0: 16 */
} spargio_flight_options;

/**
 * Keeps the trace on, and writes it to a file when one of the reasons comes up, from a thread of
 * its own; until spargio_flight_stop, or the end of the runtime. `options->struct_size` must be
 * set. SPARGIO_E_INVALID: no folder, no reason, or a value out of range; SPARGIO_E_OVERLOADED: the
 * runtime has a flight recorder. Any thread. Since 0.4.
 */
int32_t spargio_flight_start(spargio_runtime runtime, const spargio_flight_options *options);

/**
 * Stops it, and waits for a file that is being written. SPARGIO_E_INVALID: there is none. Any
 * thread. Since 0.4.
 */
int32_t spargio_flight_stop(spargio_runtime runtime);

#ifdef __cplusplus
}
#endif

#endif /* SPARGIO_H */
