/* One or two threads with a ring each. What completes is told to the workload, which answers with more
   entries; threads tell each other by MSG_RING. */
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include "../common/peer.h"
#include "../ring.h"

enum { LOOPS_MAX = 2 };

struct loop {
    struct ring ring;
    unsigned number;
    unsigned wait; /* for how many completions at a time */
    int ended;     /* its part of the present repetition has */
};

extern struct loop loops[LOOPS_MAX];
extern unsigned loop_count;

/* The workload's. `user_data` is below MESSAGES. */
struct work {
    void (*prepare)(struct loop *);                                 /* on its thread, in the set-up */
    void (*start)(struct loop *);                                   /* a repetition */
    void (*completed)(struct loop *, uint64_t user_data, int result);
    void (*told)(struct loop *);                                    /* by the other thread: loop_tell() */
};
#define MESSAGES ((uint64_t)1 << 32)

void loops_start(const struct work *);
void loops_stop(void);
void loops_repeat(void);                     /* start on each loop, until all have ended */
void loop_end(struct loop *);                /* this loop has nothing left to do in this repetition */
void loop_tell(struct loop *, unsigned number);

static inline struct io_uring_sqe *loop_push(struct loop *loop, uint8_t opcode, int fd, uint64_t user_data) {
    ring_reserve(&loop->ring, 1);
    return ring_push(&loop->ring, opcode, fd, user_data);
}

#endif
