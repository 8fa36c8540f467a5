/* A task that blocks its shard, and tasks that never stop: what all others are owed. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"

enum { QUEUED = 50, ROUNDS = 20 };

static atomic_int go, held, stop;

/* Holds its shard, asleep, as a library call that waits would. */
static int32_t block(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    atomic_store(&held, 1);
    while (atomic_load(&go) == 0) usleep(200);
    return SPARGIO_READY;
}

static int32_t where(void *ctx, int64_t *result) {
    (void)ctx;
    uint32_t shard = 0;
    CHECK_IS(spargio_current_shard(&shard), SPARGIO_OK);
    *result = shard;
    return SPARGIO_READY;
}

static int32_t yields_for_ever(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    return atomic_load(&stop) ? SPARGIO_READY : SPARGIO_YIELD;
}

/* Waits for a nop, again and again: it is ready after every look at the ring. */
struct again {
    spargio_op op;
};
static int32_t ready_again(void *ctx, int64_t *result) {
    struct again *self = ctx;
    int32_t done = 0;
    (void)result;
    if (self->op != 0 && spargio_op_poll(self->op, &done) == SPARGIO_PENDING) return SPARGIO_PENDING;
    self->op = 0;
    if (atomic_load(&stop)) return SPARGIO_READY;
    CHECK_IS(spargio_nop(&self->op), SPARGIO_OK);
    return SPARGIO_PENDING;
}

/* Two that wake each other by messages of the shard, without an end. */
static int32_t ping_pong(void *ctx, int64_t *result) {
    spargio_msg message;
    (void)ctx, (void)result;
    for (int i = 0; i < 100; i++) {
        if (atomic_load(&stop)) return SPARGIO_READY;
        if (spargio_msg_next_hot(&message) != SPARGIO_READY) return SPARGIO_PENDING;
        CHECK_IS(spargio_msg_send(0, 0, 9, 0), SPARGIO_OK);
    }
    return SPARGIO_YIELD;
}

/* Each starts its own successor before it ends, where the shard still takes one. */
static spargio_runtime storm_runtime;
static uint32_t storm_kind;
static atomic_int storming;
static int32_t storm(void *ctx, int64_t *result) {
    spargio_placement p = place(storm_kind, 0);
    (void)ctx, (void)result;
    if (!atomic_load(&stop) && spargio_spawn(storm_runtime, &p, storm, NULL, NULL) == SPARGIO_OK) return SPARGIO_READY;
    atomic_fetch_sub(&storming, 1);
    return SPARGIO_READY;
}

/* ---- those who wait ---- */

struct waiter {
    spargio_op op;
    int left, began;
    int pipe[2];
    char byte;
};

static int32_t timers(void *ctx, int64_t *result) {
    struct waiter *self = ctx;
    int32_t done = 0;
    (void)result;
    if (self->op != 0) {
        if (spargio_op_poll(self->op, &done) == SPARGIO_PENDING) return SPARGIO_PENDING;
        if (--self->left == 0) return SPARGIO_READY;
    }
    CHECK_IS(spargio_sleep(1000000, &self->op), SPARGIO_OK);
    return SPARGIO_PENDING;
}

/* A byte through a pipe, written by a thread only after the last one was read. */
static int32_t reads(void *ctx, int64_t *result) {
    struct waiter *self = ctx;
    int32_t done = 0;
    (void)result;
    if (self->op != 0) {
        if (spargio_op_poll(self->op, &done) == SPARGIO_PENDING) return SPARGIO_PENDING;
        CHECK(done == 1);
        if (--self->left == 0) return SPARGIO_READY;
    }
    CHECK(write(self->pipe[1], "x", 1) == 1);
    CHECK_IS(spargio_read_at(self->pipe[0], &self->byte, 1, 0, &self->op), SPARGIO_OK);
    return SPARGIO_PENDING;
}

static int32_t messages(void *ctx, int64_t *result) {
    struct waiter *self = ctx;
    spargio_msg message;
    (void)result;
    while (self->left > 0) {
        if (spargio_msg_next(&message) != SPARGIO_READY) return SPARGIO_PENDING;
        CHECK(message.tag == 5);
        self->left--;
    }
    return SPARGIO_READY;
}

static void let_others_run(spargio_runtime rt, const char *what) {
    struct waiter timer = {.left = ROUNDS}, reader = {.left = ROUNDS}, listener = {.left = ROUNDS};
    spargio_placement p = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join joins[3];
    double began = seconds();
    CHECK(pipe(reader.pipe) == 0);
    CHECK_IS(spargio_spawn(rt, &p, timers, &timer, &joins[0]), SPARGIO_OK);
    CHECK_IS(spargio_spawn(rt, &p, reads, &reader, &joins[1]), SPARGIO_OK);
    CHECK_IS(spargio_spawn(rt, &p, messages, &listener, &joins[2]), SPARGIO_OK);
    for (int i = 0; i < ROUNDS; i++) {
        spargio_join job;
        CHECK_IS(spargio_spawn(rt, &p, where, NULL, &job), SPARGIO_OK); /* The inbox. */
        CHECK_IS(spargio_join_wait(job, 20000000000, NULL), SPARGIO_OK);
        CHECK_IS(spargio_join_release(job), SPARGIO_OK);
        CHECK_IS(spargio_msg_send(rt, 0, 5, 0), SPARGIO_OK);
    }
    for (int i = 0; i < 3; i++) {
        if (spargio_join_wait(joins[i], 20000000000, NULL) == SPARGIO_OK) continue;
        fprintf(stderr, "%s: %s starved\n", what, (const char *[]){"timers", "reads", "messages"}[i]);
        exit(1);
    }
    for (int i = 0; i < 3; i++) CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
    close(reader.pipe[0]);
    close(reader.pipe[1]);
    fprintf(stderr, "%s: %.3f s\n", what, seconds() - began);
}

