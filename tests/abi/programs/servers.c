/* Servers: options of a listener, a peer's address, connections by one multishot accept (500 at a time beside busy
 * ones), pieces in buffers that the kernel picks, a zero-copy send, datagrams with addresses. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

enum { CLIENTS = 500, BUSY = 8 };

static uint16_t port;

static int connected(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && connect(fd, (void *)&to, sizeof to) == 0);
    return fd;
}

static int listening(uint32_t flags) {
    spargio_listen_options options = {sizeof options, 1024, flags, 0};
    int32_t fd = -1;
    CHECK_IS(spargio_tcp_listen_with("127.0.0.1", 0, &options, &fd), SPARGIO_OK);
    CHECK_IS(spargio_local_port(fd, &port), SPARGIO_OK);
    return fd;
}

static void listener_options(void) {
    spargio_listen_options options = {sizeof options, 16, SPARGIO_LISTEN_REUSE_PORT, 0};
    int32_t first = listening(SPARGIO_LISTEN_REUSE_PORT), second = -1;
    int value = 0;
    socklen_t size = sizeof value;
    CHECK_IS(spargio_tcp_listen_with("127.0.0.1", port, &options, &second), SPARGIO_OK);
    close(second);
    options.flags = 0;
    CHECK_IS(spargio_tcp_listen_with("127.0.0.1", port, &options, &second), SPARGIO_E_ERRNO(EADDRINUSE));
    close(first);
    CHECK_IS(spargio_tcp_listen_with("127.0.0.1", 0, NULL, &first), SPARGIO_OK);
    close(first);
    options.flags = SPARGIO_LISTEN_V6_ONLY | SPARGIO_LISTEN_DUAL_STACK;
    CHECK_IS(spargio_tcp_listen_with("::", 0, &options, &second), SPARGIO_E_INVALID);
    options.flags = 8;
    CHECK_IS(spargio_tcp_listen_with("::", 0, &options, &second), SPARGIO_E_INVALID);
    options.flags = 0, options.reserved = 1;
    CHECK_IS(spargio_tcp_listen_with("::", 0, &options, &second), SPARGIO_E_INVALID);
    options.reserved = 0, options.struct_size = 3;
    CHECK_IS(spargio_tcp_listen_with("::", 0, &options, &second), SPARGIO_E_INVALID);
    options.struct_size = sizeof options;
    for (uint32_t flag = SPARGIO_LISTEN_V6_ONLY; flag <= SPARGIO_LISTEN_DUAL_STACK; flag *= 2) {
        options.flags = flag;
        int32_t said = spargio_tcp_listen_with("::", 0, &options, &first);
        if (said == SPARGIO_E_ERRNO(EAFNOSUPPORT) || said == SPARGIO_E_ERRNO(EADDRNOTAVAIL)) return; /* No IPv6. */
        CHECK_IS(said, SPARGIO_OK);
        CHECK(getsockopt(first, IPPROTO_IPV6, IPV6_V6ONLY, &value, &size) == 0);
        CHECK(value == (flag == SPARGIO_LISTEN_V6_ONLY));
        close(first);
    }
}

/* ---- many connections at once, beside connections that always have something to do ---- */

struct busy {
    int pair[2], stop;
    char bytes[1024];
    spargio_op op;
};

static int32_t keeps_busy(void *ctx, int64_t *result) {
    struct busy *b = ctx;
    int32_t count;
    (void)result;
    if (b->op != 0) {
        if (spargio_op_poll(b->op, &count) == SPARGIO_PENDING) return SPARGIO_PENDING;
        b->op = 0;
        if (count <= 0 || __atomic_load_n(&b->stop, __ATOMIC_ACQUIRE)) return SPARGIO_READY;
    }
    for (double until = seconds() + 200e-6; seconds() < until;) {}
    CHECK(write(b->pair[1], b->bytes, sizeof b->bytes) == sizeof b->bytes);
    CHECK_IS(spargio_recv(b->pair[0], b->bytes, sizeof b->bytes, MSG_WAITALL, &b->op), SPARGIO_OK);
    return SPARGIO_PENDING;
}

struct acceptor {
    int listener, count, fds[CLIENTS], polls;
    spargio_op op;
};

static int32_t accepts(void *ctx, int64_t *result) {
    struct acceptor *a = ctx;
    int32_t said, fd;
    a->polls++;
    if (a->op == 0) CHECK_IS(spargio_accept_multishot(a->listener, &a->op), SPARGIO_OK);
    while (a->count < CLIENTS && (said = spargio_accept_next(a->op, &fd)) == SPARGIO_READY) {
        CHECK(fd >= 0);
        a->fds[a->count++] = fd;
    }
    *result = a->polls;
    return a->count == CLIENTS ? SPARGIO_READY : SPARGIO_PENDING;
}

