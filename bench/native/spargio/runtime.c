/* The runtime of a program, and what a task needs of it. */
#include "tasks.h"

spargio_runtime runtime;

const char *peer_version(void) { return spargio_version(); }
int peer_option(const char *name, const char *value) { return (void)name, (void)value, 0; }
uint32_t peer_threads(const struct workload *workload) { return workload->threads; }

int peer_begin(const struct workload *workload) {
    spargio_runtime_options options;
    CHECK(spargio_runtime_options_init(&options));
    options.shards = workload->threads;
    choose_options(workload, &options);
    int32_t status = spargio_runtime_start(&options, &runtime);
    if (status == SPARGIO_OK) return 0;
    fprintf(stderr, "peer-%s: no runtime: %s\n", peer_name, spargio_strerror(status));
    return 3;
}

void peer_end(void) { CHECK(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER)); }

_Noreturn void die(const char *what, long number) {
    char why[256];
    snprintf(why, sizeof why, "%ld: %s", number, spargio_strerror((int32_t)number));
    fail(what, why);
}

spargio_join start(uint32_t kind, uint64_t value, spargio_poll_fn poll, void *ctx) {
    spargio_placement placement = {.struct_size = sizeof placement, .kind = kind, .value = value};
    spargio_join join;
    CHECK(spargio_spawn(runtime, &placement, poll, ctx, &join));
    return join;
}

int64_t finish(spargio_join join) {
    int64_t result;
    CHECK(spargio_join_wait(join, SPARGIO_FOREVER, &result));
    CHECK(spargio_join_release(join));
    return result;
}
