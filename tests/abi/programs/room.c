/* spargio_room: more tasks wait than there are places, on another shard than that of the queue. Each is served
 * soon, also if those that were told first do not spawn: nothing waits for the shard's next look by chance. */
#include <unistd.h>

#include "check.h"

enum { WAITERS = 40 };

static int blocked, go, waiting, ran;
static spargio_runtime rt;
static spargio_placement there;

static int32_t runs(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    __atomic_add_fetch(&ran, 1, __ATOMIC_SEQ_CST);
    return SPARGIO_READY;
}

/* Keeps the shard of the queue from running what is in there, until all wait. */
static int32_t blocks(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    __atomic_store_n(&blocked, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST)) usleep(100);
    return SPARGIO_READY;
}

struct waiter {
    int spawns, waits, cancelled;
    spargio_op op;
};

static int32_t waits(void *ctx, int64_t *result) {
    struct waiter *self = ctx;
    int32_t value = 0;
    (void)result;
    for (;;) {
        if (self->waits == 0) {
            self->waits = 1;
            __atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
        } else {
            if (spargio_op_poll(self->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
            CHECK(value == 0 || (self->cancelled && value == -125));
            if (!self->spawns || value != 0) return SPARGIO_READY;
            int32_t status = spargio_spawn(rt, &there, runs, NULL, NULL);
            if (status == SPARGIO_OK) return SPARGIO_READY;
            CHECK_IS(status, SPARGIO_E_OVERLOADED);
        }
        CHECK_IS(spargio_room(rt, &there, &self->op), SPARGIO_OK);
    }
}

/* `every`: which of them spawn; `cancelled`: those that do not are cancelled as soon as the queue moves. */
static void round_of(int every, int cancelled) {
    static struct waiter waiters[WAITERS];
    static spargio_join joins[WAITERS];
    spargio_placement queue_shard = place(SPARGIO_PLACE_PINNED, 0), other = place(SPARGIO_PLACE_PINNED, 1);
    int spawned = 1;
    spargio_join blocking;
    blocked = go = waiting = ran = 0;
    CHECK_IS(spargio_spawn(rt, &queue_shard, blocks, NULL, &blocking), SPARGIO_OK);
    while (!__atomic_load_n(&blocked, __ATOMIC_SEQ_CST)) usleep(100);
    CHECK_IS(spargio_spawn(rt, &there, runs, NULL, NULL), SPARGIO_OK);
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = (struct waiter){.spawns = i % every == 0, .cancelled = cancelled};
        spawned += waiters[i].spawns;
        CHECK_IS(spargio_spawn(rt, &other, waits, &waiters[i], &joins[i]), SPARGIO_OK);
    }
    while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) < WAITERS) usleep(100);
    double began = seconds();
    __atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; cancelled && i < WAITERS; i++)
        if (!waiters[i].spawns) CHECK_IS(spargio_join_cancel(joins[i]), SPARGIO_OK);
    for (int i = 0; i < WAITERS; i++) {
        CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, NULL), SPARGIO_OK);
        CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
    }
    /* By chance a parked shard looks twice a second. */
    CHECK(seconds() - began < WAITERS / 4 * 0.5);
    CHECK_IS(spargio_join_wait(blocking, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_join_release(blocking), SPARGIO_OK);
    while (__atomic_load_n(&ran, __ATOMIC_SEQ_CST) < spawned) usleep(100);
    CHECK(ran == spawned);
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    CHECK_IS(spargio_runtime_options_init(&options), SPARGIO_OK);
    options.shards = argc > 1 && atoi(argv[1]) > 2 ? (uint32_t)atoi(argv[1]) : 2;
    options.stealable_queue_capacity = 1;
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    there = place(SPARGIO_PLACE_STEALABLE_PREFERRED, 0);
    for (int i = 0; i < 3; i++) {
        round_of(1, 0);           /* all spawn */
        round_of(WAITERS + 1, 0); /* only the first does */
        round_of(3, 0);
        round_of(3, 1);
    }
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
