/* SQEs that the program fills: polled and told by a function, cancelled, left behind, refused. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

/* What a completion function was told, and how often. */
struct told {
    int count;
    int32_t result;
    int shard_had_no_task;
};

static void tell(void *ctx, int32_t result, uint32_t cqe_flags) {
    struct told *told = ctx;
    spargio_op op;
    (void)cqe_flags;
    told->result = result;
    told->shard_had_no_task = spargio_nop(&op) == SPARGIO_E_NOT_ON_SHARD;
    __atomic_fetch_add(&told->count, 1, __ATOMIC_SEQ_CST);
}

static int count_of(struct told *told) { return __atomic_load_n(&told->count, __ATOMIC_SEQ_CST); }

static struct io_uring_sqe entry(uint8_t opcode, int fd) {
    struct io_uring_sqe sqe;
    memset(&sqe, 0, sizeof sqe);
    sqe.opcode = opcode;
    sqe.fd = fd;
    return sqe;
}

/* ---- statx, by a completion function and by poll ---- */

struct look {
    int at;
    spargio_op op;
    struct told told;
    struct statx info[2];
    char path[64];
};

static int32_t looks(void *ctx, int64_t *result) {
    struct look *l = ctx;
    int32_t value = 0;
    struct io_uring_sqe sqe = entry(IORING_OP_STATX, AT_FDCWD);
    sqe.addr = (uintptr_t)l->path;
    sqe.len = STATX_SIZE | STATX_TYPE;
    sqe.off = (uintptr_t)&l->info[l->at == 0 ? 0 : 1];
    switch (l->at) {
    case 0:
        l->at = 1;
        CHECK_IS(spargio_submit_sqe(&sqe, tell, &l->told, &l->op), SPARGIO_OK);
        CHECK_IS(spargio_op_poll(l->op, &value), SPARGIO_PENDING);
        return SPARGIO_PENDING;
    case 1:
        if (count_of(&l->told) == 0) return SPARGIO_PENDING;
        CHECK(l->told.result == 0 && l->told.shard_had_no_task);
        CHECK_IS(spargio_op_poll(l->op, &value), SPARGIO_E_CLOSED); /* The function had the result. */
        CHECK_IS(spargio_op_cancel(l->op), SPARGIO_E_CLOSED);
        l->at = 2;
        CHECK_IS(spargio_submit_sqe(&sqe, NULL, NULL, &l->op), SPARGIO_OK);
        return SPARGIO_PENDING;
    default:
        if (spargio_op_poll(l->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
        CHECK(value == 0);
    }
    CHECK(l->info[0].stx_size == 7 && l->info[1].stx_size == 7 && S_ISREG(l->info[1].stx_mode));
    *result = (int64_t)l->info[0].stx_size;
    return SPARGIO_READY;
}

/* ---- splice from one pipe to another, with an address that is not aligned ---- */

struct move {
    int started, from, to;
    spargio_op op;
};

static int32_t moves(void *ctx, int64_t *result) {
    struct move *m = ctx;
    int32_t value = 0;
    if (!m->started) {
        char bytes[sizeof(struct io_uring_sqe) + 1];
        struct io_uring_sqe sqe = entry(IORING_OP_SPLICE, m->to);
        sqe.splice_fd_in = m->from;
        sqe.off = sqe.splice_off_in = UINT64_MAX;
        sqe.len = 100;
        memcpy(bytes + 1, &sqe, sizeof sqe);
        m->started = 1;
        CHECK_IS(spargio_submit_sqe(bytes + 1, NULL, NULL, &m->op), SPARGIO_OK);
        return SPARGIO_PENDING;
    }
    if (spargio_op_poll(m->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
    *result = value;
    return SPARGIO_READY;
}

/* ---- what is cancelled, and what a task leaves behind ---- */

struct wait {
    int started, fd, leave;
    struct told told;
    spargio_op op;
};

static int32_t waits(void *ctx, int64_t *result) {
    struct wait *w = ctx;
    if (!w->started) {
        struct io_uring_sqe sqe = entry(IORING_OP_POLL_ADD, w->fd);
        sqe.poll32_events = POLLIN;
        CHECK_IS(spargio_submit_sqe(&sqe, tell, &w->told, NULL), SPARGIO_OK);
        __atomic_store_n(&w->started, 1, __ATOMIC_SEQ_CST);
        return w->leave ? SPARGIO_READY : SPARGIO_PENDING;
    }
    if (count_of(&w->told) == 0) return SPARGIO_PENDING;
    *result = w->told.result;
    return SPARGIO_READY;
}

/* Cancels its own operation by the handle. */
static int32_t gives_up(void *ctx, int64_t *result) {
    struct wait *w = ctx;
    if (!w->started) {
        struct io_uring_sqe sqe = entry(IORING_OP_POLL_ADD, w->fd);
        sqe.poll32_events = POLLIN;
        CHECK_IS(spargio_submit_sqe(&sqe, tell, &w->told, &w->op), SPARGIO_OK);
        w->started = 1;
        CHECK_IS(spargio_op_cancel(w->op), SPARGIO_OK);
    }
    if (count_of(&w->told) == 0) return SPARGIO_PENDING;
    *result = w->told.result;
    return SPARGIO_READY;
}

/* Leaves a new socket behind that nobody takes, and a told one, which is the function's. */
static int32_t leaves(void *ctx, int64_t *result) {
    struct wait *w = ctx;
    (void)result;
    struct io_uring_sqe sqe = entry(IORING_OP_SOCKET, AF_UNIX);
    sqe.off = SOCK_STREAM;
    CHECK_IS(spargio_submit_sqe(&sqe, NULL, NULL, &w->op), SPARGIO_OK);
    CHECK_IS(spargio_submit_sqe(&sqe, tell, &w->told, NULL), SPARGIO_OK);
    return SPARGIO_READY;
}

/* ---- what is refused ---- */

static int32_t refused(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    spargio_op op = 0;
    struct io_uring_sqe sqe = entry(IORING_OP_NOP, -1);
    CHECK_IS(spargio_submit_sqe(NULL, tell, NULL, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_submit_sqe(&sqe, NULL, NULL, NULL), SPARGIO_E_INVALID);
    sqe.flags = IOSQE_IO_LINK;
    CHECK_IS(spargio_submit_sqe(&sqe, tell, NULL, &op), SPARGIO_E_INVALID);
    CHECK(op == 0);
    return SPARGIO_READY;
}

static void check_says(const struct io_uring_sqe *sqe, const char *word) {
    char text[256], little[8];
    CHECK_IS(spargio_sqe_check(sqe, text, sizeof text), SPARGIO_E_INVALID);
    if (strstr(text, word) == NULL) {
        fprintf(stderr, "\"%s\" does not say %s\n", text, word);
        exit(1);
    }
    CHECK_IS(spargio_sqe_check(sqe, little, sizeof little), SPARGIO_E_INVALID);
    CHECK(strncmp(text, little, 7) == 0 && little[7] == 0);
    CHECK_IS(spargio_sqe_check(sqe, NULL, 0), SPARGIO_E_INVALID);
}

static void check_refusals(void) {
    static const struct { uint8_t flag; const char *word; } flags[] = {
        {IOSQE_FIXED_FILE, "IOSQE_FIXED_FILE"}, {IOSQE_IO_DRAIN, "IOSQE_IO_DRAIN"},
        {IOSQE_IO_LINK, "IOSQE_IO_LINK"},       {IOSQE_IO_HARDLINK, "IOSQE_IO_HARDLINK"},
        {IOSQE_BUFFER_SELECT, "BUFFER_SELECT"}, {IOSQE_CQE_SKIP_SUCCESS, "CQE_SKIP_SUCCESS"},
    };
    struct io_uring_sqe sqe = entry(IORING_OP_NOP, -1);
    sqe.flags = IOSQE_ASYNC;
    CHECK_IS(spargio_sqe_check(&sqe, NULL, 0), SPARGIO_OK);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        sqe.flags = flags[i].flag;
        check_says(&sqe, flags[i].word);
    }
    sqe = entry(IORING_OP_RECV, 0), sqe.ioprio = IORING_RECV_MULTISHOT;
    check_says(&sqe, "IORING_RECV_MULTISHOT");
    sqe = entry(IORING_OP_ACCEPT, 0), sqe.ioprio = IORING_ACCEPT_MULTISHOT;
    check_says(&sqe, "IORING_ACCEPT_MULTISHOT");
    sqe = entry(IORING_OP_POLL_ADD, 0), sqe.len = IORING_POLL_ADD_MULTI;
    check_says(&sqe, "IORING_POLL_ADD_MULTI");
    sqe = entry(IORING_OP_MSG_RING, 0);
    check_says(&sqe, "MSG_RING");
    sqe = entry(IORING_OP_NOP, 0), sqe.user_data = 7;
    check_says(&sqe, "user_data must be 0, got 7");
    sqe = entry(255, 0);
    check_says(&sqe, "opcode must be between 0 and 62, got 255");
}

static spargio_join spawn(spargio_runtime rt, spargio_poll_fn fn, void *ctx) {
    spargio_join handle = 0;
    spargio_placement p = place(SPARGIO_PLACE_ROUND_ROBIN, 0);
    CHECK_IS(spargio_spawn(rt, &p, fn, ctx, &handle), SPARGIO_OK);
    return handle;
}

static int64_t join(spargio_join handle) {
    int64_t result = 0;
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
    return result;
}

/* Each round one of: data, a cancellation of the task, its end at once; data races with both. */
static void races(spargio_runtime rt, int rounds) {
    int cancelled = 0, ready = 0;
    for (int i = 0; i < rounds; i++) {
        int pair[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        struct wait w = {0};
        w.fd = pair[0];
        w.leave = i % 3 == 0;
        spargio_join waiting = spawn(rt, waits, &w);
        if (i % 2 == 0)
            while (__atomic_load_n(&w.started, __ATOMIC_SEQ_CST) == 0) {}
        if (i % 5 != 0) CHECK(write(pair[1], "x", 1) == 1);
        if (i % 3 == 1 || i % 5 == 0) CHECK_IS(spargio_join_cancel(waiting), SPARGIO_OK);
        int32_t end = spargio_join_wait(waiting, SPARGIO_FOREVER, NULL);
        CHECK(end == SPARGIO_OK || end == SPARGIO_E_CANCELLED);
        /* Once, and before the join ended; never where the task had not begun. */
        CHECK(count_of(&w.told) == __atomic_load_n(&w.started, __ATOMIC_SEQ_CST));
        if (count_of(&w.told) == 1) {
            CHECK(w.told.result == -ECANCELED || (w.told.result & POLLIN) != 0);
            if (w.told.result == -ECANCELED) cancelled++; else ready++;
        }
        CHECK_IS(spargio_join_release(waiting), SPARGIO_OK);
        close(pair[0]), close(pair[1]);
    }
    CHECK(cancelled > 0 && ready > 0);
}

int main(int argc, char **argv) {
    int before = open_descriptors();
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);
    struct io_uring_sqe nop = entry(IORING_OP_NOP, -1);
    CHECK_IS(spargio_submit_sqe(&nop, tell, NULL, NULL), SPARGIO_E_NOT_ON_SHARD);
    check_refusals();
    join(spawn(rt, refused, NULL));

    struct look l = {0};
    snprintf(l.path, sizeof l.path, "raw-test-%d.bin", (int)getpid());
    int file = open(l.path, O_CREAT | O_WRONLY, 0600);
    CHECK(file >= 0 && write(file, "spargio", 7) == 7 && close(file) == 0);
    CHECK(join(spawn(rt, looks, &l)) == 7);
    CHECK(unlink(l.path) == 0);

    int a[2], b[2];
    char text[8] = {0};
    CHECK(pipe(a) == 0 && pipe(b) == 0 && write(a[1], "splice", 6) == 6);
    struct move m = {0};
    m.from = a[0], m.to = b[1];
    CHECK(join(spawn(rt, moves, &m)) == 6);
    CHECK(read(b[0], text, 7) == 6 && strcmp(text, "splice") == 0);

    struct wait g = {0};
    g.fd = b[0];
    CHECK(join(spawn(rt, gives_up, &g)) == -ECANCELED);

    struct wait left = {0};
    join(spawn(rt, leaves, &left));
    CHECK(count_of(&left.told) == 1);
    if (left.told.result >= 0) CHECK(close(left.told.result) == 0);

    races(rt, 600);

    /* A shutdown cancels what waits; the function is told before it returns. */
    struct wait last = {0};
    last.fd = b[0];
    spargio_join waiting = spawn(rt, waits, &last);
    while (__atomic_load_n(&last.started, __ATOMIC_SEQ_CST) == 0) {}
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(count_of(&last.told) == 1 && last.told.result == -ECANCELED);
    CHECK_IS(spargio_join_release(waiting), SPARGIO_OK);
    close(a[0]), close(a[1]), close(b[0]), close(b[1]);
    CHECK(open_descriptors() == before);
    return 0;
}
