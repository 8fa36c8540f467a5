/* 1,000,000 stealable tasks from 4 threads through queues of 1,024: each runs once, refusals are told. */
#include <pthread.h>
#include <sched.h>

#include "check.h"

enum { PRODUCERS = 4, EACH = 250000 };

static unsigned char runs[PRODUCERS * EACH];
static long done, refused;
static spargio_runtime rt;

static int32_t task(void *ctx, int64_t *result) {
    (void)result;
    __atomic_fetch_add((unsigned char *)ctx, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&done, 1, __ATOMIC_RELEASE);
    return SPARGIO_READY;
}

static void *produce(void *ctx) {
    unsigned char *mine = ctx;
    for (int i = 0; i < EACH; i++) {
        int32_t status;
        while ((status = spargio_spawn(rt, NULL, task, &mine[i], NULL)) == SPARGIO_E_OVERLOADED) {
            __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
            sched_yield();
        }
        CHECK_IS(status, SPARGIO_OK);
    }
    return NULL;
}

int main(int argc, char **argv) {
    int before = open_descriptors();
    spargio_runtime_options options;
    spargio_runtime_options_init(&options);
    options.shards = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
    options.stealable_queue_backend = argc > 2 ? (uint32_t)atoi(argv[2]) : 0;
    options.flags = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
    options.stealable_queue_capacity = 1024;
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    pthread_t threads[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++) pthread_create(&threads[i], NULL, produce, &runs[i * EACH]);
    for (int i = 0; i < PRODUCERS; i++) pthread_join(threads[i], NULL);
    while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < PRODUCERS * EACH) sched_yield();
    for (int i = 0; i < PRODUCERS * EACH; i++) CHECK(runs[i] == 1);

    size_t size = 0;
    CHECK_IS(spargio_stats_cbor(rt, NULL, 0, &size), SPARGIO_E_BUFFER);
    uint8_t *cbor = malloc(size + 4096);
    CHECK_IS(spargio_stats_cbor(rt, cbor, size + 4096, &size), SPARGIO_OK);
    fwrite(cbor, 1, size, stdout); /* The test compares its counters with these: */
    fprintf(stderr, "refused %ld\n", refused);
    free(cbor);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(open_descriptors() == before);
    return 0;
}
