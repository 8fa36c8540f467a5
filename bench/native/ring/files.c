/* 4 KiB reads of a file in the page cache, on the last loop; the others only wait for its end. */
#include "loops.h"

static int fd;
static uint32_t depth, reads, begun, arrived;
static uint64_t sum;
static _Alignas(4096) unsigned char buffers[DEPTH][BLOCK];

static void begin(struct loop *loop) {
    for (uint32_t i = 0; i < depth; i++) {
        struct io_uring_sqe *entry = loop_push(loop, IORING_OP_READ, fd, i);
        entry->addr = (uintptr_t)buffers[i];
        entry->len = BLOCK;
        entry->off = block_of(begun + i) * BLOCK;
    }
    arrived = 0;
}

static void start(struct loop *loop) {
    if (loop->number != loop_count - 1) {
        loop_end(loop);
        return;
    }
    begun = 0;
    sum = 0;
    loop->wait = depth;
    begin(loop);
}

static void completed(struct loop *loop, uint64_t i, int result) {
    uint64_t first;
    if (result != BLOCK) fail("a read", result < 0 ? strerror(-result) : "short");
    memcpy(&first, buffers[i], sizeof first);
    sum += first ^ (begun + i);
    if (++arrived < depth) return;
    begun += depth;
    if (begun < reads) {
        begin(loop);
    } else {
        loop->wait = 1;
        loop_end(loop);
    }
}

static const struct work work = {.start = start, .completed = completed};

static void set_up(void) {
    fd = file_open();
    loops_start(&work);
}

static void tear_down(void) {
    loops_stop();
    close(fd);
}

static uint64_t read_all(uint32_t at_a_time, uint32_t count) {
    depth = at_a_time;
    reads = count;
    loops_repeat();
    return sum;
}

static uint64_t one_by_one(void) { return read_all(1, SINGLE); }
static uint64_t many(void) { return read_all(DEPTH, BLOCKS); }

const struct workload file_workloads[] = {
    {"fs_read_rtt_4k", 2, set_up, one_by_one, tear_down, 0},
    {"fs_read_throughput_4k_qd32", 2, set_up, many, tear_down, 0},
    {0},
};
