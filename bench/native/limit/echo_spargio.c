/* SPDX-License-Identifier: MIT
 *
 * The limit of Python on spargio: the same echo server in C, on the same library. One shard, a task per
 * connection that receives, then sends. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "../control.h"
#include "limit.h"

enum { BUFFER_SIZE = 65536, BACKLOG = 1024 };

struct connection {
    spargio_await await;
    int fd;
    int32_t count, drained; /* the last receive took all there was */
    unsigned char buffer[BUFFER_SIZE];
};

static int32_t echo(void *ctx, int64_t *result) {
    struct connection *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    for (;;) {
        SPARGIO_AWAIT(self->count, spargio_recv(self->fd, self->buffer, BUFFER_SIZE, self->drained, SPARGIO_OP));
        if (self->count <= 0) break;
        self->drained = self->count < BUFFER_SIZE ? SPARGIO_RECV_DRAINED : 0;
        SPARGIO_AWAIT(self->count,
                      spargio_send(self->fd, self->buffer, (uint32_t)self->count, MSG_WAITALL, SPARGIO_OP));
        if (self->count <= 0) break;
    }
    close(self->fd);
    free(self);
    SPARGIO_END;
}

static struct server {
    spargio_await await;
    int32_t listener, fd;
} server;

static void begin(int fd) {
    int on = 1;
    struct connection *connection = malloc(sizeof *connection);
    if (fd < 0 || connection == NULL) die("accept", fd);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->await = (spargio_await){0};
    connection->fd = fd;
    connection->drained = 0;
    CHECK(spargio_join_release(start_pinned(0, echo, connection)));
}

static int32_t serve(void *ctx, int64_t *result) {
    struct server *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    for (;;) {
        SPARGIO_AWAIT(self->fd, spargio_accept(self->listener, SPARGIO_OP));
        begin(self->fd);
    }
    SPARGIO_END;
}

int main(void) {
    uint16_t port;
    start_runtime(1);
    CHECK(spargio_tcp_listen("127.0.0.1", 0, BACKLOG, &server.listener));
    CHECK(spargio_local_port(server.listener, &port));
    announce(port);
    finish(start_pinned(0, serve, &server));
}
