/* Semaphores, channels, groups and the wait for room, between tasks of all shards and threads outside. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "check.h"

#define MS 1000000ull

static spargio_runtime rt;
static uint32_t shards;

static spargio_join spawn(uint32_t shard, spargio_poll_fn poll, void *ctx) {
    spargio_placement there = place(SPARGIO_PLACE_PINNED, shard % shards);
    spargio_join join;
    CHECK_IS(spargio_spawn(rt, &there, poll, ctx, &join), SPARGIO_OK);
    return join;
}

static int64_t finish(spargio_join join) {
    int64_t result = 0;
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
    return result;
}

/* ---- semaphore ---- */

enum { ROUNDS = 2000, TASKS = 8, PERMITS = 3 };

static spargio_semaphore semaphore;
static int inside, most_inside;

struct user {
    int rounds, state;
    uint64_t want;
    spargio_op op;
};

static int32_t uses(void *ctx, int64_t *result) {
    struct user *u = ctx;
    int32_t value;
    (void)result;
    for (;;) {
        if (u->state == 0) {
            if (u->rounds == ROUNDS) return SPARGIO_READY;
            CHECK_IS(spargio_semaphore_acquire(semaphore, u->want, &u->op), SPARGIO_OK);
            u->state = 1;
        }
        if (u->state == 1) {
            if (spargio_op_poll(u->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
            CHECK(value == 0);
            int now = __atomic_add_fetch(&inside, (int)u->want, __ATOMIC_SEQ_CST);
            CHECK(now <= PERMITS);
            if (now > most_inside) most_inside = now;
            u->state = 2;
            if (u->rounds % 3 == 0) return SPARGIO_YIELD;
        }
        __atomic_sub_fetch(&inside, (int)u->want, __ATOMIC_SEQ_CST);
        CHECK_IS(spargio_semaphore_release(semaphore, u->want), SPARGIO_OK);
        u->state = 0;
        u->rounds++;
    }
}

static void *uses_outside(void *ctx) {
    (void)ctx;
    for (int i = 0; i < ROUNDS; i++) {
        if (spargio_semaphore_try_acquire(semaphore, 1) != SPARGIO_READY) continue;
        CHECK(__atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST) <= PERMITS);
        __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
        CHECK_IS(spargio_semaphore_release(semaphore, 1), SPARGIO_OK);
    }
    return NULL;
}

/* Waits for more than there is: by a limit, by a cancel, by its task's end, by the close. */
struct ends {
    int step;
    spargio_op op;
};

static int32_t waits_in_vain(void *ctx, int64_t *result) {
    struct ends *e = ctx;
    int32_t value = 0;
    (void)result;
    if (e->step > 0 && spargio_op_poll(e->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
    if (e->step == 1) CHECK(value == -ETIME);
    if (e->step == 2) CHECK(value == -ECANCELED);
    if (e->step == 3) return SPARGIO_READY;
    CHECK_IS(spargio_semaphore_acquire(semaphore, PERMITS + 1, &e->op), SPARGIO_OK);
    if (e->step == 0) CHECK_IS(spargio_op_timeout(e->op, MS), SPARGIO_OK);
    if (e->step == 1) CHECK_IS(spargio_op_cancel(e->op), SPARGIO_OK);
    e->step++;
    return e->step == 3 ? SPARGIO_READY : SPARGIO_PENDING; /* At last it leaves one under way. */
}

static int32_t takes_and_leaves(void *ctx, int64_t *result) { /* Permits that nobody took go back. */
    struct ends *e = ctx;
    (void)result;
    CHECK_IS(spargio_semaphore_acquire(semaphore, PERMITS, &e->op), SPARGIO_OK);
    return SPARGIO_READY;
}

static int32_t takes_and_fills(void *ctx, int64_t *result) {
    struct ends *e = ctx;
    (void)result;
    CHECK_IS(spargio_semaphore_acquire(semaphore, PERMITS, &e->op), SPARGIO_OK);
    CHECK_IS(spargio_semaphore_release(semaphore, INT64_MAX), SPARGIO_OK);
    return SPARGIO_READY;
}

static int32_t waits_for_the_close(void *ctx, int64_t *result) {
    struct ends *e = ctx;
    int32_t value = 0;
    if (e->step == 0) {
        CHECK_IS(spargio_semaphore_acquire(semaphore, PERMITS + 1, &e->op), SPARGIO_OK);
        __atomic_store_n(&e->step, 1, __ATOMIC_RELEASE);
        return SPARGIO_PENDING;
    }
    int32_t said = spargio_op_poll(e->op, &value);
    *result = value;
    return said;
}

static void semaphores(void) {
    struct user users[TASKS];
    struct ends ends = {0}, left = {0}, closed = {0};
    spargio_join joins[TASKS], waiting;
    pthread_t thread;
    CHECK_IS(spargio_semaphore_open(PERMITS, &semaphore), SPARGIO_OK);
    CHECK(pthread_create(&thread, NULL, uses_outside, NULL) == 0);
    for (uint32_t i = 0; i < TASKS; i++) {
        users[i] = (struct user){.want = i % 2 + 1};
        joins[i] = spawn(i, uses, &users[i]);
    }
    for (int i = 0; i < TASKS; i++) finish(joins[i]);
    pthread_join(thread, NULL);
    CHECK(inside == 0 && most_inside > 1);
    finish(spawn(0, waits_in_vain, &ends));
    finish(spawn(0, takes_and_leaves, &left));
    CHECK_IS(spargio_semaphore_try_acquire(semaphore, PERMITS), SPARGIO_READY);
    CHECK_IS(spargio_semaphore_try_acquire(semaphore, 1), SPARGIO_PENDING);
    CHECK_IS(spargio_semaphore_release(semaphore, INT64_MAX), SPARGIO_OK);
    CHECK_IS(spargio_semaphore_release(semaphore, 1), SPARGIO_E_INVALID);
    CHECK_IS(spargio_semaphore_try_acquire(semaphore, INT64_MAX - PERMITS), SPARGIO_READY);
    /* Permits that nobody took, and all that a semaphore may have are there already. */
    finish(spawn(0, takes_and_fills, &left));
    CHECK_IS(spargio_semaphore_try_acquire(semaphore, INT64_MAX), SPARGIO_READY);
    waiting = spawn(0, waits_for_the_close, &closed);
    while (__atomic_load_n(&closed.step, __ATOMIC_ACQUIRE) == 0) usleep(100);
    CHECK_IS(spargio_semaphore_close(semaphore), SPARGIO_OK);
    CHECK(finish(waiting) == -EPIPE);
    CHECK_IS(spargio_semaphore_close(semaphore), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_semaphore_release(semaphore, 1), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_semaphore_open(UINT64_MAX, &semaphore), SPARGIO_E_INVALID);
}

/* ---- channel ---- */

enum { VALUES = 20000, SENDERS = 3, RECEIVERS = 3 };

static spargio_channel channel;
static unsigned char seen[SENDERS * VALUES + 1];
static int dropped;

static void count_drop(void *value) {
    CHECK(value != NULL);
    dropped++;
}

struct end {
    uintptr_t next, last;
    int waiting;
    void *value;
    spargio_op op;
};

static int32_t sends(void *ctx, int64_t *result) {
    struct end *s = ctx;
    int32_t value;
    (void)result;
    while (s->next <= s->last) {
        if (!s->waiting) CHECK_IS(spargio_channel_send(channel, (void *)s->next, &s->op), SPARGIO_OK);
        s->waiting = 1;
        if (spargio_op_poll(s->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
        CHECK(value == 0);
        s->waiting = 0;
        s->next++;
    }
    return SPARGIO_READY;
}

static int32_t receives(void *ctx, int64_t *result) {
    struct end *r = ctx;
    int32_t value;
    for (;;) {
        if (!r->waiting) CHECK_IS(spargio_channel_recv(channel, &r->value, &r->op), SPARGIO_OK);
        r->waiting = 1;
        if (spargio_op_poll(r->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
        r->waiting = 0;
        if (value == -EPIPE) return SPARGIO_READY;
        CHECK(value == 0);
        CHECK(__atomic_fetch_add(&seen[(uintptr_t)r->value], 1, __ATOMIC_RELAXED) == 0);
        ++*result;
        r->next++;
    }
}

static void *sends_outside(void *ctx) {
    struct end *s = ctx;
    for (; s->next <= s->last; s->next++)
        while (spargio_channel_try_send(channel, (void *)s->next) != SPARGIO_READY) usleep(10);
    return NULL;
}

static int32_t receives_and_leaves(void *ctx, int64_t *result) { /* The value goes back to the front. */
    struct end *r = ctx;
    (void)result;
    CHECK_IS(spargio_channel_recv(channel, &r->value, &r->op), SPARGIO_OK);
    return SPARGIO_READY;
}

/* Sends that have begun go on after the end, as far as somebody receives; a close refuses the others. */
struct pushed {
    spargio_op ops[4];
    int32_t results[4];
    int begun, refused;
};

static int32_t pushes(void *ctx, int64_t *result) {
    static int values[4];
    struct pushed *p = ctx;
    int32_t open = 0;
    if (!p->begun)
        for (int i = 0; i < 4; i++) CHECK_IS(spargio_channel_send(channel, &values[i], &p->ops[i]), SPARGIO_OK);
    __atomic_store_n(&p->begun, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < 4; i++) {
        if (p->ops[i] == 0) continue;
        if (spargio_op_poll(p->ops[i], &p->results[i]) == SPARGIO_PENDING) open++;
        else p->ops[i] = 0, p->refused += p->results[i] == -EPIPE;
    }
    *result = p->refused;
    return open > 0 ? SPARGIO_PENDING : SPARGIO_READY;
}

static void finishes_while_senders_wait(void) {
    struct pushed pushed = {0};
    void *value;
    CHECK_IS(spargio_channel_open(1, NULL, &channel), SPARGIO_OK);
    spargio_join pushing = spawn(0, pushes, &pushed);
    while (!__atomic_load_n(&pushed.begun, __ATOMIC_ACQUIRE)) usleep(100);
    CHECK_IS(spargio_channel_finish(channel), SPARGIO_OK);
    CHECK_IS(spargio_channel_try_send(channel, &value), SPARGIO_E_CLOSED);
    for (int i = 0; i < 3; i++) CHECK_IS(spargio_channel_try_recv(channel, &value), SPARGIO_READY);
    CHECK_IS(spargio_channel_try_recv(channel, &value), SPARGIO_READY);
    CHECK_IS(spargio_channel_try_recv(channel, &value), SPARGIO_E_CLOSED);
    CHECK(finish(pushing) == 0);
    CHECK_IS(spargio_channel_close(channel), SPARGIO_OK);

    pushed = (struct pushed){0};
    CHECK_IS(spargio_channel_open(1, NULL, &channel), SPARGIO_OK);
    pushing = spawn(0, pushes, &pushed);
    while (!__atomic_load_n(&pushed.begun, __ATOMIC_ACQUIRE)) usleep(100);
    CHECK_IS(spargio_channel_finish(channel), SPARGIO_OK);
    CHECK_IS(spargio_channel_try_recv(channel, &value), SPARGIO_READY);
    CHECK_IS(spargio_channel_close(channel), SPARGIO_OK);
    CHECK(finish(pushing) == 2); /* One was received, one lay there. */
}

static void channels(void) {
    struct end senders[SENDERS], receivers[RECEIVERS], left = {0};
    spargio_join sending[SENDERS], receiving[RECEIVERS];
    pthread_t thread;
    void *value = NULL;
    uintptr_t total = 0;
    CHECK_IS(spargio_channel_open(0, NULL, &channel), SPARGIO_E_INVALID);
    CHECK_IS(spargio_channel_open(16, NULL, &channel), SPARGIO_OK);
    for (uint32_t i = 0; i < RECEIVERS; i++) {
        receivers[i] = (struct end){0};
        receiving[i] = spawn(i, receives, &receivers[i]);
    }
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct end){.next = i * VALUES + 1, .last = (i + 1) * VALUES};
        if (i > 0) sending[i] = spawn(i + 1, sends, &senders[i]);
    }
    CHECK(pthread_create(&thread, NULL, sends_outside, &senders[0]) == 0);
    pthread_join(thread, NULL);
    for (int i = 1; i < SENDERS; i++) finish(sending[i]);
    CHECK_IS(spargio_channel_finish(channel), SPARGIO_OK);
    for (int i = 0; i < RECEIVERS; i++) {
        finish(receiving[i]);
        total += receivers[i].next;
    }
    CHECK(total == SENDERS * VALUES);
    for (int i = 1; i <= SENDERS * VALUES; i++) CHECK(seen[i] == 1);
    CHECK_IS(spargio_channel_try_send(channel, &value), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_channel_try_recv(channel, &value), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_channel_close(channel), SPARGIO_OK);

    /* A value that nobody took is received by the next one; what is left at the close is dropped. */
    CHECK_IS(spargio_channel_open(3, count_drop, &channel), SPARGIO_OK);
    CHECK_IS(spargio_channel_try_recv(channel, &value), SPARGIO_PENDING);
    for (int i = 0; i < 3; i++) CHECK_IS(spargio_channel_try_send(channel, &senders[i]), SPARGIO_READY);
    CHECK_IS(spargio_channel_try_send(channel, &left), SPARGIO_PENDING);
    finish(spawn(0, receives_and_leaves, &left));
    CHECK_IS(spargio_channel_try_recv(channel, &value), SPARGIO_READY);
    CHECK(value == &senders[0]);
    CHECK_IS(spargio_semaphore_close(channel), SPARGIO_E_CLOSED); /* Another kind of handle. */
    CHECK_IS(spargio_channel_close(channel), SPARGIO_OK);
    CHECK(dropped == 2);
}

/* ---- group ---- */

enum { MEMBERS = 200 };

static int ended, drops;

static void member_gone(void *ctx) {
    (void)ctx;
    __atomic_add_fetch(&drops, 1, __ATOMIC_SEQ_CST);
}

static int32_t member(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
    return SPARGIO_READY;
}

static int32_t until_cancelled(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    return spargio_task_cancelled() ? SPARGIO_E_CANCELLED : SPARGIO_PENDING;
}

static int32_t fails(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    return SPARGIO_E_BUFFER;
}

struct parent {
    spargio_group group;
    spargio_op op;
    int waits;
};

static int32_t waits_for_all(void *ctx, int64_t *result) {
    struct parent *p = ctx;
    int32_t value = -1;
    (void)result;
    if (!p->waits++) {
        for (int i = 0; i < MEMBERS; i++)
            CHECK_IS(spargio_group_spawn(p->group, NULL, member, p, member_gone, NULL), SPARGIO_OK);
        CHECK_IS(spargio_group_join(p->group, 0), SPARGIO_E_ON_SHARD);
        CHECK_IS(spargio_group_wait(p->group, &p->op), SPARGIO_OK);
    }
    int32_t said = spargio_op_poll(p->op, &value);
    if (said == SPARGIO_READY) CHECK(value == 0 && drops == MEMBERS && ended == MEMBERS);
    return said;
}

static int32_t ends_as_its_sleep(void *ctx, int64_t *result) {
    (void)ctx;
    (void)result;
    return spargio_task_cancelled() ? SPARGIO_E_ERRNO(ECANCELED) : SPARGIO_PENDING;
}

static int32_t waits_for_its_own(void *ctx, int64_t *result) {
    spargio_group *group = ctx;
    spargio_op op = 0;
    (void)result;
    CHECK_IS(spargio_group_wait(*group, &op), SPARGIO_E_ERRNO(EDEADLK));
    CHECK(op == 0);
    return SPARGIO_READY;
}

static void groups(void) {
    struct parent p = {0};
    spargio_join member_join;
    CHECK_IS(spargio_group_open(rt, 2, &p.group), SPARGIO_E_INVALID);
    CHECK_IS(spargio_group_open(0, 0, &p.group), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_group_open(rt, 0, &p.group), SPARGIO_OK);
    CHECK_IS(spargio_group_join(p.group, 0), SPARGIO_OK); /* Nobody is in it. */
    finish(spawn(0, waits_for_all, &p));
    CHECK_IS(spargio_group_spawn(p.group, NULL, waits_for_its_own, &p.group, NULL, NULL), SPARGIO_OK);
    CHECK_IS(spargio_group_join(p.group, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK_IS(spargio_group_status(p.group), SPARGIO_OK);
    /* A failure is told; without the flag the others go on. */
    CHECK_IS(spargio_group_spawn(p.group, NULL, until_cancelled, NULL, NULL, NULL), SPARGIO_OK);
    CHECK_IS(spargio_group_spawn(p.group, NULL, fails, NULL, NULL, &member_join), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(member_join, SPARGIO_FOREVER, NULL), SPARGIO_E_BUFFER);
    CHECK_IS(spargio_join_release(member_join), SPARGIO_OK);
    CHECK_IS(spargio_group_join(p.group, MS), SPARGIO_E_TIMEOUT);
    CHECK_IS(spargio_group_cancel(p.group), SPARGIO_OK);
    CHECK_IS(spargio_group_join(p.group, SPARGIO_FOREVER), SPARGIO_E_BUFFER);
    /* After the cancel nothing begins any more, and all is dropped. */
    drops = ended = 0;
    CHECK_IS(spargio_group_spawn(p.group, NULL, member, NULL, member_gone, NULL), SPARGIO_OK);
    CHECK_IS(spargio_group_join(p.group, SPARGIO_FOREVER), SPARGIO_E_BUFFER);
    CHECK(drops == 1 && ended == 0);
    CHECK_IS(spargio_group_close(p.group), SPARGIO_OK);
    CHECK_IS(spargio_group_cancel(p.group), SPARGIO_E_CLOSED);

    CHECK_IS(spargio_group_open(rt, 0, &p.group), SPARGIO_OK);
    CHECK_IS(spargio_group_spawn(p.group, NULL, ends_as_its_sleep, NULL, NULL, NULL), SPARGIO_OK);
    CHECK_IS(spargio_group_cancel(p.group), SPARGIO_OK);
    CHECK_IS(spargio_group_join(p.group, SPARGIO_FOREVER), SPARGIO_OK); /* Cancelled, and not failed. */
    CHECK_IS(spargio_group_close(p.group), SPARGIO_OK);
    /* One for all. The handle goes before the tasks do. */
    CHECK_IS(spargio_group_open(rt, SPARGIO_GROUP_CANCEL_ON_ERROR, &p.group), SPARGIO_OK);
    for (int i = 0; i < 20; i++)
        CHECK_IS(spargio_group_spawn(p.group, NULL, until_cancelled, NULL, member_gone, NULL), SPARGIO_OK);
    CHECK_IS(spargio_group_spawn(p.group, NULL, fails, NULL, member_gone, NULL), SPARGIO_OK);
    CHECK_IS(spargio_group_join(p.group, SPARGIO_FOREVER), SPARGIO_E_BUFFER);
    CHECK(drops == 22);
    CHECK_IS(spargio_group_close(p.group), SPARGIO_OK);
}

/* ---- room ---- */

enum { MANY = 500 };

struct flood {
    int spawned, refused, waiting;
    spargio_op op;
};

static int flooded;

static int32_t small(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    __atomic_add_fetch(&flooded, 1, __ATOMIC_SEQ_CST);
    return SPARGIO_READY;
}

static int32_t floods(void *ctx, int64_t *result) {
    struct flood *f = ctx;
    spargio_placement there = place(SPARGIO_PLACE_STEALABLE_PREFERRED, shards - 1), wrong = place(9, 0);
    int32_t value = -1;
    (void)result;
    if (f->waiting) {
        if (spargio_op_poll(f->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
        CHECK(value == 0);
        f->waiting = 0;
    }
    while (f->spawned < MANY) {
        int32_t said = spargio_spawn(rt, &there, small, NULL, NULL);
        if (said == SPARGIO_E_OVERLOADED) {
            f->refused++;
            CHECK_IS(spargio_room(rt, &there, &f->op), SPARGIO_OK);
            f->waiting = 1;
            return SPARGIO_PENDING;
        }
        CHECK_IS(said, SPARGIO_OK);
        f->spawned++;
    }
    CHECK_IS(spargio_room(rt, &wrong, &f->op), SPARGIO_E_INVALID);
    return SPARGIO_READY;
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    struct flood flood = {0};
    spargio_op op;
    CHECK_IS(spargio_runtime_options_init(&options), SPARGIO_OK);
    options.shards = shards = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
    options.stealable_queue_capacity = 256;
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    semaphores();
    channels();
    finishes_while_senders_wait();
    groups();
    finish(spawn(0, floods, &flood));
    CHECK(flood.refused > 0 || shards > 1);
    CHECK_IS(spargio_room(rt, NULL, &op), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(flooded == MANY);
    return 0;
}
