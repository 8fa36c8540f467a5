/* Messages between two shards: by the lanes, which is what a sender that may be anywhere uses. */
#include "tasks.h"

enum { PING = 1, ACK, DATA, FLUSH, SUM, STOP };
enum { ROUNDS = 256, COLD_ROUNDS = 64, SENDS = 2048 };

static spargio_join responder_join;
static struct responder {
    spargio_await await;
    uint32_t sum;
} responder_state;

static int32_t responder(void *ctx, int64_t *result) {
    struct responder *self = ctx;
    (void)result;
    for (;;) {
        spargio_msg message;
        if (spargio_msg_next(&message) != SPARGIO_READY) return SPARGIO_PENDING;
        switch (message.tag) {
        case PING: CHECK(spargio_msg_send(0, 0, ACK, message.value)); break;
        case DATA: self->sum += message.value; break;
        case FLUSH:
            CHECK(spargio_msg_send(0, 0, SUM, self->sum));
            self->sum = 0;
            break;
        default: return SPARGIO_READY;
        }
    }
}

static void set_up(void) {
    responder_state = (struct responder){0};
    responder_join = start(SPARGIO_PLACE_PINNED, 1, responder, &responder_state);
}

static void tear_down(void) {
    CHECK(spargio_msg_send(runtime, 1, STOP, 0));
    finish(responder_join);
}

struct client {
    spargio_await await;
    spargio_msg message;
    uint32_t round, rounds;
    uint64_t sum;
};

static int32_t ping(void *ctx, int64_t *result) {
    struct client *self = ctx;
    SPARGIO_BEGIN(&self->await);
    for (self->round = 0; self->round < self->rounds; self->round++) {
        CHECK(spargio_msg_send(0, 1, PING, self->round));
        WAIT(spargio_msg_next(&self->message));
        self->sum += self->message.value;
    }
    *result = (int64_t)self->sum;
    SPARGIO_END;
}

static uint64_t rounds_of(uint32_t rounds) {
    struct client client = {.rounds = rounds};
    return (uint64_t)finish(start(SPARGIO_PLACE_PINNED, 0, ping, &client));
}

static uint64_t ping_pong(void) { return rounds_of(ROUNDS); }

static int32_t drain(void *ctx, int64_t *result) {
    static spargio_msg batch[SENDS + 1];
    struct client *self = ctx;
    uint32_t sent;
    SPARGIO_BEGIN(&self->await);
    for (uint32_t i = 0; i < SENDS; i++) batch[i] = (spargio_msg){.tag = DATA, .value = i};
    batch[SENDS] = (spargio_msg){.tag = FLUSH};
    CHECK(spargio_msg_send_many(0, 1, batch, SENDS + 1, &sent));
    WAIT(spargio_msg_next(&self->message));
    *result = self->message.value;
    SPARGIO_END;
}

static uint64_t send_drain(void) {
    struct client client = {0};
    return (uint64_t)finish(start(SPARGIO_PLACE_PINNED, 0, drain, &client));
}

static uint64_t cold_start(void) {
    spargio_runtime_options options;
    CHECK(spargio_runtime_options_init(&options));
    options.shards = 2;
    CHECK(spargio_runtime_start(&options, &runtime));
    set_up();
    uint64_t sum = rounds_of(COLD_ROUNDS);
    tear_down();
    CHECK(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER));
    return sum;
}

const struct workload message_workloads[] = {
    {"steady_ping_pong_rtt", 2, set_up, ping_pong, tear_down, 0},
    {"steady_one_way_send_drain", 2, set_up, send_drain, tear_down, 0},
    {"cold_start_ping_pong", 2, NULL, cold_start, NULL, 1},
    {0},
};
