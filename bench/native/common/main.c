/* The command line of bench/peers/PROTOCOL.md, the clock and the line of JSON. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "peer.h"

enum { REPEAT_MAX = 1000000 };

const char *file_path;

_Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "peer-%s: %s: %s\n", peer_name, what, why);
    exit(1);
}

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double seconds(struct timeval since, struct timeval until) {
    return (double)(until.tv_sec - since.tv_sec) + (double)(until.tv_usec - since.tv_usec) / 1e6;
}

static int run(const struct workload *workload, long repeat) {
    int status = workload->own_runtime ? 0 : peer_begin(workload);
    if (status != 0) return status;
    if (workload->set_up) workload->set_up();
    uint64_t checksum = workload->repeat();
    double *times = calloc((size_t)repeat, sizeof *times);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (long i = 0; i < repeat; i++) {
        double began = now();
        if (workload->repeat() != checksum) fail(workload->name, "a repetition with another checksum");
        times[i] = now() - began;
    }
    getrusage(RUSAGE_SELF, &after);
    if (workload->tear_down) workload->tear_down();
    if (!workload->own_runtime) peer_end();
    printf("{\"peer\":\"%s\",\"version\":\"%s\",\"workload\":\"%s\",\"seconds\":[", peer_name, peer_version(),
           workload->name);
    for (long i = 0; i < repeat; i++) printf("%s%.9f", i > 0 ? "," : "", times[i]);
    printf("],\"user_s\":%.6f,\"system_s\":%.6f,\"checksum\":\"%llu\",\"threads\":%u}\n",
           seconds(before.ru_utime, after.ru_utime), seconds(before.ru_stime, after.ru_stime),
           (unsigned long long)checksum, peer_threads(workload));
    free(times);
    return 0;
}

static int usage(const char *problem, const char *value) {
    fprintf(stderr, "peer-%s: %s \"%s\": allowed is list, or WORKLOAD [--repeat 1..%d] [--file PATH]\n",
            peer_name, problem, value, REPEAT_MAX);
    return 2;
}

int main(int count, char **arguments) {
    long repeat = 5;
    if (count < 2) return usage("no workload", "");
    for (int i = 2; i < count; i += 2) {
        const char *value = i + 1 < count ? arguments[i + 1] : "";
        char *end;
        if (strcmp(arguments[i], "--file") == 0 && *value != 0) {
            file_path = value;
        } else if (strcmp(arguments[i], "--repeat") == 0) {
            repeat = strtol(value, &end, 10);
            if (*value == 0 || *end != 0 || repeat < 1 || repeat > REPEAT_MAX) return usage("--repeat", value);
        } else if (!peer_option(arguments[i], value)) {
            return usage("unknown option", arguments[i]);
        }
    }
    int listing = strcmp(arguments[1], "list") == 0;
    for (const struct workload *const *family = peer_families; *family != NULL; family++) {
        for (const struct workload *w = *family; w->name != NULL; w++) {
            if (listing) puts(w->name);
            else if (strcmp(w->name, arguments[1]) == 0) return run(w, repeat);
        }
    }
    return listing ? 0 : usage("unknown workload", arguments[1]);
}
