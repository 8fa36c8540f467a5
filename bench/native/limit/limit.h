/* SPDX-License-Identifier: MIT
 *
 * What the programs of this folder share: a runtime, and tasks as those of the native workloads. */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include <sys/resource.h>
#include <time.h>

#include "../spargio/await.h"

spargio_runtime runtime;

_Noreturn void die(const char *what, long number) {
    fprintf(stderr, "%s gave %ld: %s\n", what, number, spargio_strerror((int32_t)number));
    exit(1);
}

static inline void start_runtime(uint32_t shards) {
    spargio_runtime_options options;
    CHECK(spargio_runtime_options_init(&options));
    options.shards = shards;
    int32_t status = spargio_runtime_start(&options, &runtime);
    if (status == SPARGIO_OK) return;
    fprintf(stderr, "no runtime: %s\n", spargio_strerror(status));
    exit(77); /* SKIPPED of python/processes.py */
}

static inline spargio_join start_pinned(uint32_t shard, spargio_poll_fn poll, void *ctx) {
    spargio_placement placement = {sizeof placement, SPARGIO_PLACE_PINNED, shard};
    spargio_join join;
    CHECK(spargio_spawn(runtime, &placement, poll, ctx, &join));
    return join;
}

/* From outside of the runtime's threads. */
int64_t finish(spargio_join join) {
    int64_t result;
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

static inline double microseconds_between(struct timeval since, struct timeval until) {
    return (double)(until.tv_sec - since.tv_sec) * 1e6 + (double)(until.tv_usec - since.tv_usec);
}

#endif
