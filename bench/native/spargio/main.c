/* spargio's own peer of bench/peers/PROTOCOL.md: the command line, the clock and the line of JSON. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "workload.h"

spargio_runtime runtime;
const char *file_path;

static const struct workload *const families[] = {message_workloads, cpu_workloads, file_workloads,
                                                  net_workloads};
enum { FAMILIES = sizeof families / sizeof *families, REPEAT_MAX = 1000000 };

_Noreturn void die(const char *what, long number) {
    fprintf(stderr, "bench-spargio: %s gave %ld: %s\n", what, number, spargio_strerror((int32_t)number));
    exit(1);
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

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double seconds(struct timeval since, struct timeval until) {
    return (double)(until.tv_sec - since.tv_sec) + (double)(until.tv_usec - since.tv_usec) / 1e6;
}

static int run(const struct workload *workload, long repeat) {
    if (workload->shards > 0) {
        spargio_runtime_options options;
        CHECK(spargio_runtime_options_init(&options));
        options.shards = workload->shards;
        static const uint16_t merged = 2; /* OWNED of net.c */
        options.coalesced_hot_msg_tags = &merged;
        options.coalesced_hot_msg_tags_count = strncmp(workload->name, "net_", 4) == 0;
        int32_t status = spargio_runtime_start(&options, &runtime);
        if (status != SPARGIO_OK) {
            fprintf(stderr, "bench-spargio: no runtime: %s\n", spargio_strerror(status));
            return 3;
        }
    }
    if (workload->set_up) workload->set_up();
    uint64_t checksum = workload->repeat();
    double *times = calloc((size_t)repeat, sizeof *times);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (long i = 0; i < repeat; i++) {
        double began = now();
        if (workload->repeat() != checksum) die("a repetition with another checksum", i);
        times[i] = now() - began;
    }
    getrusage(RUSAGE_SELF, &after);
    if (workload->tear_down) workload->tear_down();
    if (workload->shards > 0) CHECK(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER));
    printf("{\"peer\":\"spargio-c\",\"version\":\"%s\",\"workload\":\"%s\",\"seconds\":[", spargio_version(),
           workload->name);
    for (long i = 0; i < repeat; i++) printf("%s%.9f", i > 0 ? "," : "", times[i]);
    printf("],\"user_s\":%.6f,\"system_s\":%.6f,\"checksum\":\"%llu\",\"threads\":%u}\n",
           seconds(before.ru_utime, after.ru_utime), seconds(before.ru_stime, after.ru_stime),
           (unsigned long long)checksum, workload->shards > 0 ? workload->shards : 2);
    free(times);
    return 0;
}

static int usage(const char *problem, const char *value) {
    fprintf(stderr, "bench-spargio: %s \"%s\": allowed is list, or WORKLOAD [--repeat 1..%d] [--file PATH]\n",
            problem, value, REPEAT_MAX);
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
        } else {
            return usage("unknown option", arguments[i]);
        }
    }
    int listing = strcmp(arguments[1], "list") == 0;
    for (int f = 0; f < FAMILIES; f++) {
        for (const struct workload *w = families[f]; w->name != NULL; w++) {
            if (listing) puts(w->name);
            else if (strcmp(w->name, arguments[1]) == 0) return run(w, repeat);
        }
    }
    return listing ? 0 : usage("unknown workload", arguments[1]);
}
