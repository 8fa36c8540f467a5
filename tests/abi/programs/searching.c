/* Three shards, two of them asleep. One of these is woken for a task that holds it, and the third shard is
 * held too; what waits in the queue of one of them is then for the other sleeper, long before the backstop
 * (500 ms). argv[4]: whose queue it waits in. */
#include <stdatomic.h>

#include "check.h"

enum { HELD_MS = 250 };

static spargio_runtime rt;
static int queue_of, count;
static atomic_int ran;
static spargio_join joins[4 + 2];

static int32_t waiting(void *ctx, int64_t *result) {
    (void)ctx;
    atomic_fetch_add(&ran, 1);
    *result = 0;
    return SPARGIO_READY;
}

/* Until all that wait have run, which only another shard can do. */
static int32_t holds_its_shard(void *ctx, int64_t *result) {
    const struct timespec tick = {0, 1000000};
    double began = seconds();
    (void)ctx;
    while (atomic_load(&ran) < count && seconds() - began < HELD_MS / 1e3) nanosleep(&tick, NULL);
    CHECK(atomic_load(&ran) == count);
    *result = 0;
    return SPARGIO_READY;
}

static void spawn_waiting(void) {
    spargio_placement preferred = place(SPARGIO_PLACE_STEALABLE_PREFERRED, (uint64_t)queue_of);
    for (int i = 0; i < count; i++) CHECK_IS(spargio_spawn(rt, &preferred, waiting, NULL, &joins[i]), SPARGIO_OK);
}

static int32_t boss(void *ctx, int64_t *result) {
    static spargio_op slept;
    static int asked;
    int32_t unused;
    (void)ctx;
    if (!asked) { /* Until the others are asleep. */
        asked = 1;
        CHECK_IS(spargio_sleep(50000000, &slept), SPARGIO_OK);
        return SPARGIO_PENDING;
    }
    if (spargio_op_poll(slept, &unused) != SPARGIO_READY) return SPARGIO_PENDING;
    const spargio_placement second = place(SPARGIO_PLACE_PINNED, 1);
    const spargio_placement here = place(queue_of == 0 ? SPARGIO_PLACE_STEALABLE_PREFERRED : SPARGIO_PLACE_PINNED, 0);
    if (queue_of == 1) spawn_waiting(); /* Wakes shard 1, and nobody else. */
    CHECK_IS(spargio_spawn(rt, &second, holds_its_shard, NULL, &joins[count]), SPARGIO_OK);
    CHECK_IS(spargio_spawn(rt, &here, holds_its_shard, NULL, &joins[count + 1]), SPARGIO_OK);
    if (queue_of == 0) spawn_waiting();
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
    count = queue_of == 1 ? 1 : 4; /* The bell of a second one would be for a searcher. */
    CHECK_IS(spargio_spawn(rt, &first, boss, NULL, &join), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
    for (int i = 0; i < count + 2; i++) {
        CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, &result), SPARGIO_OK);
        CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
    }
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
