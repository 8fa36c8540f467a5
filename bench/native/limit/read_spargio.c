/* SPDX-License-Identifier: MIT
 *
 * The limit of Python's 4 KiB reads on spargio: the same reads in C, on the same library. So many tasks on
 * one shard, each with its part of the offsets. Arguments: FILE OFFSETS DEPTH SECONDS DIRECT, where OFFSETS
 * is a file of decimal numbers and DIRECT is 0 or 1. Prints a sample of python/read_4k.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "limit.h"

enum { BLOCK = 4096, BLOCKS = 4096, DEPTH_MAX = 64 };

static uint64_t offsets[BLOCKS];
static int file;

static struct reader {
    spargio_await await;
    uint32_t first, step, next;
    int check;
    int32_t got;
    uint32_t checksum;
    _Alignas(BLOCK) unsigned char buffer[BLOCK];
} readers[DEPTH_MAX];

static int32_t read_part(void *ctx, int64_t *result) {
    struct reader *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    for (self->next = self->first; self->next < BLOCKS; self->next += self->step) {
        SPARGIO_AWAIT(self->got, spargio_read_at(file, self->buffer, BLOCK, offsets[self->next], SPARGIO_OP));
        if (self->got != BLOCK) die("a read", self->got);
        if (self->check) self->checksum += crc32(self->buffer, BLOCK, (uint32_t)offsets[self->next]);
    }
    SPARGIO_END;
}

/* One task starts the others, so that a pass is handed to the runtime's thread once. */
static struct pass {
    spargio_await await;
    uint32_t depth, next;
    int check;
    int64_t unused;
    spargio_join joins[DEPTH_MAX];
} pass;

static int32_t read_all(void *ctx, int64_t *result) {
    struct pass *self = ctx;
    SPARGIO_BEGIN(&self->await);
    for (uint32_t n = 0; n < self->depth; n++) {
        readers[n].await = (spargio_await){0};
        readers[n].first = n;
        readers[n].step = self->depth;
        readers[n].check = self->check;
        readers[n].checksum = 0;
        self->joins[n] = start_pinned(0, read_part, &readers[n]);
    }
    for (self->next = 0; self->next < self->depth; self->next++) {
        WAIT(spargio_join_poll(self->joins[self->next], &self->unused));
        CHECK(spargio_join_release(self->joins[self->next]));
    }
    uint32_t sum = 0;
    for (uint32_t n = 0; n < self->depth; n++) sum += readers[n].checksum;
    *result = sum;
    SPARGIO_END;
}

static uint32_t run_pass(uint32_t depth, int check) {
    pass = (struct pass){.depth = depth, .check = check};
    return (uint32_t)finish(start_pinned(0, read_all, &pass));
}

int main(int count, char **arguments) {
    if (count != 6) die("the number of arguments", count);
    uint32_t depth = (uint32_t)atoi(arguments[3]);
    double seconds = atof(arguments[4]);
    FILE *list = fopen(arguments[2], "r");
    if (depth < 1 || depth > DEPTH_MAX || list == NULL) die("depth or offsets", depth);
    for (int i = 0; i < BLOCKS; i++)
        if (fscanf(list, "%lu", &offsets[i]) != 1) die("offsets", i);
    fclose(list);
    file = open(arguments[1], O_RDONLY | O_CLOEXEC | (atoi(arguments[5]) ? O_DIRECT : 0));
    if (file < 0) die("open", SPARGIO_E_ERRNO(errno));
    start_runtime(1);
    uint32_t checksum = run_pass(depth, 1);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double began = now(), took;
    uint64_t passes = 0;
    do {
        run_pass(depth, 0);
        passes++;
        took = now() - began;
    } while (took < seconds);
    getrusage(RUSAGE_SELF, &after);
    double reads = (double)passes * BLOCKS;
    double user = microseconds_between(before.ru_utime, after.ru_utime) / reads;
    double system = microseconds_between(before.ru_stime, after.ru_stime) / reads;
    printf("{\"reads_per_second\": %.1f, \"cpu_us\": %.4f, \"user_us\": %.4f, \"system_us\": %.4f, "
           "\"checksum\": %u}\n",
           reads / took, user + system, user, system, checksum);
    CHECK(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER));
    return 0;
}
