/* Latencies recorded by shards and by a thread outside, read as CBOR by the reader of stdout. With an
 * argument "cost": prints the instructions' worth of records for valgrind, and nothing else. */
#include "check.h"

static spargio_recorder feed;
static uint32_t refused;

static int32_t record(void *ctx, int64_t *result) {
    (void)result;
    for (uint64_t i = 1; i <= 1000; i++) CHECK_IS(spargio_recorder_record(feed, i * 1000), SPARGIO_OK);
    CHECK_IS(spargio_recorder_record_outcome(feed, 5000000, refused, 64, 2), SPARGIO_OK);
    (void)ctx;
    return SPARGIO_READY;
}

static void write_all(int32_t (*fill)(uint8_t *, size_t, size_t *)) {
    size_t needed = 0;
    uint8_t *buffer = NULL;
    while (fill(buffer, needed, &needed) == SPARGIO_E_BUFFER) {
        buffer = realloc(buffer, needed);
        CHECK(buffer != NULL);
    }
    CHECK(fwrite(buffer, 1, needed, stdout) == needed);
    free(buffer);
}

static spargio_runtime runtime;

static int32_t fill_snapshot(uint8_t *buffer, size_t capacity, size_t *needed) {
    return spargio_stats_cbor(runtime, buffer, capacity, needed);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv) {
    spargio_recorder same = 0, other = 0;
    uint32_t outcome = 0;
    CHECK_IS(spargio_recorder_open("feed", &feed), SPARGIO_OK);
    if (argc > 1 && strcmp(argv[1], "cost") == 0) {
        int count = atoi(argv[2]);
        for (int i = 0; i < count; i++) spargio_recorder_record(feed, 1234);
        return 0;
    }
    CHECK_IS(spargio_recorder_open("feed", &same), SPARGIO_OK);
    CHECK(same == feed && feed != 0);
    CHECK_IS(spargio_recorder_open("other", &other), SPARGIO_OK);
    CHECK(other != feed);
    CHECK_IS(spargio_recorder_open("", &other), SPARGIO_E_INVALID);
    CHECK_IS(spargio_recorder_open(NULL, &other), SPARGIO_E_INVALID);
    CHECK_IS(spargio_recorder_open("x", NULL), SPARGIO_E_INVALID);
    CHECK_IS(spargio_recorder_record(0, 1), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_recorder_record(77, 1), SPARGIO_E_CLOSED);
    CHECK_IS(spargio_recorder_record_outcome(feed, 1, 4, 0, 0), SPARGIO_E_INVALID);
    CHECK_IS(spargio_recorder_error(feed, "refused", &refused), SPARGIO_OK);
    CHECK_IS(spargio_recorder_error(feed, "refused", &outcome), SPARGIO_OK);
    CHECK(outcome == refused && refused > SPARGIO_OUTCOME_ERROR);

    spargio_runtime_options options;
    runtime = start(argc, argv, &options);
    spargio_join joins[2];
    for (uint64_t shard = 0; shard < 2; shard++) {
        spargio_placement where = place(SPARGIO_PLACE_PINNED, shard);
        CHECK_IS(spargio_spawn(runtime, &where, record, NULL, &joins[shard]), SPARGIO_OK);
    }
    for (int i = 0; i < 2; i++) CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_recorder_record_outcome(feed, 7000000, SPARGIO_OUTCOME_TIMEOUT, 0, 1), SPARGIO_OK);
    CHECK_IS(spargio_recorder_record_from(other, now_ns() - 2000000000u), SPARGIO_OK);
    CHECK_IS(spargio_recorder_record_from(other, now_ns() + 2000000000u), SPARGIO_OK);
    CHECK_IS(spargio_recorder_record_corrected(other, 100, 10), SPARGIO_OK);
    write_all(fill_snapshot);
    for (int i = 0; i < 2; i++) CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER), SPARGIO_OK);
    write_all(spargio_recorders_cbor); /* What the shards recorded is still there. */
    return 0;
}
