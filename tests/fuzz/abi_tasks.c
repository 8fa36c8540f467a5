/* Target: the C ABI inside tasks of a running runtime. The input is a program: operations with any
 * descriptors and sizes, handles used up or forged, placements, messages, SQEs of harmless opcodes.
 * Each task must end, and each call answer with a result that the header names. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"

enum { HANDLES = 8, BLOCK = 512, BLOCKS = 64, STEPS = 200 };

static spargio_runtime runtime;
static char registered[4096];

/* Lives until the join has ended: the kernel may write there. */
typedef struct {
    Input input;
    spargio_op ops[HANDLES];
    spargio_join joins[HANDLES];
    spargio_join own;
    uint64_t mark;
    uint8_t *blocks[BLOCKS];
    int block_count;
    int steps;
    int child_count;
    int completions;
    int wanted;
    struct {
        uint8_t what, kind;
        int32_t answer;
    } trace[STEPS];
} Program;

/* All tasks have ended, detached ones too. */
static void finish(void) {
    int32_t result = spargio_runtime_shutdown(runtime, 10000000000);
    if (result != SPARGIO_OK) fprintf(stderr, "shutdown: %s\n", spargio_strerror(result)), _exit(1);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    static const uint16_t hot[] = {1, 2, 3}, coalesced[] = {2, 4};
    spargio_runtime_options options;
    spargio_runtime_options_init(&options);
    options.shards = 2;
    options.hot_msg_tags = hot;
    options.hot_msg_tags_count = 3;
    options.coalesced_hot_msg_tags = coalesced;
    options.coalesced_hot_msg_tags_count = 2;
    options.msg_ring_queue_capacity = 64;
    options.stealable_queue_capacity = 4;
    char folder[] = "/tmp/spargio-fuzz-XXXXXX";
    CHECK(mkdtemp(folder) != NULL && chdir(folder) == 0 && rmdir(folder) == 0);
    CHECK(spargio_runtime_start(&options, &runtime) == SPARGIO_OK);
    CHECK(atexit(finish) == 0);
    return 0;
}

static uint64_t handle_of(Input *input, const uint64_t *known) {
    uint8_t which = eat8(input);
    if (which < 192) return known[which % HANDLES];
    if (which < 224) return known[which % HANDLES] + (1ull << (eat8(input) % 64));
    return eat64(input);
}

/* A block of the size that the sanitizer watches; all are freed after the join. */
static uint8_t *block(Program *p) {
    if (p->block_count == BLOCKS) return p->blocks[eat8(&p->input) % BLOCKS];
    uint8_t *memory = exactly(BLOCK);
    eat(&p->input, memory, eat8(&p->input) % 64);
    return p->blocks[p->block_count++] = memory;
}

static int32_t some_fd(Input *input) {
    static int null = -1, zero = -1, pair[2];
    if (null < 0) {
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    }
    switch (eat8(input) % 6) {
    case 0: return null;
    case 1: return zero;
    case 2: return pair[0];
    case 3: return pair[1];
    case 4: return -1;
    default: return INT_MIN + (int32_t)(eat32(input) & 0x7fffffff); /* Negative: never another's. */
    }
}

static bool named(int32_t result) {
    return (result <= SPARGIO_YIELD && result >= SPARGIO_E_FORKED) || SPARGIO_ERRNO_OF(result) > 0;
}

static int32_t child(void *ctx, int64_t *result) {
    (void)ctx;
    *result = 42;
    return spargio_task_cancelled() ? -1 : 0;
}

static void completed(void *ctx, int32_t result, uint32_t cqe_flags) {
    (void)result;
    (void)cqe_flags;
    ((Program *)ctx)->completions++;
}

