/* Option structs of older, equal and newer headers; each value out of range is named; fork. */
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

struct newer {
    spargio_runtime_options options;
    uint64_t more[2];
};

#define REFUSED(field, value)                                                                  \
    do {                                                                                       \
        spargio_runtime_options wrong = good;                                                  \
        wrong.field = (value);                                                                 \
        char text[256] = "", number[32];                                                       \
        CHECK_IS(spargio_runtime_options_check(&wrong, text, sizeof text), SPARGIO_E_INVALID); \
        snprintf(number, sizeof number, " %llu", (unsigned long long)(value));                 \
        CHECK(strstr(text, #field) == text && strstr(text, number) && strstr(text, " must be ")); \
        CHECK_IS(spargio_runtime_start(&wrong, &rt), SPARGIO_E_INVALID);                       \
    } while (0)

/* A program is built with the header of its time: an older one has less room, a newer one more. */
static void init_writes_what_there_is_room_for(const spargio_runtime_options *good) {
    const size_t first = offsetof(spargio_runtime_options, blocked_threshold_ms), whole = sizeof *good;
    struct newer room;
    for (size_t size = 0; size <= sizeof room; size++) {
        memset(&room, 0xAA, sizeof room);
        int32_t result = spargio_runtime_options_init_sized(&room.options, size);
        size_t written = size;
        if (size != first && (size < whole || size % 4 != 0)) {
            CHECK_IS(result, SPARGIO_E_INVALID);
            written = 0;
        } else {
            CHECK_IS(result, SPARGIO_OK);
            CHECK(room.options.struct_size == (size < whole ? size : whole));
            CHECK_IS(spargio_runtime_options_check(&room.options, NULL, 0), SPARGIO_OK);
        }
        for (size_t i = written; i < sizeof room; i++) CHECK(((unsigned char *)&room)[i] == 0xAA);
        for (size_t i = whole; i < written; i++) CHECK(((unsigned char *)&room)[i] == 0);
    }
    memset(&room, 0xAA, sizeof room);
    CHECK_IS((spargio_runtime_options_init)(&room.options), SPARGIO_OK); /* The function, not the macro. */
    CHECK(room.options.struct_size == whole && ((unsigned char *)&room)[whole] == 0xAA);
}

int main(void) {
    spargio_runtime_options good;
    spargio_runtime rt = 0;
    CHECK_IS(spargio_runtime_options_init(&good), SPARGIO_OK);
    CHECK(good.struct_size == sizeof good);
    init_writes_what_there_is_room_for(&good);
    char said[256] = "";
    CHECK_IS(spargio_runtime_options_check(NULL, said, sizeof said), SPARGIO_E_INVALID);
    CHECK(strstr(said, "NULL"));
    said[0] = 0;
    CHECK_IS(spargio_sqe_check(NULL, said, sizeof said), SPARGIO_E_INVALID);
    CHECK(strstr(said, "NULL"));
    CHECK_IS(spargio_runtime_options_check(&good, NULL, 0), SPARGIO_OK);
    REFUSED(shards, 0u);
    REFUSED(shards, 257u);
    REFUSED(steal_budget, 0u);
    REFUSED(steal_victim_stride, 257u);
    REFUSED(steal_victim_probe_count, 0u);
    REFUSED(steal_batch_size, 1025u);
    REFUSED(steal_locality_margin, 1000001u);
    REFUSED(steal_fail_cost, 1000001u);
    REFUSED(steal_backoff_min, 0u);
    REFUSED(steal_backoff_max, 65537u);
    REFUSED(stealable_queue_capacity, 0u);
    REFUSED(stealable_queue_backend, 2u);
    REFUSED(ring_entries, 100u);
    REFUSED(idle_strategy, 4u);
    REFUSED(idle_sleep_ns, 999u);
    REFUSED(flags, 16u);
    REFUSED(hot_msg_tags_count, 1u); /* With hot_msg_tags NULL. */
    REFUSED(coalesced_hot_msg_tags_count, 255u);
    REFUSED(hot_counter_wake_threshold, 0u);
    REFUSED(msg_ring_queue_capacity, 0u);
    REFUSED(msg_ring_queue_capacity, 1048577u);
    REFUSED(io_uring_sqpoll_idle_ms, 600001u);
    REFUSED(io_uring_sqpoll_cpu, 0u); /* Without polling. */
    REFUSED(backend, 4u);
    REFUSED(blocked_threshold_ms, 0u);
    REFUSED(blocked_threshold_ms, 3600001u);
    good.steal_backoff_min = 64;
    CHECK_IS(spargio_runtime_options_check(&good, NULL, 0), SPARGIO_E_INVALID); /* Above its max. */
    good.steal_backoff_min = 1;
    good.thread_prefix = "much-too-long-a-prefix";
    CHECK_IS(spargio_runtime_options_check(&good, NULL, 0), SPARGIO_E_INVALID);
    good.thread_prefix = NULL;
    uint32_t cpu = 1u << 20;
    good.thread_affinity = &cpu;
    good.thread_affinity_count = 1;
    CHECK_IS(spargio_runtime_options_check(&good, NULL, 0), SPARGIO_E_INVALID);
    good.thread_affinity_count = 0;

    good.shards = 1;
    spargio_runtime_options older = good;
    older.struct_size = offsetof(spargio_runtime_options, steal_budget);
    older.steal_budget = 0; /* Beyond its end: not looked at. */
    CHECK_IS(spargio_runtime_start(&older, &rt), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    struct newer newer = {.options = good};
    newer.options.struct_size = sizeof newer;
    CHECK_IS(spargio_runtime_start(&newer.options, &rt), SPARGIO_OK);
    newer.more[1] = 1;
    spargio_runtime other = 0;
    CHECK_IS(spargio_runtime_start(&newer.options, &other), SPARGIO_E_INVALID);
    older.struct_size = 3;
    CHECK_IS(spargio_runtime_start(&older, &other), SPARGIO_E_INVALID);

    uint32_t backend = 0;
    int32_t reason = -1;
    CHECK_IS(spargio_runtime_backend(rt, &backend, &reason), SPARGIO_OK);
    CHECK(reason != 0 ? backend == SPARGIO_BACKEND_EPOLL : backend != SPARGIO_BACKEND_AUTO);
    CHECK_IS(spargio_runtime_backend(rt, NULL, &reason), SPARGIO_E_INVALID);
    CHECK_IS(spargio_runtime_backend(rt + 1, &backend, NULL), SPARGIO_E_CLOSED);
    good.backend = SPARGIO_BACKEND_EPOLL;
    spargio_runtime second = 0;
    CHECK_IS(spargio_runtime_start(&good, &second), SPARGIO_OK);
    CHECK_IS(spargio_runtime_backend(second, &backend, &reason), SPARGIO_OK);
    CHECK(backend == SPARGIO_BACKEND_EPOLL && reason == 0); /* Chosen, not fallen back to. */
    CHECK_IS(spargio_runtime_shutdown(second, SPARGIO_FOREVER), SPARGIO_OK);
    good.io_uring_sqpoll_idle_ms = 10;
    CHECK_IS(spargio_runtime_options_check(&good, NULL, 0), SPARGIO_E_INVALID);
    good.io_uring_sqpoll_idle_ms = 0;
    good.backend = SPARGIO_BACKEND_AUTO;

    pid_t child = fork();
    if (child == 0) {
        int result = 0;
        CHECK_IS(spargio_runtime_shutdown(rt, 0), SPARGIO_E_FORKED);
        spargio_runtime mine = 0;
        CHECK_IS(spargio_runtime_start(&good, &mine), SPARGIO_OK);
        CHECK_IS(spargio_runtime_shutdown(mine, SPARGIO_FOREVER), SPARGIO_OK);
        _exit(result);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(spargio_abi_version() == (int32_t)SPARGIO_ABI_VERSION);
    CHECK(SPARGIO_ERRNO_OF(SPARGIO_E_ERRNO(12)) == 12 && SPARGIO_ERRNO_OF(-1) == 0);
    return 0;
}
