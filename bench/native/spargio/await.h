/* How a task waits in C: for the native workloads, and for the programs of ../limit. */
#ifndef BENCH_AWAIT_H
#define BENCH_AWAIT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "spargio.h"

extern spargio_runtime runtime;

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

int64_t finish(spargio_join join);

#endif
