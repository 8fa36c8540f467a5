/* Operations: files, TCP over loopback, cancelling, results nobody takes. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

/* A small state machine: each step starts one operation and takes the last one's result. */
struct steps {
    int at;
    spargio_op op;
    int fd;
    int other;
    char path[256];
    char buffer[4096];
    uint16_t port;
};

#define STEP(state, call)                                  \
    do {                                                   \
        (state)->at++;                                     \
        CHECK_IS(call, SPARGIO_OK);                        \
        return SPARGIO_PENDING;                            \
    } while (0)

static int32_t take(struct steps *s, int32_t *value) {
    return s->at == 0 ? SPARGIO_READY : spargio_op_poll(s->op, value);
}

static int32_t file(void *ctx, int64_t *result) {
    struct steps *s = ctx;
    int32_t value = 0;
    if (take(s, &value) != SPARGIO_READY) return SPARGIO_PENDING;
    switch (s->at) {
    case 0: STEP(s, spargio_open(s->path, O_RDWR | O_CREAT | O_TRUNC, 0600, &s->op));
    case 1:
        CHECK(value >= 0);
        s->fd = value;
        STEP(s, spargio_write_at(s->fd, "spargio", 7, 100, &s->op));
    case 2: CHECK(value == 7); STEP(s, spargio_fsync(s->fd, 0, &s->op));
    case 3: CHECK(value == 0); STEP(s, spargio_read_at(s->fd, s->buffer, 4096, 98, &s->op));
    case 4:
        CHECK(value == 9 && memcmp(s->buffer, "\0\0spargio", 9) == 0);
        STEP(s, spargio_read_at(s->fd, s->buffer, 10, 5000, &s->op));
    case 5: CHECK(value == 0); STEP(s, spargio_close(s->fd, &s->op));
    case 6: CHECK(value == 0); STEP(s, spargio_open("/nowhere/at/all", O_RDONLY, 0, &s->op));
    case 7: CHECK(value == -ENOENT); STEP(s, spargio_read_at(-1, s->buffer, 1, 0, &s->op));
    case 8: CHECK(value == -EBADF); STEP(s, spargio_nop(&s->op));
    default: CHECK(value == 0);
    }
    CHECK_IS(spargio_op_poll(s->op, &value), SPARGIO_E_CLOSED); /* Used up. */
    *result = 1;
    return SPARGIO_READY;
}

static int32_t server(void *ctx, int64_t *result) {
    struct steps *s = ctx;
    int32_t value = 0;
    (void)result;
    if (take(s, &value) != SPARGIO_READY) return SPARGIO_PENDING;
    switch (s->at) {
    case 0: STEP(s, spargio_accept(s->other, &s->op));
    case 1: CHECK(value >= 0); s->fd = value; /* fallthrough */
    case 2:
        s->at = 2;
        STEP(s, spargio_recv(s->fd, s->buffer, sizeof s->buffer, 0, &s->op));
    case 3:
        CHECK(value >= 0);
        if (value == 0) {
            s->at = 4;
            STEP(s, spargio_close(s->fd, &s->op));
        }
        STEP(s, spargio_send(s->fd, s->buffer, (uint32_t)value, MSG_WAITALL, &s->op));
    case 4:
        CHECK(value > 0);
        s->at = 2;
        STEP(s, spargio_recv(s->fd, s->buffer, sizeof s->buffer, 0, &s->op));
    default: CHECK(value == 0);
    }
    return SPARGIO_READY;
}

static int32_t client(void *ctx, int64_t *result) {
    struct steps *s = ctx;
    int32_t value = 0;
    if (take(s, &value) != SPARGIO_READY) return SPARGIO_PENDING;
    switch (s->at) {
    case 0: STEP(s, spargio_tcp_connect("127.0.0.1", s->port, &s->op));
    case 1: CHECK(value >= 0); s->fd = value; STEP(s, spargio_send(s->fd, "hello", 5, 0, &s->op));
    case 2: CHECK(value == 5); STEP(s, spargio_recv(s->fd, s->buffer, 5, MSG_WAITALL, &s->op));
    case 3:
        CHECK(value == 5 && memcmp(s->buffer, "hello", 5) == 0);
        STEP(s, spargio_shutdown(s->fd, SHUT_WR, &s->op));
    case 4: CHECK(value == 0); STEP(s, spargio_recv(s->fd, s->buffer, 5, 0, &s->op));
    case 5: CHECK(value == 0); STEP(s, spargio_close(s->fd, &s->op));
    default: CHECK(value == 0);
    }
    *result = 5;
    return SPARGIO_READY;
}

