/* Echo over loopback TCP, both ends on the shards: frames by windows, several streams, uneven load. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tasks.h"

static struct stream {
    spargio_await await;
    int client, server;
    uint32_t size; /* of the window in bytes */
    struct iovec vectors[WINDOW];
    struct msghdr message;
    struct frames frames;
} streams[STREAMS];

static struct server {
    spargio_await await;
    int fd;
    int32_t got, sent;
    _Alignas(64) unsigned char buffer[READ_SIZE];
} servers[STREAMS];

static spargio_join server_joins[STREAMS];
static uint32_t stream_count;

static int32_t serve(void *ctx, int64_t *result) {
    struct server *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    for (;;) {
        SPARGIO_AWAIT(self->got, spargio_recv(self->fd, self->buffer, READ_SIZE, 0, SPARGIO_OP));
        if (self->got <= 0) return SPARGIO_READY;
        SPARGIO_AWAIT(self->sent,
                      spargio_send(self->fd, self->buffer, (uint32_t)self->got, MSG_WAITALL, SPARGIO_OP));
        if (self->sent != self->got) die("the server's send", self->sent);
    }
    SPARGIO_END;
}

static void connect_all(uint32_t count) {
    int client_fds[STREAMS], server_fds[STREAMS];
    connect_streams(count, client_fds, server_fds);
    stream_count = count;
    for (uint32_t s = 0; s < count; s++) {
        streams[s].client = client_fds[s];
        servers[s] = (struct server){.fd = server_fds[s]};
        server_joins[s] = start(SPARGIO_PLACE_PINNED, (s + 1) % 2, serve, &servers[s]);
    }
}

static void set_up_one(void) { connect_all(1); }
static void set_up_all(void) { connect_all(STREAMS); }

static void tear_down(void) {
    for (uint32_t s = 0; s < stream_count; s++) {
        close(streams[s].client);
        finish(server_joins[s]);
        close(servers[s].fd);
    }
}

/* The frames of a window go out as one message of several buffers. */
static int32_t send_window(struct stream *self) {
    struct frames *frames = &self->frames;
    self->size = frames_build(frames);
    for (uint32_t i = 0; i < frames->window; i++)
        self->vectors[i] = (struct iovec){frames->out + (size_t)i * frames->shape->size, frames->shape->size};
    self->message = (struct msghdr){.msg_iov = self->vectors, .msg_iovlen = frames->window};
    return spargio_sendmsg(self->client, &self->message, MSG_WAITALL, &self->await.op);
}

static void tell_owner(const struct frames *frames) {
    static const spargio_msg one = {.tag = OWNED, .value = 1};
    spargio_msg batch[16];
    uint32_t sent, count = frames->shape->frames_of(frames->stream, frames->step);
    for (int i = 0; i < 16; i++) batch[i] = one;
    for (uint32_t f = 0; f < count; f++) CHECK(spargio_msg_send_many(0, frames->step % 2, batch, 16, &sent));
}

static int32_t talk(void *ctx, int64_t *result) {
    struct stream *self = ctx;
    struct frames *frames = &self->frames;
    int32_t count;
    SPARGIO_BEGIN(&self->await);
    for (; frames->step < frames->shape->steps; frames_step(frames, frames->step + 1)) {
        while (frames->left > 0) {
            SPARGIO_AWAIT(count, send_window(self));
            if ((uint32_t)count != self->size) die("a send", count);
            SPARGIO_AWAIT(count, spargio_recv(self->client, frames->in, self->size, MSG_WAITALL, SPARGIO_OP));
            if ((uint32_t)count != self->size) die("a receive", count);
            frames_take(frames);
        }
        if (frames->shape->keyed) tell_owner(frames);
    }
    if (frames->shape->keyed)
        for (uint32_t owner = 0; owner < 2; owner++) CHECK(spargio_msg_send(0, owner, DONE, 0));
    *result = (int64_t)frames->sum;
    SPARGIO_END;
}

struct all {
    spargio_await await;
    const struct shape *shape;
    uint32_t next;
    uint64_t sum;
    spargio_join joins[STREAMS];
};

static void start_all(struct all *self) {
    for (uint32_t s = 0; s < stream_count; s++) {
        streams[s].await = (spargio_await){0};
        frames_begin(&streams[s].frames, self->shape, s);
        self->joins[s] = start(SPARGIO_PLACE_PINNED, s % 2, talk, &streams[s]);
    }
}

static int32_t run_all(void *ctx, int64_t *result) {
    struct all *self = ctx;
    int64_t one;
    SPARGIO_BEGIN(&self->await);
    start_all(self);
    for (self->next = 0; self->next < stream_count; self->next++) {
        WAIT(spargio_join_poll(self->joins[self->next], &one));
        CHECK(spargio_join_release(self->joins[self->next]));
        self->sum += (uint64_t)one;
    }
    *result = (int64_t)self->sum;
    SPARGIO_END;
}

static uint64_t run_shape(const struct shape *shape) {
    struct all all = {.shape = shape};
    return (uint64_t)finish(start(SPARGIO_PLACE_PINNED, 0, run_all, &all));
}

static uint64_t run_echo(void) { return run_shape(&echo); }
static uint64_t run_throughput(void) { return run_shape(&throughput); }
static uint64_t run_imbalanced(void) { return run_shape(&imbalanced); }
static uint64_t run_rotation(void) { return run_shape(&rotation); }
static uint64_t run_pipeline(void) { return run_shape(&pipeline); }

struct owner {
    spargio_await await;
    int streams_done;
    spargio_msg message;
};

/* A sum is complete when all have said that they are done: they say so after their last message. */
static int32_t own(void *ctx, int64_t *result) {
    struct owner *self = ctx;
    uint64_t sum;
    SPARGIO_BEGIN(&self->await);
    while (self->streams_done < STREAMS) {
        WAIT(spargio_msg_next(&self->message));
        self->streams_done++;
    }
    CHECK(spargio_msg_take_hot_count(OWNED, &sum));
    *result = (int64_t)sum;
    SPARGIO_END;
}

static uint64_t run_keyed(void) {
    struct owner owners[2] = {0};
    spargio_join joins[2];
    for (uint64_t i = 0; i < 2; i++) joins[i] = start(SPARGIO_PLACE_PINNED, i, own, &owners[i]);
    uint64_t sum = run_shape(&keyed);
    for (int i = 0; i < 2; i++) sum += (uint64_t)finish(joins[i]);
    return sum;
}

const struct workload net_workloads[] = {
    {"net_echo_rtt_256b", 2, set_up_one, run_echo, tear_down, 0},
    {"net_stream_throughput_4k_window32", 2, set_up_one, run_throughput, tear_down, 0},
    {"net_stream_imbalanced_4k_hot1_light7", 2, set_up_all, run_imbalanced, tear_down, 0},
    {"net_stream_hotspot_rotation_4k", 2, set_up_all, run_rotation, tear_down, 0},
    {"net_pipeline_hotspot_rotation_4k_window32", 2, set_up_all, run_pipeline, tear_down, 0},
    {"net_keyed_hotspot_rotation_4k", 2, set_up_all, run_keyed, tear_down, 0},
    {0},
};
