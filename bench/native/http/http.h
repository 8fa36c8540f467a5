/* SPDX-License-Identifier: MIT
 *
 * What the HTTP responders of this folder share: where a request ends, and the answer. Requests have
 * no body; the answer is that of python/servers/http_exchange.py. */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../control.h"

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"

enum { IN_SIZE = 16384, ANSWERS_MAX = 128, ANSWER_SIZE = sizeof ANSWER - 1, BACKLOG = 1024 };

/* One connection: what has come of a request, and the answers to those that are complete. */
struct exchange {
    int fd;
    uint32_t held; /* bytes of an incomplete request at the head of `in` */
    char in[IN_SIZE];
    char out[ANSWERS_MAX * ANSWER_SIZE];
};

static inline void fail(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

/* Where to receive, and how much. */
static inline char *exchange_room(struct exchange *self, uint32_t *size) {
    *size = IN_SIZE - self->held;
    return self->in + self->held;
}

/* Bytes of `out` that answer what `count` new bytes completed; 0: none yet; -1: a request too long. */
static inline int32_t exchange_feed(struct exchange *self, uint32_t count) {
    char *at = self->in, *end = self->in + self->held + count, *found;
    uint32_t size = 0;
    while (size < sizeof self->out && (found = memmem(at, (size_t)(end - at), "\r\n\r\n", 4)) != NULL) {
        memcpy(self->out + size, ANSWER, ANSWER_SIZE);
        size += ANSWER_SIZE;
        at = found + 4;
    }
    self->held = (uint32_t)(end - at);
    if (self->held == IN_SIZE) return -1;
    if (self->held > 0) memmove(self->in, at, self->held);
    return (int32_t)size;
}

static inline struct exchange *exchange_new(int fd) {
    int on = 1;
    struct exchange *self = malloc(sizeof *self);
    if (fd < 0) fail("accept", -fd);
    if (self == NULL) fail("malloc", ENOMEM);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    self->fd = fd;
    self->held = 0;
    return self;
}

static inline int listen_on_loopback(int flags, in_port_t *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, BACKLOG) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        fail("listen", errno);
    *port = ntohs(address.sin_port);
    return listener;
}

#endif
