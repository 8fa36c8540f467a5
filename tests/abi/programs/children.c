/* Signals that tasks wait for, and child processes: their descriptors, folder, environment, groups, mask and ends. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static spargio_runtime rt;

static int64_t join(spargio_poll_fn poll, void *ctx) {
    spargio_join handle;
    int64_t result = 0;
    CHECK_IS(spargio_spawn(rt, NULL, poll, ctx, &handle), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
    return result;
}

/* ---- signals ---- */

static int handled;

static void old_handler(int number) {
    (void)number;
    handled++;
}

struct watch {
    spargio_signal handle;
    spargio_op op;
    int want, got[64], step;
};

static int32_t takes(void *ctx, int64_t *result) {
    struct watch *w = ctx;
    int32_t number;
    for (;;) {
        if (w->op == 0) CHECK_IS(spargio_signal_next(w->handle, &w->op), SPARGIO_OK);
        if (spargio_op_poll(w->op, &number) == SPARGIO_PENDING) return SPARGIO_PENDING;
        w->op = 0;
        CHECK(number > 0 && number < 64);
        w->got[number]++;
        if (--w->want > 0) continue;
        *result = number;
        return SPARGIO_READY;
    }
}

static int32_t leaves(void *ctx, int64_t *result) { /* One that came and that it does not take goes back. */
    struct watch *w = ctx;
    (void)result;
    CHECK_IS(spargio_signal_next(w->handle, &w->op), SPARGIO_OK);
    return SPARGIO_READY;
}

static int32_t gives_up(void *ctx, int64_t *result) {
    struct watch *w = ctx;
    int32_t number = 0;
    (void)result;
    if (w->step++ == 0) {
        CHECK_IS(spargio_signal_next(w->handle, &w->op), SPARGIO_OK);
        CHECK_IS(spargio_op_timeout(w->op, 1000000), SPARGIO_OK);
    }
    int32_t said = spargio_op_poll(w->op, &number);
    if (said == SPARGIO_READY) CHECK(number == -ETIME);
    return said;
}

static void signals(void) {
    const int32_t two[] = {SIGUSR1, SIGUSR2}, wrong[] = {SIGUSR1, SIGKILL}, none[] = {-1};
    struct watch first = {.want = 1}, second = {.want = 1}, both = {.want = 2};
    spargio_signal other;
    spargio_op op;
    CHECK(signal(SIGUSR1, old_handler) != SIG_ERR);
    CHECK_IS(spargio_signal_open(wrong, 2, &other), SPARGIO_E_INVALID);
    CHECK_IS(spargio_signal_open(none, 1, &other), SPARGIO_E_INVALID);
    CHECK_IS(spargio_signal_open(two, 0, &other), SPARGIO_E_INVALID);
    CHECK_IS(spargio_signal_open(two, 65, &other), SPARGIO_E_INVALID);
    CHECK_IS(spargio_signal_open(two, 2, &first.handle), SPARGIO_OK);
    CHECK_IS(spargio_signal_open(two, 1, &other), SPARGIO_OK);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(join(takes, &first) == SIGUSR1);
    second.handle = other;
    CHECK(join(takes, &second) == SIGUSR1); /* Each watcher gets it. */
    both.handle = first.handle;
    CHECK(raise(SIGUSR1) == 0 && raise(SIGUSR2) == 0);
    join(leaves, &first);
    join(takes, &both);
    CHECK(both.got[SIGUSR1] == 1 && both.got[SIGUSR2] == 1);
    CHECK_IS(spargio_signal_close(other), SPARGIO_OK); /* It still has one, which goes with it. */
    first.step = 0;
    join(gives_up, &first);
    CHECK(handled == 0);
    CHECK_IS(spargio_signal_next(first.handle, &op), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_signal_close(first.handle), SPARGIO_OK);
    CHECK_IS(spargio_signal_close(first.handle), SPARGIO_E_CLOSED);
    CHECK(raise(SIGUSR1) == 0 && handled == 1); /* The old handler is back. */
}

/* ---- children ---- */

struct child {
    spargio_process_options options;
    int32_t pid, pidfd, status, step, signal;
    spargio_op op;
};

