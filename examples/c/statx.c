/* An operation that spargio does not wrap: statx(2), as an SQE of our own.
   cc statx.c $(pkg-config --cflags --libs spargio) */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "spargio.h"

struct look {
    const char *path;
    struct statx info; /* The kernel writes here: it lives until the task's join has ended. */
    int ended;
    int32_t error;
};

/* On the shard, once, when the kernel is done. The task is polled after that. */
static void looked(void *ctx, int32_t result, uint32_t cqe_flags) {
    struct look *look = ctx;
    (void)cqe_flags;
    look->ended = 1;
    look->error = result;
}

static int32_t size_of(void *ctx, int64_t *result) {
    struct look *look = ctx;
    if (look->ended) {
        *result = (int64_t)look->info.stx_size;
        return look->error == 0 ? SPARGIO_READY : SPARGIO_E_ERRNO(-look->error);
    }
    if (spargio_task_cancelled() == 1) return SPARGIO_E_CANCELLED;
    struct io_uring_sqe sqe;
    memset(&sqe, 0, sizeof sqe);
    sqe.opcode = IORING_OP_STATX;
    sqe.fd = AT_FDCWD;
    sqe.addr = (uintptr_t)look->path;
    sqe.len = STATX_SIZE;
    sqe.off = (uintptr_t)&look->info;
    int32_t queued = spargio_submit_sqe(&sqe, looked, look, NULL);
    return queued == SPARGIO_OK ? SPARGIO_PENDING : queued;
}

int main(int argc, char **argv) {
    struct look look = {.path = argc > 1 ? argv[1] : argv[0]};
    spargio_runtime runtime;
    spargio_join join;
    int64_t size = 0;
    int32_t result = spargio_runtime_start(NULL, &runtime);
    if (result == SPARGIO_OK) {
        result = spargio_spawn(runtime, NULL, size_of, &look, &join);
        if (result == SPARGIO_OK) {
            result = spargio_join_wait(join, SPARGIO_FOREVER, &size);
            spargio_join_release(join);
        }
        spargio_runtime_shutdown(runtime, SPARGIO_FOREVER);
    }
    if (result != SPARGIO_OK) {
        fprintf(stderr, "%s: %s\n", look.path, spargio_strerror(result));
        return 1;
    }
    printf("%s has %" PRId64 " bytes\n", look.path, size);
    return 0;
}