static void five_hundred_clients(spargio_runtime rt) {
    static struct busy busy[BUSY];
    struct acceptor acceptor = {.listener = listening(0)};
    spargio_placement here = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join joins[BUSY], accepting;
    int clients[CLIENTS];
    int64_t polls = 0;
    memset(busy, 0, sizeof busy);
    for (int i = 0; i < CLIENTS; i++) clients[i] = connected();
    for (int i = 0; i < BUSY; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, busy[i].pair) == 0);
        CHECK_IS(spargio_spawn(rt, &here, keeps_busy, &busy[i], &joins[i]), SPARGIO_OK);
    }
    double began = seconds();
    CHECK_IS(spargio_spawn(rt, &here, accepts, &acceptor, &accepting), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(accepting, SPARGIO_FOREVER, &polls), SPARGIO_OK);
    printf("500 clients beside 8 busy connections: %.1f ms, %d polls\n", (seconds() - began) * 1e3, (int)polls);
    CHECK(polls < CLIENTS / 4); /* Many in each pass. */
    for (int i = 0; i < BUSY; i++) {
        __atomic_store_n(&busy[i].stop, 1, __ATOMIC_RELEASE);
        CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, NULL), SPARGIO_OK);
        CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
        close(busy[i].pair[0]), close(busy[i].pair[1]);
    }
    for (int i = 0; i < CLIENTS; i++) close(clients[i]), close(acceptor.fds[i]);
    CHECK_IS(spargio_join_release(accepting), SPARGIO_OK);
    close(acceptor.listener);
}

/* ---- the ends of a multishot accept ---- */

struct ends {
    int listener, step;
    spargio_op op, other;
    uint32_t index;
};

static int32_t is_cancelled(void *ctx, int64_t *result) {
    struct ends *e = ctx;
    int32_t fd = 0, value;
    const void *data;
    (void)result;
    if (e->step == 0) {
        CHECK_IS(spargio_accept_multishot(e->listener, &e->op), SPARGIO_OK);
        CHECK_IS(spargio_recv_next(e->op, &data, &fd), SPARGIO_E_INVALID);
        e->step = 1;
    }
    if (e->step == 1) { /* wait_any tells of a connection. */
        if (spargio_wait_any(&e->op, 1, &e->index) == SPARGIO_PENDING) return SPARGIO_PENDING;
        CHECK_IS(spargio_op_poll(e->op, &value), SPARGIO_PENDING);
        CHECK_IS(spargio_accept_next(e->op, &fd), SPARGIO_READY);
        CHECK(fd >= 0);
        close(fd);
        CHECK_IS(spargio_op_cancel(e->op), SPARGIO_OK);
        e->step = 2;
    }
    int32_t said = spargio_accept_next(e->op, &fd);
    if (said == SPARGIO_PENDING) return SPARGIO_PENDING;
    CHECK(fd == -ECANCELED);
    CHECK_IS(spargio_accept_next(e->op, &fd), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_nop(&e->other), SPARGIO_OK);
    CHECK_IS(spargio_accept_next(e->other, &fd), SPARGIO_E_INVALID);
    return SPARGIO_READY;
}

static int32_t fails(void *ctx, int64_t *result) { /* Of a socket that does not listen. */
    struct ends *e = ctx;
    int32_t fd = 0;
    (void)result;
    if (e->step++ == 0) CHECK_IS(spargio_accept_multishot(e->listener, &e->op), SPARGIO_OK);
    int32_t said = spargio_accept_next(e->op, &fd);
    if (said == SPARGIO_PENDING) return SPARGIO_PENDING;
    CHECK(fd == -EINVAL);
    return SPARGIO_READY;
}

static int32_t leaves(void *ctx, int64_t *result) { /* Connections that nobody takes are closed. */
    struct ends *e = ctx;
    (void)result;
    if (e->step++ == 0) CHECK_IS(spargio_accept_multishot(e->listener, &e->op), SPARGIO_OK);
    return spargio_wait_any(&e->op, 1, &e->index) == SPARGIO_PENDING ? SPARGIO_PENDING : SPARGIO_READY;
}

