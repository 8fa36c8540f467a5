/* Random cancels of every kind of operation. Each attempt is a task with a few operations, which are
 * cancelled by their task at once or later, by a join handle from outside, or left under way when the
 * task ends; peers make some of them succeed meanwhile. Then: each operation ended once, no byte was
 * lost or came twice, no buffer was written to after its operation had ended, and there are as many
 * descriptors and operations as before.
 *
 * argv: shards, queue backend, runtime flags, attempts, seed */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stdbool.h>

#include "check.h"

enum { SLOTS = 48, OPS_MAX = 4, ROOM = 64, PATTERN = 0xa5, KEPT = 512 };

enum kind {
    PIPE_READ, PIPE_FULL, SOCKET_RECV, SOCKET_SEND, ACCEPT, CONNECT, CONNECT_SLOW, OPEN, OPEN_FIFO,
    FILE_READ, FILE_WRITE, FSYNC, SLEEP, POLL, SPLICE, RAW_SOCKET, RAW_CALLBACK, PASSED, RECV_FROM,
    LIMITED, CALL, PERMIT, CONNECTIONS, PIECES, CLOSE, KINDS
};

enum ending { CANCEL_NOW, CANCEL_LATER, CANCEL_OUTSIDE, LEAVE, SUCCEED, ENDINGS };

/* What one attempt at a time uses. */
struct slot {
    int in, out;           /* a pipe: tasks read `in` */
    int full_in, full_out; /* a pipe that nobody empties */
    int socket, peer;
    int passing, passer;   /* Unix sockets that descriptors are sent over */
    int listener;
    uint16_t port;
    int file;
    unsigned char sent, got; /* next byte of the pipe */
    unsigned char sent_socket, got_socket;
};

struct operation {
    enum kind kind;
    spargio_op op;
    bool done;
    int32_t result;
    unsigned char *buffer;
    int fd; /* a descriptor of its own */
    struct msghdr message;
    struct iovec vector;
    union {
        size_t align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct attempt *of;
};

struct attempt {
    struct slot *slot;
    enum ending ending;
    int count, yields;
    bool begun;
    bool lossy; /* a result may have been thrown away */
    int callbacks;
    struct operation ops[OPS_MAX];
    spargio_join join;
};

static uint64_t random_state;
static uint16_t slow_port;
static spargio_semaphore semaphore; /* with one permit */
static char folder[64];
static char path_file[96], path_fifo[96];
static uint64_t cancelled, succeeded, failed, left;

/* xorshift64* */
static uint32_t below(uint32_t limit) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1dull) >> 33) % limit;
}

/* ---- buffers that stay a while after their operation, to see whether somebody still writes ---- */

static unsigned char *kept[KEPT];
static unsigned kept_next;

static void check_kept(unsigned at) {
    if (kept[at] == NULL) return;
    for (int i = 0; i < ROOM; i++) CHECK(kept[at][i] == PATTERN);
    free(kept[at]);
    kept[at] = NULL;
}

static void keep(unsigned char *buffer) {
    memset(buffer, PATTERN, ROOM);
    check_kept(kept_next);
    kept[kept_next] = buffer;
    kept_next = (kept_next + 1) % KEPT;
}

/* ---- an operation ---- */

static void expect(unsigned char *next, const unsigned char *bytes, int count) {
    for (int i = 0; i < count; i++) CHECK(bytes[i] == (*next)++);
}

static void called_back(void *ctx, int32_t result, uint32_t flags) {
    struct operation *o = ctx;
    (void)flags;
    CHECK(!o->done);
    o->done = true;
    o->result = result;
    o->of->callbacks++;
    if (result >= 0) CHECK(close(result) == 0);
}

static int32_t raw_socket(struct operation *o) {
    struct io_uring_sqe sqe = {.opcode = IORING_OP_SOCKET, .fd = AF_INET, .off = SOCK_STREAM};
    if (o->kind == RAW_SOCKET) return spargio_submit_sqe(&sqe, NULL, NULL, &o->op);
    return spargio_submit_sqe(&sqe, called_back, o, &o->op);
}

