/* SPDX-License-Identifier: MIT
 *
 * The physical limit: a TCP echo server on one io_uring and nothing else. No scheduler, no
 * coroutines, one buffer per connection. Per request it hands the kernel a send that is linked to
 * the next recv, and gets one completion back: the send of a link that succeeds posts none, and the
 * recv, which starts only after it, may then overwrite the buffer.
 *
 * Raw system calls (io_uring_setup(2), io_uring_enter(2)), no liburing. Linux 6.1 for
 * DEFER_TASKRUN. Exit status 77 where the kernel offers no such ring.
 *
 * The control protocol is that of python/servers/control.py: prints the port, answers "usage" lines
 * with a JSON line of rusage, exits at the end of stdin. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "control.h"

#ifndef IORING_SETUP_SINGLE_ISSUER /* kernel headers older than 6.0 and 6.1 */
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

enum { CONNECTIONS_MAX = 4096, BUFFER_SIZE = 65536, RING_ENTRIES = 1024, SKIPPED = 77 };

/* user_data: what the operation is, and the descriptor it is for. */
enum operation { OP_ACCEPT, OP_SEND, OP_RECV };

struct ring {
    int fd;
    _Atomic unsigned *sq_tail, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    unsigned tail; /* of the submission queue; published by enter() */
    unsigned queued;
};

static unsigned char *buffers[CONNECTIONS_MAX]; /* by descriptor; allocated once, then kept */

_Noreturn static void die(const char *what, int error)
{
    fprintf(stderr, "echo_ring: %s: %s\n", what, strerror(error));
    exit(1);
}

static void *map(int fd, size_t size, uint64_t offset)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                        (off_t)offset);
    if (memory == MAP_FAILED)
        die("mmap of the ring", errno);
    return memory;
}

static void ring_open(struct ring *ring)
{
    /* Both need that only this thread enters the ring; what completes is then handled when it asks,
     * not by interrupting it. */
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    };
    ring->fd = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &params);
    if (ring->fd < 0) {
        fprintf(stderr, "echo_ring: io_uring_setup: %s\n", strerror(errno));
        exit(SKIPPED);
    }
    /* IORING_FEAT_SINGLE_MMAP (5.4): both queues are in one mapping. */
    size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t cq_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    unsigned char *base = map(ring->fd, sq_size > cq_size ? sq_size : cq_size, IORING_OFF_SQ_RING);
    ring->sqes = map(ring->fd, params.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    ring->sq_tail = (_Atomic unsigned *)(base + params.sq_off.tail);
    ring->cq_head = (_Atomic unsigned *)(base + params.cq_off.head);
    ring->cq_tail = (_Atomic unsigned *)(base + params.cq_off.tail);
    ring->cqes = (struct io_uring_cqe *)(base + params.cq_off.cqes);
    ring->sq_mask = params.sq_entries - 1;
    ring->cq_mask = params.cq_entries - 1;
    /* Slot i of the queue is always entry i. */
    unsigned *array = (unsigned *)(base + params.sq_off.array);
    for (unsigned i = 0; i < params.sq_entries; i++)
        array[i] = i;
}

/* Submit what is queued and wait for `wait` completions. */
static void ring_enter(struct ring *ring, unsigned wait)
{
    atomic_store_explicit(ring->sq_tail, ring->tail, memory_order_release);
    do {
        long submitted = syscall(SYS_io_uring_enter, ring->fd, ring->queued, wait,
                                 IORING_ENTER_GETEVENTS, NULL, 0);
        if (submitted < 0 && errno != EINTR)
            die("io_uring_enter", errno);
        if (submitted > 0)
            ring->queued -= (unsigned)submitted;
    } while (ring->queued > 0);
}

/* Two entries that are linked must go to the kernel together: room for both, or submit first. */
static void ring_reserve(struct ring *ring, unsigned count)
{
    if (ring->queued + count > ring->sq_mask + 1)
        ring_enter(ring, 0);
}

static struct io_uring_sqe *ring_push(struct ring *ring, uint8_t opcode, int fd, enum operation op)
{
    struct io_uring_sqe *entry = &ring->sqes[ring->tail++ & ring->sq_mask];
    ring->queued++;
    memset(entry, 0, sizeof *entry);
    entry->opcode = opcode;
    entry->fd = fd;
    entry->user_data = (uint64_t)op << 32 | (uint32_t)fd;
    return entry;
}

static void push_accept(struct ring *ring, int listener)
{
    ring_reserve(ring, 1);
    ring_push(ring, IORING_OP_ACCEPT, listener, OP_ACCEPT)->accept_flags = SOCK_CLOEXEC;
}

static void push_recv(struct ring *ring, int fd)
{
    struct io_uring_sqe *entry = ring_push(ring, IORING_OP_RECV, fd, OP_RECV);
    entry->addr = (uintptr_t)buffers[fd];
    entry->len = BUFFER_SIZE;
    /* The answer to what was just sent cannot be here yet: do not try first. */
    entry->ioprio = IORING_RECVSEND_POLL_FIRST;
}

static void push_echo(struct ring *ring, int fd, unsigned size)
{
    ring_reserve(ring, 2);
    struct io_uring_sqe *entry = ring_push(ring, IORING_OP_SEND, fd, OP_SEND);
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
        die("accept", -fd);
    if (fd >= CONNECTIONS_MAX)
        die("accept", EMFILE);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (buffers[fd] == NULL)
        buffers[fd] = malloc(BUFFER_SIZE);
    if (buffers[fd] == NULL)
        die("malloc", ENOMEM);
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
        die("listen", errno);
    *port = ntohs(address.sin_port);
    return listener;
}

int main(void)
{
    static struct ring ring;
    in_port_t port;
    ring_open(&ring);
    int listener = listen_on_loopback(&port);
    announce(port);
    serve(&ring, listener);
}