static void greedy(int argc, char **argv) {
    spargio_runtime_options options;
    uint16_t hot = 9;
    spargio_runtime_options_init(&options);
    options.shards = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
    options.stealable_queue_backend = argc > 2 ? (uint32_t)atoi(argv[2]) : 0;
    options.flags = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
    options.hot_msg_tags = &hot;
    options.hot_msg_tags_count = 1;
    spargio_placement p = place(SPARGIO_PLACE_PINNED, 0);
    spargio_poll_fn kinds[] = {yields_for_ever, ready_again, ping_pong, storm, storm};
    const char *names[] = {"yields", "ready again", "ping-pong", "storm of pinned", "storm of stealable"};
    for (int kind = 0; kind < 5; kind++) {
        struct again again[8] = {0};
        spargio_join jobs[8];
        atomic_store(&stop, 0);
        CHECK_IS(spargio_runtime_start(&options, &storm_runtime), SPARGIO_OK);
        storm_kind = kind == 4 ? SPARGIO_PLACE_STEALABLE_PREFERRED : SPARGIO_PLACE_PINNED;
        atomic_store(&storming, 8);
        for (int i = 0; i < 8; i++) CHECK_IS(spargio_spawn(storm_runtime, &p, kinds[kind], &again[i], &jobs[i]), SPARGIO_OK);
        if (kind == 2)
            for (int i = 0; i < 4; i++) CHECK_IS(spargio_msg_send(storm_runtime, 0, 9, 0), SPARGIO_OK);
        let_others_run(storm_runtime, names[kind]);
        atomic_store(&stop, 1);
        if (kind == 2)
            for (int i = 0; i < 8; i++) CHECK_IS(spargio_msg_send(storm_runtime, 0, 9, 0), SPARGIO_OK);
        for (int i = 0; i < 8; i++) CHECK_IS(spargio_join_wait(jobs[i], SPARGIO_FOREVER, NULL), SPARGIO_OK);
        if (kind >= 3)
            while (atomic_load(&storming) > 0) usleep(100);
        CHECK_IS(spargio_runtime_shutdown(storm_runtime, SPARGIO_FOREVER), SPARGIO_OK);
    }
}

/* Shard 0 is blocked for as long as the tasks queued there have not run. */
static void stuck(int argc, char **argv, int others_busy) {
    spargio_runtime_options options;
    spargio_join blocker, busy[16], jobs[QUEUED];
    spargio_placement p = place(SPARGIO_PLACE_PINNED, 0);
    atomic_store(&go, 0);
    atomic_store(&held, 0);
    atomic_store(&stop, 0);
    spargio_runtime_options_init(&options);
    options.shards = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
    options.stealable_queue_backend = argc > 2 ? (uint32_t)atoi(argv[2]) : 0;
    options.flags = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
    if (options.shards == 1) return;
    spargio_runtime rt = 0;
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    CHECK_IS(spargio_spawn(rt, &p, block, NULL, &blocker), SPARGIO_OK);
    while (atomic_load(&held) == 0) usleep(100);
    for (uint32_t i = 1; others_busy && i < options.shards; i++) {
        p = place(SPARGIO_PLACE_PINNED, i);
        CHECK_IS(spargio_spawn(rt, &p, yields_for_ever, NULL, &busy[i]), SPARGIO_OK);
    }
    p = place(SPARGIO_PLACE_STEALABLE_PREFERRED, 0);
    double began = seconds();
    for (int i = 0; i < QUEUED; i++) CHECK_IS(spargio_spawn(rt, &p, where, NULL, &jobs[i]), SPARGIO_OK);
    for (int i = 0; i < QUEUED; i++) {
        int64_t shard = 0;
        CHECK_IS(spargio_join_wait(jobs[i], 20000000000, &shard), SPARGIO_OK);
        CHECK(shard != 0);
        CHECK_IS(spargio_join_release(jobs[i]), SPARGIO_OK);
    }
    double waited = seconds() - began;
    fprintf(stderr, "stuck, others %s: %.4f s\n", others_busy ? "busy" : "idle", waited);
    while (seconds() - began < 0.15) usleep(1000); /* Longer than the threshold of 0.1 s. */
    atomic_store(&go, 1);
    atomic_store(&stop, 1);
    CHECK_IS(spargio_join_wait(blocker, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    p = place(SPARGIO_PLACE_PINNED, 0);
    CHECK_IS(spargio_spawn(rt, &p, where, NULL, &blocker), SPARGIO_OK); /* Its pass is over then. */
    CHECK_IS(spargio_join_wait(blocker, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    if (!others_busy) {
        static uint8_t bytes[1 << 16];
        size_t size = 0;
        CHECK_IS(spargio_stats_cbor(rt, bytes, sizeof bytes, &size), SPARGIO_OK);
        CHECK(fwrite(bytes, 1, size, stdout) == size);
    }
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(waited < 1.0); /* The bound is some milliseconds; the rest is for a busy machine. */
}

int main(int argc, char **argv) {
    if (argc > 4) {
        greedy(argc, argv);
        return 0;
    }
    stuck(argc, argv, 0);
    stuck(argc, argv, 1);
    return 0;
}
