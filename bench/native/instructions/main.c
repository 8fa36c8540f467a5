/* Fixed work on one shard, for bench/instructions.py to count under callgrind: each workload is one task
   that says where the counting begins and ends. Nothing in between waits for a clock or for another
   thread, so that the same code gives the same count.

   The shard spins: valgrind 3.19 holds its lock while a thread is in io_uring_enter, so that a shard that
   parks there stops the first thread too. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#include "../spargio/tasks.h"

enum { SPAWNS = 20000, BATCH = 50, YIELDS = 20000, TIMERS = 10000, MESSAGES = 20000 };
enum { READS = 4096, ECHOES = 2000, SIZE = 256, RECORDS = 20000 };

const char *const peer_name = "instructions";

void choose_options(const struct workload *workload, spargio_runtime_options *options) {
    (void)workload;
    options->idle_strategy = SPARGIO_IDLE_SPIN;
    options->backend = SPARGIO_BACKEND_IO_URING; /* epoll has other counts */
}

static uint64_t on_shard(spargio_poll_fn poll, void *ctx) {
    return (uint64_t)finish(start(SPARGIO_PLACE_PINNED, 0, poll, ctx));
}

static int32_t give_number(void *ctx, int64_t *result) {
    *result = (int64_t)(intptr_t)ctx;
    return SPARGIO_READY;
}

static struct spawner {
    spargio_await await;
    uint32_t kind;
    intptr_t begun;
    uint32_t next;
    int64_t sum;
    spargio_join joins[BATCH];
} spawner;

static int32_t spawn_all(void *ctx, int64_t *result) {
    struct spawner *self = ctx;
    int64_t one;
    SPARGIO_BEGIN(&self->await);
    CALLGRIND_ZERO_STATS;
    while (self->begun < SPAWNS) {
        for (self->next = 0; self->next < BATCH; self->next++)
            self->joins[self->next] = start(self->kind, 0, give_number, (void *)self->begun++);
        for (self->next = 0; self->next < BATCH; self->next++) {
            WAIT(spargio_join_poll(self->joins[self->next], &one));
            CHECK(spargio_join_release(self->joins[self->next]));
            self->sum += one;
        }
    }
    CALLGRIND_DUMP_STATS;
    *result = self->sum;
    SPARGIO_END;
}

static uint64_t spawn(uint32_t kind) {
    spawner = (struct spawner){.kind = kind};
    return on_shard(spawn_all, &spawner);
}

static uint64_t spawn_pinned(void) { return spawn(SPARGIO_PLACE_PINNED); }
static uint64_t spawn_stealable(void) { return spawn(SPARGIO_PLACE_STEALABLE); }

static struct yielder {
    spargio_await await;
    uint32_t count;
} yielder;

static int32_t yield(void *ctx, int64_t *result) {
    struct yielder *self = ctx;
    if (self->count == 0) CALLGRIND_ZERO_STATS;
    if (self->count++ < YIELDS) return SPARGIO_YIELD;
    CALLGRIND_DUMP_STATS;
    *result = self->count;
    return SPARGIO_READY;
}

static uint64_t yields(void) {
    yielder = (struct yielder){0};
    return on_shard(yield, &yielder);
}

/* All deadlines have passed when the last timer is set: a shard looks at them between two tasks. */
static struct timers {
    spargio_await await;
    uint32_t next;
    spargio_op ops[TIMERS];
} timers;

static int32_t set_all(void *ctx, int64_t *result) {
    struct timers *self = ctx;
    int32_t value;
    SPARGIO_BEGIN(&self->await);
    CALLGRIND_ZERO_STATS;
    for (uint32_t i = 0; i < TIMERS; i++) CHECK(spargio_sleep(1 + (uint64_t)i * 7919 % 1000, &self->ops[i]));
    for (self->next = 0; self->next < TIMERS; self->next++) {
        WAIT(spargio_op_poll(self->ops[self->next], &value));
        if (value != 0) die("a timer", value);
    }
    CALLGRIND_DUMP_STATS;
    *result = self->next;
    SPARGIO_END;
}

static uint64_t set_timers(void) {
    memset(&timers, 0, sizeof timers);
    return on_shard(set_all, &timers);
}

static struct messenger {
    spargio_await await;
    uint32_t sent, taken;
    int64_t sum;
    spargio_msg message;
} messenger;

static int32_t send_and_take(void *ctx, int64_t *result) {
    struct messenger *self = ctx;
    SPARGIO_BEGIN(&self->await);
    CALLGRIND_ZERO_STATS;
    while (self->sent < MESSAGES) {
        for (uint32_t i = 0; i < BATCH; i++) CHECK(spargio_msg_send(0, 0, 1, self->sent++));
        while (self->taken < self->sent) {
            WAIT(spargio_msg_next(&self->message));
            self->sum += self->message.value;
            self->taken++;
        }
    }
    CALLGRIND_DUMP_STATS;
    *result = self->sum;
    SPARGIO_END;
}

static uint64_t messages(void) {
    messenger = (struct messenger){0};
    return on_shard(send_and_take, &messenger);
}

static int fds[2];

/* Always read at once. A file on a disk may need io-wq (the filesystem, what is in the page cache),
   and how its completions then fall into passes is the machine's. */
