/* The connections of the net_ workloads, and the frames that go over them. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

static uint32_t one(uint32_t s, uint32_t t) { return (void)s, (void)t, 1; }
static uint32_t all(uint32_t s, uint32_t t) { return (void)s, (void)t, 2048; }
static uint32_t hot_one(uint32_t s, uint32_t t) { return (void)t, s == 0 ? 2048 : 128; }
static uint32_t rotating(uint32_t s, uint32_t t) { return s == t % STREAMS ? 32 : 2; }
static uint32_t even(uint32_t s, uint32_t t) { return (void)s, (void)t, 1024; }

static uint64_t work(uint32_t s, uint32_t frame) {
    return mix((uint64_t)s * 31 + frame + 1, frame / 64 % 8 == s ? 4000 : 150);
}

const struct shape echo = {1, 256, 512, one, NULL, 0};
const struct shape throughput = {1, FRAME, 1, all, NULL, 0};
const struct shape imbalanced = {STREAMS, FRAME, 1, hot_one, NULL, 0};
const struct shape rotation = {STREAMS, FRAME, 64, rotating, NULL, 0};
const struct shape pipeline = {STREAMS, FRAME, 1, even, work, 0};
const struct shape keyed = {STREAMS, FRAME, 64, rotating, NULL, 1};

void frames_begin(struct frames *self, const struct shape *shape, uint32_t stream) {
    self->shape = shape;
    self->stream = stream;
    self->frame = 0;
    self->sum = 0;
    frames_step(self, 0);
}

void frames_step(struct frames *self, uint32_t step) {
    self->step = step;
    self->left = self->shape->frames_of(self->stream, step);
}

uint32_t frames_build(struct frames *self) {
    uint32_t size = self->shape->size;
    self->window = self->left < WINDOW ? self->left : WINDOW;
    for (uint32_t i = 0; i < self->window; i++) {
        unsigned char *frame = self->out + (size_t)i * size;
        uint64_t header = (uint64_t)self->stream << 32 | (self->frame + i);
        memset(frame, (int)((self->stream * 17 + self->frame + i) & 255), size);
        memcpy(frame, &header, sizeof header);
    }
    return self->window * size;
}

void frames_take(struct frames *self) {
    for (uint32_t i = 0; i < self->window; i++) {
        uint64_t header;
        memcpy(&header, self->in + (size_t)i * self->shape->size, sizeof header);
        if (header != ((uint64_t)self->stream << 32 | (self->frame + i))) fail("a frame", "wrong header");
        self->sum += header;
        if (self->shape->work) self->sum += self->shape->work(self->stream, self->frame + i);
    }
    self->frame += self->window;
    self->left -= self->window;
}

static int checked(int result, const char *what) {
    if (result < 0) fail(what, strerror(errno));
    return result;
}

void connect_streams(uint32_t count, int clients[], int servers[]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int on = 1, listener = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    checked(bind(listener, (struct sockaddr *)&address, size), "bind");
    checked(listen(listener, STREAMS), "listen");
    checked(getsockname(listener, (struct sockaddr *)&address, &size), "getsockname");
    for (uint32_t s = 0; s < count; s++) {
        clients[s] = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
        checked(connect(clients[s], (struct sockaddr *)&address, size), "connect");
        servers[s] = checked(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept");
        setsockopt(clients[s], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(servers[s], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    close(listener);
}
