/* Target: everything of the C ABI that needs no runtime. Structs of any size and content, numeric
 * addresses and names of sockets, SQEs, SPARGIO_BACKEND, handles that never were. */
#include <arpa/inet.h>
#include <unistd.h>

#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    char folder[] = "/tmp/spargio-fuzz-XXXXXX";
    CHECK(mkdtemp(folder) != NULL && chdir(folder) == 0); /* Paths of Unix sockets are relative. */
    CHECK(rmdir(folder) == 0); /* Nothing can be made there, and nothing is left behind. */
    return 0;
}

static void check_message(int32_t result, const char *message, size_t capacity) {
    CHECK(result == SPARGIO_OK || result == SPARGIO_E_INVALID);
    if (result == SPARGIO_OK || capacity == 0) return;
    size_t length = strnlen(message, capacity);
    CHECK(length < capacity);
    CHECK(length > 0 || capacity == 1);
}

static void start_small(const spargio_runtime_options *options, uint32_t size) {
    spargio_runtime_options all;
    spargio_runtime_options_init(&all);
    memcpy(&all, options, size < sizeof all ? size : sizeof all);
    if (all.shards > 2 || all.ring_entries > 64 || all.stealable_queue_capacity > 4096) return;
    if (all.msg_ring_queue_capacity > 4096 || all.io_uring_sqpoll_idle_ms > 0) return;
    spargio_runtime runtime = 0;
    CHECK(spargio_runtime_start(options, &runtime) == SPARGIO_OK);
    uint32_t count = 0, backend = 0;
    CHECK(spargio_runtime_shard_count(runtime, &count) == SPARGIO_OK && count == all.shards);
    CHECK(spargio_runtime_backend(runtime, &backend, NULL) == SPARGIO_OK && backend != SPARGIO_BACKEND_AUTO);
    CHECK(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER) == SPARGIO_OK);
    CHECK(spargio_runtime_shutdown(runtime, 0) == SPARGIO_E_CLOSED);
}

static void options(Input *input) {
    uint8_t how = eat8(input);
    /* Where the defaults stand, a few bytes of the input change one field at a time. */
    spargio_runtime_options given;
    spargio_runtime_options_init(&given);
    for (int i = how & 3; i > 0; i--) {
        size_t at = 4 * (eat8(input) % (sizeof given / 4));
        uint32_t value = eat32(input);
        memcpy((char *)&given + at, &value, sizeof value);
    }
    if (how & 4) eat(input, &given, sizeof given);
    char *prefix = eat_text(input, 16);
    uint32_t cpus = given.thread_affinity_count > 1024 ? 0 : given.thread_affinity_count;
    uint32_t hot = given.hot_msg_tags_count > 65536 ? 0 : given.hot_msg_tags_count;
    uint32_t coalesced = given.coalesced_hot_msg_tags_count > 254 ? 0 : given.coalesced_hot_msg_tags_count;
    uint32_t *affinity = exactly(cpus * sizeof *affinity);
    uint16_t *tags = exactly((size_t)hot * sizeof *tags);
    uint16_t *counters = exactly(coalesced * sizeof *counters);
    for (uint32_t i = 0; i < cpus && i < 4; i++) affinity[i] = how & 8 ? eat32(input) : i % 2;
    for (uint32_t i = 0; i < hot && i < 8; i++) tags[i] = eat16(input);
    for (uint32_t i = 0; i < coalesced && i < 8; i++) counters[i] = eat16(input);
    given.thread_prefix = how & 16 ? prefix : NULL;
    given.thread_affinity = how & 32 ? affinity : NULL;
    given.hot_msg_tags = how & 64 ? tags : NULL;
    given.coalesced_hot_msg_tags = how & 128 ? counters : NULL;
    uint32_t size = given.struct_size;
    uint32_t room = size <= 4096 ? size : 4096;
    if (room < sizeof given) room = sizeof given;
    uint8_t *memory = exactly(room);
    memcpy(memory, &given, sizeof given);
    if (room > sizeof given) eat(input, memory + sizeof given, room - sizeof given);
    size_t capacity = eat8(input);
    char *message = exactly(capacity);
    int32_t result = spargio_runtime_options_check((void *)memory, message, capacity);
    check_message(result, message, capacity);
    CHECK(spargio_runtime_options_check((void *)memory, NULL, capacity) == result);
    if (result == SPARGIO_OK && eat8(input) == 77) start_small((void *)memory, size);
    if (result != SPARGIO_OK) {
        spargio_runtime runtime = 7;
        CHECK(spargio_runtime_start((void *)memory, &runtime) == SPARGIO_E_INVALID && runtime == 7);
    }
    free(message);
    free(memory);
    free(counters);
    free(tags);
    free(affinity);
    free(prefix);
}

