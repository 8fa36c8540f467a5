/* Forks while other threads spawn and join: the child has none of them, but may find nothing held by one. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { SPAWNERS = 2, FORKS = 600 };

static spargio_runtime rt;
static atomic_int over;

static int32_t nothing(void *ctx, int64_t *result) {
    (void)ctx;
    *result = 7;
    return SPARGIO_READY;
}

static void spawn_and_join(spargio_runtime runtime) {
    spargio_placement anywhere = place(SPARGIO_PLACE_ROUND_ROBIN, 0);
    spargio_join join;
    int64_t result = 0;
    CHECK_IS(spargio_spawn(runtime, &anywhere, nothing, NULL, &join), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK(result == 7);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
}

static void *spawner(void *unused) {
    (void)unused;
    spargio_placement anywhere = place(SPARGIO_PLACE_ROUND_ROBIN, 0);
    while (!atomic_load(&over)) {
        for (int i = 0; i < 100; i++) {
            spargio_join join;
            CHECK_IS(spargio_spawn(rt, &anywhere, nothing, NULL, &join), SPARGIO_OK);
            CHECK_IS(spargio_join_release(join), SPARGIO_OK);
        }
        spawn_and_join(rt);
    }
    return NULL;
}

/* Shards block all signals; what a task forks has the program's own mask, and can be ended. */
static int32_t fork_in_a_task(void *ctx, int64_t *result) {
    (void)ctx;
    sigset_t mask;
    int status = 0;
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, SIGTERM) == 1);
    pid_t child = fork();
    if (child == 0) {
        CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
        CHECK(sigismember(&mask, SIGUSR1) == 1);
        CHECK(sigismember(&mask, SIGTERM) == 0);
        raise(SIGTERM);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, SIGTERM) == 1);
    *result = 0;
    return SPARGIO_READY;
}

static void masks(void) {
    spargio_placement first = place(SPARGIO_PLACE_PINNED, 0);
    spargio_join join;
    int64_t result = -1;
    CHECK_IS(spargio_spawn(rt, &first, fork_in_a_task, NULL, &join), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK(result == 0);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &own, NULL) == 0);
    pthread_t threads[SPAWNERS];
    rt = start(argc, argv, &options);
    masks();
    for (int i = 0; i < SPAWNERS; i++) CHECK(pthread_create(&threads[i], NULL, spawner, NULL) == 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20); /* It hangs: SIGALRM says so. */
            spargio_runtime mine = 0;
            options.shards = 1;
            CHECK_IS(spargio_runtime_start(&options, &mine), SPARGIO_OK);
            spawn_and_join(mine);
            CHECK_IS(spargio_runtime_shutdown(mine, SPARGIO_FOREVER), SPARGIO_OK);
            _exit(0);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(status == 0);
    }
    atomic_store(&over, 1);
    for (int i = 0; i < SPAWNERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return 0;
}
