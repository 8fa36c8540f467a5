/* Messages between shards: each path carries all of them in order, bounds hold, waits end. Prints the
 * time of a ping and its answer, in nanoseconds, by the lane and by the kernel. */
#include <pthread.h>

#include "check.h"

enum { TAG = 7, HOT = 8, COUNTED = 9, MANY = 1000000, ROUNDS = 20000 };

static uint32_t other; /* The shard that is sent to: 1, or 0 if there is one shard only. */

enum path { LANE, BATCH, DIRECT, HOT_LANE, COUNTER, PATHS };
static const char *const path_names[PATHS] = {"lane", "batch", "direct", "hot lane", "counter"};

struct stream {
    enum path path;
    uint32_t sent, received;
    uint64_t mark, sum;
};

static int32_t send_one(struct stream *s) {
    switch (s->path) {
    case DIRECT: return spargio_msg_send_direct(other, TAG, s->sent);
    case HOT_LANE: return spargio_msg_send(0, other, HOT, s->sent);
    case COUNTER: return spargio_msg_send(0, other, COUNTED, 3);
    default: return spargio_msg_send(0, other, TAG, s->sent);
    }
}

static int32_t send_batch(struct stream *s) {
    spargio_msg batch[100];
    uint32_t count = 0, taken = 0;
    for (; count < 100 && s->sent + count < MANY; count++) {
        batch[count].tag = TAG;
        batch[count].value = s->sent + count;
    }
    int32_t status = spargio_msg_send_many(0, other, batch, count, &taken);
    CHECK((status == SPARGIO_OK) == (taken == count));
    s->sent += taken;
    return status;
}

static int32_t sender(void *ctx, int64_t *result) {
    struct stream *s = ctx;
    (void)result;
    while (s->sent < MANY) {
        int32_t status = s->path == BATCH ? send_batch(s) : send_one(s);
        if (status == SPARGIO_E_OVERLOADED) return SPARGIO_YIELD;
        CHECK_IS(status, SPARGIO_OK);
        if (s->path != BATCH) s->sent++;
    }
    return spargio_msg_flush(&s->mark);
}

static int32_t receiver(void *ctx, int64_t *result) {
    struct stream *s = ctx;
    spargio_msg message;
    uint64_t sum;
    int32_t status;
    (void)result;
    while (s->path == COUNTER && s->sum < 3ull * MANY) {
        status = spargio_msg_next_hot_count(COUNTED, &sum);
        if (status != SPARGIO_READY) return status;
        CHECK(sum >= 3 && sum % 3 == 0);
        s->sum += sum;
    }
    while (s->path != COUNTER && s->received < MANY) {
        status = s->path == HOT_LANE ? spargio_msg_next_hot(&message) : spargio_msg_next(&message);
        if (status != SPARGIO_READY) return status;
        CHECK_IS((int32_t)message.value, (int32_t)s->received);
        CHECK_IS(message.tag, s->path == HOT_LANE ? HOT : TAG);
        CHECK_IS(message.from, 0);
        s->received++;
    }
    return SPARGIO_READY;
}

static spargio_join spawn_on(spargio_runtime rt, uint32_t shard, spargio_poll_fn fn, void *ctx) {
    spargio_placement where = place(SPARGIO_PLACE_PINNED, shard);
    spargio_join handle = 0;
    CHECK_IS(spargio_spawn(rt, &where, fn, ctx, &handle), SPARGIO_OK);
    return handle;
}

static void end(spargio_join handle) {
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
}

static void million(spargio_runtime rt, enum path path) {
    struct stream stream = {.path = path};
    double began = seconds();
    spargio_join to = spawn_on(rt, other, receiver, &stream);
    spargio_join from = spawn_on(rt, 0, sender, &stream);
    end(from);
    end(to);
    printf("%s %.0f ns a message\n", path_names[path], (seconds() - began) * 1e9 / MANY);
}

/* ---- ping and answer ---- */

struct pong {
    int direct;
    uint32_t rounds;
    uint64_t answer_sent;
};

