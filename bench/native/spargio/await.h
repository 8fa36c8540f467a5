/* How a task waits in C, for the native workloads and for the programs of ../limit: the waits of
   spargio_await.h, and any error ends the program. */
#ifndef BENCH_AWAIT_H
#define BENCH_AWAIT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "spargio_await.h"

extern spargio_runtime runtime;

_Noreturn void die(const char *what, long number);

#define CHECK(call)                                                                                \
    do {                                                                                           \
        int32_t status_ = (call);                                                                  \
        if (status_ != SPARGIO_OK) die(#call, status_);                                            \
    } while (0)

/* Goes on when `condition` is SPARGIO_READY. */
#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int32_t status_;                                                                           \
        SPARGIO_WAIT(status_, condition);                                                          \
        if (status_ != SPARGIO_READY) die(#condition, status_);                                    \
    } while (0)

int64_t finish(spargio_join join);

#endif
