/* SPDX-License-Identifier: MIT
 *
 * What the programs of this folder share: a runtime of one shard, and tasks as those of the native workloads. */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include <sys/resource.h>
#include <time.h>

#include "../spargio/workload.h"

spargio_runtime runtime;

_Noreturn void die(const char *what, long number) {
    fprintf(stderr, "%s gave %ld: %s\n", what, number, spargio_strerror((int32_t)number));
    exit(1);
}

static inline void start_runtime(void) {
    spargio_runtime_options options;
    CHECK(spargio_runtime_options_init(&options));
    options.shards = 1;
    int32_t status = spargio_runtime_start(&options, &runtime);
    if (status == SPARGIO_OK) return;
    fprintf(stderr, "no runtime: %s\n", spargio_strerror(status));
    exit(77); /* SKIPPED of python/processes.py */
}

static inline int64_t run_to_its_end(spargio_poll_fn poll, void *ctx) {
    int64_t result;
    spargio_join join;
    CHECK(spargio_spawn(runtime, NULL, poll, ctx, &join));
    CHECK(spargio_join_wait(join, SPARGIO_FOREVER, &result));
    CHECK(spargio_join_release(join));
    return result;
}

static inline double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* CRC-32 as zlib's, which the checksums of the rows are made of. */
static inline uint32_t crc32(const unsigned char *data, size_t size, uint32_t start) {
    static uint32_t table[256];
    uint32_t crc = ~start;
    if (table[1] == 0) {
        for (uint32_t n = 0; n < 256; n++) {
            table[n] = n;
            for (int bit = 0; bit < 8; bit++) table[n] = table[n] >> 1 ^ (table[n] & 1 ? 0xEDB88320u : 0);
        }
    }
    for (size_t i = 0; i < size; i++) crc = crc >> 8 ^ table[(crc ^ data[i]) & 255];
    return ~crc;
}

#endif
