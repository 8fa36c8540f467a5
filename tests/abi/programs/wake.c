/* spargio_task_self and spargio_task_wake: no wake-up is lost, a batch of them is at most one poll, and a stale
 * handle is refused. Threads outside, tasks of other shards and callbacks wake. */
#include <pthread.h>
#include <unistd.h>

#include "check.h"

enum { WAKERS = 4, ROUNDS = 20000 };

/* A queue of one's own, as a program would write it: plain memory under a lock. */
struct queue {
    pthread_mutex_t lock;
    uint64_t items, taken, polls;
    spargio_task consumer;
};

static int32_t consume(void *ctx, int64_t *result) {
    struct queue *q = ctx;
    spargio_task again = 0;
    q->polls++;
    pthread_mutex_lock(&q->lock);
    if (q->consumer == 0) CHECK_IS(spargio_task_self(&q->consumer), SPARGIO_OK);
    CHECK_IS(spargio_task_self(&again), SPARGIO_OK);
    CHECK(again == q->consumer);
    q->taken += q->items;
    q->items = 0;
    pthread_mutex_unlock(&q->lock);
    *result = (int64_t)q->taken;
    return q->taken == (uint64_t)WAKERS * ROUNDS ? SPARGIO_READY : SPARGIO_PENDING;
}

static void put(struct queue *q) {
    spargio_task consumer;
    pthread_mutex_lock(&q->lock);
    q->items++;
    consumer = q->consumer;
    pthread_mutex_unlock(&q->lock);
    if (consumer == 0) return; /* It looks before it waits for the first time. */
    int32_t said = spargio_task_wake(consumer);
    CHECK(said == SPARGIO_OK || said == SPARGIO_E_CLOSED); /* The others' items were enough. */
}

static void *produce(void *ctx) {
    for (int i = 0; i < ROUNDS; i++) put(ctx);
    return NULL;
}

static int32_t produce_inside(void *ctx, int64_t *result) {
    *result = 0;
    produce(ctx);
    return SPARGIO_READY;
}

static void from_everywhere(spargio_runtime rt, uint32_t shards) {
    struct queue q = {.lock = PTHREAD_MUTEX_INITIALIZER};
    spargio_placement last = place(SPARGIO_PLACE_PINNED, shards - 1), first = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join consumer, producer;
    pthread_t threads[WAKERS - 1];
    int64_t result = 0;
    CHECK_IS(spargio_spawn(rt, &last, consume, &q, &consumer), SPARGIO_OK);
    for (int i = 0; i < WAKERS - 1; i++) CHECK(pthread_create(&threads[i], NULL, produce, &q) == 0);
    CHECK_IS(spargio_spawn(rt, &first, produce_inside, &q, &producer), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(consumer, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK(result == WAKERS * ROUNDS);
    CHECK_IS(spargio_join_wait(producer, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    for (int i = 0; i < WAKERS - 1; i++) pthread_join(threads[i], NULL);
    CHECK(q.polls <= WAKERS * ROUNDS + 1);
    CHECK_IS(spargio_task_wake(q.consumer), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_join_release(consumer), SPARGIO_OK);
    CHECK_IS(spargio_join_release(producer), SPARGIO_OK);
}

/* While its shard is kept busy a task is woken often: it is polled once for all of that. */
struct batch {
    spargio_task self;
    int polls, waits;
};

static int32_t counts(void *ctx, int64_t *result) {
    struct batch *batch = ctx;
    (void)result;
    CHECK_IS(spargio_task_self(&batch->self), SPARGIO_OK);
    __atomic_fetch_add(&batch->polls, 1, __ATOMIC_SEQ_CST);
    return spargio_task_cancelled() ? SPARGIO_READY : SPARGIO_PENDING;
}

static int32_t wakes_a_hundred_times(void *ctx, int64_t *result) {
    struct batch *batch = ctx;
    (void)result;
    for (int i = 0; i < 100; i++) CHECK_IS(spargio_task_wake(batch->self), SPARGIO_OK);
    return SPARGIO_READY;
}

/* A task that wakes itself is polled again, once. */
static int32_t wakes_itself(void *ctx, int64_t *result) {
    spargio_task self;
    int *polls = ctx;
    (void)result;
    CHECK_IS(spargio_task_self(&self), SPARGIO_OK);
    if (++*polls == 3) return SPARGIO_READY;
    CHECK_IS(spargio_task_wake(self), SPARGIO_OK);
    CHECK_IS(spargio_task_wake(self), SPARGIO_OK);
    return SPARGIO_PENDING;
}

static void a_batch_is_one_poll(spargio_runtime rt) {
    struct batch batch = {0};
    spargio_placement here = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join counting, waking;
    int polls = 0;
    CHECK_IS(spargio_spawn(rt, &here, counts, &batch, &counting), SPARGIO_OK);
    while (__atomic_load_n(&batch.polls, __ATOMIC_SEQ_CST) == 0) usleep(100);
    for (int n = 1; n <= 20; n++) {
        CHECK_IS(spargio_spawn(rt, &here, wakes_a_hundred_times, &batch, &waking), SPARGIO_OK);
        CHECK_IS(spargio_join_wait(waking, SPARGIO_FOREVER, NULL), SPARGIO_OK);
        CHECK_IS(spargio_join_release(waking), SPARGIO_OK);
        while (__atomic_load_n(&batch.polls, __ATOMIC_SEQ_CST) < n + 1) usleep(10);
    }
    CHECK_IS(spargio_spawn(rt, &here, wakes_itself, &polls, &waking), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(waking, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK(polls == 3);
    CHECK(batch.polls == 21);
    CHECK_IS(spargio_join_cancel(counting), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(counting, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_join_release(counting), SPARGIO_OK);
    CHECK_IS(spargio_join_release(waking), SPARGIO_OK);
}

static void wrong_handles(void) {
    const spargio_task wrong[] = {0, 1, UINT64_MAX, (uint64_t)1 << 40};
    spargio_task self;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_IS(spargio_task_wake(wrong[i]), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_task_self(&self), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_task_self(NULL), SPARGIO_E_INVALID);
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);
    from_everywhere(rt, options.shards);
    a_batch_is_one_poll(rt);
    wrong_handles();
    /* One that the shutdown ends: its handle is stale afterwards, without the runtime. */
    struct batch batch = {0};
    CHECK_IS(spargio_spawn(rt, NULL, counts, &batch, NULL), SPARGIO_OK);
    while (__atomic_load_n(&batch.polls, __ATOMIC_SEQ_CST) == 0) usleep(100);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK_IS(spargio_task_wake(batch.self), SPARGIO_E_CLOSED);
    return 0;
}
