/* The limit: the I/O workloads of bench/peers/PROTOCOL.md by hand, without a runtime.
 *
 * By default two threads with a plain ring each, placed as the protocol says for loops that do not
 * steal: stream s has its client on loop s mod 2 and its server on the other one, files are read on
 * loop 1. With `--threads 1`, one ring on one thread does both ends of everything: that is not the
 * protocol's placement (no thread is ever woken, and nothing runs in parallel), but the least that a
 * round trip can cost. Loop 0 is the program's first thread and reads the clock itself.
 *
 * Plain: no registered files or buffers, no polling, no multishot, no spinning. The workloads without
 * I/O have no limit of this kind and are absent. */
#include <stdlib.h>

#include "loops.h"

extern const struct workload file_workloads[], net_workloads[];

const char *const peer_name = "c-ring";
const struct workload *const peer_families[] = {file_workloads, net_workloads, NULL};

const char *peer_version(void) { return "1"; }

int peer_option(const char *name, const char *value) {
    if (strcmp(name, "--threads") != 0 || (strcmp(value, "1") != 0 && strcmp(value, "2") != 0)) return 0;
    loop_count = (unsigned)atoi(value);
    return 1;
}

uint32_t peer_threads(const struct workload *workload) { return (void)workload, loop_count; }

int peer_begin(const struct workload *workload) {
    struct ring ring;
    int error = ring_open(&ring);
    (void)workload;
    if (error != 0) {
        fprintf(stderr, "peer-%s: no ring: %s\n", peer_name, strerror(error));
        return 3;
    }
    close(ring.fd);
    return 0;
}

void peer_end(void) {}
