/* SPDX-License-Identifier: MIT
 *
 * An HTTP responder on liburing, as its examples do it: one ring, one thread, a receive and a send
 * per request. Exit status 77 if the kernel offers no such ring. */
#include "http.h"

#include <liburing.h>

enum { ENTRIES = 1024, SKIPPED = 77 };
enum operation { OP_ACCEPT, OP_RECV, OP_SEND }; /* in the low bits of user_data */

static struct io_uring ring;

static struct io_uring_sqe *entry(void *data, enum operation op) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (sqe == NULL) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    if (sqe == NULL) fail("io_uring_get_sqe", EAGAIN);
    sqe->user_data = (uintptr_t)data | op;
    return sqe;
}

static void push_accept(int listener) {
    struct io_uring_sqe *sqe = entry(NULL, OP_ACCEPT);
    uint64_t data = sqe->user_data;
    io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = data;
}

static void push_recv(struct exchange *self) {
    uint32_t room;
    char *into = exchange_room(self, &room);
    struct io_uring_sqe *sqe = entry(self, OP_RECV);
    uint64_t data = sqe->user_data;
    io_uring_prep_recv(sqe, self->fd, into, room, 0);
    sqe->user_data = data;
}

static void push_send(struct exchange *self, uint32_t size) {
    struct io_uring_sqe *sqe = entry(self, OP_SEND);
    uint64_t data = sqe->user_data;
    io_uring_prep_send(sqe, self->fd, self->out, size, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->user_data = data;
}

static void end(struct exchange *self) {
    close(self->fd);
    free(self);
}

static void received(struct exchange *self, int result) {
    int32_t size = result > 0 ? exchange_feed(self, (uint32_t)result) : -1;
    if (size < 0) end(self);
    else if (size == 0) push_recv(self);
    else push_send(self, (uint32_t)size);
}

static void completed(int listener, uint64_t data, int result) {
    struct exchange *self = (struct exchange *)(uintptr_t)(data & ~UINT64_C(3));
    switch ((enum operation)(data & 3)) {
    case OP_ACCEPT:
        push_recv(exchange_new(result));
        push_accept(listener);
        break;
    case OP_RECV: received(self, result); break;
    case OP_SEND:
        if (result > 0) push_recv(self);
        else end(self);
        break;
    }
}

int main(void) {
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    in_port_t port;
    int error = io_uring_queue_init_params(ENTRIES, &ring, &params);
    if (error < 0) {
        fprintf(stderr, "http_liburing: %s\n", strerror(-error));
        return SKIPPED;
    }
    int listener = listen_on_loopback(0, &port);
    announce(port);
    push_accept(listener);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        error = io_uring_submit_and_wait(&ring, 1);
        if (error < 0 && error != -EINTR) fail("io_uring_submit_and_wait", -error);
        io_uring_for_each_cqe(&ring, head, cqe) {
            completed(listener, cqe->user_data, cqe->res);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}
