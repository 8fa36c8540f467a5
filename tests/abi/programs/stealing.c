/* 10,000 tasks of about 20 us of CPU each, pinned to shard 0 and then stealable from it. Prints the
   two times and the number stolen. */
#include "check.h"

enum { TASKS = 10000 };

static int64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int32_t burn(void *ctx, int64_t *result) {
    (void)ctx;
    uint32_t shard = 0;
    CHECK_IS(spargio_current_shard(&shard), SPARGIO_OK);
    int64_t began = cpu_ns();
    while (cpu_ns() - began < 20000) continue;
    *result = shard;
    return SPARGIO_READY;
}

static double run(spargio_runtime rt, uint32_t kind, long *elsewhere) {
    static spargio_join joins[TASKS];
    spargio_placement p = place(kind, 0);
    double began = seconds();
    for (int i = 0; i < TASKS; i++) CHECK_IS(spargio_spawn(rt, &p, burn, NULL, &joins[i]), SPARGIO_OK);
    *elsewhere = 0;
    for (int i = 0; i < TASKS; i++) {
        int64_t shard = 0;
        CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, &shard), SPARGIO_OK);
        CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
        *elsewhere += shard != 0;
    }
    return seconds() - began;
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    spargio_runtime_options_init(&options);
    options.shards = 2;
    options.stealable_queue_backend = argc > 1 ? (uint32_t)atoi(argv[1]) : 0;
    options.stealable_queue_capacity = TASKS;
    spargio_runtime rt = 0;
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    long moved = 0, stolen = 0;
    double pinned = run(rt, SPARGIO_PLACE_PINNED, &moved);
    CHECK(moved == 0);
    double stealing = run(rt, SPARGIO_PLACE_STEALABLE_PREFERRED, &stolen);
    printf("%f %f %ld\n", pinned, stealing, stolen);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
