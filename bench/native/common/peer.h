/* What the peers in C have in common: the command line and the clock (main.c), and those rules of
   bench/peers/PROTOCOL.md that do not depend on how one waits (frames.c, file.c). */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdint.h>

struct workload {
    const char *name;
    uint32_t threads;
    void (*set_up)(void);
    uint64_t (*repeat)(void); /* timed; gives the checksum */
    void (*tear_down)(void);
    int own_runtime; /* starting one is what is timed */
};

/* Each peer gives these. */
extern const char *const peer_name;
extern const struct workload *const peer_families[]; /* NULL after the last */
const char *peer_version(void);
int peer_option(const char *name, const char *value); /* 0: the peer has no such option */
uint32_t peer_threads(const struct workload *);
int peer_begin(const struct workload *); /* an exit status: 0 or 3 */
void peer_end(void);

_Noreturn void fail(const char *what, const char *why);

/* The file of the fs_ workloads. */
enum { BLOCK = 4096, BLOCKS = 4096, DEPTH = 32, SINGLE = 256 };
extern const char *file_path; /* --file, or NULL */
int file_open(void);
static inline uint64_t block_of(uint64_t i) { return i * 2654435761u % BLOCKS; }

/* What the clients of the net_ workloads send and check. */
enum { STREAMS = 8, WINDOW = 32, FRAME = 4096, READ_SIZE = 65536 };

struct shape {
    uint32_t streams, size, steps;
    uint32_t (*frames_of)(uint32_t stream, uint32_t step);
    uint64_t (*work)(uint32_t stream, uint32_t frame); /* or NULL */
    int keyed;
};
extern const struct shape echo, throughput, imbalanced, rotation, pipeline, keyed;

struct frames {
    const struct shape *shape;
    uint32_t stream, step, frame, left, window; /* frames: the next, left in this step, in this window */
    uint64_t sum;
    _Alignas(64) unsigned char out[WINDOW * FRAME], in[WINDOW * FRAME];
};

void frames_begin(struct frames *, const struct shape *, uint32_t stream);
void frames_step(struct frames *, uint32_t step);
uint32_t frames_build(struct frames *); /* the next window: how many bytes it has; 0 after the last */
void frames_take(struct frames *);      /* its echo is in `in` */

void connect_streams(uint32_t count, int clients[], int servers[]);

static inline uint64_t mix(uint64_t x, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x = x * 0x9E3779B97F4A7C15u + i;
    }
    return x;
}

#endif