/* On a thread: the buffer is there until it has returned. */
static int32_t writes_late(void *buffer) {
    usleep(200);
    memset(buffer, 1, ROOM);
    return 0;
}

static int32_t limited(struct operation *o, int fd) {
    int32_t said = spargio_poll(fd, POLLIN, &o->op);
    if (said == SPARGIO_OK) CHECK_IS(spargio_op_timeout(o->op, below(2000000)), SPARGIO_OK);
    return said;
}

static int32_t begin(struct operation *o) {
    struct slot *s = o->of->slot;
    switch (o->kind) {
    case PIPE_READ: return spargio_read_at(s->in, o->buffer, ROOM, 0, &o->op);
    case PIPE_FULL: return spargio_write_at(s->full_out, o->buffer, ROOM, 0, &o->op);
    case SOCKET_RECV: return spargio_recv(s->socket, o->buffer, ROOM, 0, &o->op);
    case SOCKET_SEND: return spargio_send(s->peer, o->buffer, 0, 0, &o->op);
    case ACCEPT: return spargio_accept(s->listener, &o->op);
    case CONNECT: return spargio_tcp_connect("127.0.0.1", s->port, &o->op);
    case CONNECT_SLOW: return spargio_tcp_connect("127.0.0.1", slow_port, &o->op);
    case OPEN: return spargio_open(path_file, O_RDWR, 0, &o->op);
    case OPEN_FIFO: return spargio_open(path_fifo, O_RDONLY, 0, &o->op);
    case FILE_READ: return spargio_read_at(s->file, o->buffer, ROOM, 0, &o->op);
    case FILE_WRITE: return spargio_write_at(s->file, o->buffer, ROOM, 0, &o->op);
    case FSYNC: return spargio_fsync(s->file, 1, &o->op);
    case SLEEP: return spargio_sleep(o->of->ending == SUCCEED ? 1000 : 1000000000000ull, &o->op);
    case POLL: return spargio_poll(s->in, POLLIN, &o->op);
    case SPLICE: return spargio_splice(s->in, UINT64_MAX, s->full_out, UINT64_MAX, ROOM, 0, &o->op);
    case RAW_SOCKET:
    case RAW_CALLBACK: return raw_socket(o);
    case PASSED:
        o->vector = (struct iovec){o->buffer, ROOM};
        o->message.msg_iov = &o->vector;
        o->message.msg_iovlen = 1;
        o->message.msg_control = &o->control;
        o->message.msg_controllen = sizeof o->control.bytes;
        return spargio_recvmsg(s->passing, &o->message, MSG_CMSG_CLOEXEC, &o->op);
    case RECV_FROM: return spargio_recvfrom(s->passing, o->buffer, ROOM, 0, NULL, NULL, &o->op);
    case LIMITED: return limited(o, s->in);
    case CALL: return spargio_blocking(writes_late, o->buffer, &o->op);
    case PERMIT: return spargio_semaphore_acquire(semaphore, 1, &o->op);
    case CONNECTIONS: return spargio_accept_multishot(s->listener, &o->op);
    case PIECES: return spargio_recv_multishot(s->passing, &o->op);
    default:
        o->fd = dup(s->file);
        CHECK(o->fd >= 0);
        return spargio_close(o->fd, &o->op);
    }
}

static bool gives_descriptor(enum kind kind) {
    return kind == ACCEPT || kind == CONNECT || kind == CONNECT_SLOW || kind == OPEN || kind == OPEN_FIFO ||
           kind == RAW_SOCKET;
}

