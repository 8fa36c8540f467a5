/* Tasks, joins, placements, handles, shutdown: each rule of spargio.h that needs no I/O. */
#include <pthread.h>
#include <unistd.h>

#include "check.h"

static int32_t answer(void *ctx, int64_t *result) {
    *result = *(int *)ctx;
    return SPARGIO_READY;
}

static int32_t fail(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    return SPARGIO_E_BUFFER;
}

static int32_t where(void *ctx, int64_t *result) {
    (void)ctx;
    uint32_t shard;
    CHECK_IS(spargio_current_shard(&shard), SPARGIO_OK);
    *result = shard;
    return SPARGIO_READY;
}

static int32_t yields(void *ctx, int64_t *result) {
    int *left = ctx;
    if ((*left)-- > 0) return SPARGIO_YIELD;
    *result = 7;
    return SPARGIO_READY;
}

/* Ends when it is cancelled, and says how often it was polled. */
static int32_t until_cancelled(void *ctx, int64_t *result) {
    (void)result;
    __atomic_fetch_add((int *)ctx, 1, __ATOMIC_SEQ_CST);
    return spargio_task_cancelled() == 1 ? SPARGIO_E_CANCELLED : SPARGIO_PENDING;
}

struct inside {
    spargio_runtime runtime;
    spargio_join other;
};

static int32_t not_allowed_inside(void *ctx, int64_t *result) {
    struct inside *in = ctx;
    (void)result;
    CHECK_IS(spargio_runtime_shutdown(in->runtime, 0), SPARGIO_E_ON_SHARD);
    CHECK_IS(spargio_join_wait(in->other, 0, NULL), SPARGIO_E_ON_SHARD);
    return SPARGIO_READY;
}

static int32_t waits_for(void *ctx, int64_t *result) {
    int64_t value = 0;
    int32_t status = spargio_join_poll(*(spargio_join *)ctx, &value);
    *result = value + 1;
    return status;
}

static int32_t gate(void *ctx, int64_t *result) {
    (void)result;
    pthread_mutex_lock(ctx); /* Blocks its shard until the test opens it. */
    pthread_mutex_unlock(ctx);
    return SPARGIO_READY;
}

static int64_t join(spargio_join handle) {
    int64_t result = 0;
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
    return result;
}

static spargio_join spawn(spargio_runtime rt, spargio_placement p, spargio_poll_fn fn, void *ctx) {
    spargio_join handle = 0;
    CHECK_IS(spargio_spawn(rt, &p, fn, ctx, &handle), SPARGIO_OK);
    return handle;
}

static void results(spargio_runtime rt) {
    int value = 42, left = 1000;
    CHECK(join(spawn(rt, place(SPARGIO_PLACE_STEALABLE, 0), answer, &value)) == 42);
    CHECK(join(spawn(rt, place(SPARGIO_PLACE_PINNED, 0), yields, &left)) == 7);
    spargio_join failed = spawn(rt, place(SPARGIO_PLACE_ROUND_ROBIN, 0), fail, NULL);
    CHECK_IS(spargio_join_wait(failed, SPARGIO_FOREVER, NULL), SPARGIO_E_BUFFER);
    CHECK_IS(spargio_join_release(failed), SPARGIO_OK);
    CHECK_IS(spargio_spawn(rt, NULL, answer, &value, NULL), SPARGIO_OK);
}

static void placements(spargio_runtime rt, uint32_t shards) {
    for (uint32_t shard = 0; shard < shards; shard++)
        for (int i = 0; i < 50; i++)
            CHECK(join(spawn(rt, place(SPARGIO_PLACE_PINNED, shard), where, NULL)) == (int64_t)shard);
    for (uint64_t key = 0; key < 20; key++) {
        int64_t first = join(spawn(rt, place(SPARGIO_PLACE_STICKY, key), where, NULL));
        for (int i = 0; i < 10; i++)
            CHECK(join(spawn(rt, place(SPARGIO_PLACE_STICKY, key), where, NULL)) == first);
    }
    int seen[256] = {0};
    for (uint32_t i = 0; i < 4 * shards; i++)
        seen[join(spawn(rt, place(SPARGIO_PLACE_ROUND_ROBIN, 0), where, NULL))]++;
    for (uint32_t shard = 0; shard < shards; shard++) CHECK(seen[shard] == 4);
    spargio_placement wrong = place(SPARGIO_PLACE_PINNED, shards);
    CHECK_IS(spargio_spawn(rt, &wrong, where, NULL, NULL), SPARGIO_E_INVALID_SHARD);
    wrong = place(99, 0);
    CHECK_IS(spargio_spawn(rt, &wrong, where, NULL, NULL), SPARGIO_E_INVALID);
}

