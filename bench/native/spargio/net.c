/* Echo over loopback TCP, both ends on the shards: frames by windows, several streams, uneven load. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "workload.h"

enum { STREAMS = 8, WINDOW = 32, FRAME = 4096, SMALL = 256, READ_SIZE = 65536 };
enum { DONE = 1, OWNED = 2 }; /* tags: a stream has ended; merged by spargio into a sum */

struct stream {
    struct task task;
    uint32_t number;
    int client, server;
    /* The present repetition. */
    uint32_t frame, size, left, window, next, step, steps;
    uint64_t sum;
    uint32_t (*frames_of)(const struct stream *); /* in the present step */
    uint64_t (*work)(const struct stream *, uint32_t frame);
    int keyed;
    struct iovec vectors[WINDOW];
    struct msghdr message;
    _Alignas(64) unsigned char out[WINDOW * FRAME], in[WINDOW * FRAME];
};

static struct server {
    struct task task;
    int fd;
    int32_t got, sent;
    _Alignas(64) unsigned char buffer[READ_SIZE];
} servers[STREAMS];

static struct stream streams[STREAMS];
static spargio_join server_joins[STREAMS];
static uint32_t stream_count;

static int32_t serve(void *ctx, int64_t *result) {
    struct server *self = ctx;
    (void)result;
    TASK_BEGIN(&self->task)
    for (;;) {
        AWAIT(&self->task, &self->got, spargio_recv(self->fd, self->buffer, READ_SIZE, 0, &self->task.op));
        if (self->got <= 0) return SPARGIO_READY;
        AWAIT(&self->task, &self->sent,
              spargio_send(self->fd, self->buffer, (uint32_t)self->got, MSG_WAITALL, &self->task.op));
        if (self->sent != self->got) die("the server's send", self->sent);
    }
    TASK_END
    return SPARGIO_E_INVALID;
}

