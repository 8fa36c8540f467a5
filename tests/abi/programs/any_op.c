/* What every operation has: a time limit, a completion callback, and spargio_wait_any. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

#define MS 1000000ull

static int pair[2];

struct wait {
    spargio_op op;
    int32_t result, step, calls;
    uint32_t flags;
    double began;
    char byte;
};

/* A receive that nothing comes for ends by its limit; one that something comes for does not. */
static int32_t limited(void *ctx, int64_t *result) {
    struct wait *w = ctx;
    (void)result;
    if (w->step == 0) {
        w->began = seconds();
        CHECK_IS(spargio_recv(pair[0], &w->byte, 1, 0, &w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_timeout(w->op, SPARGIO_FOREVER), SPARGIO_OK);
        CHECK_IS(spargio_op_timeout(w->op, 30 * MS), SPARGIO_OK);
        w->step = 1;
        return SPARGIO_PENDING;
    }
    if (spargio_op_poll(w->op, &w->result) == SPARGIO_PENDING) return SPARGIO_PENDING;
    if (w->step == 1) {
        CHECK(w->result == -ETIME);
        CHECK(seconds() - w->began >= 0.030);
        CHECK_IS(spargio_op_timeout(w->op, MS), SPARGIO_E_CLOSED);
        CHECK(write(pair[1], "x", 1) == 1);
        CHECK_IS(spargio_recv(pair[0], &w->byte, 1, 0, &w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_timeout(w->op, 60000 * MS), SPARGIO_OK);
        w->step = 2;
        return SPARGIO_PENDING;
    }
    if (w->step == 2) {
        CHECK(w->result == 1 && w->byte == 'x');
        CHECK_IS(spargio_sleep(MS, &w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_timeout(w->op, MS), SPARGIO_E_INVALID);
        w->step = 3;
        return SPARGIO_PENDING;
    }
    CHECK(w->result == 0);
    return SPARGIO_READY;
}

/* A cancellation is told from a limit, and comes after one without harm. */
static int32_t cancelled_before(void *ctx, int64_t *result) {
    struct wait *w = ctx;
    (void)result;
    if (w->step++ == 0) {
        CHECK_IS(spargio_recv(pair[0], &w->byte, 1, 0, &w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_timeout(w->op, 60000 * MS), SPARGIO_OK);
        CHECK_IS(spargio_op_cancel(w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_timeout(w->op, 0), SPARGIO_OK); /* It ends anyway. */
        return SPARGIO_PENDING;
    }
    if (spargio_op_poll(w->op, &w->result) == SPARGIO_PENDING) return SPARGIO_PENDING;
    CHECK(w->result == -ECANCELED);
    return SPARGIO_READY;
}

static void completed(void *ctx, int32_t result, uint32_t flags) {
    struct wait *w = ctx;
    uint32_t shard;
    spargio_op op;
    CHECK_IS(spargio_nop(&op), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_current_shard(&shard), SPARGIO_E_NOT_ON_SHARD);
    w->result = result;
    w->flags = flags;
    w->calls++;
}

static int32_t called_back(void *ctx, int64_t *result) {
    struct wait *w = ctx;
    int32_t number;
    (void)result;
    if (w->step == 0) {
        CHECK_IS(spargio_nop(&w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_on_complete(w->op, NULL, w), SPARGIO_E_INVALID);
        CHECK_IS(spargio_op_on_complete(w->op, completed, w), SPARGIO_OK);
        CHECK_IS(spargio_op_on_complete(w->op, completed, w), SPARGIO_E_INVALID);
        w->step = 1;
        return SPARGIO_PENDING;
    }
    if (w->calls == 0) return SPARGIO_PENDING;
    CHECK(w->calls == 1 && w->result == 0);
    CHECK_IS(spargio_op_poll(w->op, &number), SPARGIO_E_CLOSED);
    if (w->step == 1) { /* One that has ended by now: a timer that is cancelled ends at once. */
        CHECK_IS(spargio_sleep(3600000 * MS, &w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_cancel(w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_on_complete(w->op, completed, w), SPARGIO_OK);
        CHECK(w->calls == 2 && w->result == -ECANCELED);
        CHECK_IS(spargio_current_shard(&w->flags), SPARGIO_OK); /* The task is current again. */
        /* Its end comes within the cancellation, outside the task all the same. */
        CHECK_IS(spargio_sleep(3600000 * MS, &w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_on_complete(w->op, completed, w), SPARGIO_OK);
        CHECK_IS(spargio_op_cancel(w->op), SPARGIO_OK);
        CHECK(w->calls == 3 && w->result == -ECANCELED);
        CHECK_IS(spargio_current_shard(&w->flags), SPARGIO_OK);
    }
    return SPARGIO_READY;
}

/* The task ends with the operation under way: the callback comes before the join. */
static int32_t leaves(void *ctx, int64_t *result) {
    struct wait *w = ctx;
    (void)result;
    CHECK_IS(spargio_recv(pair[0], &w->byte, 1, 0, &w->op), SPARGIO_OK);
    CHECK_IS(spargio_op_on_complete(w->op, completed, w), SPARGIO_OK);
    return SPARGIO_READY;
}

struct several {
    spargio_op ops[4];
    int32_t step, order[3];
};

static int32_t any(void *ctx, int64_t *result) {
    static const int64_t ms[] = {40, 1, 20};
    struct several *s = ctx;
    uint32_t index = 99;
    int32_t said, value;
    (void)result;
    if (s->step == 0) {
        CHECK_IS(spargio_wait_any(s->ops, 4, &index), SPARGIO_E_INVALID); /* All are 0. */
        for (int i = 0; i < 3; i++)
            CHECK_IS(spargio_sleep((uint64_t)ms[i] * MS, &s->ops[i]), SPARGIO_OK);
        s->step = 1;
    }
    while ((said = spargio_wait_any(s->ops, 4, &index)) == SPARGIO_READY) {
        CHECK_IS(spargio_op_poll(s->ops[index], &value), SPARGIO_READY);
        s->order[s->step++ - 1] = (int32_t)index;
        if (s->step == 2) { /* A stale one is named. */
            CHECK_IS(spargio_wait_any(s->ops, 4, &index), SPARGIO_E_CLOSED);
            CHECK(index == 1);
        }
        s->ops[s->order[s->step - 2]] = 0;
    }
    if (s->step < 4) {
        CHECK_IS(said, SPARGIO_PENDING);
        return SPARGIO_PENDING;
    }
    CHECK(s->order[0] == 1 && s->order[1] == 2 && s->order[2] == 0);
    CHECK_IS(spargio_wait_any(NULL, 0, &index), SPARGIO_E_INVALID);
    CHECK_IS(spargio_wait_any(s->ops, 4, NULL), SPARGIO_E_INVALID);
    return SPARGIO_READY;
}

static void join(spargio_runtime rt, spargio_poll_fn poll, void *ctx) {
    spargio_join handle;
    CHECK_IS(spargio_spawn(rt, NULL, poll, ctx, &handle), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);
    struct wait waits[4];
    struct several several;
    spargio_op op = 1;
    memset(waits, 0, sizeof waits);
    memset(&several, 0, sizeof several);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    join(rt, limited, &waits[0]);
    join(rt, cancelled_before, &waits[1]);
    join(rt, called_back, &waits[2]);
    join(rt, leaves, &waits[3]);
    CHECK(waits[3].calls == 1 && waits[3].result == -ECANCELED);
    join(rt, any, &several);
    CHECK_IS(spargio_op_timeout(op, 0), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_op_on_complete(op, completed, NULL), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_wait_any(&op, 1, &waits[0].flags), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    close(pair[0]);
    close(pair[1]);
    return 0;
}
