/* Three shards, two of them asleep. One of these is woken for a task that holds it; what waits in a queue is
 * then for the other one, long before the backstop (500 ms). argv[4]: whose queue it waits in. */
#include <stdatomic.h>
#include <stdbool.h>

#include "check.h"

enum { WAITING = 4, HELD_MS = 250 };

static spargio_runtime rt;
static int queue_of;
static atomic_int ran_on_third;
static spargio_join joins[WAITING + 1];

static void hold(int64_t ms, bool (*until)(void)) {
    const struct timespec tick = {0, 1000000};
    double began = seconds();
    while (seconds() - began < (double)ms / 1000 && !(until && until())) nanosleep(&tick, NULL);
}

static bool done(void) { return atomic_load(&ran_on_third) > 0; }

static int32_t waiting(void *ctx, int64_t *result) {
    (void)ctx;
    uint32_t shard = 0;
    CHECK_IS(spargio_current_shard(&shard), SPARGIO_OK);
    if (shard == 2) atomic_fetch_add(&ran_on_third, 1);
    *result = 0;
    return SPARGIO_READY;
}

static int32_t holds_its_shard(void *ctx, int64_t *result) {
    (void)ctx;
    hold(HELD_MS, done);
    *result = 0;
    return SPARGIO_READY;
}

static void spawn_waiting(void) {
    spargio_placement preferred = place(SPARGIO_PLACE_STEALABLE_PREFERRED, (uint64_t)queue_of);
    for (int i = 0; i < WAITING; i++) CHECK_IS(spargio_spawn(rt, &preferred, waiting, NULL, &joins[i]), SPARGIO_OK);
}

static int32_t boss(void *ctx, int64_t *result) {
    static spargio_op slept;
    static bool asked;
    int32_t count;
    (void)ctx;
    if (!asked) { /* Until the others are asleep. */
        asked = true;
        CHECK_IS(spargio_sleep(50000000, &slept), SPARGIO_OK);
        return SPARGIO_PENDING;
    }
    if (spargio_op_poll(slept, &count) != SPARGIO_READY) return SPARGIO_PENDING;
    spargio_placement second = place(SPARGIO_PLACE_PINNED, 1);
    if (queue_of == 1) spawn_waiting(); /* Wakes shard 1, and nobody else. */
    CHECK_IS(spargio_spawn(rt, &second, holds_its_shard, NULL, &joins[WAITING]), SPARGIO_OK);
    if (queue_of == 0) {
        spawn_waiting();
        hold(HELD_MS, done);
    }
    *result = 0;
    return SPARGIO_READY;
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    spargio_placement first = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join join;
    int64_t result;
    rt = start(argc, argv, &options);
    queue_of = atoi(argv[4]);
    CHECK_IS(spargio_spawn(rt, &first, boss, NULL, &join), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
    for (int i = 0; i <= WAITING; i++) {
        CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, &result), SPARGIO_OK);
        CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
    }
    CHECK(done());
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
