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
    struct task task;
    int fd;
    int32_t count;
    unsigned char buffer[BUFFER_SIZE];
};

static int32_t echo(void *ctx, int64_t *result) {
    struct connection *self = ctx;
    (void)result;
    TASK_BEGIN(&self->task)
    for (;;) {
        AWAIT(&self->task, &self->count,
              spargio_recv(self->fd, self->buffer, BUFFER_SIZE, 0, &self->task.op));
        if (self->count <= 0) break;
        AWAIT(&self->task, &self->count,
              spargio_send(self->fd, self->buffer, (uint32_t)self->count, MSG_WAITALL, &self->task.op));
        if (self->count <= 0) break;
    }
    close(self->fd);
    free(self);
    return SPARGIO_READY;
    TASK_END
    return SPARGIO_E_INVALID;
}

static struct server {
    struct task task;
    int32_t listener, fd;
} server;

static void begin(int fd) {
    int on = 1;
    struct connection *connection = malloc(sizeof *connection);
    if (fd < 0 || connection == NULL) die("accept", fd);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->task = (struct task){0};
    connection->fd = fd;
    CHECK(spargio_join_release(start_pinned(0, echo, connection)));
}

static int32_t serve(void *ctx, int64_t *result) {
    struct server *self = ctx;
    (void)result;
    TASK_BEGIN(&self->task)
    for (;;) {
        AWAIT(&self->task, &self->fd, spargio_accept(self->listener, &self->task.op));
        begin(self->fd);
    }
    TASK_END
    return SPARGIO_E_INVALID;
}

int main(void) {
    uint16_t port;
    start_runtime(1);
    CHECK(spargio_tcp_listen("127.0.0.1", 0, BACKLOG, &server.listener));
    CHECK(spargio_local_port(server.listener, &port));
    announce(port);
    finish(start_pinned(0, serve, &server));
}
