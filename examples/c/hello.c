/* A runtime, a task, its result.
   cc hello.c $(pkg-config --cflags --libs spargio) */
#include <inttypes.h>
#include <stdio.h>

#include "spargio.h"

static int32_t answer(void *ctx, int64_t *result) {
    *result = *(const int *)ctx;
    return SPARGIO_READY;
}

static int failed(const char *what, int32_t result) {
    fprintf(stderr, "%s: %s\n", what, spargio_strerror(result));
    return 1;
}

int main(void) {
    spargio_runtime runtime;
    spargio_join join;
    int ctx = 42;
    int64_t value = 0;
    int32_t result = spargio_runtime_start(NULL, &runtime);
    if (result != SPARGIO_OK) return failed("start", result);
    result = spargio_spawn(runtime, NULL, answer, &ctx, &join);
    if (result != SPARGIO_OK) return failed("spawn", result);
    result = spargio_join_wait(join, SPARGIO_FOREVER, &value);
    if (result != SPARGIO_OK) return failed("join", result);
    printf("the task says %" PRId64 "\n", value);
    spargio_join_release(join);
    return spargio_runtime_shutdown(runtime, SPARGIO_FOREVER) == SPARGIO_OK ? 0 : 1;
}
