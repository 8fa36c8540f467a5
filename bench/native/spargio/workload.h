/* What the workloads of bench/peers/PROTOCOL.md have in common, and how a task waits in C. */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "spargio.h"

struct workload {
    const char *name;
    uint32_t shards; /* 0: it starts its own runtimes */
    void (*set_up)(void);
    uint64_t (*repeat)(void); /* timed; gives the checksum */
    void (*tear_down)(void);
};

extern const struct workload message_workloads[], cpu_workloads[], file_workloads[], net_workloads[];
extern spargio_runtime runtime;
extern const char *file_path; /* --file, or NULL */

_Noreturn void die(const char *what, long number);

#define CHECK(call)                                                                                \
    do {                                                                                           \
        int32_t status_ = (call);                                                                  \
        if (status_ != SPARGIO_OK) die(#call, status_);                                            \
    } while (0)

/* A task is a function that is called again and goes on where it waited: `line` says where that was.
   Its variables live in the struct that starts with this one. */
struct task {
    int line;
    spargio_op op;
};

#define TASK_BEGIN(task) switch ((task)->line) { case 0:
#define TASK_END }

/* Goes on when `condition` (which asks spargio, and so is told of changes) is SPARGIO_READY. */
#define WAIT(task, condition)                                                                      \
    do {                                                                                           \
        (task)->line = __LINE__;                                                                   \
        __attribute__((fallthrough));                                                              \
    case __LINE__:;                                                                                \
        int32_t status_ = (condition);                                                             \
        if (status_ == SPARGIO_PENDING) return SPARGIO_PENDING;                                    \
        if (status_ != SPARGIO_READY) die(#condition, status_);                                    \
    } while (0)

/* Starts an operation of the task and goes on when it has ended. */
#define AWAIT(task, value, call)                                                                   \
    do {                                                                                           \
        CHECK(call);                                                                               \
        WAIT(task, spargio_op_poll((task)->op, value));                                            \
    } while (0)

spargio_join start(uint32_t kind, uint64_t value, spargio_poll_fn poll, void *ctx);
int64_t finish(spargio_join join);

static inline uint64_t mix(uint64_t x, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x = x * 0x9E3779B97F4A7C15u + i;
    }
    return x;
}

#endif
