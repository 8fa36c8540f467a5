/* Plain memory that goes from hand to hand by everything that orders: under ThreadSanitizer nothing of it is a race.
 * With the argument "race" one access is not ordered, and is reported. */
#include <pthread.h>
#include <unistd.h>

#include "check.h"

static spargio_runtime rt;
static spargio_semaphore lock;
static spargio_channel channel;
static long counter;

struct box {
    int number;
    int32_t step;
    spargio_op op;
    void *value;
    spargio_join join;
    spargio_task self;
};

static spargio_join spawn(uint32_t shard, spargio_poll_fn poll, void *ctx) {
    spargio_placement there = place(SPARGIO_PLACE_PINNED, shard);
    spargio_join join;
    CHECK_IS(spargio_spawn(rt, &there, poll, ctx, &join), SPARGIO_OK);
    return join;
}

static void finish(spargio_join join) {
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
}

static int32_t adds(void *ctx, int64_t *result) { /* Spawn and join. */
    (void)result;
    ((struct box *)ctx)->number++;
    return SPARGIO_READY;
}

static int32_t joins(void *ctx, int64_t *result) { /* A join inside a task. */
    struct box *box = ctx;
    struct box *inner = box->value;
    int64_t value;
    if (box->step++ == 0) box->join = spawn(1, adds, inner);
    int32_t said = spargio_join_poll(box->join, &value);
    if (said == SPARGIO_PENDING) return said;
    inner->number++;
    CHECK_IS(spargio_join_release(box->join), SPARGIO_OK);
    *result = 0;
    return said;
}

static int32_t woken(void *ctx, int64_t *result) { /* A wake from outside orders what was written before. */
    struct box *box = ctx;
    (void)result;
    if (box->step++ == 0) {
        CHECK_IS(spargio_task_self(&box->self), SPARGIO_OK);
        CHECK_IS(spargio_channel_try_send(channel, box), SPARGIO_READY);
        return SPARGIO_PENDING;
    }
    return box->number == 1 ? SPARGIO_READY : SPARGIO_PENDING;
}

static int32_t locks(void *ctx, int64_t *result) { /* A semaphore of one is a lock. */
    struct box *box = ctx;
    int32_t value;
    (void)result;
    for (;;) {
        if (box->op == 0) CHECK_IS(spargio_semaphore_acquire(lock, 1, &box->op), SPARGIO_OK);
        if (spargio_op_poll(box->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
        box->op = 0;
        counter++;
        CHECK_IS(spargio_semaphore_release(lock, 1), SPARGIO_OK);
        if (++box->step == 500) return SPARGIO_READY;
    }
}

static int32_t sends(void *ctx, int64_t *result) { /* Memory goes with its pointer. */
    struct box *box = ctx;
    int32_t value;
    (void)result;
    for (;;) {
        if (box->op == 0) {
            if (box->step == 300) return SPARGIO_READY;
            int *item = malloc(sizeof *item);
            *item = box->step++;
            CHECK_IS(spargio_channel_send(channel, item, &box->op), SPARGIO_OK);
        }
        if (spargio_op_poll(box->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
        box->op = 0;
    }
}

static int32_t receives(void *ctx, int64_t *result) {
    struct box *box = ctx;
    int32_t value;
    (void)result;
    for (;;) {
        if (box->op == 0) CHECK_IS(spargio_channel_recv(channel, &box->value, &box->op), SPARGIO_OK);
        if (spargio_op_poll(box->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
        box->op = 0;
        CHECK(*(int *)box->value == box->step);
        free(box->value);
        if (++box->step == 300) return SPARGIO_READY;
    }
}

static int32_t adds_on_a_thread(void *ctx) {
    return ++((struct box *)ctx)->number;
}

static int32_t blocks(void *ctx, int64_t *result) { /* What a thread of the pool writes is the task's afterwards. */
    struct box *box = ctx;
    int32_t value;
    (void)result;
    if (box->step == 0 && box->op == 0) box->number = 1;
    for (;;) {
        if (box->op == 0) CHECK_IS(spargio_blocking(adds_on_a_thread, box, &box->op), SPARGIO_OK);
        if (spargio_op_poll(box->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
        box->op = 0;
        CHECK(box->number++ == value);
        if (++box->step == 50) return SPARGIO_READY;
    }
}

static int32_t listens(void *ctx, int64_t *result) { /* A message orders what its sender wrote before. */
    struct box *box = ctx;
    spargio_msg message;
    (void)result;
    if (spargio_msg_next(&message) == SPARGIO_PENDING) return SPARGIO_PENDING;
    box->number++;
    return SPARGIO_READY;
}

static void gone(void *ctx) {
    ((struct box *)ctx)->number++;
}

static long raced;

static void *races(void *ctx) {
    (void)ctx;
    raced++;
    return NULL;
}

int main(int argc, char **argv) {
    int race = argc > 1 && strcmp(argv[1], "race") == 0;
    spargio_runtime_options options;
    spargio_group group;
    struct box boxes[8], one = {0}, two = {0}, woken_box = {0};
    void *value = NULL;
    rt = start(1, argv, &options);
    CHECK_IS(spargio_semaphore_open(1, &lock), SPARGIO_OK);
    CHECK_IS(spargio_channel_open(4, NULL, &channel), SPARGIO_OK);
    for (uint32_t i = 0; i < 100; i++) {
        one.number = (int)i;
        finish(spawn(i % 2, adds, &one));
        CHECK(one.number == (int)i + 1);
    }
    one = (struct box){.value = &two};
    finish(spawn(0, joins, &one));
    CHECK(two.number == 2);
    spargio_join waiting = spawn(0, woken, &woken_box);
    while (spargio_channel_try_recv(channel, &value) == SPARGIO_PENDING) usleep(10);
    CHECK(value == &woken_box);
    woken_box.number = 1;
    int32_t said = spargio_task_wake(woken_box.self);
    CHECK(said == SPARGIO_OK);
    finish(waiting);
    memset(boxes, 0, sizeof boxes);
    for (uint32_t i = 0; i < 4; i++) boxes[i].join = spawn(i % 2, locks, &boxes[i]);
    for (int i = 0; i < 4; i++) finish(boxes[i].join);
    CHECK(counter == 4 * 500);
    memset(boxes, 0, sizeof boxes);
    boxes[0].join = spawn(0, sends, &boxes[0]);
    boxes[1].join = spawn(1, receives, &boxes[1]);
    boxes[2].join = spawn(0, blocks, &boxes[2]);
    for (int i = 0; i < 3; i++) finish(boxes[i].join);
    boxes[3].join = spawn(1, listens, &boxes[3]);
    boxes[3].number = 5;
    CHECK_IS(spargio_msg_send(rt, 1, 1, 1), SPARGIO_OK);
    finish(boxes[3].join);
    CHECK(boxes[3].number == 6);
    CHECK_IS(spargio_group_open(rt, 0, &group), SPARGIO_OK);
    for (int i = 0; i < 8; i++) {
        boxes[i].number = 0;
        CHECK_IS(spargio_group_spawn(group, NULL, adds, &boxes[i], gone, NULL), SPARGIO_OK);
    }
    CHECK_IS(spargio_group_join(group, SPARGIO_FOREVER), SPARGIO_OK);
    for (int i = 0; i < 8; i++) CHECK(boxes[i].number == 2);
    CHECK_IS(spargio_group_close(group), SPARGIO_OK);
    if (race) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, races, NULL) == 0);
        raced++;
        pthread_join(thread, NULL);
    }
    CHECK_IS(spargio_semaphore_close(lock), SPARGIO_OK);
    CHECK_IS(spargio_channel_close(channel), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
