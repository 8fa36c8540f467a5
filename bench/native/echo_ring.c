/* SPDX-License-Identifier: MIT
 *
 * The physical limit: a TCP echo server on one io_uring and nothing else. No scheduler, no
 * coroutines, one buffer per connection. Per request it hands the kernel a send that is linked to
 * the next recv, and gets one completion back: the send of a link that succeeds posts none, and the
 * recv, which starts only after it, may then overwrite the buffer.
 *
 * Exit status 77 where the kernel offers no such ring.
 *
 * The control protocol is that of python/servers/control.py: prints the port, answers "usage" lines
 * with a JSON line of rusage, exits at the end of stdin. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "ring.h"

enum { CONNECTIONS_MAX = 4096, BUFFER_SIZE = 65536, SKIPPED = 77 };

/* user_data: what the operation is, and the descriptor it is for. */
enum operation { OP_ACCEPT, OP_SEND, OP_RECV };

static unsigned char *buffers[CONNECTIONS_MAX]; /* by descriptor; allocated once, then kept */

static struct io_uring_sqe *push(struct ring *ring, uint8_t opcode, int fd, enum operation op)
{
    return ring_push(ring, opcode, fd, (uint64_t)op << 32 | (uint32_t)fd);
}

static void push_accept(struct ring *ring, int listener)
{
    ring_reserve(ring, 1);
    push(ring, IORING_OP_ACCEPT, listener, OP_ACCEPT)->accept_flags = SOCK_CLOEXEC;
}

static void push_recv(struct ring *ring, int fd)
{
    struct io_uring_sqe *entry = push(ring, IORING_OP_RECV, fd, OP_RECV);
    entry->addr = (uintptr_t)buffers[fd];
    entry->len = BUFFER_SIZE;
    /* The answer to what was just sent cannot be here yet: do not try first. */
    entry->ioprio = IORING_RECVSEND_POLL_FIRST;
}

static void push_echo(struct ring *ring, int fd, unsigned size)
{
    ring_reserve(ring, 2);
    struct io_uring_sqe *entry = push(ring, IORING_OP_SEND, fd, OP_SEND);
    entry->addr = (uintptr_t)buffers[fd];
    entry->len = size;
    entry->msg_flags = MSG_WAITALL | MSG_NOSIGNAL; /* a short send would break the link */
    entry->flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    push_recv(ring, fd);
}

static void accepted(struct ring *ring, int fd)
{
    int on = 1;
    if (fd < 0)
        ring_die("accept", -fd);
    if (fd >= CONNECTIONS_MAX)
        ring_die("accept", EMFILE);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (buffers[fd] == NULL)
        buffers[fd] = malloc(BUFFER_SIZE);
    if (buffers[fd] == NULL)
        ring_die("malloc", ENOMEM);
    ring_reserve(ring, 1);
    push_recv(ring, fd);
}

static void completed(struct ring *ring, uint64_t user_data, int result)
{
    int fd = (int)(uint32_t)user_data;
    switch ((enum operation)(user_data >> 32)) {
    case OP_ACCEPT:
        accepted(ring, result);
        push_accept(ring, fd);
        break;
    case OP_SEND: /* failed; the linked recv is cancelled, and closes the connection */
        break;
    case OP_RECV:
        if (result > 0)
            push_echo(ring, fd, (unsigned)result);
        else
            close(fd);
        break;
    }
}

_Noreturn static void serve(struct ring *ring, int listener)
{
    push_accept(ring, listener);
    for (;;) {
        ring_enter(ring, 1);
        unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
        unsigned tail = atomic_load_explicit(ring->cq_tail, memory_order_acquire);
        for (; head != tail; head++) {
            struct io_uring_cqe *entry = &ring->cqes[head & ring->cq_mask];
            completed(ring, entry->user_data, entry->res);
        }
        atomic_store_explicit(ring->cq_head, head, memory_order_release);
    }
}

static int listen_on_loopback(in_port_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
        listen(listener, 1024) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        ring_die("listen", errno);
    *port = ntohs(address.sin_port);
    return listener;
}

int main(void)
{
    static struct ring ring;
    in_port_t port;
    int error = ring_open(&ring);
    if (error != 0) {
        fprintf(stderr, "echo_ring: io_uring_setup: %s\n", strerror(error));
        return SKIPPED;
    }
    int listener = listen_on_loopback(&port);
    announce(port);
    serve(&ring, listener);
}