static void join(spargio_runtime rt, spargio_poll_fn poll, void *ctx) {
    spargio_join handle;
    CHECK_IS(spargio_spawn(rt, NULL, poll, ctx, &handle), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
}

static void ends_of_accepts(spargio_runtime rt) {
    struct ends ends = {.listener = listening(0)}, left = {.listener = ends.listener}, bad = {0};
    int client = connected(), others[3], before;
    char byte;
    join(rt, is_cancelled, &ends);
    close(client);
    bad.listener = socket(AF_INET, SOCK_STREAM, 0);
    join(rt, fails, &bad);
    close(bad.listener);
    for (int i = 0; i < 3; i++) others[i] = connected();
    before = open_descriptors();
    join(rt, leaves, &left);
    CHECK(read(others[0], &byte, 1) <= 0); /* The end: its other side was closed. */
    while (open_descriptors() != before) usleep(100);
    for (int i = 0; i < 3; i++) close(others[i]);
    close(ends.listener);
}

/* ---- what comes on a connection ---- */

enum { TOTAL = 4 << 20 };

struct stream {
    int fd, peer;
    uint32_t sum, bytes, ends;
    spargio_op op, send;
    unsigned char *all;
};

static int32_t takes_pieces(void *ctx, int64_t *result) {
    struct stream *s = ctx;
    const void *data;
    int32_t said, count = -1;
    if (s->op == 0) CHECK_IS(spargio_recv_multishot(s->fd, &s->op), SPARGIO_OK);
    while ((said = spargio_recv_next(s->op, &data, &count)) == SPARGIO_READY && count > 0) {
        const unsigned char *bytes = data;
        CHECK(count <= 16384);
        for (int32_t i = 0; i < count; i++) CHECK(bytes[i] == (unsigned char)((s->bytes + (uint32_t)i) * 7));
        s->bytes += (uint32_t)count;
    }
    if (said == SPARGIO_PENDING) return SPARGIO_PENDING;
    CHECK(count == 0 && data == NULL && s->bytes == TOTAL);
    CHECK_IS(spargio_recv_next(s->op, &data, &count), SPARGIO_E_CLOSED);
    *result = s->bytes;
    return SPARGIO_READY;
}

static int32_t sends_all(void *ctx, int64_t *result) {
    struct stream *s = ctx;
    int32_t count;
    (void)result;
    if (s->send != 0) {
        if (spargio_op_poll(s->send, &count) == SPARGIO_PENDING) return SPARGIO_PENDING;
        CHECK(count > 0);
        s->sum += (uint32_t)count;
    }
    if (s->sum == TOTAL) {
        CHECK(shutdown(s->peer, SHUT_WR) == 0);
        return SPARGIO_READY;
    }
    CHECK_IS(spargio_send_zc(s->peer, s->all + s->sum, TOTAL - s->sum, 0, &s->send), SPARGIO_OK);
    return SPARGIO_PENDING;
}

/* More pieces in hands than the shard has buffers: the others bring memory of their own, and nothing is lost. */
enum { STREAMS = 200 };

static int32_t holds_pieces(void *ctx, int64_t *result) {
    struct stream *s = ctx;
    const void *data;
    int32_t said, count = 0, held = 0;
    (void)result;
    for (int i = 0; i < STREAMS; i++) {
        if (s[i].op == 0) CHECK_IS(spargio_recv_multishot(s[i].fd, &s[i].op), SPARGIO_OK);
        if (s[i].bytes == 0) {
            said = spargio_recv_next(s[i].op, &data, &count);
            if (said == SPARGIO_READY) {
                CHECK(count == 4 && memcmp(data, "text", 4) == 0);
                s[i].all = (unsigned char *)(uintptr_t)data;
                s[i].bytes = 4;
            }
        }
        held += s[i].bytes != 0;
    }
    if (held < STREAMS) return SPARGIO_PENDING;
    for (int i = 0; i < STREAMS; i++) CHECK(memcmp(s[i].all, "text", 4) == 0);
    return SPARGIO_READY; /* All are given back. */
}

static void pieces(spargio_runtime rt) {
    struct stream s = {.all = malloc(TOTAL)};
    static struct stream streams[STREAMS];
    spargio_join receiving;
    int pair[2];
    int64_t result = 0;
    int listener = listening(0);
    s.fd = connected();
    s.peer = accept(listener, NULL, NULL);
    close(listener);
    for (uint32_t i = 0; i < TOTAL; i++) s.all[i] = (unsigned char)(i * 7);
    CHECK_IS(spargio_spawn(rt, NULL, takes_pieces, &s, &receiving), SPARGIO_OK);
    join(rt, sends_all, &s);
    CHECK_IS(spargio_join_wait(receiving, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK(result == TOTAL);
    CHECK_IS(spargio_join_release(receiving), SPARGIO_OK);
    free(s.all);
    close(s.fd), close(s.peer);
    for (int round = 0; round < 3; round++) { /* The buffers are there again. */
        memset(streams, 0, sizeof streams);
        for (int i = 0; i < STREAMS; i++) {
            CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
            CHECK(write(pair[1], "text", 4) == 4);
            streams[i].fd = pair[0], streams[i].peer = pair[1];
        }
        join(rt, holds_pieces, streams);
        for (int i = 0; i < STREAMS; i++) close(streams[i].fd), close(streams[i].peer);
    }
}

/* ---- single operations with addresses, and the hint ---- */

struct single {
    int listener, udp[2], step;
    struct sockaddr_in address;
    uint32_t length;
    char text[64];
    spargio_op op;
};

static int32_t addresses(void *ctx, int64_t *result) {
    struct single *s = ctx;
    struct sockaddr_in to = {.sin_family = AF_INET};
    uint16_t second = 0;
    int32_t value = 0;
    (void)result;
    if (s->step > 0 && spargio_op_poll(s->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
    switch (s->step++) {
        case 0:
            s->length = sizeof s->address;
            CHECK_IS(spargio_accept_from(s->listener, NULL, &s->length, &s->op), SPARGIO_E_INVALID);
            CHECK_IS(spargio_accept_from(s->listener, &s->address, &s->length, &s->op), SPARGIO_OK);
            return SPARGIO_PENDING;
        case 1:
            CHECK(value >= 0 && s->length == sizeof s->address);
            CHECK(s->address.sin_family == AF_INET && s->address.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
            close(value);
            s->length = sizeof s->address;
            memset(&s->address, 0, sizeof s->address);
            CHECK_IS(spargio_local_port(s->udp[1], &second), SPARGIO_OK);
            to.sin_port = htons(second), to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            CHECK_IS(spargio_sendto(s->udp[0], "datagram", 8, 0, &to, sizeof to, &s->op), SPARGIO_OK);
            return SPARGIO_PENDING;
        case 2:
            CHECK(value == 8);
            CHECK_IS(spargio_recvfrom(s->udp[1], s->text, 4, MSG_TRUNC, &s->address, &s->length, &s->op), SPARGIO_OK);
            return SPARGIO_PENDING;
        case 3:
            CHECK(value == 8 && memcmp(s->text, "data", 5) == 0);
            CHECK(s->length == sizeof s->address && ntohs(s->address.sin_port) != 0);
            CHECK_IS(spargio_recvfrom(s->udp[1], s->text, 4, 0, &s->address, NULL, &s->op), SPARGIO_E_INVALID);
            CHECK_IS(spargio_sendto(s->udp[0], "x", 1, 0, &to, 999, &s->op), SPARGIO_E_INVALID);
            CHECK_IS(spargio_recvfrom(s->udp[1], s->text, 4, 0, NULL, NULL, &s->op), SPARGIO_OK);
            CHECK_IS(spargio_op_timeout(s->op, 1000000), SPARGIO_OK);
            return SPARGIO_PENDING;
        default:
            CHECK(value == -ETIME);
            return SPARGIO_READY;
    }
}

static int32_t drained(void *ctx, int64_t *result) {
    struct single *s = ctx;
    int32_t value = 0;
    (void)result;
    if (s->step > 0 && spargio_op_poll(s->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
    if (s->step > 0) CHECK(value == 5 && memcmp(s->text, "hello", 5) == 0);
    if (s->step++ == 3) return SPARGIO_READY;
    if (s->step == 2) CHECK(write(s->udp[1], "hello", 5) == 5); /* Wrong: there is something by now. */
    CHECK_IS(spargio_recv(s->udp[0], s->text, 64, SPARGIO_RECV_DRAINED, &s->op), SPARGIO_OK);
    if (s->step != 2) CHECK(write(s->udp[1], "hello", 5) == 5);
    return SPARGIO_PENDING;
}

int main(int argc, char **argv) {
    int before = open_descriptors();
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);
    struct single single = {.listener = listening(0)}, hint = {0};
    int client = connected();
    listener_options();
    five_hundred_clients(rt);
    ends_of_accepts(rt);
    pieces(rt);
    for (int i = 0; i < 2; i++) CHECK_IS(spargio_udp_bind("127.0.0.1", 0, &single.udp[i]), SPARGIO_OK);
    join(rt, addresses, &single);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, hint.udp) == 0);
    join(rt, drained, &hint);
    close(client), close(single.listener);
    for (int i = 0; i < 2; i++) close(single.udp[i]), close(hint.udp[i]);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(open_descriptors() == before);
    return 0;
}