static int32_t sqe(Program *p, spargio_op *op) {
    static const uint8_t harmless[] = {
        IORING_OP_NOP, IORING_OP_READV, IORING_OP_FSYNC, IORING_OP_POLL_ADD, IORING_OP_TIMEOUT, IORING_OP_READ,
        IORING_OP_WRITE, IORING_OP_RECV, IORING_OP_SEND, IORING_OP_ASYNC_CANCEL, IORING_OP_SOCKET,
    };
    struct io_uring_sqe *entry = exactly(sizeof *entry);
    eat(&p->input, entry, sizeof *entry);
    uint8_t how = eat8(&p->input);
    if (how & 1) entry->opcode = harmless[entry->opcode % sizeof harmless];
    if (how & 2) entry->user_data = 0;
    if (how & 4) entry->flags &= IOSQE_ASYNC;
    if (how & 8) entry->ioprio = 0;
    int32_t answer = spargio_sqe_check(entry, NULL, 0), result = answer;
    if (memchr(harmless, entry->opcode, sizeof harmless) != NULL) {
        entry->addr = (uintptr_t)block(p);
        entry->off = 0; /* For some of them a pointer. */
        entry->addr3 = 0;
        entry->len %= entry->opcode == IORING_OP_READV ? 1 : BLOCK + 1;
        entry->fd = some_fd(&p->input);
        if (entry->opcode == IORING_OP_SOCKET) entry->fd = AF_UNIX, entry->off = SOCK_STREAM, entry->len = 0;
        if (entry->opcode == IORING_OP_TIMEOUT) entry->len = 1, memset((void *)(uintptr_t)entry->addr, 0, 16);
        if (entry->opcode == IORING_OP_ASYNC_CANCEL && !(entry->cancel_flags & IORING_ASYNC_CANCEL_FD)) entry->addr = 0;
        answer = spargio_sqe_check(entry, NULL, 0);
        bool tell = how & 16;
        result = spargio_submit_sqe(entry, tell ? completed : NULL, p, how & 32 && tell ? NULL : op);
        CHECK(answer == SPARGIO_OK || result == SPARGIO_E_INVALID);
        if (result == SPARGIO_OK && tell) p->wanted++;
    }
    free(entry);
    return result;
}

static int32_t files(Program *p, uint8_t kind, spargio_op *op) {
    Input *input = &p->input;
    uint8_t *memory = block(p);
    uint32_t length = eat16(input) % (BLOCK + 1);
    switch (kind % 10) {
    case 0: return spargio_read_at(some_fd(input), memory, length, eat64(input), op);
    case 1: return spargio_write_at(some_fd(input), memory, length, eat64(input), op);
    case 2: return spargio_fsync(some_fd(input), eat8(input), op);
    case 3: {
        struct iovec *vectors = (struct iovec *)memory;
        for (int i = 0; i < 4; i++) vectors[i] = (struct iovec){memory + 128, 64};
        uint32_t count = eat8(input) & 1 ? eat32(input) | 1025 : eat8(input) % 5;
        return spargio_readv_at(some_fd(input), eat8(input) & 7 ? vectors : NULL, count, eat64(input), op);
    }
    case 4: return spargio_truncate(-1, eat64(input), op);
    case 5: return spargio_allocate(-1, (int32_t)eat32(input), eat64(input), eat64(input), op);
    case 6: return spargio_splice(some_fd(input), eat64(input), -1, eat64(input), eat32(input), eat32(input), op);
    case 7: memory[255] = 0; return spargio_statx((char *)memory, eat32(input), eat32(input), memory + 256, op);
    case 8: memory[255] = 0; return spargio_open((char *)memory, O_RDONLY | O_NONBLOCK | O_DIRECTORY, eat32(input), op);
    default: return spargio_close(INT_MIN, op);
    }
}

