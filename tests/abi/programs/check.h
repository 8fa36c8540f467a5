/* What the test programs share: a check that says where it failed, and a few small helpers. */
#ifndef CHECK_H
#define CHECK_H

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "spargio.h"

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);               \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

#define CHECK_IS(result, wanted)                                                          \
    do {                                                                                  \
        int32_t is_ = (result);                                                           \
        if (is_ != (wanted)) {                                                            \
            fprintf(stderr, "%s:%d: %s is %" PRId32 " (%s), not %s\n", __FILE__, __LINE__, \
                    #result, is_, spargio_strerror(is_), #wanted);                        \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

static inline double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline int open_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder) != NULL) count++;
    closedir(folder);
    return count;
}

/* argv: shards, queue backend, runtime flags; the defaults where they are missing. */
static inline spargio_runtime start(int argc, char **argv, spargio_runtime_options *options) {
    spargio_runtime runtime = 0;
    CHECK_IS(spargio_runtime_options_init(options), SPARGIO_OK);
    options->shards = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
    options->stealable_queue_backend = argc > 2 ? (uint32_t)atoi(argv[2]) : SPARGIO_QUEUE_MUTEX;
    options->flags = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
    CHECK_IS(spargio_runtime_start(options, &runtime), SPARGIO_OK);
    CHECK(runtime != 0);
    return runtime;
}

static inline spargio_placement place(uint32_t kind, uint64_t value) {
    spargio_placement placement = {sizeof placement, kind, value};
    return placement;
}

#endif
