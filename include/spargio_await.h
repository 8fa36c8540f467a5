/*
 * spargio_await.h: tasks in C that wait in the middle of a function.
 *
 * A task of spargio.h is a function that is called again whenever something that it waits for has
 * ended. With these macros it goes on where it waited, so it reads from top to bottom:
 *
 *     struct echo { spargio_await await; int32_t fd, count; char buffer[4096]; };
 *
 *     static int32_t echo(void *ctx, int64_t *result) {
 *         struct echo *self = ctx;
 *         (void)result;
 *         SPARGIO_BEGIN(&self->await);
 *         for (;;) {
 *             SPARGIO_TRY(self->count, spargio_recv(self->fd, self->buffer, sizeof self->buffer, 0,
 *                                                   SPARGIO_OP));
 *             if (self->count == 0) break;
 *             SPARGIO_TRY(self->count, spargio_send(self->fd, self->buffer, (uint32_t)self->count,
 *                                                   MSG_WAITALL, SPARGIO_OP));
 *         }
 *         SPARGIO_END;
 *     }
 *
 * Rules
 *  - What must outlive a wait lies in the task's struct: a wait loses the local variables.
 *  - The struct's spargio_await is zero when the task is spawned.
 *  - A wait is a case label of the switch that SPARGIO_BEGIN opens. So a function has no wait
 *    inside a switch of its own, and at most one wait a line. In C++ a wait must not stand in the
 *    scope of a local variable that has an initializer.
 *  - A cancelled task goes on where it waits, with what the operation reached, or with
 *    SPARGIO_E_ERRNO(ECANCELED). An operation that starts after the cancellation is not cancelled:
 *    ask spargio_task_cancelled() in a loop that ignores errors.
 *
 * C99 and C++11, nothing but spargio.h. A wait costs what a state machine by hand costs. Since 0.4.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_AWAIT_H
#define SPARGIO_AWAIT_H

#include "spargio.h"

/** Where a task waits, and for which operation. Zero before the task's first call. */
typedef struct spargio_await {
    int32_t line;
    int32_t value; /**< of the operation that ended last, as SPARGIO_AWAIT hands it out */
    spargio_op op;
} spargio_await;

/** First statement of the poll function, behind its declarations. */
#define SPARGIO_BEGIN(where)                                                                       \
    spargio_await *const spargio_here_ = (where);                                                  \
    switch (spargio_here_->line) {                                                                 \
    case 0:

/** Last statement of the poll function: the task ends as SPARGIO_READY. */
#define SPARGIO_END                                                                                \
    }                                                                                              \
    return SPARGIO_READY

/** The last argument of the operation that a wait starts. */
#define SPARGIO_OP (&spargio_here_->op)

/**
 * Starts an operation and goes on when it has ended. The lvalue `out` becomes its result (a count,
 * a descriptor, 0), or a negative error of this library, also if it could not start:
 * spargio_strerror() has words for it, and SPARGIO_ERRNO_OF() the kernel's number.
 */
#define SPARGIO_AWAIT(out, start)                                                                  \
    do {                                                                                           \
        spargio_here_->value = (start);                                                            \
        if (spargio_here_->value == SPARGIO_OK) {                                                  \
            spargio_here_->line = __LINE__;                                                        \
            return SPARGIO_PENDING;                                                                \
    case __LINE__:                                                                                 \
            if (spargio_await_poll_(spargio_here_) == SPARGIO_PENDING) return SPARGIO_PENDING;     \
        }                                                                                          \
        (out) = spargio_here_->value;                                                              \
    } while (0)

/** The same, and an error ends the task, which returns it. */
#define SPARGIO_TRY(out, start)                                                                    \
    do {                                                                                           \
        SPARGIO_AWAIT(out, start);                                                                 \
        if (spargio_here_->value < 0) return spargio_here_->value;                                 \
    } while (0)

/**
 * As SPARGIO_AWAIT, for at most so many nanoseconds: an operation that has not ended by then is
 * cancelled, and `out` is SPARGIO_E_ERRNO(ETIME).
 */
#define SPARGIO_AWAIT_WITHIN(out, limit_ns, start)                                                 \
    SPARGIO_AWAIT(out, spargio_await_limited_(spargio_here_, (start), (limit_ns)))

/**
 * Goes on when `call` returns something other than SPARGIO_PENDING, which the lvalue `status`
 * becomes. `call` is any function that the header calls "inside a poll function" and that returns
 * SPARGIO_PENDING: spargio_msg_next, spargio_op_poll of an operation with a handle of its own. It
 * is called again whenever the task is polled.
 */
#define SPARGIO_WAIT(status, call)                                                                 \
    do {                                                                                           \
        (status) = (call);                                                                         \
        while ((status) == SPARGIO_PENDING) {                                                      \
            spargio_here_->line = __LINE__;                                                        \
            return SPARGIO_PENDING;                                                                \
    case __LINE__:                                                                                 \
            (status) = (call);                                                                     \
        }                                                                                          \
    } while (0)

/** Waits for the end of another task; `status` and `*result` are those of spargio_join_poll. */
#define SPARGIO_JOIN(status, join, result) SPARGIO_WAIT(status, spargio_join_poll((join), (result)))

/** Goes on after the other tasks that are ready now. */
#define SPARGIO_YIELD_NOW                                                                          \
    do {                                                                                           \
        spargio_here_->line = __LINE__;                                                            \
        return SPARGIO_YIELD;                                                                      \
    case __LINE__:;                                                                                \
    } while (0)

static inline int32_t spargio_await_poll_(spargio_await *here) {
    int32_t result = 0;
    int32_t status = spargio_op_poll(here->op, &result);
    if (status == SPARGIO_READY) status = result < 0 ? SPARGIO_E_ERRNO(-result) : result;
    else if (status == SPARGIO_PENDING) return SPARGIO_PENDING;
    here->value = status;
    return SPARGIO_READY;
}

/* Without memory for the limit the operation ends at once. */
static inline int32_t spargio_await_limited_(spargio_await *here, int32_t started,
                                             uint64_t limit_ns) {
    if (started == SPARGIO_OK && spargio_op_timeout(here->op, limit_ns) != SPARGIO_OK)
        spargio_op_cancel(here->op);
    return started;
}

#endif /* SPARGIO_AWAIT_H */