static int32_t refused(void *ctx, int64_t *result) {
    struct steps *s = ctx;
    int32_t value = 0;
    if (take(s, &value) != SPARGIO_READY) return SPARGIO_PENDING;
    if (s->at == 0) STEP(s, spargio_tcp_connect("127.0.0.1", s->port, &s->op));
    *result = value;
    return SPARGIO_READY;
}

/* Waits in a receive that only its cancellation ends. */
static int32_t receives(void *ctx, int64_t *result) {
    struct steps *s = ctx;
    int32_t value = 0;
    if (take(s, &value) != SPARGIO_READY) return SPARGIO_PENDING;
    if (s->at == 0) {
        __atomic_store_n(&s->other, 1, __ATOMIC_SEQ_CST);
        STEP(s, spargio_recv(s->fd, s->buffer, 10, 0, &s->op));
    }
    CHECK(spargio_task_cancelled() == 1);
    *result = value;
    return SPARGIO_READY;
}

/* Ends at once and leaves an open and an accept behind: both are undone. */
static int32_t leaves(void *ctx, int64_t *result) {
    struct steps *s = ctx;
    (void)result;
    CHECK_IS(spargio_open("/dev/null", O_RDONLY, 0, &s->op), SPARGIO_OK);
    CHECK_IS(spargio_accept(s->other, &s->op), SPARGIO_OK);
    CHECK_IS(spargio_sleep(UINT64_MAX, &s->op), SPARGIO_OK);
    return SPARGIO_READY;
}

static spargio_join spawn(spargio_runtime rt, spargio_poll_fn fn, struct steps *s) {
    spargio_join handle = 0;
    spargio_placement p = place(SPARGIO_PLACE_ROUND_ROBIN, 0);
    CHECK_IS(spargio_spawn(rt, &p, fn, s, &handle), SPARGIO_OK);
    return handle;
}

static int64_t join(spargio_join handle) {
    int64_t result = 0;
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
    return result;
}

int main(int argc, char **argv) {
    int before = open_descriptors();
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);

    struct steps f = {0};
    snprintf(f.path, sizeof f.path, "io-test-%d.bin", (int)getpid());
    CHECK(join(spawn(rt, file, &f)) == 1);
    CHECK(unlink(f.path) == 0);

    struct steps s = {0}, c = {0};
    CHECK_IS(spargio_tcp_listen("127.0.0.1", 0, 16, &s.other), SPARGIO_OK);
    CHECK_IS(spargio_local_port(s.other, &c.port), SPARGIO_OK);
    spargio_join serving = spawn(rt, server, &s);
    CHECK(join(spawn(rt, client, &c)) == 5);
    join(serving);

    struct steps left = {0};
    left.other = s.other;
    join(spawn(rt, leaves, &left));
    CHECK(close(s.other) == 0);

    struct steps r = {0};
    r.port = c.port;
    CHECK(join(spawn(rt, refused, &r)) == -ECONNREFUSED);

    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    struct steps w = {0};
    w.fd = pair[0];
    spargio_join waiting = spawn(rt, receives, &w);
    while (__atomic_load_n(&w.other, __ATOMIC_SEQ_CST) == 0) usleep(100);
    CHECK_IS(spargio_join_cancel(waiting), SPARGIO_OK);
    CHECK(join(waiting) == -ECANCELED);
    close(pair[0]), close(pair[1]);

    int32_t fd;
    CHECK_IS(spargio_tcp_listen("not an address", 0, 1, &fd), SPARGIO_E_INVALID);
    CHECK_IS(spargio_tcp_listen("1:2:3:4::5:6:7:8", 0, 1, &fd), SPARGIO_E_INVALID); /* "::" is no group. */
    CHECK_IS(spargio_tcp_listen("203.0.113.1", 0, 1, &fd), SPARGIO_E_ERRNO(EADDRNOTAVAIL));
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(open_descriptors() == before);
    return 0;
}