static int32_t runs(void *ctx, int64_t *result) {
    struct child *c = ctx;
    int32_t value = 0;
    if (c->step > 0 && spargio_op_poll(c->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
    switch (c->step++) {
        case 0:
            CHECK_IS(spargio_process_start(&c->options, &c->pid, &c->op), SPARGIO_OK);
            return SPARGIO_PENDING;
        case 1:
            *result = value;
            if (value < 0) return SPARGIO_READY;
            c->pidfd = value;
            CHECK(c->pid > 0 && (fcntl(value, F_GETFD) & FD_CLOEXEC));
            CHECK_IS(spargio_process_wait(value, &c->op), SPARGIO_OK);
            if (c->signal) CHECK_IS(spargio_process_signal(value, c->signal), SPARGIO_OK);
            return SPARGIO_PENDING;
        case 2:
            CHECK(value >= 0);
            c->status = value;
            CHECK_IS(spargio_process_wait(c->pidfd, &c->op), SPARGIO_OK); /* Again: it is reaped. */
            return SPARGIO_PENDING;
        default:
            CHECK(value == -ECHILD);
            CHECK_IS(spargio_process_signal(c->pidfd, SIGKILL), SPARGIO_E_ERRNO(ESRCH));
            close(c->pidfd);
            *result = c->status;
            return SPARGIO_READY;
    }
}

static struct child child(const char *const *argv) {
    struct child c = {.options = {.struct_size = sizeof c.options, .argv = argv}};
    c.options.stdin_fd = c.options.stdout_fd = c.options.stderr_fd = -1;
    return c;
}

/* What a child writes to its standard output. */
static const char *output(struct child c, int wanted) {
    static char text[4096];
    int pair[2];
    ssize_t count, total = 0;
    CHECK(pipe2(pair, O_CLOEXEC) == 0);
    c.options.stdout_fd = pair[1];
    CHECK(join(runs, &c) == wanted << 8);
    close(pair[1]);
    while ((count = read(pair[0], text + total, sizeof text - 1 - (size_t)total)) > 0) total += count;
    text[total] = 0;
    close(pair[0]);
    return text;
}

static int32_t starts_and_leaves(void *ctx, int64_t *result) { /* A child that nobody took is not left behind. */
    struct child *c = ctx;
    (void)result;
    CHECK_IS(spargio_process_start(&c->options, &c->pid, &c->op), SPARGIO_OK);
    return SPARGIO_READY;
}

static void children(void) {
    const char *const exits[] = {"/bin/sh", "-c", "exit 7", NULL}, *const missing[] = {"/no/such/program", NULL};
    const char *const sleeps[] = {"sleep", "3600", NULL}, *const where[] = {"/bin/sh", "-c", "pwd; echo $NAME", NULL};
    const char *const env[] = {"NAME=value of it", NULL}, *const empty[] = {NULL};
    const char *const mask[] = {"/bin/sh", "-c", "grep SigBlk /proc/self/status", NULL};
    const char *const group[] = {"/bin/sh", "-c", "cut -d' ' -f5,6 /proc/self/stat; echo $$", NULL};
    const char *const both[] = {"/bin/sh", "-c", "echo out; echo err >&2", NULL};
    struct child c = child(exits);
    spargio_op op;
    int leader, session, own;
    CHECK(join(runs, &c) == 7 << 8);
    CHECK(WIFEXITED(c.status) && WEXITSTATUS(c.status) == 7);
    c = child(missing);
    CHECK(join(runs, &c) == -ENOENT);
    c = child(sleeps);
    CHECK(join(runs, &c) == -ENOENT); /* It is looked up only if that is asked for. */
    c = child(sleeps);
    c.options.flags = SPARGIO_PROCESS_SEARCH_PATH;
    c.signal = SIGTERM;
    join(runs, &c);
    CHECK(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGTERM);
    c = child(where);
    c.options.env = env;
    c.options.cwd = "/usr";
    CHECK(strcmp(output(c, 0), "/usr\nvalue of it\n") == 0);
    CHECK(strstr(output(child(mask), 0), "0000000000000000") != NULL);
    c = child(group);
    c.options.flags = SPARGIO_PROCESS_NEW_GROUP;
    CHECK(sscanf(output(c, 0), "%d %d %d", &leader, &session, &own) == 3);
    CHECK(leader == own && session != own);
    c.options.flags = SPARGIO_PROCESS_NEW_SESSION;
    CHECK(sscanf(output(c, 0), "%d %d %d", &leader, &session, &own) == 3);
    CHECK(leader == own && session == own);
    /* 1 and 2 are swapped: each source stands where the other is to be. */
    int saved[2] = {fcntl(1, F_DUPFD_CLOEXEC, 10), fcntl(2, F_DUPFD_CLOEXEC, 10)}, out[2], err[2];
    char text[2][16] = {{0}, {0}};
    CHECK(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
    CHECK(dup2(out[1], 1) == 1 && dup2(err[1], 2) == 2);
    c = child(both);
    c.options.stdout_fd = 2, c.options.stderr_fd = 1;
    int64_t said = join(runs, &c);
    CHECK(dup2(saved[0], 1) == 1 && dup2(saved[1], 2) == 2);
    CHECK(said == 0 && read(out[0], text[0], 15) == 4 && read(err[0], text[1], 15) == 4);
    CHECK(strcmp(text[0], "err\n") == 0 && strcmp(text[1], "out\n") == 0);
    for (int i = 0; i < 2; i++) close(saved[i]), close(out[i]), close(err[i]);

    c = child(sleeps);
    c.options.flags = SPARGIO_PROCESS_SEARCH_PATH;
    join(starts_and_leaves, &c);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    c = child(empty);
    CHECK_IS(spargio_process_start(&c.options, NULL, &op), SPARGIO_E_INVALID);
    c = child(exits);
    c.options.flags = 8;
    CHECK_IS(spargio_process_start(&c.options, NULL, &op), SPARGIO_E_INVALID);
    c.options.flags = 0;
    CHECK_IS(spargio_process_start(&c.options, NULL, &op), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_process_signal(-1, 0), SPARGIO_E_ERRNO(EBADF));
    CHECK_IS(spargio_process_signal(0, 99), SPARGIO_E_INVALID);
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    int before = open_descriptors();
    rt = start(argc, argv, &options);
    signals();
    children();
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(open_descriptors() == before);
    return 0;
}