/* The task takes the result. */
static void take(struct operation *o, int32_t result) {
    struct slot *s = o->of->slot;
    CHECK(!o->done);
    o->done = true;
    o->result = result;
    if (result >= 0 && gives_descriptor(o->kind)) CHECK(close(result) == 0);
    if (result > 0 && o->kind == PIPE_READ) expect(&s->got, o->buffer, result);
    if (result > 0 && o->kind == SOCKET_RECV) expect(&s->got_socket, o->buffer, result);
    if (result > 0 && o->kind == PASSED) {
        struct cmsghdr *header = CMSG_FIRSTHDR(&o->message);
        int fd = -1;
        CHECK(header != NULL);
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
        CHECK(close(fd) == 0);
    }
    if (result == 0 && o->kind == PERMIT) CHECK_IS(spargio_semaphore_release(semaphore, 1), SPARGIO_OK);
    if (result == -ETIME && o->kind == LIMITED) o->result = result = -ECANCELED;
    if (o->kind == CLOSE) CHECK(result == 0); /* A close is never cancelled. */
    if (result < 0 && result != -ECANCELED && result != -EINTR) fprintf(stderr, "kind %d: %d\n", o->kind, result);
    CHECK(result >= 0 || result == -ECANCELED || result == -EINTR);
    memset(o->buffer, PATTERN, ROOM);
}