static int32_t say(struct pong *p, uint32_t shard, uint16_t tag, uint32_t value) {
    return p->direct ? spargio_msg_send_direct(shard, tag, value) : spargio_msg_send(0, shard, tag, value);
}

static int32_t answers(void *ctx, int64_t *result) {
    struct pong *p = ctx;
    spargio_msg message;
    (void)result;
    while (p->rounds < ROUNDS) {
        int32_t status = spargio_msg_next(&message);
        if (status != SPARGIO_READY) return status;
        CHECK_IS(say(p, message.from, TAG, message.value + 1), SPARGIO_OK);
        p->rounds++;
    }
    return SPARGIO_READY;
}

static int32_t asks(void *ctx, int64_t *result) {
    struct pong *p = ctx;
    spargio_msg message;
    if (*result == 0 && p->rounds == 0 && p->answer_sent == 0) {
        p->answer_sent = 1;
        CHECK_IS(say(p, other, TAG, 0), SPARGIO_OK);
    }
    while (p->rounds < ROUNDS) {
        int32_t status = spargio_msg_next(&message);
        if (status != SPARGIO_READY) return status;
        CHECK_IS((int32_t)message.value, (int32_t)(2 * p->rounds + 1));
        if (++p->rounds < ROUNDS) CHECK_IS(say(p, other, TAG, 2 * p->rounds), SPARGIO_OK);
    }
    return SPARGIO_READY;
}

static void ping_pong(spargio_runtime rt, int direct) {
    struct pong here = {.direct = direct}, there = {.direct = direct};
    spargio_join to = spawn_on(rt, other, answers, &there);
    double began = seconds();
    spargio_join from = spawn_on(rt, 0, asks, &here);
    end(from);
    printf("%s round trip %.0f ns\n", direct ? "direct" : "lane", (seconds() - began) * 1e9 / ROUNDS);
    end(to);
}

/* ---- bounds, errors, listeners ---- */

static int32_t fills(void *ctx, int64_t *result) {
    uint32_t capacity = *(uint32_t *)ctx;
    spargio_msg message;
    (void)result;
    for (int direct = 0; direct < 2; direct++) {
        for (uint32_t i = 0; i < capacity; i++) CHECK_IS(spargio_msg_send(0, 0, TAG, i), SPARGIO_OK);
        CHECK_IS(spargio_msg_send(0, 0, TAG, 0), SPARGIO_E_OVERLOADED);
        CHECK_IS(spargio_msg_send_direct(0, TAG, 0), SPARGIO_E_OVERLOADED);
        CHECK_IS(spargio_msg_send(0, 0, HOT, 5), SPARGIO_OK); /* A lane of its own. */
        for (uint32_t i = 0; i < capacity; i++) {
            CHECK_IS(spargio_msg_next(&message), SPARGIO_READY);
            CHECK_IS((int32_t)message.value, (int32_t)i);
        }
        CHECK_IS(spargio_msg_next_hot(&message), SPARGIO_READY);
        CHECK_IS((int32_t)message.value, 5);
    }
    CHECK_IS(spargio_msg_send(0, 99, TAG, 0), SPARGIO_E_INVALID_SHARD);
    CHECK_IS(spargio_msg_send_direct(99, TAG, 0), SPARGIO_E_INVALID_SHARD);
    uint64_t sum = 1;
    CHECK_IS(spargio_msg_take_hot_count(TAG, &sum), SPARGIO_E_INVALID);
    CHECK_IS(spargio_msg_next_hot_count(HOT, &sum), SPARGIO_E_INVALID);
    CHECK_IS(spargio_msg_take_hot_count(COUNTED, &sum), SPARGIO_READY);
    CHECK(sum == 0);
    return SPARGIO_READY;
}

static int32_t takes_one(void *ctx, int64_t *result) {
    spargio_msg message;
    (void)ctx;
    if (spargio_task_cancelled() == 1) return SPARGIO_E_CANCELLED;
    int32_t status = spargio_msg_next(&message);
    *result = status == SPARGIO_READY ? message.value : 0;
    return status;
}

