/* Tasks for the tests of spawn_native: each is a spargio_poll_fn. */
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* Marks its own slot: a second run shows as 2. */
int32_t mark(void *ctx, int64_t *result) {
    _Atomic uint8_t *slot = ctx;
    *result = atomic_fetch_add_explicit(slot, 1, memory_order_relaxed) + 1;
    return 0;
}

/* Ends when the byte at ctx is set; until then it asks to be polled again. */
int32_t wait_for_byte(void *ctx, int64_t *result) {
    _Atomic uint8_t *slot = ctx;
    if (atomic_load(slot) == 0) return 2; /* SPARGIO_YIELD */
    *result = 7;
    return 0;
}

int32_t fail_with_enospc(void *ctx, int64_t *result) {
    (void)ctx;
    (void)result;
    return -4096 - 28;
}

/* Keeps one CPU busy for about *ctx ns, without a system call. */
int32_t spin(void *ctx, int64_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t end = now.tv_sec * 1000000000LL + now.tv_nsec + *(int64_t *)ctx;
    do clock_gettime(CLOCK_MONOTONIC, &now);
    while (now.tv_sec * 1000000000LL + now.tv_nsec < end);
    *result = 0;
    return 0;
}
