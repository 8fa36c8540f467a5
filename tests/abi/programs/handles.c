/* A task finds its own handle where it was to be written, and may free that memory; a refused spawn leaves 0. */
#include "check.h"

enum { TASKS = 100000 };

static spargio_join joins[TASKS];
static int unset;

static int32_t looks(void *ctx, int64_t *result) {
    (void)result;
    if (__atomic_load_n((spargio_join *)ctx, __ATOMIC_ACQUIRE) == 0) __atomic_add_fetch(&unset, 1, __ATOMIC_RELAXED);
    return SPARGIO_READY;
}

struct own {
    spargio_join join;
    char more[56];
};

static int32_t frees(void *ctx, int64_t *result) {
    struct own *own = ctx;
    (void)result;
    CHECK_IS(spargio_join_release(own->join), SPARGIO_OK);
    memset(own, 0xAA, sizeof *own);
    free(own);
    return SPARGIO_READY;
}

static int32_t never(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    return SPARGIO_E_INVALID;
}

int main(void) {
    spargio_runtime_options options;
    spargio_runtime rt = 0;
    CHECK_IS(spargio_runtime_options_init(&options), SPARGIO_OK);
    options.shards = 2;
    options.idle_strategy = SPARGIO_IDLE_SPIN;
    options.stealable_queue_capacity = 1;
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    for (int i = 0; i < TASKS; i++) {
        spargio_placement there = place(SPARGIO_PLACE_PINNED, (unsigned)i & 1);
        CHECK_IS(spargio_spawn(rt, &there, looks, &joins[i], &joins[i]), SPARGIO_OK);
        struct own *own = calloc(1, sizeof *own);
        CHECK_IS(spargio_spawn(rt, &there, frees, own, &own->join), SPARGIO_OK);
    }
    for (int i = 0; i < TASKS; i++) {
        CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, NULL), SPARGIO_OK);
        CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
    }
    CHECK(unset == 0);
    spargio_placement nowhere = place(SPARGIO_PLACE_PINNED, 7);
    spargio_join join = 5;
    CHECK_IS(spargio_spawn(rt, &nowhere, never, NULL, &join), SPARGIO_E_INVALID_SHARD);
    CHECK(join == 0);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    join = 5;
    CHECK_IS(spargio_spawn(rt, NULL, never, NULL, &join), SPARGIO_E_CLOSED);
    CHECK(join == 0);
    return 0;
}
