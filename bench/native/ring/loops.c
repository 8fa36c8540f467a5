#define _GNU_SOURCE
#include "loops.h"

#include <pthread.h>

enum message { START, ENDED, TOLD, STOP };

struct loop loops[LOOPS_MAX];
unsigned loop_count = 2;

static const struct work *work;
static pthread_t thread;
static pthread_barrier_t ready;
static int other_ended, stopped;

static void send_to(struct loop *loop, unsigned number, enum message message) {
    struct io_uring_sqe *entry = loop_push(loop, IORING_OP_MSG_RING, loops[number].ring.fd, 0);
    entry->off = MESSAGES + message;
    entry->flags = IOSQE_CQE_SKIP_SUCCESS;
}

static void received(struct loop *loop, enum message message) {
    switch (message) {
    case START: work->start(loop); break;
    case ENDED: other_ended = 1; break;
    case TOLD: work->told(loop); break;
    case STOP: stopped = 1; break;
    }
}

static void turn(struct loop *loop) {
    struct ring *ring = &loop->ring;
    ring_enter(ring, loop->wait);
    unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(ring->cq_tail, memory_order_acquire);
    for (; head != tail; head++) {
        struct io_uring_cqe *entry = &ring->cqes[head & ring->cq_mask];
        if (entry->user_data >= MESSAGES) received(loop, (enum message)(entry->user_data - MESSAGES));
        else work->completed(loop, entry->user_data, entry->res);
    }
    atomic_store_explicit(ring->cq_head, head, memory_order_release);
}

static int open_loop(unsigned number) {
    struct loop *loop = &loops[number];
    *loop = (struct loop){.number = number, .wait = 1};
    int error = ring_open(&loop->ring);
    if (error == 0 && work->prepare) {
        work->prepare(loop);
        ring_enter(&loop->ring, 0);
    }
    return error;
}

static void *second_thread(void *unused) {
    int error = open_loop(1);
    if (error != 0) ring_die("io_uring_setup", error);
    pthread_barrier_wait(&ready);
    while (!stopped) turn(&loops[1]);
    close(loops[1].ring.fd);
    return unused;
}

void loops_start(const struct work *given) {
    work = given;
    int error = open_loop(0);
    if (error != 0) ring_die("io_uring_setup", error);
    if (loop_count == 1) return;
    pthread_barrier_init(&ready, NULL, 2);
    error = pthread_create(&thread, NULL, second_thread, NULL);
    if (error != 0) ring_die("pthread_create", error);
    pthread_barrier_wait(&ready);
}

void loops_stop(void) {
    if (loop_count == 2) {
        send_to(&loops[0], 1, STOP);
        ring_enter(&loops[0].ring, 0);
        pthread_join(thread, NULL);
    }
    close(loops[0].ring.fd);
}

void loops_repeat(void) {
    loops[0].ended = 0;
    other_ended = loop_count == 1;
    if (loop_count == 2) send_to(&loops[0], 1, START);
    work->start(&loops[0]);
    while (!loops[0].ended || !other_ended) turn(&loops[0]);
}

void loop_end(struct loop *loop) {
    if (loop->number == 0) loop->ended = 1;
    else send_to(loop, 0, ENDED);
}

void loop_tell(struct loop *loop, unsigned number) {
    if (number == loop->number) work->told(loop);
    else send_to(loop, number, TOLD);
}