/* What makes waiting operations of the slot succeed. */
static void push(struct slot *s) {
    unsigned char byte = s->sent;
    if (write(s->out, &byte, 1) == 1) s->sent++;
    byte = s->sent_socket;
    if (send(s->peer, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) s->sent_socket++;
    union {
        size_t align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &s->file, sizeof(int));
    (void)!sendmsg(s->passer, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(s->port),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(client >= 0);
    (void)!connect(client, (struct sockaddr *)&where, sizeof where);
    CHECK(close(client) == 0);
}

/* ---- an attempt ---- */

static int32_t run(void *ctx, int64_t *result) {
    struct attempt *a = ctx;
    bool waiting = false;
    (void)result;
    if (!a->begun) {
        a->begun = true;
        /* Asked for in time, but with nothing to cancel yet: then it is the task's to look. */
        if (spargio_task_cancelled() == 1) a->ending = CANCEL_NOW;
        for (int i = 0; i < a->count; i++) CHECK_IS(begin(&a->ops[i]), SPARGIO_OK);
        if (a->ending == CANCEL_NOW)
            for (int i = 0; i < a->count; i++) (void)spargio_op_cancel(a->ops[i].op);
    }
    for (int i = 0; i < a->count; i++) {
        struct operation *o = &a->ops[i];
        int32_t value = 0;
        if (o->done || o->kind == RAW_CALLBACK) {
            waiting |= !o->done;
            continue;
        }
        int32_t said = spargio_op_poll(o->op, &value);
        if (said == SPARGIO_PENDING) waiting = true;
        else {
            CHECK_IS(said, SPARGIO_READY);
            take(o, value);
            CHECK_IS(spargio_op_poll(o->op, &value), SPARGIO_E_CLOSED); /* Once. */
        }
    }
    if (!waiting) return SPARGIO_READY;
    if (a->yields > 0) {
        a->yields--;
        return SPARGIO_YIELD;
    }
    if (a->ending == LEAVE) return SPARGIO_READY;
    if (a->ending == CANCEL_LATER || a->ending == SUCCEED)
        for (int i = 0; i < a->count; i++)
            if (!a->ops[i].done) (void)spargio_op_cancel(a->ops[i].op);
    return SPARGIO_PENDING;
}

static void prepare(struct attempt *a, struct slot *slot) {
    *a = (struct attempt){.slot = slot, .ending = below(ENDINGS), .count = 1 + (int)below(OPS_MAX),
                          .yields = (int)below(4)};
    for (int i = 0; i < a->count; i++) {
        struct operation *o = &a->ops[i];
        *o = (struct operation){.kind = below(KINDS), .of = a, .fd = -1, .buffer = malloc(ROOM)};
        /* What occupies a thread of the kernel is asked for less often. */
        if ((o->kind == OPEN_FIFO || o->kind == SPLICE || o->kind == CONNECT_SLOW) && below(8) != 0) o->kind = PIPE_READ;
        CHECK(o->buffer != NULL);
        memset(o->buffer, 0, ROOM);
    }
}

/* An attempt that does not end. */
static void describe(const struct attempt *a) {
    fprintf(stderr, "ending %d, begun %d, yields %d:\n", a->ending, a->begun, a->yields);
    for (int i = 0; i < a->count; i++)
        fprintf(stderr, "  kind %d, done %d, result %d\n", a->ops[i].kind, a->ops[i].done, a->ops[i].result);
}

/* After the join: all its operations have ended. */
static void settle(struct attempt *a) {
    for (int i = 0; i < a->count; i++) {
        struct operation *o = &a->ops[i];
        if (!o->done) {
            left++;
            if (o->kind == PIPE_READ || o->kind == SPLICE || o->kind == SOCKET_RECV) a->lossy = true;
        } else if (o->result >= 0) {
            succeeded++;
            if (o->kind == SPLICE && o->result > 0) a->lossy = true;
        } else if (o->result == -ECANCELED) cancelled++;
        else failed++;
        CHECK(!a->begun || o->kind != RAW_CALLBACK || o->done);
        keep(o->buffer);
    }
}

/* Not by O_NONBLOCK: then an operation of io_uring would not wait either. */
static bool ready(int fd) {
    struct pollfd one = {fd, POLLIN, 0};
    return poll(&one, 1, 0) == 1;
}

/* What came and was not taken: exactly the rest. */
static void empty(struct slot *s, bool lossy) {
    unsigned char bytes[256];
    ssize_t count;
    while (ready(s->in) && (count = read(s->in, bytes, sizeof bytes)) > 0) {
        if (lossy) s->got = bytes[0];
        expect(&s->got, bytes, (int)count);
    }
    CHECK(lossy || s->got == s->sent);
    s->got = s->sent;
    while ((count = recv(s->socket, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        if (lossy) s->got_socket = bytes[0];
        expect(&s->got_socket, bytes, (int)count);
    }
    CHECK(lossy || s->got_socket == s->sent_socket);
    s->got_socket = s->sent_socket;
    int fd;
    while (ready(s->listener) && (fd = accept(s->listener, NULL, NULL)) >= 0) close(fd);
    for (;;) { /* Descriptors in messages that nobody receives go with the message. */
        if (recv(s->passing, bytes, 1, MSG_DONTWAIT) <= 0) break;
    }
}

/* ---- what the attempts use ---- */

static int listening(uint16_t *port, uint32_t backlog) {
    int fd = -1;
    CHECK_IS(spargio_tcp_listen("127.0.0.1", 0, backlog, &fd), SPARGIO_OK);
    CHECK_IS(spargio_local_port(fd, port), SPARGIO_OK);
    return fd;
}

static void fill(int fd) {
    static const char zeros[4096];
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    while (write(fd, zeros, sizeof zeros) > 0) {}
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
}

static void open_slot(struct slot *s) {
    int two[2];
    CHECK(pipe2(two, O_CLOEXEC) == 0);
    s->in = two[0];
    s->out = two[1];
    CHECK(fcntl(s->out, F_SETFL, O_NONBLOCK) == 0);
    CHECK(pipe2(two, O_CLOEXEC) == 0);
    s->full_in = two[0];
    s->full_out = two[1];
    fill(s->full_out);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0);
    s->socket = two[0];
    s->peer = two[1];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0);
    s->passing = two[0];
    s->passer = two[1];
    s->listener = listening(&s->port, 64);
    s->file = open(path_file, O_RDWR | O_CLOEXEC);
    CHECK(s->file >= 0);
}

static void close_slot(struct slot *s) {
    int all[] = {s->in, s->out, s->full_in, s->full_out, s->socket, s->peer, s->passing, s->passer, s->listener, s->file};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) CHECK(close(all[i]) == 0);
}

/* A listener that takes no more: connecting to it waits. */
static int slow_listener(int *fillers, int count) {
    int fd = listening(&slow_port, 1);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(slow_port),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (int i = 0; i < count; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&where, sizeof where);
    }
    return fd;
}

static uint64_t gauge(spargio_runtime runtime, const char *name) {
    static unsigned char data[65536];
    size_t size = 0;
    CHECK_IS(spargio_stats_cbor(runtime, data, sizeof data, &size), SPARGIO_OK);
    size_t length = strlen(name);
    uint64_t value = UINT64_MAX; /* The last one is that of the sums. */
    for (size_t i = 0; i + length < size; i++) {
        if (memcmp(data + i, name, length) != 0) continue;
        unsigned char head = data[i + length];
        value = head < 24 ? head : 24;
    }
    return value;
}

