/* What one costs when there are many: children that a task joins, tasks that wait for one, listeners.
   And what a task keeps of what it has joined. */
#include <malloc.h>
#include <unistd.h>

#include "check.h"

static spargio_runtime rt;

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static spargio_join spawn(spargio_poll_fn f, void *ctx) {
    spargio_placement here = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join join = 0;
    CHECK_IS(spargio_spawn(rt, &here, f, ctx, &join), SPARGIO_OK);
    return join;
}

static void finish(spargio_join join, int32_t wanted) {
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, NULL), wanted);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
}

static int32_t at_once(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    return SPARGIO_READY;
}

static int32_t until_cancelled(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    return spargio_task_cancelled() ? SPARGIO_E_CANCELLED : SPARGIO_PENDING;
}

/* ---- what is kept of children that have ended ---- */

enum { WARM = 100, CHILDREN = 20000 };
struct parent {
    spargio_join join;
    int done, waiting, polls_again;
    size_t at_warm, at_end;
};

/* Joins one after the other; without `polls_again` it waits until each has ended and never asks. */
static int32_t parent(void *ctx, int64_t *result) {
    struct parent *p = ctx;
    (void)result;
    while (p->done < CHILDREN) {
        if (p->done == WARM) p->at_warm = mallinfo2().uordblks;
        if (!p->waiting) {
            p->join = spawn(at_once, NULL);
            p->waiting = 1;
            CHECK_IS(spargio_join_poll(p->join, NULL), SPARGIO_PENDING);
            return SPARGIO_PENDING;
        }
        if (p->polls_again) CHECK_IS(spargio_join_poll(p->join, NULL), SPARGIO_READY);
        CHECK_IS(spargio_join_release(p->join), SPARGIO_OK);
        p->waiting = 0;
        p->done++;
    }
    p->at_end = mallinfo2().uordblks;
    return SPARGIO_READY;
}

static void keeps_nothing(int polls_again) {
    struct parent p = {.polls_again = polls_again};
    finish(spawn(parent, &p), SPARGIO_OK);
    CHECK(p.at_end < p.at_warm + 16384);
}

/* ---- what one costs ---- */

struct crowd {
    spargio_join *joins;
    int count;
    double took;
};

/* Waits for all at once, and asks all again. */
static int32_t asks_all(void *ctx, int64_t *result) {
    struct crowd *c = ctx;
    (void)result;
    double began = cpu_seconds();
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < c->count; i++) CHECK_IS(spargio_join_poll(c->joins[i], NULL), SPARGIO_PENDING);
    c->took = cpu_seconds() - began;
    return SPARGIO_READY;
}

static double one_waits_for(int count) {
    struct crowd c = {malloc((size_t)count * sizeof(spargio_join)), count, 0};
    for (int i = 0; i < count; i++) c.joins[i] = spawn(until_cancelled, NULL);
    finish(spawn(asks_all, &c), SPARGIO_OK);
    for (int i = 0; i < count; i++) CHECK_IS(spargio_join_cancel(c.joins[i]), SPARGIO_OK);
    for (int i = 0; i < count; i++) finish(c.joins[i], SPARGIO_E_CANCELLED);
    free(c.joins);
    return c.took;
}

static spargio_join awaited;

static int32_t waits(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    if (spargio_task_cancelled()) return SPARGIO_E_CANCELLED;
    return spargio_join_poll(awaited, NULL);
}

static int32_t listens(void *ctx, int64_t *result) {
    spargio_msg message;
    (void)ctx, (void)result;
    if (spargio_task_cancelled()) return SPARGIO_E_CANCELLED;
    return spargio_msg_next(&message);
}

static int32_t listens_hot(void *ctx, int64_t *result) {
    uint64_t sum;
    (void)ctx, (void)result;
    if (spargio_task_cancelled()) return SPARGIO_E_CANCELLED;
    return spargio_msg_next_hot_count(9, &sum);
}

/* All begin to wait, and leave: the oldest first, or the newest. */
static double many_wait(spargio_poll_fn f, int newest_first, int count) {
    spargio_join *joins = malloc((size_t)count * sizeof *joins);
    double began = cpu_seconds();
    for (int i = 0; i < count; i++) joins[i] = spawn(f, NULL);
    finish(spawn(at_once, NULL), SPARGIO_OK); /* Behind them: they wait by now. */
    for (int i = 0; i < count; i++)
        CHECK_IS(spargio_join_cancel(joins[newest_first ? count - 1 - i : i]), SPARGIO_OK);
    for (int i = 0; i < count; i++) finish(joins[i], SPARGIO_E_CANCELLED);
    free(joins);
    return cpu_seconds() - began;
}

static double all_of_them(int which, int count) {
    switch (which) {
    case 0: return one_waits_for(count);
    case 1: return many_wait(waits, 0, count);
    case 2: return many_wait(waits, 1, count);
    case 3: return many_wait(listens, 0, count);
    case 4: return many_wait(listens, 1, count);
    default: return many_wait(listens_hot, 1, count);
    }
}

/* Ten times as many take ten times as long, not a hundred times. */
static void costs_the_same(int which) {
    enum { FEW = 2000, MANY = 20000 };
    double ratio = 0;
    for (int attempt = 0; attempt < 5; attempt++) {
        double few = all_of_them(which, FEW), many = all_of_them(which, MANY);
        ratio = many / few;
        if (ratio < 40) return;
    }
    fprintf(stderr, "%d: ten times as many take %.0f times as long\n", which, ratio);
    exit(1);
}

int main(int argc, char **argv) {
    const uint16_t hot = 9;
    spargio_runtime_options options;
    CHECK_IS(spargio_runtime_options_init(&options), SPARGIO_OK);
    options.shards = argc > 1 ? (uint32_t)atoi(argv[1]) : 1;
    options.coalesced_hot_msg_tags = &hot;
    options.coalesced_hot_msg_tags_count = 1;
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    keeps_nothing(1);
    keeps_nothing(0);
    awaited = spawn(until_cancelled, NULL);
    for (int which = 0; which <= 5; which++) costs_the_same(which);
    CHECK_IS(spargio_join_cancel(awaited), SPARGIO_OK);
    finish(awaited, SPARGIO_E_CANCELLED);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