static void open_zeros(void) {
    fds[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    if (fds[0] < 0) die("open /dev/zero", -1);
}
static void close_file(void) { close(fds[0]); }

static struct reader {
    spargio_await await;
    uint32_t begun, next;
    int64_t sum;
    spargio_op ops[DEPTH];
    unsigned char buffers[DEPTH][BLOCK];
} reader;

static int32_t read_all(void *ctx, int64_t *result) {
    struct reader *self = ctx;
    int32_t got;
    SPARGIO_BEGIN(&self->await);
    CALLGRIND_ZERO_STATS;
    for (self->begun = 0; self->begun < READS; self->begun += DEPTH) {
        for (uint32_t i = 0; i < DEPTH; i++) {
            uint64_t offset = block_of(self->begun + i) * BLOCK;
            CHECK(spargio_read_at(fds[0], self->buffers[i], BLOCK, offset, &self->ops[i]));
        }
        for (self->next = 0; self->next < DEPTH; self->next++) {
            WAIT(spargio_op_poll(self->ops[self->next], &got));
            if (got != BLOCK) die("a read", got);
            self->sum += self->buffers[self->next][0];
        }
    }
    CALLGRIND_DUMP_STATS;
    *result = self->sum;
    SPARGIO_END;
}

static uint64_t reads(void) {
    memset(&reader, 0, offsetof(struct reader, ops));
    return on_shard(read_all, &reader);
}

static struct end {
    spargio_await await;
    int fd;
    uint32_t round;
    int32_t count;
    unsigned char buffer[SIZE];
} client, server;
static spargio_join server_join;

static int32_t serve(void *ctx, int64_t *result) {
    struct end *self = ctx;
    (void)result;
    SPARGIO_BEGIN(&self->await);
    for (;;) {
        SPARGIO_AWAIT(self->count, spargio_recv(self->fd, self->buffer, SIZE, 0, SPARGIO_OP));
        if (self->count <= 0) return SPARGIO_READY;
        SPARGIO_AWAIT(self->count, spargio_send(self->fd, self->buffer, (uint32_t)self->count, 0, SPARGIO_OP));
    }
    SPARGIO_END;
}

static int32_t call(void *ctx, int64_t *result) {
    struct end *self = ctx;
    SPARGIO_BEGIN(&self->await);
    CALLGRIND_ZERO_STATS;
    for (self->round = 0; self->round < ECHOES; self->round++) {
        SPARGIO_AWAIT(self->count, spargio_send(self->fd, self->buffer, SIZE, 0, SPARGIO_OP));
        if (self->count != SIZE) die("a send", self->count);
        SPARGIO_AWAIT(self->count, spargio_recv(self->fd, self->buffer, SIZE, 0, SPARGIO_OP));
        if (self->count != SIZE) die("a receive", self->count);
    }
    CALLGRIND_DUMP_STATS;
    *result = self->round;
    SPARGIO_END;
}

static void connect_pair(void) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) die("socketpair", -1);
    server = (struct end){.fd = fds[1]};
    server_join = start(SPARGIO_PLACE_PINNED, 0, serve, &server);
}

static void close_pair(void) {
    close(fds[0]);
    finish(server_join);
    close(fds[1]);
}

static uint64_t echoes(void) {
    client = (struct end){.fd = fds[0]};
    return on_shard(call, &client);
}

/* The same with the trace on. */
static void connect_pair_traced(void) {
    int32_t status = spargio_trace_start(runtime, 0, NULL);
    if (status < 0) die("spargio_trace_start", status);
    connect_pair();
}

static void close_pair_traced(void) {
    close_pair();
    (void)spargio_trace_stop(runtime);
}

static uint64_t record_all(void) {
    spargio_recorder recorder;
    int32_t status = spargio_recorder_open("instructions", &recorder);
    if (status < 0) die("spargio_recorder_open", status);
    spargio_recorder_record(recorder, 1); /* the first one of a thread takes memory */
    CALLGRIND_ZERO_STATS;
    for (uint64_t n = 0; n < RECORDS; n++) spargio_recorder_record(recorder, 1000 + n);
    CALLGRIND_DUMP_STATS;
    return RECORDS;
}

static int32_t record_here(void *ctx, int64_t *result) {
    (void)ctx;
    *result = (int64_t)record_all();
    return SPARGIO_READY;
}

static uint64_t records_on_shard(void) { return on_shard(record_here, NULL); }

static const struct workload workloads[] = {
    {"spawn_join_pinned_20k", 1, NULL, spawn_pinned, NULL, 0},
    {"spawn_join_stealable_20k", 1, NULL, spawn_stealable, NULL, 0},
    {"yield_20k", 1, NULL, yields, NULL, 0},
    {"timers_10k", 1, NULL, set_timers, NULL, 0},
    {"messages_to_own_shard_20k", 1, NULL, messages, NULL, 0},
    {"read_4k_qd32_4096", 1, open_zeros, reads, close_file, 0},
    {"socketpair_echo_256b_2k", 1, connect_pair, echoes, close_pair, 0},
    {"socketpair_echo_traced_2k", 1, connect_pair_traced, echoes, close_pair_traced, 0},
    {"records_on_shard_20k", 1, NULL, records_on_shard, NULL, 0},
    {"records_outside_20k", 1, NULL, record_all, NULL, 0},
    {0},
};
const struct workload *const peer_families[] = {workloads, NULL};
