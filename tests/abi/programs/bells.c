/* A task that spawns and then computes in the same poll: the first time what it spawned may be told after the
 * poll, from then on at once. */
#include <stdatomic.h>

#include "check.h"

enum { ROUNDS = 4, LONG_MS = 60 };

static spargio_runtime rt;
static atomic_int ran;

static int32_t child(void *ctx, int64_t *result) {
    (void)ctx;
    atomic_fetch_add(&ran, 1);
    *result = 0;
    return SPARGIO_READY;
}

static int32_t boss(void *ctx, int64_t *result) {
    static int asleep, round;
    static spargio_op slept;
    const struct timespec tick = {0, 1000000};
    int32_t unused;
    (void)ctx;
    for (; round < ROUNDS; round++) {
        if (!asleep) { /* Until the other shard sleeps, and has run what there was. */
            asleep = 1;
            CHECK_IS(spargio_sleep(50000000, &slept), SPARGIO_OK);
        }
        if (spargio_op_poll(slept, &unused) != SPARGIO_READY) return SPARGIO_PENDING;
        asleep = 0;
        CHECK(atomic_load(&ran) == round);
        const spargio_placement other = place(SPARGIO_PLACE_PINNED, 1);
        CHECK_IS(spargio_spawn(rt, &other, child, NULL, NULL), SPARGIO_OK);
        double began = seconds();
        do { /* At least once: a short poll says that the next bell may wait for its poll's end. */
            nanosleep(&tick, NULL);
        } while (atomic_load(&ran) == round && seconds() - began < LONG_MS / 1e3);
        CHECK(round == 0 || atomic_load(&ran) == round + 1);
    }
    *result = 0;
    return SPARGIO_READY;
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    const spargio_placement first = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join join;
    int64_t result;
    rt = start(argc, argv, &options);
    CHECK_IS(spargio_spawn(rt, &first, boss, NULL, &join), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
