/* SPDX-License-Identifier: MIT
 *
 * An HTTP responder on spargio's C interface: one shard, a task per connection that receives, then
 * sends (spargio_await.h). Exit status 77 if no runtime can be started. */
#include "http.h"

#include "spargio_await.h"

enum { SKIPPED = 77 };

static spargio_runtime runtime;

static void check(const char *what, int32_t status) {
    if (status >= 0) return;
    fprintf(stderr, "%s: %s\n", what, spargio_strerror(status));
    exit(1);
}

struct connection {
    spargio_await await;
    int32_t count, drained; /* the last receive took all there was */
    uint32_t room;
    char *into;
    struct exchange *exchange;
};

static int32_t serve(void *ctx, int64_t *result) {
    struct connection *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    for (;;) {
        self->into = exchange_room(self->exchange, &self->room);
        SPARGIO_AWAIT(self->count, spargio_recv(self->exchange->fd, self->into, self->room, self->drained, SPARGIO_OP));
        if (self->count <= 0) break;
        self->drained = (uint32_t)self->count < self->room ? SPARGIO_RECV_DRAINED : 0;
        self->count = exchange_feed(self->exchange, (uint32_t)self->count);
        if (self->count < 0) break;
        if (self->count == 0) continue;
        SPARGIO_AWAIT(self->count, spargio_send(self->exchange->fd, self->exchange->out, (uint32_t)self->count,
                                                MSG_WAITALL, SPARGIO_OP));
        if (self->count <= 0) break;
    }
    close(self->exchange->fd);
    free(self->exchange);
    free(self);
    SPARGIO_END;
}

static struct server {
    spargio_await await;
    int listener;
    int32_t fd;
} server;

static void begin(int32_t fd) {
    static const spargio_placement here = {sizeof here, SPARGIO_PLACE_PINNED, 0};
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) fail("calloc", ENOMEM);
    connection->exchange = exchange_new(fd);
    check("spawn", spargio_spawn(runtime, &here, serve, connection, NULL));
}

static int32_t accept_all(void *ctx, int64_t *result) {
    struct server *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    for (;;) {
        SPARGIO_TRY(self->fd, spargio_accept(self->listener, SPARGIO_OP));
        begin(self->fd);
    }
    SPARGIO_END;
}

int main(void) {
    spargio_runtime_options options;
    spargio_join join;
    in_port_t port;
    spargio_runtime_options_init(&options);
    options.shards = 1;
    /* As epoll_wait(2): sleep at once. The usual spin shortens the answer, and costs 3 % of the CPU. */
    options.idle_strategy = SPARGIO_IDLE_SLEEP;
    options.idle_sleep_ns = 1000000000;
    int32_t status = spargio_runtime_start(&options, &runtime);
    if (status < 0) {
        fprintf(stderr, "http_spargio: %s\n", spargio_strerror(status));
        return SKIPPED;
    }
    server.listener = listen_on_loopback(0, &port);
    check("spawn", spargio_spawn(runtime, NULL, accept_all, &server, &join));
    announce(port);
    check("accept", spargio_join_wait(join, SPARGIO_FOREVER, NULL));
}