int main(int argc, char **argv) {
    static struct slot slots[SLOTS];
    static struct attempt attempts[SLOTS];
    uint64_t total = argc > 4 ? strtoull(argv[4], NULL, 0) : 20000;
    uint64_t seed = argc > 5 ? strtoull(argv[5], NULL, 0) : (uint64_t)(seconds() * 1e6);
    random_state = seed | 1;
    fprintf(stderr, "seed %" PRIu64 "\n", seed);
    strcpy(folder, "/tmp/spargio-cancels-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path_file, sizeof path_file, "%s/file", folder);
    snprintf(path_fifo, sizeof path_fifo, "%s/fifo", folder);
    int made = open(path_file, O_CREAT | O_RDWR, 0600);
    CHECK(made >= 0 && write(made, slots, ROOM) == ROOM && close(made) == 0);
    CHECK(mkfifo(path_fifo, 0600) == 0);

    int before = open_descriptors();
    CHECK_IS(spargio_semaphore_open(1, &semaphore), SPARGIO_OK);
    spargio_runtime_options options;
    spargio_runtime runtime = start(argc, argv, &options);
    int fillers[4];
    int slow = slow_listener(fillers, 4);
    for (int i = 0; i < SLOTS; i++) open_slot(&slots[i]);
    int during = open_descriptors();
    double began = seconds();

    uint64_t begun = 0, ended = 0;
    while (ended < total) {
        int i = (int)(ended % SLOTS);
        struct attempt *a = &attempts[i];
        if (begun < total && begun < ended + SLOTS) {
            a = &attempts[begun % SLOTS];
            prepare(a, a->slot = &slots[begun % SLOTS]);
            spargio_placement where = place(SPARGIO_PLACE_PINNED, below(options.shards));
            CHECK_IS(spargio_spawn(runtime, &where, run, a, &a->join), SPARGIO_OK);
            if (a->ending == SUCCEED || below(3) == 0) push(a->slot);
            begun++;
            if (below(4) != 0) continue;
            a = &attempts[i];
        }
        /* The oldest one is to end now. */
        if (below(2) == 0) push(a->slot);
        CHECK_IS(spargio_join_cancel(a->join), SPARGIO_OK);
        int32_t said = spargio_join_wait(a->join, 15000000000ull, NULL);
        if (said == SPARGIO_E_TIMEOUT) describe(a);
        CHECK(said == SPARGIO_OK || (said == SPARGIO_E_CANCELLED && !a->begun));
        CHECK_IS(spargio_join_release(a->join), SPARGIO_OK);
        settle(a);
        empty(a->slot, a->lossy);
        ended++;
    }
    double took = seconds() - began;
    for (unsigned i = 0; i < KEPT; i++) check_kept(i);
    /* What nobody took is closed with the next submission, and nobody is told. */
    while (open_descriptors() != during && seconds() - began < took + 20) usleep(100);
    CHECK(open_descriptors() == during);
    CHECK(gauge(runtime, "stale_completions") == 0);
    CHECK_IS(spargio_semaphore_try_acquire(semaphore, 1), SPARGIO_READY); /* It went back each time, */
    CHECK_IS(spargio_semaphore_try_acquire(semaphore, 1), SPARGIO_PENDING); /* once. */
    CHECK_IS(spargio_semaphore_close(semaphore), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER), SPARGIO_OK);
    for (int i = 0; i < SLOTS; i++) close_slot(&slots[i]);
    for (int i = 0; i < 4; i++) CHECK(close(fillers[i]) == 0);
    CHECK(close(slow) == 0);
    CHECK(unlink(path_file) == 0 && unlink(path_fifo) == 0 && rmdir(folder) == 0);
    CHECK(open_descriptors() == before);
    printf("%" PRIu64 " attempts in %.1f s: cancelled %" PRIu64 ", succeeded %" PRIu64 ", interrupted %" PRIu64
           ", left %" PRIu64 "\n", total, took, cancelled, succeeded, failed, left);
    CHECK(cancelled > total / 10 && succeeded > total / 10 && left > total / 20);
    return 0;
}
