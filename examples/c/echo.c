/* A TCP echo server and one client in one program. Each is a small state machine: a poll function
   that starts an operation, says PENDING, and is called again when the operation has ended.
   cc echo.c $(pkg-config --cflags --libs spargio) */
#include <stdio.h>
#include <string.h>

#include "spargio.h"

enum step { BEGIN, CONNECTED, RECEIVED, SENT, CLOSED };

struct peer {
    enum step step;
    spargio_op op;
    int32_t fd;
    int32_t listener;
    uint16_t port;
    int32_t length;
    char buffer[512];
};

/* Goes on to `next` when the operation that `call` starts has ended. */
static int32_t go(struct peer *peer, enum step next, int32_t call) {
    peer->step = next;
    return call == SPARGIO_OK ? SPARGIO_PENDING : call;
}

/* PENDING while the operation is under way; a failed one ends the task with its error number. */
static int32_t take(struct peer *peer, int32_t *value) {
    int32_t status = peer->step == BEGIN ? SPARGIO_READY : spargio_op_poll(peer->op, value);
    return status == SPARGIO_READY && *value < 0 ? SPARGIO_E_ERRNO(-*value) : status;
}

static int32_t serve(void *ctx, int64_t *result) {
    struct peer *peer = ctx;
    int32_t value = 0, status = take(peer, &value);
    if (status != SPARGIO_READY) return status;
    switch (peer->step) {
    case BEGIN:
        return go(peer, CONNECTED, spargio_accept(peer->listener, &peer->op));
    case CONNECTED:
        peer->fd = value;
        return go(peer, RECEIVED,
                  spargio_recv(peer->fd, peer->buffer, sizeof peer->buffer, 0, &peer->op));
    case RECEIVED:
        if (value == 0) return go(peer, CLOSED, spargio_close(peer->fd, &peer->op));
        *result = value;
        return go(peer, SENT, spargio_send(peer->fd, peer->buffer, (uint32_t)value, 0, &peer->op));
    case SENT:
        return go(peer, RECEIVED,
                  spargio_recv(peer->fd, peer->buffer, sizeof peer->buffer, 0, &peer->op));
    default:
        return SPARGIO_READY;
    }
}

static int32_t talk(void *ctx, int64_t *result) {
    static const char text[] = "Hello, shard.";
    struct peer *peer = ctx;
    int32_t value = 0, status = take(peer, &value);
    if (status != SPARGIO_READY) return status;
    switch (peer->step) {
    case BEGIN:
        return go(peer, CONNECTED, spargio_tcp_connect("127.0.0.1", peer->port, &peer->op));
    case CONNECTED:
        peer->fd = value;
        return go(peer, SENT, spargio_send(peer->fd, text, sizeof text - 1, 0, &peer->op));
    case SENT:
        return go(peer, RECEIVED,
                  spargio_recv(peer->fd, peer->buffer, sizeof peer->buffer, 0, &peer->op));
    case RECEIVED:
        peer->length = value;
        return go(peer, CLOSED, spargio_close(peer->fd, &peer->op));
    default:
        *result = peer->length;
        return SPARGIO_READY;
    }
}

int main(void) {
    spargio_runtime runtime;
    spargio_join server, client;
    struct peer a, b;
    int64_t echoed = 0;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    if (spargio_runtime_start(NULL, &runtime) != SPARGIO_OK) return 1;
    if (spargio_tcp_listen("127.0.0.1", 0, 16, &a.listener) != SPARGIO_OK) return 1;
    if (spargio_local_port(a.listener, &b.port) != SPARGIO_OK) return 1;
    if (spargio_spawn(runtime, NULL, serve, &a, &server) != SPARGIO_OK) return 1;
    if (spargio_spawn(runtime, NULL, talk, &b, &client) != SPARGIO_OK) return 1;
    int32_t result = spargio_join_wait(client, SPARGIO_FOREVER, &echoed);
    if (result != SPARGIO_OK) fprintf(stderr, "client: %s\n", spargio_strerror(result));
    printf("echoed %d bytes: %.*s\n", (int)echoed, (int)echoed, b.buffer);
    spargio_join_wait(server, SPARGIO_FOREVER, NULL);
    spargio_join_release(client);
    spargio_join_release(server);
    return spargio_runtime_shutdown(runtime, SPARGIO_FOREVER) == SPARGIO_OK && echoed == 13 ? 0 : 1;
}