/* A listener that was cancelled takes nothing: the next one gets the message. */
static void listeners(spargio_runtime rt) {
    for (int round = 0; round < 5000; round++) {
        int64_t value = 0;
        spargio_join first = spawn_on(rt, other, takes_one, NULL);
        spargio_join second = spawn_on(rt, other, takes_one, NULL);
        CHECK_IS(spargio_join_cancel(first), SPARGIO_OK);
        CHECK_IS(spargio_msg_send(rt, other, TAG, 1 + (uint32_t)round), SPARGIO_OK);
        int32_t status = spargio_join_wait(first, SPARGIO_FOREVER, &value);
        if (status == SPARGIO_E_CANCELLED) {
            CHECK_IS(spargio_join_wait(second, SPARGIO_FOREVER, &value), SPARGIO_OK);
        } else { /* It had the message before it was cancelled. */
            CHECK_IS(status, SPARGIO_OK);
            CHECK_IS(spargio_join_cancel(second), SPARGIO_OK);
            CHECK_IS(spargio_join_wait(second, SPARGIO_FOREVER, NULL), SPARGIO_E_CANCELLED);
        }
        CHECK(value == 1 + round);
        CHECK_IS(spargio_join_release(first), SPARGIO_OK);
        CHECK_IS(spargio_join_release(second), SPARGIO_OK);
    }
}

struct crowd {
    spargio_runtime runtime;
    uint16_t tag;
};

static void *outsider(void *ctx) {
    struct crowd *crowd = ctx;
    for (uint32_t i = 0; i < 50000;) {
        int32_t status = spargio_msg_send(crowd->runtime, other, crowd->tag, i);
        if (status == SPARGIO_E_OVERLOADED) continue;
        CHECK_IS(status, SPARGIO_OK);
        i++;
    }
    return NULL;
}

static int32_t hears_outsiders(void *ctx, int64_t *result) {
    uint32_t *next = ctx;
    spargio_msg message;
    (void)result;
    while (next[0] + next[1] + next[2] < 150000) {
        int32_t status = spargio_msg_next(&message);
        if (status != SPARGIO_READY) return status;
        CHECK_IS(message.from, SPARGIO_MSG_OUTSIDE);
        CHECK_IS((int32_t)message.value, (int32_t)next[message.tag]);
        next[message.tag]++;
    }
    return SPARGIO_READY;
}

static void threads(spargio_runtime rt) {
    uint32_t next[3] = {0};
    struct crowd crowds[3];
    pthread_t ids[3];
    spargio_join to = spawn_on(rt, other, hears_outsiders, next);
    for (int i = 0; i < 3; i++) {
        crowds[i] = (struct crowd){rt, (uint16_t)i};
        CHECK(pthread_create(&ids[i], NULL, outsider, &crowds[i]) == 0);
    }
    for (int i = 0; i < 3; i++) pthread_join(ids[i], NULL);
    end(to);
}

int main(int argc, char **argv) {
    uint16_t hot[] = {HOT}, counted[] = {COUNTED};
    spargio_runtime_options options;
    spargio_runtime rt = 0;
    uint32_t capacity = 64;
    CHECK_IS(spargio_runtime_options_init(&options), SPARGIO_OK);
    options.shards = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
    options.flags = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
    options.hot_msg_tags = hot, options.hot_msg_tags_count = 1;
    options.coalesced_hot_msg_tags = counted, options.coalesced_hot_msg_tags_count = 1;
    options.hot_counter_wake_threshold = 3;
    other = options.shards > 1;

    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    for (enum path path = 0; path < PATHS; path++) million(rt, path);
    for (int direct = 0; direct < 2 && other != 0; direct++) ping_pong(rt, direct);
    threads(rt);
    listeners(rt);
    CHECK_IS(spargio_msg_send(rt, 99, TAG, 0), SPARGIO_E_INVALID_SHARD);
    CHECK_IS(spargio_msg_send(0, 0, TAG, 0), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK_IS(spargio_msg_send(rt, 0, TAG, 0), SPARGIO_E_CLOSED);

    options.msg_ring_queue_capacity = capacity;
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    end(spawn_on(rt, 0, fills, &capacity));
    for (enum path path = 0; path < PATHS; path++) million(rt, path);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
