/* Both ends of the echo. A window goes out as one sendmsg that is linked to the receive of its echo, a
   server's answer as one send that is linked to its next receive: one completion each, since the send of
   a link that succeeds posts none. */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <sys/uio.h>

#include "loops.h"

enum operation { SENT, ECHOED, ANSWERED, ASKED };

static struct stream {
    int client, server;
    uint32_t size; /* of the window in bytes */
    struct iovec vectors[WINDOW];
    struct msghdr message;
    struct frames frames;
    _Alignas(64) unsigned char asked[READ_SIZE];
} streams[STREAMS];

/* An owner adds up what the streams send to it, until all have told it that they are done. */
static struct owner {
    _Alignas(64) _Atomic uint64_t sum;
    unsigned done;
} owners[2];

static uint32_t stream_count;
static const struct shape *shape;
static unsigned left[LOOPS_MAX]; /* streams and owners of each loop that go on */

static unsigned loop_of(uint32_t number) { return number % loop_count; }

static uint64_t data_of(const struct stream *stream, enum operation operation) {
    return (uint64_t)(stream - streams) << 2 | operation;
}

static void receive(struct loop *loop, struct stream *stream) {
    struct io_uring_sqe *entry = ring_push(&loop->ring, IORING_OP_RECV, stream->server, data_of(stream, ASKED));
    entry->addr = (uintptr_t)stream->asked;
    entry->len = READ_SIZE;
}

static void answer(struct loop *loop, struct stream *stream, uint32_t size) {
    ring_reserve(&loop->ring, 2);
    struct io_uring_sqe *entry =
        ring_push(&loop->ring, IORING_OP_SEND, stream->server, data_of(stream, ANSWERED));
    entry->addr = (uintptr_t)stream->asked;
    entry->len = size;
    entry->msg_flags = MSG_WAITALL | MSG_NOSIGNAL; /* a short send would break the link */
    entry->flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    receive(loop, stream);
}

static void send_window(struct loop *loop, struct stream *stream) {
    struct frames *frames = &stream->frames;
    stream->size = frames_build(frames);
    for (uint32_t i = 0; i < frames->window; i++)
        stream->vectors[i] = (struct iovec){frames->out + (size_t)i * shape->size, shape->size};
    stream->message = (struct msghdr){.msg_iov = stream->vectors, .msg_iovlen = frames->window};
    ring_reserve(&loop->ring, 2);
    struct io_uring_sqe *entry =
        ring_push(&loop->ring, IORING_OP_SENDMSG, stream->client, data_of(stream, SENT));
    entry->addr = (uintptr_t)&stream->message;
    entry->len = 1;
    entry->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
    entry->flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    entry = ring_push(&loop->ring, IORING_OP_RECV, stream->client, data_of(stream, ECHOED));
    entry->addr = (uintptr_t)frames->in;
    entry->len = stream->size;
    entry->msg_flags = MSG_WAITALL;
    entry->ioprio = IORING_RECVSEND_POLL_FIRST; /* the echo of what was just sent is not here yet */
}

static void one_less(struct loop *loop) {
    if (--left[loop->number] == 0) loop_end(loop);
}

/* Equal messages are merged into a count: all of a step are one addition. */
static void tell_owner(const struct frames *frames) {
    uint64_t messages = (uint64_t)16 * shape->frames_of(frames->stream, frames->step);
    atomic_fetch_add_explicit(&owners[frames->step % 2].sum, messages, memory_order_release);
}

static void told(struct loop *loop) {
    struct owner *owner = &owners[loop->number];
    if (++owner->done == STREAMS) one_less(loop);
}

static void stream_ended(struct loop *loop) {
    if (shape->keyed) {
        for (unsigned owner = 0; owner < 2; owner++) {
            if (loop_count == 2) loop_tell(loop, owner);
            else if (++owners[owner].done == STREAMS) one_less(loop);
        }
    }
    one_less(loop);
}

static void echoed(struct loop *loop, struct stream *stream) {
    struct frames *frames = &stream->frames;
    frames_take(frames);
    if (frames->left == 0) {
        if (shape->keyed) tell_owner(frames);
        if (frames->step + 1 == shape->steps) {
            stream_ended(loop);
            return;
        }
        frames_step(frames, frames->step + 1);
    }
    send_window(loop, stream);
}

static void completed(struct loop *loop, uint64_t user_data, int result) {
    struct stream *stream = &streams[user_data >> 2];
    enum operation operation = user_data & 3;
    if (operation == ASKED && result > 0) answer(loop, stream, (uint32_t)result);
    else if (operation == ECHOED && result == (int)stream->size) echoed(loop, stream);
    else fail("a connection", result < 0 ? strerror(-result) : "cut short");
}

static void prepare(struct loop *loop) {
    for (uint32_t s = 0; s < stream_count; s++) {
        if (loop_of(s + 1) != loop->number) continue;
        ring_reserve(&loop->ring, 1);
        receive(loop, &streams[s]);
    }
}

static void start(struct loop *loop) {
    unsigned own = 0;
    for (uint32_t s = 0; s < stream_count; s++) own += loop_of(s) == loop->number;
    if (shape->keyed) own += 2 / loop_count;
    left[loop->number] = own;
    if (own == 0) loop_end(loop);
    for (uint32_t s = 0; s < stream_count; s++) {
        if (loop_of(s) != loop->number) continue;
        frames_begin(&streams[s].frames, shape, s);
        send_window(loop, &streams[s]);
    }
}

static const struct work work = {prepare, start, completed, told};

static void connect_all(uint32_t count) {
    int clients[STREAMS], servers[STREAMS];
    connect_streams(count, clients, servers);
    stream_count = count;
    for (uint32_t s = 0; s < count; s++) {
        streams[s].client = clients[s];
        streams[s].server = servers[s];
    }
    loops_start(&work);
}

static void set_up_one(void) { connect_all(1); }
static void set_up_all(void) { connect_all(STREAMS); }

static void tear_down(void) {
    loops_stop();
    for (uint32_t s = 0; s < stream_count; s++) {
        close(streams[s].client);
        close(streams[s].server);
    }
}

static uint64_t run(const struct shape *given) {
    shape = given;
    for (int i = 0; i < 2; i++) owners[i] = (struct owner){0};
    loops_repeat();
    uint64_t sum = atomic_load_explicit(&owners[0].sum, memory_order_acquire) +
                   atomic_load_explicit(&owners[1].sum, memory_order_acquire);
    for (uint32_t s = 0; s < stream_count; s++) sum += streams[s].frames.sum;
    return sum;
}

static uint64_t run_echo(void) { return run(&echo); }
static uint64_t run_throughput(void) { return run(&throughput); }
static uint64_t run_imbalanced(void) { return run(&imbalanced); }
static uint64_t run_rotation(void) { return run(&rotation); }
static uint64_t run_pipeline(void) { return run(&pipeline); }
static uint64_t run_keyed(void) { return run(&keyed); }

const struct workload net_workloads[] = {
    {"net_echo_rtt_256b", 2, set_up_one, run_echo, tear_down, 0},
    {"net_stream_throughput_4k_window32", 2, set_up_one, run_throughput, tear_down, 0},
    {"net_stream_imbalanced_4k_hot1_light7", 2, set_up_all, run_imbalanced, tear_down, 0},
    {"net_stream_hotspot_rotation_4k", 2, set_up_all, run_rotation, tear_down, 0},
    {"net_pipeline_hotspot_rotation_4k_window32", 2, set_up_all, run_pipeline, tear_down, 0},
    {"net_keyed_hotspot_rotation_4k", 2, set_up_all, run_keyed, tear_down, 0},
    {0},
};