static int32_t sockets(Program *p, uint8_t kind, spargio_op *op) {
    Input *input = &p->input;
    uint8_t *memory = block(p);
    uint32_t length = eat16(input) % (BLOCK + 1);
    memory[BLOCK - 1] = 0;
    switch (kind % 8) {
    case 0: return spargio_recv(some_fd(input), memory, length, (int32_t)eat32(input), op);
    case 1: return spargio_send(some_fd(input), memory, length, (int32_t)eat32(input) & ~MSG_OOB, op);
    case 2: {
        uint8_t out[16];
        const char *text = (char *)memory;
        bool far = inet_pton(AF_INET, text, out) == 1 || inet_pton(AF_INET6, text, out) == 1;
        return spargio_tcp_connect(far ? "127.0.0.1" : text, 1, op);
    }
    case 3: if (memory[0] == '/') memory[0] = '@'; return spargio_unix_connect((char *)memory, op);
    case 4: return spargio_connect(-1, memory, eat32(input) % 200, op);
    case 5:
    case 6: {
        struct msghdr *message = (struct msghdr *)memory;
        struct iovec *vector = (struct iovec *)(memory + 128);
        *vector = (struct iovec){memory + 256, 64};
        *message = (struct msghdr){.msg_iov = vector, .msg_iovlen = eat8(input) % 2};
        int32_t flags = (int32_t)eat32(input) & ~MSG_OOB;
        return kind % 8 == 5 ? spargio_sendmsg(some_fd(input), message, flags, op)
                             : spargio_recvmsg(some_fd(input), message, flags, op);
    }
    default: return spargio_poll(some_fd(input), eat32(input), op);
    }
}

static int32_t messages(Program *p, uint8_t kind) {
    Input *input = &p->input;
    spargio_msg message = {0, 0, 0};
    uint64_t sum = 0;
    uint32_t sent = 0;
    switch (kind % 8) {
    case 0: return spargio_msg_send(eat8(input) & 1 ? 0 : runtime, eat8(input) % 3, eat8(input) % 6, eat32(input));
    case 1: {
        uint32_t count = eat8(input);
        spargio_msg *many = exactly(count * sizeof *many);
        eat(input, many, count * sizeof *many);
        int32_t result = spargio_msg_send_many(eat8(input) & 1 ? 0 : runtime, eat8(input) % 3, many, count, &sent);
        CHECK(sent <= count && (result != SPARGIO_OK || sent == count));
        free(many);
        return result;
    }
    case 2: return spargio_msg_send_direct(eat8(input) & 15 ? eat8(input) % 2 : eat32(input), eat16(input), eat32(input));
    case 3: return spargio_msg_flush(eat8(input) & 1 ? &p->mark : &(uint64_t){eat64(input)});
    case 4: return spargio_msg_next(&message);
    case 5: return spargio_msg_next_hot(&message);
    case 6: return spargio_msg_next_hot_count(eat8(input) % 6, &sum);
    default: return spargio_msg_take_hot_count(eat8(input) % 6, &sum);
    }
}

static int32_t spawn(Program *p) {
    spargio_placement placement = {sizeof placement, eat8(&p->input) % 6, 0};
    placement.value = eat8(&p->input) & 3 ? placement.value % 3 : eat64(&p->input);
    spargio_join join = 0;
    bool detached = eat8(&p->input) & 1;
    int32_t result = spargio_spawn(runtime, &placement, child, NULL, detached ? NULL : &join);
    if (result != SPARGIO_OK || detached) return result;
    spargio_join *place = &p->joins[p->child_count++ % HANDLES];
    if (*place != 0) spargio_join_release(*place);
    *place = join;
    return result;
}

static int32_t joins(Program *p, uint8_t kind) {
    int64_t result = 0;
    uint32_t shard = 0;
    bool self = eat8(&p->input) % 8 == 0;
    spargio_join join = self ? p->own : handle_of(&p->input, p->joins);
    switch (kind % 5) {
    case 0: return spargio_join_poll(join, &result);
    case 1: return self ? 0 : spargio_join_cancel(join);
    case 2: return spargio_join_shard(join, &shard);
    case 3: return self ? 0 : spargio_join_release(join);
    default: CHECK(spargio_join_wait(join, 0, &result) == SPARGIO_E_ON_SHARD); return 0;
    }
}

