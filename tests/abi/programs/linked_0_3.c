/* A program as it was built against 0.3: declarations of its own, sizes of then, and the symbol versions that its
 * linker wrote. It includes nothing of today's header. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int32_t (*poll_fn)(void *, int64_t *);
int32_t start(const void *, uint64_t *), stop(uint64_t, uint64_t), init(void *), init_sized(void *, size_t);
int32_t spawn(uint64_t, const void *, poll_fn, void *, uint64_t *), wait_for(uint64_t, uint64_t, int64_t *);
int32_t release(uint64_t), cancel(uint64_t), sleep_for(uint64_t, uint64_t *), op_poll(uint64_t, int32_t *);
int32_t abi_version(void), nothing(uint64_t *), backend(uint64_t, uint32_t *, int32_t *);
#define LINKED(here, there) __asm__(".symver " #here "," there)
LINKED(start, "spargio_runtime_start@SPARGIO_0.1");
LINKED(stop, "spargio_runtime_shutdown@SPARGIO_0.1");
LINKED(init, "spargio_runtime_options_init@SPARGIO_0.3");
LINKED(init_sized, "spargio_runtime_options_init_sized@SPARGIO_0.1");
LINKED(spawn, "spargio_spawn@SPARGIO_0.1");
LINKED(wait_for, "spargio_join_wait@SPARGIO_0.1");
LINKED(release, "spargio_join_release@SPARGIO_0.1");
LINKED(cancel, "spargio_join_cancel@SPARGIO_0.1");
LINKED(sleep_for, "spargio_sleep@SPARGIO_0.1");
LINKED(op_poll, "spargio_op_poll@SPARGIO_0.1");
LINKED(nothing, "spargio_nop@SPARGIO_0.1");
LINKED(abi_version, "spargio_abi_version@SPARGIO_0.1");
LINKED(backend, "spargio_runtime_backend@SPARGIO_0.3");

/* spargio_runtime_options of 0.3, by the offsets that its compiler took from the header of then. */
enum { OPTIONS_SIZE = 144, SHARDS_AT = 4, BLOCKED_AT = 136 };
struct placement {
    uint32_t struct_size, kind;
    uint64_t value;
};

#define CHECK(condition)                                                  \
    do {                                                                  \
        if (!(condition)) {                                               \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                      \
        }                                                                 \
    } while (0)

static int calls, at_the_gate;

static int32_t detached(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    calls++;
    return 0;
}

struct steps {
    int step;
    uint64_t op;
};

static int32_t works(void *ctx, int64_t *result) {
    struct steps *s = ctx;
    int32_t value = -1, said = 0;
    if (s->step == 0) said = nothing(&s->op);
    if (s->step > 0) said = op_poll(s->op, &value);
    if (said == 1) return 1;
    CHECK(said == 0 && (s->step == 0 || value == 0));
    if (s->step++ == 1) CHECK(sleep_for(1000, &s->op) == 0);
    *result = 42;
    return s->step == 3 ? 0 : 1;
}

static int32_t gate(void *ctx, int64_t *result) {
    (void)result;
    __atomic_store_n(&at_the_gate, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(ctx);
    pthread_mutex_unlock(ctx);
    return 0;
}

int main(void) {
    union {
        unsigned char bytes[OPTIONS_SIZE + 32];
        uint64_t aligned;
    } options;
    uint32_t shards = 1, size = 0, kind = 0;
    uint64_t rt, join, queued, threshold = 0;
    int64_t result = 0;
    int32_t reason = 0;
    struct placement here = {sizeof here, 0, 0};
    struct steps steps = {0, 0};
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    CHECK(abi_version() == 1);
    memset(options.bytes, 0xAA, sizeof options.bytes);
    CHECK(init(options.bytes) == 0);
    memcpy(&size, options.bytes, sizeof size);
    CHECK(size == OPTIONS_SIZE);
    for (size_t i = size; i < sizeof options.bytes; i++) CHECK(options.bytes[i] == 0xAA);
    CHECK(init_sized(options.bytes, OPTIONS_SIZE) == 0);
    memcpy(&threshold, options.bytes + BLOCKED_AT, sizeof threshold);
    CHECK(threshold == 100);
    memcpy(options.bytes + SHARDS_AT, &shards, sizeof shards);
    CHECK(start(options.bytes, &rt) == 0);
    CHECK(backend(rt, &kind, &reason) == 0 && (kind == 1 || kind == 2));
    CHECK(spawn(rt, NULL, works, &steps, &join) == 0);
    CHECK(wait_for(join, UINT64_MAX, &result) == 0 && result == 42);
    CHECK(release(join) == 0);

    /* What the end overtakes is not called, as it was then. */
    pthread_mutex_lock(&mutex);
    CHECK(spawn(rt, &here, gate, &mutex, NULL) == 0);
    CHECK(spawn(rt, &here, detached, NULL, NULL) == 0);
    CHECK(spawn(rt, &here, detached, NULL, &queued) == 0);
    while (!__atomic_load_n(&at_the_gate, __ATOMIC_SEQ_CST)) usleep(100);
    CHECK(stop(rt, 1000000) == -5);
    pthread_mutex_unlock(&mutex);
    CHECK(stop(rt, UINT64_MAX) == 0);
    CHECK(calls == 0);
    CHECK(wait_for(queued, 0, NULL) == -6 && release(queued) == 0);
    return 0;
}
