/* spargio's own peer of bench/peers/PROTOCOL.md. */
#include <string.h>

#include "tasks.h"

extern const struct workload message_workloads[], cpu_workloads[], file_workloads[], net_workloads[];

const char *const peer_name = "spargio-c";
const struct workload *const peer_families[] = {message_workloads, cpu_workloads, file_workloads,
                                                net_workloads, NULL};

void choose_options(const struct workload *workload, spargio_runtime_options *options) {
    static const uint16_t merged = OWNED;
    options->coalesced_hot_msg_tags = &merged;
    options->coalesced_hot_msg_tags_count = strncmp(workload->name, "net_", 4) == 0;
}
