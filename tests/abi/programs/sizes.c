/* Sizes, counts and offsets that cannot be: each is SPARGIO_E_INVALID, and nothing is begun. */
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

#define NEGATIVE ((uint64_t)-1)

static int32_t refused(void *ctx, int64_t *result) {
    char byte = 'x';
    struct iovec vector = {&byte, 1};
    spargio_op op = 0;
    uint32_t place;
    unsigned char sqe[64] = {0}, address[256] = {0};
    int fd = *(int *)ctx;
    const uint64_t wrong[] = {NEGATIVE, (uint64_t)INT64_MAX + 1, (uint64_t)-4096};
    (void)result;
    for (int i = 0; i < 3; i++) {
        CHECK_IS(spargio_read_at(fd, &byte, 1, wrong[i], &op), SPARGIO_E_INVALID);
        CHECK_IS(spargio_write_at(fd, &byte, 1, wrong[i], &op), SPARGIO_E_INVALID);
        CHECK_IS(spargio_readv_at(fd, &vector, 1, wrong[i], &op), SPARGIO_E_INVALID);
        CHECK_IS(spargio_writev_at(fd, &vector, 1, wrong[i], &op), SPARGIO_E_INVALID);
        CHECK_IS(spargio_truncate(fd, wrong[i], &op), SPARGIO_E_INVALID);
        CHECK_IS(spargio_allocate(fd, 0, wrong[i], 1, &op), SPARGIO_E_INVALID);
        CHECK_IS(spargio_allocate(fd, 0, 0, wrong[i], &op), SPARGIO_E_INVALID);
        if (wrong[i] == NEGATIVE) continue; /* The descriptor's own position. */
        CHECK_IS(spargio_splice(fd, wrong[i], fd, 0, 1, 0, &op), SPARGIO_E_INVALID);
        CHECK_IS(spargio_splice(fd, 0, fd, wrong[i], 1, 0, &op), SPARGIO_E_INVALID);
    }
    CHECK_IS(spargio_allocate(fd, -1, 0, 1, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_readv_at(fd, &vector, 0, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_readv_at(fd, &vector, 1025, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_writev_at(fd, &vector, UINT32_MAX, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_read_at(fd, NULL, 1, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_recv(fd, NULL, UINT32_MAX, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_connect(fd, address, 1, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_connect(fd, address, 129, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_connect(fd, address, UINT32_MAX, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_shutdown(fd, -1, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_buffer_register(&byte, 0, &place), SPARGIO_E_INVALID);
    CHECK_IS(spargio_buffer_register(&byte, SIZE_MAX, &place), SPARGIO_E_INVALID);
    CHECK_IS(spargio_buffer_register(&byte, ((size_t)1 << 30) + 1, &place), SPARGIO_E_INVALID);
    CHECK_IS(spargio_buffer_unregister(UINT32_MAX), SPARGIO_E_INVALID);
    sqe[42] = 1; /* personality: none is registered, so nobody's rights but the task's can be meant. */
    CHECK_IS(spargio_submit_sqe(sqe, NULL, NULL, &op), SPARGIO_E_INVALID);
    CHECK(op == 0);
    return SPARGIO_READY;
}

/* More than 2 GiB at a time is what read(2) makes of it: a short transfer, not a wrapped one. */
static int32_t huge(void *ctx, int64_t *result) {
    static spargio_op op;
    static char bytes[16];
    int32_t done = 0;
    if (op == 0) {
        CHECK_IS(spargio_read_at(*(int *)ctx, bytes, UINT32_MAX, 0, &op), SPARGIO_OK);
        return SPARGIO_PENDING;
    }
    int32_t state = spargio_op_poll(op, &done);
    *result = done;
    return state;
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);
    char path[] = "/tmp/spargio-sizes-XXXXXX", text[64] = "untouched";
    spargio_join job;
    int64_t result = 0;
    int fd = mkstemp(path);
    CHECK(fd >= 0 && unlink(path) == 0 && write(fd, "abc", 3) == 3);
    CHECK_IS(spargio_spawn(rt, NULL, refused, &fd, &job), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(job, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_spawn(rt, NULL, huge, &fd, &job), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(job, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK(result == 3);

    const uint32_t lies[] = {0, 3, 7, 4097, UINT32_MAX, 13};
    for (int i = 0; i < 6; i++) {
        spargio_runtime other = 0;
        options.struct_size = lies[i];
        CHECK_IS(spargio_runtime_start(&options, &other), SPARGIO_E_INVALID);
        CHECK_IS(spargio_runtime_options_check(&options, NULL, 0), SPARGIO_E_INVALID);
        CHECK_IS(spargio_runtime_options_check(&options, text, 1), SPARGIO_E_INVALID);
        CHECK(text[0] == 0 && text[1] == 'n'); /* Cut at the capacity. */
        spargio_placement p = {lies[i], SPARGIO_PLACE_PINNED, 0};
        CHECK_IS(spargio_spawn(rt, &p, refused, &fd, NULL), SPARGIO_E_INVALID);
        spargio_probe_info info = {.struct_size = lies[i]};
        CHECK_IS(spargio_probe(&info), SPARGIO_E_INVALID);
        CHECK(other == 0);
    }
    size_t needed = 0;
    CHECK_IS(spargio_stats_cbor(rt, NULL, 1, &needed), SPARGIO_E_INVALID);
    CHECK_IS(spargio_msg_send_many(rt, 0, NULL, UINT32_MAX, NULL), SPARGIO_E_INVALID);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    close(fd);
    return 0;
}
