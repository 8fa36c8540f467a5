/* SPDX-License-Identifier: MIT
 *
 * One plain io_uring by raw system calls (io_uring_setup(2), io_uring_enter(2)), no liburing. Only the
 * thread that opened it may use it. Linux 6.1 for DEFER_TASKRUN. */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IORING_SETUP_SINGLE_ISSUER /* kernel headers older than 6.0 and 6.1 */
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

enum { RING_ENTRIES = 1024 };

struct ring {
    int fd;
    _Atomic unsigned *sq_tail, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    unsigned tail; /* of the submission queue; published by ring_enter() */
    unsigned queued;
};

_Noreturn static inline void ring_die(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

static inline void *ring_map(int fd, size_t size, uint64_t offset) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)offset);
    if (memory == MAP_FAILED) ring_die("mmap of the ring", errno);
    return memory;
}

/* 0, or the kernel's error. */
static inline int ring_open(struct ring *ring) {
    /* Both need that only this thread enters the ring; what completes is then handled when it asks,
     * not by interrupting it. */
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    };
    ring->fd = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &params);
    if (ring->fd < 0) return errno;
    /* IORING_FEAT_SINGLE_MMAP (5.4): both queues are in one mapping. */
    size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t cq_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    unsigned char *base = ring_map(ring->fd, sq_size > cq_size ? sq_size : cq_size, IORING_OFF_SQ_RING);
    ring->sqes = ring_map(ring->fd, params.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    ring->sq_tail = (_Atomic unsigned *)(base + params.sq_off.tail);
    ring->cq_head = (_Atomic unsigned *)(base + params.cq_off.head);
    ring->cq_tail = (_Atomic unsigned *)(base + params.cq_off.tail);
    ring->cqes = (struct io_uring_cqe *)(base + params.cq_off.cqes);
    ring->sq_mask = params.sq_entries - 1;
    ring->cq_mask = params.cq_entries - 1;
    /* Slot i of the queue is always entry i. */
    unsigned *array = (unsigned *)(base + params.sq_off.array);
    for (unsigned i = 0; i < params.sq_entries; i++) array[i] = i;
    return 0;
}

/* Submit what is queued and wait for `wait` completions. */
static inline void ring_enter(struct ring *ring, unsigned wait) {
    atomic_store_explicit(ring->sq_tail, ring->tail, memory_order_release);
    do {
        long submitted =
            syscall(SYS_io_uring_enter, ring->fd, ring->queued, wait, IORING_ENTER_GETEVENTS, NULL, 0);
        if (submitted < 0 && errno != EINTR) ring_die("io_uring_enter", errno);
        if (submitted > 0) ring->queued -= (unsigned)submitted;
    } while (ring->queued > 0);
}

/* Entries that are linked must go to the kernel together: room for all, or submit first. */
static inline void ring_reserve(struct ring *ring, unsigned count) {
    if (ring->queued + count > ring->sq_mask + 1) ring_enter(ring, 0);
}

/* After ring_reserve(). */
static inline struct io_uring_sqe *ring_push(struct ring *ring, uint8_t opcode, int fd, uint64_t user_data) {
    struct io_uring_sqe *entry = &ring->sqes[ring->tail++ & ring->sq_mask];
    ring->queued++;
    memset(entry, 0, sizeof *entry);
    entry->opcode = opcode;
    entry->fd = fd;
    entry->user_data = user_data;
    return entry;
}

#endif