static void connect_pair(struct stream *stream, int listener, uint16_t port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    stream->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(stream->client, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect", SPARGIO_E_ERRNO(errno));
    stream->server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    setsockopt(stream->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(stream->server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void connect_all(uint32_t count) {
    int32_t listener;
    uint16_t port;
    stream_count = count;
    CHECK(spargio_tcp_listen("127.0.0.1", 0, STREAMS, &listener));
    CHECK(spargio_local_port(listener, &port));
    for (uint32_t s = 0; s < count; s++) {
        streams[s].number = s;
        connect_pair(&streams[s], listener, port);
        servers[s] = (struct server){.fd = streams[s].server};
        server_joins[s] = start(SPARGIO_PLACE_PINNED, (s + 1) % 2, serve, &servers[s]);
    }
    close(listener);
}

static void set_up_one(void) { connect_all(1); }
static void set_up_all(void) { connect_all(STREAMS); }

static void tear_down(void) {
    for (uint32_t s = 0; s < stream_count; s++) {
        close(streams[s].client);
        finish(server_joins[s]);
        close(streams[s].server);
    }
}

/* The frames of the next window, and how they go out: as one message of several buffers. */
static void build(struct stream *self) {
    self->window = self->left < WINDOW ? self->left : WINDOW;
    for (uint32_t i = 0; i < self->window; i++) {
        unsigned char *frame = self->out + (size_t)i * self->size;
        uint64_t header = (uint64_t)self->number << 32 | (self->frame + i);
        memset(frame, (int)((self->number * 17 + self->frame + i) & 255), self->size);
        memcpy(frame, &header, sizeof header);
        self->vectors[i] = (struct iovec){frame, self->size};
    }
    self->message = (struct msghdr){.msg_iov = self->vectors, .msg_iovlen = self->window};
}

static void take_window(struct stream *self) {
    for (uint32_t i = 0; i < self->window; i++) {
        uint64_t header;
        memcpy(&header, self->in + (size_t)i * self->size, sizeof header);
        if (header != ((uint64_t)self->number << 32 | (self->frame + i))) die("a header", (long)header);
        self->sum += header;
        if (self->work) self->sum += self->work(self, self->frame + i);
    }
    self->frame += self->window;
    self->left -= self->window;
}

static void tell_owner(const struct stream *self, uint32_t frames) {
    static const spargio_msg one = {.tag = OWNED, .value = 1};
    spargio_msg batch[16];
    uint32_t sent;
    for (int i = 0; i < 16; i++) batch[i] = one;
    for (uint32_t f = 0; f < frames; f++) CHECK(spargio_msg_send_many(0, self->step % 2, batch, 16, &sent));
}

static int32_t talk(void *ctx, int64_t *result) {
    struct stream *self = ctx;
    int32_t count;
    TASK_BEGIN(&self->task)
    for (self->step = 0; self->step < self->steps; self->step++) {
        self->left = self->frames_of(self);
        while (self->left > 0) {
            build(self);
            AWAIT(&self->task, &count,
                  spargio_sendmsg(self->client, &self->message, MSG_WAITALL, &self->task.op));
            if ((uint32_t)count != self->window * self->size) die("a send", count);
            AWAIT(&self->task, &count,
                  spargio_recv(self->client, self->in, self->window * self->size, MSG_WAITALL,
                               &self->task.op));
            if ((uint32_t)count != self->window * self->size) die("a receive", count);
            take_window(self);
        }
        if (self->keyed) tell_owner(self, self->frames_of(self));
    }
    if (self->keyed)
        for (uint32_t owner = 0; owner < 2; owner++) CHECK(spargio_msg_send(0, owner, DONE, 0));
    *result = (int64_t)self->sum;
    return SPARGIO_READY;
    TASK_END
    return SPARGIO_E_INVALID;
}

struct kind {
    uint32_t size, steps;
    uint32_t (*frames_of)(const struct stream *);
    uint64_t (*work)(const struct stream *, uint32_t frame);
    int keyed;
};

struct all {
    struct task task;
    const struct kind *kind;
    uint32_t next;
    uint64_t sum;
    spargio_join joins[STREAMS];
};

static void start_all(struct all *self) {
    for (uint32_t s = 0; s < stream_count; s++) {
        struct stream *stream = &streams[s];
        stream->task = (struct task){0};
        stream->frame = 0;
        stream->sum = 0;
        stream->size = self->kind->size;
        stream->steps = self->kind->steps;
        stream->frames_of = self->kind->frames_of;
        stream->work = self->kind->work;
        stream->keyed = self->kind->keyed;
        self->joins[s] = start(SPARGIO_PLACE_PINNED, s % 2, talk, stream);
    }
}

static int32_t run_all(void *ctx, int64_t *result) {
    struct all *self = ctx;
    int64_t one;
    TASK_BEGIN(&self->task)
    start_all(self);
    for (self->next = 0; self->next < stream_count; self->next++) {
        WAIT(&self->task, spargio_join_poll(self->joins[self->next], &one));
        CHECK(spargio_join_release(self->joins[self->next]));
        self->sum += (uint64_t)one;
    }
    *result = (int64_t)self->sum;
    return SPARGIO_READY;
    TASK_END
    return SPARGIO_E_INVALID;
}

static uint64_t run_kind(const struct kind *kind) {
    struct all all = {.kind = kind};
    return (uint64_t)finish(start(SPARGIO_PLACE_PINNED, 0, run_all, &all));
}

static uint32_t one_frame(const struct stream *s) { return (void)s, 1; }
static uint32_t all_frames(const struct stream *s) { return (void)s, 2048; }
static uint32_t hot_one(const struct stream *s) { return s->number == 0 ? 2048 : 128; }
static uint32_t rotating(const struct stream *s) { return s->number == s->step % STREAMS ? 32 : 2; }
static uint32_t pipeline_frames(const struct stream *s) { return (void)s, 1024; }

static uint64_t pipeline_work(const struct stream *s, uint32_t frame) {
    return mix((uint64_t)s->number * 31 + frame + 1, frame / 64 % 8 == s->number ? 4000 : 150);
}

static uint64_t echo(void) { return run_kind(&(struct kind){SMALL, 512, one_frame, NULL, 0}); }
static uint64_t throughput(void) { return run_kind(&(struct kind){FRAME, 1, all_frames, NULL, 0}); }
static uint64_t imbalanced(void) { return run_kind(&(struct kind){FRAME, 1, hot_one, NULL, 0}); }
static uint64_t rotation(void) { return run_kind(&(struct kind){FRAME, 64, rotating, NULL, 0}); }
static uint64_t pipeline(void) {
    return run_kind(&(struct kind){FRAME, 1, pipeline_frames, pipeline_work, 0});
}

struct owner {
    struct task task;
    int streams_done;
    spargio_msg message;
};

/* A sum is complete when all have said that they are done: they say so after their last message. */
static int32_t own(void *ctx, int64_t *result) {
    struct owner *self = ctx;
    uint64_t sum;
    TASK_BEGIN(&self->task)
    while (self->streams_done < STREAMS) {
        WAIT(&self->task, spargio_msg_next(&self->message));
        self->streams_done++;
    }
    CHECK(spargio_msg_take_hot_count(OWNED, &sum));
    *result = (int64_t)sum;
    return SPARGIO_READY;
    TASK_END
    return SPARGIO_E_INVALID;
}

static uint64_t keyed(void) {
    struct owner owners[2] = {0};
    spargio_join joins[2];
    for (uint64_t i = 0; i < 2; i++) joins[i] = start(SPARGIO_PLACE_PINNED, i, own, &owners[i]);
    uint64_t sum = run_kind(&(struct kind){FRAME, 64, rotating, NULL, 1});
    for (int i = 0; i < 2; i++) sum += (uint64_t)finish(joins[i]);
    return sum;
}

const struct workload net_workloads[] = {
    {"net_echo_rtt_256b", 2, set_up_one, echo, tear_down},
    {"net_stream_throughput_4k_window32", 2, set_up_one, throughput, tear_down},
    {"net_stream_imbalanced_4k_hot1_light7", 2, set_up_all, imbalanced, tear_down},
    {"net_stream_hotspot_rotation_4k", 2, set_up_all, rotation, tear_down},
    {"net_pipeline_hotspot_rotation_4k_window32", 2, set_up_all, pipeline, tear_down},
    {"net_keyed_hotspot_rotation_4k", 2, set_up_all, keyed, tear_down},
    {0},
};
