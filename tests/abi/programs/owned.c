/* spargio_spawn_owned: `drop` is called once, whatever became of the task, and before its join ends. And a detached
 * task is called although the shutdown overtakes it. */
#include <pthread.h>
#include <unistd.h>

#include "check.h"

struct owned {
    int polls, drops, dropped_at_join;
    spargio_op op;
    int32_t (*then)(struct owned *);
};

static void drop(void *ctx) {
    struct owned *owned = ctx;
    spargio_op op;
    CHECK_IS(spargio_nop(&op), SPARGIO_E_NOT_ON_SHARD);
    __atomic_fetch_add(&owned->drops, 1, __ATOMIC_SEQ_CST);
}

static int drops(struct owned *owned) {
    return __atomic_load_n(&owned->drops, __ATOMIC_SEQ_CST);
}

static int32_t run(void *ctx, int64_t *result) {
    struct owned *owned = ctx;
    (void)result;
    CHECK(drops(owned) == 0);
    __atomic_fetch_add(&owned->polls, 1, __ATOMIC_SEQ_CST);
    return owned->then(owned);
}

static int32_t ends(struct owned *owned) {
    (void)owned;
    return SPARGIO_READY;
}

static int32_t fails(struct owned *owned) {
    (void)owned;
    return SPARGIO_E_BUFFER;
}

static int32_t leaves_an_operation(struct owned *owned) {
    CHECK_IS(spargio_sleep(3600000000000ull, &owned->op), SPARGIO_OK);
    return SPARGIO_READY;
}

static int32_t waits(struct owned *owned) {
    (void)owned;
    return spargio_task_cancelled() ? SPARGIO_E_CANCELLED : SPARGIO_PENDING;
}

static int32_t gate(void *ctx, int64_t *result) {
    (void)result;
    pthread_mutex_lock(ctx);
    pthread_mutex_unlock(ctx);
    return SPARGIO_READY;
}

static spargio_join spawn(spargio_runtime rt, struct owned *owned, int32_t (*then)(struct owned *)) {
    spargio_placement here = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join join = 0;
    *owned = (struct owned){.then = then};
    CHECK_IS(spargio_spawn_owned(rt, &here, run, owned, drop, &join), SPARGIO_OK);
    return join;
}

static void finish(spargio_join join, struct owned *owned, int32_t wanted) {
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, NULL), wanted);
    CHECK(drops(owned) == 1);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
}

static void each_end(spargio_runtime rt) {
    struct owned owned, never;
    finish(spawn(rt, &owned, ends), &owned, SPARGIO_OK);
    finish(spawn(rt, &owned, fails), &owned, SPARGIO_E_BUFFER);
    finish(spawn(rt, &owned, leaves_an_operation), &owned, SPARGIO_OK);

    spargio_join join = spawn(rt, &owned, waits);
    while (__atomic_load_n(&owned.polls, __ATOMIC_SEQ_CST) == 0) usleep(100);
    CHECK_IS(spargio_join_cancel(join), SPARGIO_OK);
    finish(join, &owned, SPARGIO_E_CANCELLED);

    /* Cancelled while it is queued: never called, dropped all the same. */
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    spargio_placement here = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join blocker;
    pthread_mutex_lock(&mutex);
    CHECK_IS(spargio_spawn(rt, &here, gate, &mutex, &blocker), SPARGIO_OK);
    join = spawn(rt, &never, waits);
    CHECK_IS(spargio_join_cancel(join), SPARGIO_OK);
    pthread_mutex_unlock(&mutex);
    finish(join, &never, SPARGIO_E_CANCELLED);
    CHECK(never.polls == 0);
    CHECK_IS(spargio_join_wait(blocker, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_join_release(blocker), SPARGIO_OK);
}

static void refused(spargio_runtime rt) {
    struct owned owned = {.then = ends};
    spargio_placement nowhere = place(SPARGIO_PLACE_PINNED, 999);
    spargio_join join = 1;
    CHECK_IS(spargio_spawn_owned(rt, &nowhere, run, &owned, drop, &join), SPARGIO_E_INVALID_SHARD);
    CHECK(join == 0);
    CHECK_IS(spargio_spawn_owned(rt, NULL, run, &owned, NULL, NULL), SPARGIO_E_INVALID);
    CHECK_IS(spargio_spawn_owned(rt, NULL, NULL, &owned, drop, NULL), SPARGIO_E_INVALID);
    CHECK_IS(spargio_spawn_owned(0, NULL, run, &owned, drop, NULL), SPARGIO_E_CLOSED);
    CHECK(owned.drops == 0 && owned.polls == 0);
}

/* A detached one that the shutdown overtakes: told from its first call on; its operations do not keep the runtime. */
struct late {
    int polls, ended, told;
    spargio_op op;
};

static int32_t sleeps_for_an_hour(void *ctx, int64_t *result) {
    struct late *late = ctx;
    int32_t said = SPARGIO_PENDING, slept = 0;
    (void)result;
    late->told = spargio_task_cancelled();
    if (late->polls++ == 0) {
        CHECK_IS(spargio_sleep(3600000000000ull, &late->op), SPARGIO_OK);
        return SPARGIO_PENDING;
    }
    said = spargio_op_poll(late->op, &slept);
    CHECK(said == SPARGIO_READY && slept < 0);
    late->ended = 1;
    return SPARGIO_READY;
}

enum { QUEUED = 10 };

int main(int argc, char **argv) {
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);
    each_end(rt);
    refused(rt);
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    spargio_placement here = place(SPARGIO_PLACE_PINNED, 0);
    struct owned queued[QUEUED];
    struct late late[QUEUED];
    memset(late, 0, sizeof late);
    pthread_mutex_lock(&mutex);
    CHECK_IS(spargio_spawn(rt, &here, gate, &mutex, NULL), SPARGIO_OK);
    for (int i = 0; i < QUEUED; i++) {
        queued[i] = (struct owned){.then = ends};
        CHECK_IS(spargio_spawn_owned(rt, &here, run, &queued[i], drop, NULL), SPARGIO_OK);
        CHECK_IS(spargio_spawn(rt, &here, sleeps_for_an_hour, &late[i], NULL), SPARGIO_OK);
    }
    CHECK_IS(spargio_runtime_shutdown(rt, 1000000), SPARGIO_E_TIMEOUT);
    pthread_mutex_unlock(&mutex);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    for (int i = 0; i < QUEUED; i++) {
        CHECK(queued[i].polls == 0 && queued[i].drops == 1);
        CHECK(late[i].polls == 2 && late[i].told == 1 && late[i].ended == 1);
    }
    return 0;
}
