/* Work for the CPUs: tasks that are started, joined and stolen, and timers. */
#include "tasks.h"

enum { REQUESTS = 64, BRANCHES = 16, TASKS = 100000, BATCH = 64, TIMERS = 10000, PLAIN_BELOW = 12 };

struct branch {
    uint64_t seed, iterations;
};

static int32_t branch(void *ctx, int64_t *result) {
    struct branch *self = ctx;
    *result = (int64_t)mix(self->seed, self->iterations);
    return SPARGIO_READY;
}

static struct fanout {
    spargio_await await;
    int skewed;
    uint64_t request, sum;
    int next;
    struct branch branches[BRANCHES];
    spargio_join joins[BRANCHES];
} fanout;

static void fan_out(struct fanout *self) {
    for (uint64_t b = 0; b < BRANCHES; b++) {
        uint64_t iterations = !self->skewed ? 2000 : b == self->request % BRANCHES ? 20000 : 500;
        self->branches[b] = (struct branch){self->request * 31 + b + 1, iterations};
        self->joins[b] = start(SPARGIO_PLACE_STEALABLE, 0, branch, &self->branches[b]);
    }
}

static int32_t requests(void *ctx, int64_t *result) {
    struct fanout *self = ctx;
    int64_t one;
    SPARGIO_BEGIN(&self->await);
    for (self->request = 0; self->request < REQUESTS; self->request++) {
        fan_out(self);
        for (self->next = 0; self->next < BRANCHES; self->next++) {
            WAIT(spargio_join_poll(self->joins[self->next], &one));
            CHECK(spargio_join_release(self->joins[self->next]));
            self->sum += (uint64_t)one;
        }
    }
    *result = (int64_t)self->sum;
    SPARGIO_END;
}

static uint64_t fan(int skewed) {
    fanout = (struct fanout){.skewed = skewed};
    return (uint64_t)finish(start(SPARGIO_PLACE_PINNED, 0, requests, &fanout));
}

static uint64_t balanced(void) { return fan(0); }
static uint64_t skewed(void) { return fan(1); }

static int32_t give_number(void *ctx, int64_t *result) {
    *result = (int64_t)(intptr_t)ctx;
    return SPARGIO_READY;
}

static struct spawner {
    spargio_await await;
    intptr_t begun, count, next;
    uint64_t sum;
    spargio_join joins[BATCH];
} spawner;

static int32_t spawn_and_join(void *ctx, int64_t *result) {
    struct spawner *self = ctx;
    int64_t one;
    SPARGIO_BEGIN(&self->await);
    while (self->begun < TASKS) {
        for (self->count = 0; self->count < BATCH && self->begun < TASKS; self->count++, self->begun++)
            self->joins[self->count] =
                start(SPARGIO_PLACE_STEALABLE_PREFERRED, 0, give_number, (void *)self->begun);
        for (self->next = 0; self->next < self->count; self->next++) {
            WAIT(spargio_join_poll(self->joins[self->next], &one));
            CHECK(spargio_join_release(self->joins[self->next]));
            self->sum += (uint64_t)one;
        }
    }
    *result = (int64_t)self->sum;
    SPARGIO_END;
}

static uint64_t spawn_join(void) {
    spawner = (struct spawner){0};
    return (uint64_t)finish(start(SPARGIO_PLACE_PINNED, 0, spawn_and_join, &spawner));
}

static __attribute__((noinline)) uint64_t plain(uint64_t n) {
    return n < 2 ? n : plain(n - 1) + plain(n - 2);
}

/* fib(n): the larger halves are tasks, the smaller ones are gone down to here. */
struct fib {
    spargio_await await;
    uint64_t n, sum;
    int children;
    spargio_join joins[16];
};

static int32_t fib(void *ctx, int64_t *result);

static void go_down(struct fib *self) {
    uint32_t shard;
    CHECK(spargio_current_shard(&shard));
    uint64_t n = self->n;
    for (; n >= PLAIN_BELOW; n -= 2) {
        struct fib *child = calloc(1, sizeof *child);
        child->n = n - 1;
        self->joins[self->children++] = start(SPARGIO_PLACE_STEALABLE_PREFERRED, shard, fib, child);
    }
    self->sum = plain(n);
}

static int32_t fib(void *ctx, int64_t *result) {
    struct fib *self = ctx;
    int64_t one;
    SPARGIO_BEGIN(&self->await);
    go_down(self);
    while (self->children > 0) {
        WAIT(spargio_join_poll(self->joins[self->children - 1], &one));
        CHECK(spargio_join_release(self->joins[--self->children]));
        self->sum += (uint64_t)one;
    }
    *result = (int64_t)self->sum;
    free(self);
    SPARGIO_END;
}

static uint64_t fib27(void) {
    struct fib *root = calloc(1, sizeof *root);
    root->n = 27;
    return (uint64_t)finish(start(SPARGIO_PLACE_PINNED, 0, fib, root));
}

static struct sleeper {
    spargio_await await;
    uint64_t ms;
} sleepers[TIMERS];

static int32_t sleeper(void *ctx, int64_t *result) {
    struct sleeper *self = ctx;
    int32_t value;
    SPARGIO_BEGIN(&self->await);
    SPARGIO_AWAIT(value, spargio_sleep(self->ms * 1000000, SPARGIO_OP));
    *result = value == 0;
    SPARGIO_END;
}

static uint64_t timers(void) {
    static spargio_join joins[TIMERS];
    uint64_t ended = 0;
    for (int i = 0; i < TIMERS; i++) {
        sleepers[i] = (struct sleeper){.ms = 1 + (uint64_t)i % 50};
        joins[i] = start(SPARGIO_PLACE_ROUND_ROBIN, 0, sleeper, &sleepers[i]);
    }
    for (int i = 0; i < TIMERS; i++) ended += (uint64_t)finish(joins[i]);
    return ended;
}

const struct workload cpu_workloads[] = {
    {"fanout_fanin_balanced", 4, NULL, balanced, NULL, 0},
    {"fanout_fanin_skewed", 4, NULL, skewed, NULL, 0},
    {"spawn_join", 2, NULL, spawn_join, NULL, 0},
    {"fib27_fork_join", 2, NULL, fib27, NULL, 0},
    {"timers_10k", 2, NULL, timers, NULL, 0},
    {0},
};