static int32_t others(Program *p, uint8_t kind, spargio_op *op) {
    Input *input = &p->input;
    uint32_t number = 0;
    int32_t result = 0;
    switch (kind % 8) {
    case 0: return spargio_nop(eat8(input) & 7 ? op : NULL);
    case 1: return spargio_sleep(eat8(input) & 7 ? eat16(input) : eat64(input), op);
    case 2: return spargio_op_poll(handle_of(input, p->ops), &result);
    case 3: return spargio_op_cancel(handle_of(input, p->ops));
    case 4: return spargio_current_shard(&number);
    case 5: return spargio_buffer_register(registered, eat8(input) & 7 ? 4096 : eat64(input) | 1ull << 40, &number);
    case 6: return spargio_buffer_unregister(eat8(input) & 3 ? eat8(input) % 64 : eat32(input));
    default: {
        size_t capacity = eat16(input) % 8192, needed = 0;
        uint8_t *memory = exactly(capacity);
        result = spargio_stats_cbor(runtime, memory, capacity, &needed);
        CHECK(result == SPARGIO_OK ? needed <= capacity : result == SPARGIO_E_BUFFER);
        free(memory);
        return result;
    }
    }
}

static int32_t run(void *ctx, int64_t *result) {
    Program *p = ctx;
    *result = 7;
    while (p->input.left > 0 && p->steps++ < STEPS && !spargio_task_cancelled()) {
        uint8_t what = eat8(&p->input), kind = eat8(&p->input);
        spargio_op *op = &p->ops[kind % HANDLES];
        int32_t answer = 0;
        switch (what % 10) {
        case 0: return SPARGIO_YIELD;
        case 1: return SPARGIO_PENDING;
        case 2: answer = others(p, kind, op); break;
        case 3: answer = files(p, kind, op); break;
        case 4: answer = sockets(p, kind, op); break;
        case 5: answer = messages(p, kind); break;
        case 6: answer = spawn(p); break;
        case 7: answer = joins(p, kind); break;
        case 8: answer = sqe(p, op); break;
        default:
            if (kind < 240) break;
            answer = (int32_t)eat32(&p->input) | INT_MIN;
            return answer == SPARGIO_E_TIMEOUT ? SPARGIO_E_NOMEM : answer; /* The join would seem to go on. */
        }
        p->trace[p->steps - 1].what = what % 10;
        p->trace[p->steps - 1].kind = kind;
        p->trace[p->steps - 1].answer = answer;
        CHECK(named(answer));
    }
    return SPARGIO_READY;
}

/* What it did, for what cannot be told from the input alone. */
static void stuck(const Program *p) {
    for (int i = 0; i < p->steps && i < STEPS; i++)
        fprintf(stderr, "step %d: %d %d gave %d\n", i, p->trace[i].what, p->trace[i].kind, p->trace[i].answer);
    CHECK(!"the task ends");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Program *p = exactly(sizeof *p);
    p->input = (Input){data, size};
    uint8_t where = eat8(&p->input);
    spargio_placement placement = {sizeof placement, where & 1 ? SPARGIO_PLACE_PINNED : SPARGIO_PLACE_ROUND_ROBIN, where >> 1 & 1};
    CHECK(spargio_spawn(runtime, &placement, run, p, &p->own) == SPARGIO_OK);
    spargio_join join = p->own;
    int64_t result = 0;
    int32_t status = spargio_join_wait(join, 2000000, &result);
    for (int i = 0; status == SPARGIO_E_TIMEOUT; i++) { /* It waits for nothing, or for long. */
        if (i == 20) stuck(p);
        CHECK(spargio_join_cancel(join) == SPARGIO_OK);
        status = spargio_join_wait(join, 1000000000, &result);
    }
    CHECK(status == SPARGIO_OK ? result == 7 : status < 0);
    CHECK(p->completions == p->wanted);
    for (int i = 0; i < HANDLES; i++) {
        if (p->joins[i] == 0) continue;
        if (spargio_join_shard(p->joins[i], &(uint32_t){0}) == SPARGIO_E_CLOSED) continue;
        CHECK(spargio_join_wait(p->joins[i], SPARGIO_FOREVER, &result) != SPARGIO_E_TIMEOUT);
        spargio_join_release(p->joins[i]);
    }
    CHECK(spargio_join_release(join) == SPARGIO_OK);
    for (int i = 0; i < p->block_count; i++) free(p->blocks[i]);
    free(p);
    return 0;
}
