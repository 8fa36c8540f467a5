/* spargio_await.h: waits in the middle of a function, their errors, joins, yields, cancellation. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "spargio_await.h"

enum { MILLISECOND = 1000000, ROUNDS = 100 };

struct peer {
    spargio_await await;
    int fd;
    int32_t count, rounds;
    unsigned char byte;
};

/* Sends a number and waits for the next higher one. */
static int32_t count_up(void *ctx, int64_t *result) {
    struct peer *self = ctx;
    SPARGIO_BEGIN(&self->await);
    for (self->rounds = 0; self->rounds < ROUNDS; self->rounds++) {
        SPARGIO_TRY(self->count, spargio_send(self->fd, &self->byte, 1, 0, SPARGIO_OP));
        CHECK(self->count == 1);
        SPARGIO_TRY(self->count, spargio_recv(self->fd, &self->byte, 1, 0, SPARGIO_OP));
        CHECK(self->count == 1 && self->byte == (unsigned char)(self->rounds + 1));
        SPARGIO_YIELD_NOW;
    }
    *result = self->rounds;
    SPARGIO_END;
}

static int32_t answer(void *ctx, int64_t *result) {
    struct peer *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    for (;;) {
        SPARGIO_TRY(self->count, spargio_recv(self->fd, &self->byte, 1, 0, SPARGIO_OP));
        if (self->count == 0) break;
        self->byte++;
        SPARGIO_TRY(self->count, spargio_send(self->fd, &self->byte, 1, 0, SPARGIO_OP));
    }
    SPARGIO_END;
}

/* The kernel's errors and those of the call itself come out of the same value. */
static int32_t errors(void *ctx, int64_t *result) {
    struct peer *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    SPARGIO_AWAIT(self->count, spargio_recv(-1, &self->byte, 1, 0, SPARGIO_OP));
    CHECK_IS(self->count, SPARGIO_E_ERRNO(EBADF));
    SPARGIO_AWAIT(self->count, spargio_read_at(self->fd, &self->byte, 1, UINT64_MAX, SPARGIO_OP));
    CHECK_IS(self->count, SPARGIO_E_INVALID);
    SPARGIO_AWAIT_WITHIN(self->count, MILLISECOND, spargio_recv(self->fd, &self->byte, 1, 0, SPARGIO_OP));
    CHECK_IS(self->count, SPARGIO_E_ERRNO(ETIME));
    SPARGIO_AWAIT_WITHIN(self->count, MILLISECOND, spargio_read_at(-1, &self->byte, 1, UINT64_MAX, SPARGIO_OP));
    CHECK_IS(self->count, SPARGIO_E_INVALID);
    SPARGIO_AWAIT(self->count, spargio_open("/", 0, 0, SPARGIO_OP));
    CHECK(self->count >= 0);
    SPARGIO_AWAIT(self->count, spargio_close(self->count, SPARGIO_OP));
    CHECK(self->count == 0);
    SPARGIO_TRY(self->count, spargio_close(-1, SPARGIO_OP));
    CHECK(!"an error ends the task");
    SPARGIO_END;
}

struct parent {
    spargio_await await;
    spargio_runtime runtime;
    spargio_join child;
    struct peer peer;
    spargio_op tick;
    int32_t value;
    int64_t counted;
};

/* An operation with a handle of its own goes on while the task waits for another one. */
static int32_t joins(void *ctx, int64_t *result) {
    struct parent *self = ctx;
    int32_t status;
    SPARGIO_BEGIN(&self->await);
    CHECK_IS(spargio_sleep(MILLISECOND, &self->tick), SPARGIO_OK);
    CHECK_IS(spargio_spawn(self->runtime, NULL, count_up, &self->peer, &self->child), SPARGIO_OK);
    SPARGIO_JOIN(status, self->child, &self->counted);
    CHECK_IS(status, SPARGIO_READY);
    CHECK_IS(spargio_join_release(self->child), SPARGIO_OK);
    SPARGIO_JOIN(status, self->child, &self->counted);
    CHECK_IS(status, SPARGIO_E_CLOSED);
    SPARGIO_WAIT(status, spargio_op_poll(self->tick, &self->value));
    CHECK(status == SPARGIO_READY && self->value == 0);
    *result = self->counted;
    SPARGIO_END;
}

static int32_t sleeps_long(void *ctx, int64_t *result) {
    struct peer *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    self->rounds = 1;
    CHECK(send(self->fd, "x", 1, 0) == 1);
    SPARGIO_AWAIT(self->count, spargio_sleep(3600ull * 1000 * MILLISECOND, SPARGIO_OP));
    CHECK_IS(self->count, SPARGIO_E_ERRNO(ECANCELED));
    CHECK(spargio_task_cancelled() == 1);
    return SPARGIO_E_CANCELLED;
    SPARGIO_END;
}

static int32_t finish(spargio_join join, int64_t *result) {
    int32_t status = spargio_join_wait(join, SPARGIO_FOREVER, result);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
    return status;
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    spargio_runtime runtime = start(argc, argv, &options);
    spargio_join join, other;
    int64_t result = 0;
    int pair[2];
    char byte;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);

    struct peer server = {.fd = pair[1]};
    struct parent parent = {.runtime = runtime, .peer = {.fd = pair[0]}};
    CHECK_IS(spargio_spawn(runtime, NULL, answer, &server, &other), SPARGIO_OK);
    CHECK_IS(spargio_spawn(runtime, NULL, joins, &parent, &join), SPARGIO_OK);
    CHECK_IS(finish(join, &result), SPARGIO_OK);
    CHECK(result == ROUNDS);
    CHECK(shutdown(pair[0], SHUT_WR) == 0);
    CHECK_IS(finish(other, NULL), SPARGIO_OK);

    struct peer wrong = {.fd = pair[0]};
    CHECK_IS(spargio_spawn(runtime, NULL, errors, &wrong, &join), SPARGIO_OK);
    CHECK_IS(finish(join, NULL), SPARGIO_E_ERRNO(EBADF));

    int more[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, more) == 0);
    struct peer sleeper = {.fd = more[0]};
    CHECK_IS(spargio_spawn(runtime, NULL, sleeps_long, &sleeper, &join), SPARGIO_OK);
    CHECK(recv(more[1], &byte, 1, 0) == 1);
    CHECK_IS(spargio_join_cancel(join), SPARGIO_OK);
    CHECK_IS(finish(join, NULL), SPARGIO_E_CANCELLED);

    CHECK_IS(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER), SPARGIO_OK);
    for (int i = 0; i < 2; i++) close(pair[i]), close(more[i]);
    return 0;
}