static bool numeric(const char *text) {
    uint8_t out[16];
    return inet_pton(AF_INET, text, out) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

/* Taken exactly where the C library takes it; a zone (fe80::1%1) is ours alone. */
static void addresses(Input *input) {
    char *text = eat_text(input, 80);
    int32_t fd = -7;
    int32_t result = eat8(input) & 1 ? spargio_udp_bind(text, 0, &fd) : spargio_tcp_listen(text, 0, 1, &fd);
    if (strchr(text, '%') == NULL && (result != SPARGIO_E_INVALID) != numeric(text)) {
        fprintf(stderr, "address %s: %d\n", text, result);
        abort();
    }
    CHECK(result == SPARGIO_OK || result == SPARGIO_E_INVALID || SPARGIO_ERRNO_OF(result) > 0);
    CHECK((result == SPARGIO_OK) == (fd >= 0));
    if (fd >= 0) {
        uint16_t port = 0;
        CHECK(spargio_local_port(fd, &port) == SPARGIO_OK && port != 0);
        close(fd);
    }
    free(text);
}

static void unix_names(Input *input) {
    char *text = eat_text(input, 200);
    if (text[0] == '/') text[0] = '@'; /* No files elsewhere. */
    int32_t fd = -7;
    int32_t result = spargio_unix_listen(text, 1, &fd);
    bool fits = text[0] != 0 && strlen(text) <= 107;
    CHECK(fits ? result != SPARGIO_E_INVALID : result == SPARGIO_E_INVALID);
    CHECK((result == SPARGIO_OK) == (fd >= 0));
    if (fd >= 0) close(fd);
    free(text);
}

static void sqes(Input *input) {
    size_t capacity = eat8(input);
    uint8_t *memory = exactly(65);
    eat(input, memory + 1, 64); /* Not aligned. */
    char *message = exactly(capacity);
    int32_t result = spargio_sqe_check(memory + 1, message, capacity);
    check_message(result, message, capacity);
    uint64_t op = 0;
    CHECK(spargio_submit_sqe(memory + 1, NULL, NULL, &op) ==
          (result == SPARGIO_OK ? SPARGIO_E_NOT_ON_SHARD : SPARGIO_E_INVALID));
    free(message);
    free(memory);
}

static int32_t never(void *ctx, int64_t *result) {
    (void)ctx;
    (void)result;
    abort();
}

static void forged(Input *input) {
    uint64_t handle = eat64(input);
    uint32_t size = eat32(input), number = 0;
    uint32_t room = size <= 4096 && size > sizeof(spargio_placement) ? size : sizeof(spargio_placement);
    spargio_placement *placement = exactly(room);
    placement->struct_size = size;
    placement->kind = eat32(input);
    if (room > 8) eat(input, (uint8_t *)placement + 8, room - 8);
    int64_t result = 0;
    spargio_join join = 0;
    int32_t spawned = spargio_spawn(handle, placement, never, NULL, &join);
    CHECK(spawned == SPARGIO_E_CLOSED || spawned == SPARGIO_E_INVALID);
    CHECK(spargio_join_wait(handle, 0, &result) == SPARGIO_E_CLOSED);
    CHECK(spargio_join_poll(handle, &result) == SPARGIO_E_NOT_ON_SHARD);
    CHECK(spargio_join_cancel(handle) == SPARGIO_E_CLOSED);
    CHECK(spargio_join_shard(handle, &number) == SPARGIO_E_CLOSED);
    CHECK(spargio_join_release(handle) == SPARGIO_E_CLOSED);
    CHECK(spargio_runtime_shard_count(handle, &number) == SPARGIO_E_CLOSED);
    CHECK(spargio_runtime_shutdown(handle, 0) == SPARGIO_E_CLOSED);
    CHECK(spargio_stats_cbor(handle, NULL, 0, NULL) == SPARGIO_E_CLOSED);
    CHECK(spargio_msg_send(handle, eat32(input), eat16(input), eat32(input)) ==
          (handle == 0 ? SPARGIO_E_NOT_ON_SHARD : SPARGIO_E_CLOSED));
    CHECK(spargio_strerror((int32_t)eat32(input)) != NULL);
    free(placement);
}

static void probes(Input *input) {
    uint32_t size = eat32(input);
    uint32_t room = size <= 4096 && size > sizeof(spargio_probe_info) ? size : sizeof(spargio_probe_info);
    spargio_probe_info *info = exactly(room);
    info->struct_size = size;
    int32_t result = spargio_probe(info);
    CHECK(result == (size < 8 || size > 4096 || size % 4 != 0 ? SPARGIO_E_INVALID : SPARGIO_OK));
    CHECK(info->struct_size == size);
    free(info);
}

static void environment(Input *input) {
    char *text = eat_text(input, 40);
    setenv("SPARGIO_BACKEND", text, 1);
    spargio_runtime_options given;
    spargio_runtime_options_init(&given);
    char message[256];
    int32_t result = spargio_runtime_options_check(&given, message, sizeof message);
    check_message(result, message, sizeof message);
    bool known = !*text || !strcmp(text, "auto") || !strcmp(text, "io_uring") || !strcmp(text, "epoll");
    CHECK(known == (result == SPARGIO_OK));
    given.backend = SPARGIO_BACKEND_EPOLL; /* Said in the program: the environment does not matter. */
    CHECK(spargio_runtime_options_check(&given, NULL, 0) == SPARGIO_OK);
    unsetenv("SPARGIO_BACKEND");
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const parts[])(Input *) = {options, addresses, unix_names, sqes, forged, probes, environment};
    Input input = {data, size};
    parts[eat8(&input) % (sizeof parts / sizeof *parts)](&input);
    return 0;
}
