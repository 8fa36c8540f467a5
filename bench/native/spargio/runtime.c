/* spargio's own peer of bench/peers/PROTOCOL.md: its runtime, and what a task needs of it. */
#include <string.h>

#include "tasks.h"

spargio_runtime runtime;

const char *const peer_name = "spargio-c";
const struct workload *const peer_families[] = {message_workloads, cpu_workloads, file_workloads,
                                                net_workloads, NULL};

const char *peer_version(void) { return spargio_version(); }
int peer_option(const char *name, const char *value) { return (void)name, (void)value, 0; }
uint32_t peer_threads(const struct workload *workload) { return workload->threads; }

int peer_begin(const struct workload *workload) {
    static const uint16_t merged = OWNED;
    spargio_runtime_options options;
    CHECK(spargio_runtime_options_init(&options));
    options.shards = workload->threads;
    options.coalesced_hot_msg_tags = &merged;
    options.coalesced_hot_msg_tags_count = strncmp(workload->name, "net_", 4) == 0;
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