static void cancelling(spargio_runtime rt) {
    int polls = 0;
    spargio_join handle = spawn(rt, place(SPARGIO_PLACE_PINNED, 0), until_cancelled, &polls);
    do { /* It has begun: on a busy machine that may take a while. */
        CHECK_IS(spargio_join_wait(handle, 1000000, NULL), SPARGIO_E_TIMEOUT);
    } while (__atomic_load_n(&polls, __ATOMIC_ACQUIRE) == 0);
    CHECK_IS(spargio_join_cancel(handle), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, NULL), SPARGIO_E_CANCELLED);
    CHECK(polls >= 1 && polls <= 2); /* Once at least; once more when it had begun. */
    CHECK_IS(spargio_join_cancel(handle), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);

    /* Cancelled while it is queued behind a blocked one: it never runs. */
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    spargio_join blocker = spawn(rt, place(SPARGIO_PLACE_PINNED, 0), gate, &mutex);
    int never = 0;
    uint32_t shard;
    spargio_join queued = spawn(rt, place(SPARGIO_PLACE_PINNED, 0), until_cancelled, &never);
    CHECK_IS(spargio_join_shard(queued, &shard), SPARGIO_PENDING);
    CHECK_IS(spargio_join_cancel(queued), SPARGIO_OK);
    pthread_mutex_unlock(&mutex);
    CHECK_IS(spargio_join_wait(queued, SPARGIO_FOREVER, NULL), SPARGIO_E_CANCELLED);
    CHECK(never == 0);
    CHECK_IS(spargio_join_release(queued), SPARGIO_OK);
    join(blocker);
}

static void joining_inside(spargio_runtime rt, uint32_t shards) {
    int value = 10;
    spargio_join first = spawn(rt, place(SPARGIO_PLACE_PINNED, 0), answer, &value);
    CHECK(join(spawn(rt, place(SPARGIO_PLACE_PINNED, shards - 1), waits_for, &first)) == 11);
    struct inside in = {rt, first};
    join(spawn(rt, place(SPARGIO_PLACE_PINNED, 0), not_allowed_inside, &in));
    CHECK_IS(spargio_join_release(first), SPARGIO_OK);
}

static void bad_handles(spargio_runtime rt) {
    int value = 1;
    int32_t number;
    uint32_t shard;
    spargio_op op;
    spargio_join stale = spawn(rt, place(SPARGIO_PLACE_STEALABLE, 0), answer, &value);
    join(stale);
    uint64_t bad[] = {stale, 0, 1, UINT64_MAX, (uint64_t)1 << 40};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_IS(spargio_join_wait(bad[i], 0, NULL), SPARGIO_E_CLOSED);
        CHECK_IS(spargio_join_cancel(bad[i]), SPARGIO_E_CLOSED);
        CHECK_IS(spargio_join_shard(bad[i], &shard), SPARGIO_E_CLOSED);
        CHECK_IS(spargio_join_release(bad[i]), SPARGIO_E_CLOSED);
        if (bad[i] == rt) continue;
        CHECK_IS(spargio_spawn(bad[i], NULL, answer, &value, NULL), SPARGIO_E_CLOSED);
        CHECK_IS(spargio_runtime_shutdown(bad[i], 0), SPARGIO_E_CLOSED);
        CHECK_IS(spargio_stats_cbor(bad[i], NULL, 0, NULL), SPARGIO_E_CLOSED);
    }
    CHECK_IS(spargio_current_shard(&shard), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_task_cancelled(), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_nop(&op), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_op_poll(1, &number), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_spawn(rt, NULL, NULL, NULL, NULL), SPARGIO_E_INVALID);
}

int main(int argc, char **argv) {
    int before = open_descriptors();
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);
    uint32_t shards = 0;
    CHECK_IS(spargio_runtime_shard_count(rt, &shards), SPARGIO_OK);
    CHECK(shards == options.shards);
    results(rt);
    placements(rt, shards);
    cancelling(rt);
    joining_inside(rt, shards);
    bad_handles(rt);

    /* Shutdown: not in time while a task blocks, then done, then stale. */
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    spargio_join blocker = spawn(rt, place(SPARGIO_PLACE_PINNED, 0), gate, &mutex);
    uint32_t shard;
    while (spargio_join_shard(blocker, &shard) == SPARGIO_PENDING) usleep(100);
    int polls = 0;
    spargio_join idle = spawn(rt, place(SPARGIO_PLACE_PINNED, shards - 1), until_cancelled, &polls);
    CHECK_IS(spargio_runtime_shutdown(rt, 1000000), SPARGIO_E_TIMEOUT);
    CHECK_IS(spargio_spawn(rt, NULL, where, NULL, NULL), SPARGIO_E_CLOSED);
    pthread_mutex_unlock(&mutex);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_E_CLOSED);
    /* Joins outlive their runtime. */
    CHECK_IS(spargio_join_wait(idle, 0, NULL), SPARGIO_E_CANCELLED);
    CHECK_IS(spargio_join_cancel(idle), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(blocker, 0, NULL), SPARGIO_OK);
    CHECK_IS(spargio_join_release(idle), SPARGIO_OK);
    CHECK_IS(spargio_join_release(blocker), SPARGIO_OK);
    CHECK(open_descriptors() == before);
    return 0;
}
