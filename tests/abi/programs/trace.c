/* Traces 100 tasks on two shards, twice the same spawn, and writes the file argv[1]; then a flight recorder
   in the folder argv[2] writes its own when a task blocks. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

enum { TASKS = 100 };

static int32_t give(void *ctx, int64_t *result) {
    *result = (intptr_t)ctx;
    return SPARGIO_READY;
}

static int files(const char *folder) {
    int count = 0;
    DIR *all = opendir(folder);
    CHECK(all != NULL);
    for (struct dirent *one; (one = readdir(all)) != NULL;)
        count += strncmp(one->d_name, "spargio-", 8) == 0;
    closedir(all);
    return count;
}

static const char *folder;

static int32_t block(void *ctx, int64_t *result) {
    (void)ctx, (void)result;
    double began = seconds();
    while (files(folder) == 0) CHECK(seconds() - began < 30);
    return SPARGIO_READY;
}

static void run(spargio_runtime rt, spargio_poll_fn poll, int count) {
    static spargio_join joins[TASKS];
    for (int i = 0; i < count; i++) {
        spargio_placement p = place(SPARGIO_PLACE_PINNED, (uint64_t)i % 2);
        CHECK_IS(spargio_spawn(rt, &p, poll, (void *)(intptr_t)i, &joins[i]), SPARGIO_OK);
    }
    for (int i = 0; i < count; i++) {
        CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, NULL), SPARGIO_OK);
        CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    folder = argv[2];
    spargio_runtime_options options;
    spargio_runtime_options_init(&options);
    options.shards = 2;
    spargio_runtime rt = 0;
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_OK);
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_IS(spargio_trace_write(rt, 0, fd), SPARGIO_E_INVALID);
    CHECK_IS(spargio_trace_stop(rt), SPARGIO_E_INVALID);
    CHECK_IS(spargio_trace_start(rt, 63, NULL), SPARGIO_E_INVALID);
    uint64_t since = 0;
    CHECK_IS(spargio_trace_start(rt, 0, NULL), SPARGIO_OK);
    run(rt, give, 10);
    CHECK_IS(spargio_trace_start(rt, 64, &since), SPARGIO_OK);
    run(rt, give, TASKS);
    CHECK_IS(spargio_trace_stop(rt), SPARGIO_OK);
    CHECK_IS(spargio_trace_write(rt, since, fd), SPARGIO_OK);
    CHECK_IS(spargio_trace_write(rt, since, -1), SPARGIO_E_ERRNO(9));
    CHECK(close(fd) == 0);
    CHECK_IS(spargio_trace_stop(rt), SPARGIO_OK);
    CHECK_IS(spargio_trace_stop(rt), SPARGIO_E_INVALID);

    spargio_flight_options flight = {.struct_size = sizeof flight};
    CHECK_IS(spargio_flight_start(rt, &flight), SPARGIO_E_INVALID);
    flight.folder = folder;
    CHECK_IS(spargio_flight_start(rt, &flight), SPARGIO_E_INVALID);
    flight.blocked_ns = 20000000;
    CHECK_IS(spargio_flight_start(rt, &flight), SPARGIO_OK);
    CHECK_IS(spargio_flight_start(rt, &flight), SPARGIO_E_OVERLOADED);
    run(rt, block, 1);
    CHECK_IS(spargio_flight_stop(rt), SPARGIO_OK);
    CHECK_IS(spargio_flight_stop(rt), SPARGIO_E_INVALID);
    CHECK_IS(spargio_flight_start(rt, &flight), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
