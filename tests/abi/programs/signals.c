/* A thousand SIGALRM a second, with a handler that does not ask for SA_RESTART: no operation fails with
 * EINTR, no byte is lost, and the handler runs on the main thread, for shards block signals. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"

#define PAIRS 4
#define FILES 4
#define LENGTH 20000

static pthread_t main_thread;
static volatile sig_atomic_t ticks, elsewhere;
static double until;

static void tick(int number) {
    (void)number;
    ticks = ticks + 1;
    if (!pthread_equal(pthread_self(), main_thread)) elsewhere = elsewhere + 1;
}

/* Sends to a socket, or answers what came on the other end of it; an end is a shutdown. */
struct end {
    int fd;
    int sends;
    int writing;
    spargio_op op;
    uint32_t at;
    uint64_t total;
    char buffer[LENGTH];
};

static int32_t echo(void *ctx, int64_t *result) {
    struct end *e = ctx;
    int32_t value = 0;
    for (;;) {
        if (e->op != 0) {
            if (spargio_op_poll(e->op, &value) != SPARGIO_READY) return SPARGIO_PENDING;
            CHECK(value >= 0); /* -EINTR would be here. */
            e->op = 0;
            if (!e->writing && value == 0) break;
            e->at += (uint32_t)value;
            if (e->writing) e->total += (uint64_t)value;
        }
        if (e->writing && e->at < LENGTH) {
            CHECK_IS(spargio_send(e->fd, e->buffer + e->at, LENGTH - e->at, 0, &e->op), SPARGIO_OK);
        } else if (e->writing) {
            e->at = 0;
            e->writing = 0;
        } else if (e->at < LENGTH) {
            CHECK_IS(spargio_recv(e->fd, e->buffer + e->at, LENGTH - e->at, 0, &e->op), SPARGIO_OK);
        } else {
            for (int i = 1; i < LENGTH; i++) CHECK(e->buffer[i] == e->buffer[0]);
            if (e->sends && seconds() > until) break;
            if (e->sends) memset(e->buffer, e->buffer[0] + 1, LENGTH);
            e->at = 0;
            e->writing = 1;
        }
    }
    CHECK(shutdown(e->fd, SHUT_RDWR) == 0);
    *result = (int64_t)e->total;
    return SPARGIO_READY;
}

struct file {
    int fd;
    int step;
    spargio_op op;
    int64_t rounds;
    char buffer[LENGTH];
};

static int32_t write_and_read(void *ctx, int64_t *result) {
    struct file *f = ctx;
    int32_t value = 0;
    for (;;) {
        if (f->op != 0) {
            if (spargio_op_poll(f->op, &value) != SPARGIO_READY) return SPARGIO_PENDING;
            f->op = 0;
            CHECK(f->step == 2 ? value == 0 : value == LENGTH);
        }
        switch (f->step) {
        case 0:
            memset(f->buffer, (int)f->rounds, LENGTH);
            CHECK_IS(spargio_write_at(f->fd, f->buffer, LENGTH, 0, &f->op), SPARGIO_OK);
            f->step = 1;
            break;
        case 1:
            CHECK_IS(spargio_fsync(f->fd, 1, &f->op), SPARGIO_OK);
            f->step = 2;
            break;
        case 2:
            memset(f->buffer, 0, LENGTH);
            CHECK_IS(spargio_read_at(f->fd, f->buffer, LENGTH, 0, &f->op), SPARGIO_OK);
            f->step = 3;
            break;
        default:
            for (int i = 0; i < LENGTH; i++) CHECK(f->buffer[i] == (char)f->rounds);
            f->rounds++;
            f->step = 0;
            if (seconds() > until) {
                *result = f->rounds;
                return SPARGIO_READY;
            }
        }
    }
}

int main(int argc, char **argv) {
    static struct end ends[2 * PAIRS];
    static struct file files[FILES];
    struct sigaction action = {.sa_handler = tick};
    struct itimerval each = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    spargio_runtime_options options;
    spargio_join joins[2 * PAIRS + FILES];
    main_thread = pthread_self();
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &each, NULL) == 0);
    spargio_runtime rt = start(argc, argv, &options);
    until = seconds() + 1.0;
    int count = 0;
    for (int i = 0; i < PAIRS; i++) {
        int pair[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        for (int j = 0; j < 2; j++) {
            struct end *e = &ends[2 * i + j];
            e->fd = pair[j];
            e->sends = e->writing = j == 0;
            spargio_placement where = place(SPARGIO_PLACE_PINNED, (uint64_t)count % options.shards);
            CHECK_IS(spargio_spawn(rt, &where, echo, e, &joins[count++]), SPARGIO_OK);
        }
    }
    for (int i = 0; i < FILES; i++) {
        char name[] = "spargio-signals-XXXXXX";
        files[i].fd = mkstemp(name);
        CHECK(files[i].fd >= 0 && unlink(name) == 0);
        spargio_placement where = place(SPARGIO_PLACE_PINNED, (uint64_t)count % options.shards);
        CHECK_IS(spargio_spawn(rt, &where, write_and_read, &files[i], &joins[count++]), SPARGIO_OK);
    }
    int64_t results[2 * PAIRS + FILES];
    for (int i = 0; i < count; i++) {
        CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, &results[i]), SPARGIO_OK);
        CHECK(results[i] > 0);
        CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
    }
    /* Whole rounds: what one end sent came back from the other. */
    for (int i = 0; i < PAIRS; i++) CHECK(results[2 * i] == results[2 * i + 1]);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(ticks > 100);
    CHECK(elsewhere == 0);
    for (int i = 0; i < 2 * PAIRS; i++) close(ends[i].fd);
    for (int i = 0; i < FILES; i++) close(files[i].fd);
    return 0;
}
