/* 4 KiB reads of a file in the page cache, one by one and 32 at a time. */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "tasks.h"

static int fd;

static void set_up(void) { fd = file_open(); }

static void tear_down(void) { close(fd); }

static struct reader {
    spargio_await await;
    uint32_t depth, reads, begun, next;
    uint64_t sum;
    spargio_op ops[DEPTH];
    _Alignas(4096) unsigned char buffers[DEPTH][BLOCK];
} reader;

static void begin(struct reader *self) {
    for (uint32_t i = 0; i < self->depth; i++) {
        uint64_t offset = block_of(self->begun + i) * BLOCK;
        CHECK(spargio_read_at(fd, self->buffers[i], BLOCK, offset, &self->ops[i]));
    }
}

static int32_t read_all(void *ctx, int64_t *result) {
    struct reader *self = ctx;
    int32_t got;
    uint64_t first;
    SPARGIO_BEGIN(&self->await);
    for (self->begun = 0; self->begun < self->reads; self->begun += self->depth) {
        begin(self);
        for (self->next = 0; self->next < self->depth; self->next++) {
            WAIT(spargio_op_poll(self->ops[self->next], &got));
            if (got != BLOCK) die("a read", got);
            memcpy(&first, self->buffers[self->next], sizeof first);
            self->sum += first ^ (self->begun + self->next);
        }
    }
    *result = (int64_t)self->sum;
    SPARGIO_END;
}

static uint64_t reads(uint32_t depth, uint32_t count) {
    memset(&reader, 0, offsetof(struct reader, ops));
    reader.depth = depth;
    reader.reads = count;
    return (uint64_t)finish(start(SPARGIO_PLACE_PINNED, 1, read_all, &reader));
}

static uint64_t one_by_one(void) { return reads(1, SINGLE); }
static uint64_t many(void) { return reads(DEPTH, BLOCKS); }

const struct workload file_workloads[] = {
    {"fs_read_rtt_4k", 2, set_up, one_by_one, tear_down, 0},
    {"fs_read_throughput_4k_qd32", 2, set_up, many, tear_down, 0},
    {0},
};
