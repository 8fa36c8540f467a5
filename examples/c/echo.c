/* A TCP echo server and one client in one program. Both are tasks that read from top to bottom: they
   wait in the middle of their functions (spargio_await.h). What must outlive a wait lies in the
   struct of the task.
   cc echo.c $(pkg-config --cflags --libs spargio) */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "spargio_await.h"

struct server {
    spargio_await await;
    int32_t listener, fd, count, unused;
    int64_t echoed;
    char buffer[512];
};

/* One connection: what comes goes back. Its result is the number of bytes. */
static int32_t serve(void *ctx, int64_t *result) {
    struct server *self = ctx;
    SPARGIO_BEGIN(&self->await);
    SPARGIO_TRY(self->fd, spargio_accept(self->listener, SPARGIO_OP));
    for (;;) {
        SPARGIO_AWAIT(self->count, spargio_recv(self->fd, self->buffer, sizeof self->buffer, 0, SPARGIO_OP));
        if (self->count <= 0) break;
        SPARGIO_AWAIT(self->count, spargio_send(self->fd, self->buffer, (uint32_t)self->count,
                                                MSG_WAITALL, SPARGIO_OP));
        if (self->count <= 0) break;
        self->echoed += self->count;
    }
    SPARGIO_TRY(self->unused, spargio_close(self->fd, SPARGIO_OP));
    if (self->count < 0) return self->count;
    *result = self->echoed;
    SPARGIO_END;
}

struct client {
    spargio_await await;
    uint16_t port;
    int32_t fd, count, unused;
    char buffer[512];
};

/* Sends a greeting; its result is the number of bytes that came back. */
static int32_t talk(void *ctx, int64_t *result) {
    static const char text[] = "Hello, shard.";
    struct client *self = ctx;
    SPARGIO_BEGIN(&self->await);
    SPARGIO_TRY(self->fd, spargio_tcp_connect("127.0.0.1", self->port, SPARGIO_OP));
    SPARGIO_AWAIT(self->count, spargio_send(self->fd, text, sizeof text - 1, MSG_WAITALL, SPARGIO_OP));
    if (self->count > 0)
        SPARGIO_AWAIT(self->count, spargio_recv(self->fd, self->buffer, sizeof text - 1, MSG_WAITALL,
                                                SPARGIO_OP));
    SPARGIO_TRY(self->unused, spargio_close(self->fd, SPARGIO_OP));
    if (self->count < 0) return self->count;
    *result = self->count;
    SPARGIO_END;
}

static int failed(const char *what, int32_t error) {
    fprintf(stderr, "%s: %s\n", what, spargio_strerror(error));
    return 1;
}

int main(void) {
    static struct server server;
    static struct client client;
    spargio_runtime runtime;
    spargio_join serving, talking;
    int64_t served = 0, echoed = 0;
    int32_t error = spargio_runtime_start(NULL, &runtime);
    if (error != SPARGIO_OK) return failed("start", error);
    error = spargio_tcp_listen("127.0.0.1", 0, 16, &server.listener);
    if (error != SPARGIO_OK) return failed("listen", error);
    error = spargio_local_port(server.listener, &client.port);
    if (error != SPARGIO_OK) return failed("port", error);
    error = spargio_spawn(runtime, NULL, serve, &server, &serving);
    if (error == SPARGIO_OK) error = spargio_spawn(runtime, NULL, talk, &client, &talking);
    if (error != SPARGIO_OK) return failed("spawn", error);
    error = spargio_join_wait(talking, SPARGIO_FOREVER, &echoed);
    if (error != SPARGIO_OK) return failed("client", error);
    error = spargio_join_wait(serving, SPARGIO_FOREVER, &served);
    if (error != SPARGIO_OK) return failed("server", error);
    printf("echoed %d bytes: %.*s\n", (int)echoed, (int)echoed, client.buffer);
    spargio_join_release(talking);
    spargio_join_release(serving);
    return spargio_runtime_shutdown(runtime, SPARGIO_FOREVER) == SPARGIO_OK && served == echoed ? 0 : 1;
}
