/* What the workloads on spargio have in common. */
#ifndef BENCH_TASKS_H
#define BENCH_TASKS_H

#include "../common/peer.h"
#include "await.h"

enum { DONE = 1, OWNED = 2 }; /* tags of net.c: a stream has ended; merged by spargio into a sum */

/* Each program has its own: what its runtime is started with, beside the number of shards. */
void choose_options(const struct workload *, spargio_runtime_options *);

spargio_join start(uint32_t kind, uint64_t value, spargio_poll_fn poll, void *ctx);

#endif
