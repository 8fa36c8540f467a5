/* spargio_blocking and spargio_resolve: results, the bound of the pool, cancels before and after a call has begun, and
 * that the end of the runtime waits for calls, but for no lookup. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

enum { CALLS = 200, THREADS = 32 };

static int running, most, begun;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static int32_t counted(void *ctx) {
    int now = __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);
    int seen = __atomic_load_n(&most, __ATOMIC_SEQ_CST);
    uint32_t shard;
    while (now > seen && !__atomic_compare_exchange_n(&most, &seen, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
    CHECK_IS(spargio_current_shard(&shard), SPARGIO_E_NOT_ON_SHARD);
    usleep(500);
    __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
    return *(int32_t *)ctx;
}

static int32_t waits_at_the_gate(void *ctx) {
    (void)ctx;
    __atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return 7;
}

struct calls {
    spargio_op ops[CALLS];
    int32_t numbers[CALLS], done;
};

static int32_t many(void *ctx, int64_t *result) {
    struct calls *c = ctx;
    uint32_t index;
    int32_t value;
    if (c->ops[0] == 0 && c->done == 0) {
        for (int i = 0; i < CALLS; i++) {
            c->numbers[i] = i - 100; /* Negative ones too: they are the function's own. */
            CHECK_IS(spargio_blocking(counted, &c->numbers[i], &c->ops[i]), SPARGIO_OK);
        }
        CHECK_IS(spargio_blocking(NULL, NULL, &c->ops[0]), SPARGIO_E_INVALID);
    }
    while (c->done < CALLS && spargio_wait_any(c->ops, CALLS, &index) == SPARGIO_READY) {
        CHECK_IS(spargio_op_poll(c->ops[index], &value), SPARGIO_READY);
        CHECK(value == c->numbers[index]);
        c->ops[index] = 0;
        c->done++;
    }
    *result = c->done;
    return c->done == CALLS ? SPARGIO_READY : SPARGIO_PENDING;
}

/* All threads are kept busy: what is queued behind can be cancelled, what has begun cannot. */
static int32_t cancels(void *ctx, int64_t *result) {
    struct calls *c = ctx;
    int32_t value = 0;
    if (c->ops[0] == 0) {
        for (int i = 0; i < THREADS + 1; i++)
            CHECK_IS(spargio_blocking(waits_at_the_gate, NULL, &c->ops[i]), SPARGIO_OK);
        while (__atomic_load_n(&begun, __ATOMIC_SEQ_CST) < THREADS) usleep(100);
        CHECK_IS(spargio_op_cancel(c->ops[THREADS]), SPARGIO_OK);
        CHECK_IS(spargio_op_poll(c->ops[THREADS], &value), SPARGIO_READY);
        CHECK(value == -ECANCELED);
        CHECK_IS(spargio_op_cancel(c->ops[0]), SPARGIO_OK);
        CHECK_IS(spargio_op_timeout(c->ops[1], 1), SPARGIO_OK);
        CHECK_IS(spargio_op_poll(c->ops[0], &value), SPARGIO_PENDING);
        pthread_mutex_unlock(&gate);
    }
    while (c->done < THREADS) {
        if (spargio_op_poll(c->ops[c->done], &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
        CHECK(value == 7);
        c->done++;
    }
    *result = c->done;
    return SPARGIO_READY;
}

/* Its call is under way when it ends: the join waits for the function, whose ctx is the task's. */
static int32_t leaves(void *ctx, int64_t *result) {
    static int32_t number = 3;
    spargio_op op;
    (void)ctx, (void)result;
    CHECK_IS(spargio_blocking(counted, &number, &op), SPARGIO_OK);
    return SPARGIO_READY;
}

struct lookup {
    const char *host, *service;
    struct addrinfo hints, *list;
    spargio_op op;
    int32_t result, cancels;
};

static int32_t looks_up(void *ctx, int64_t *result) {
    struct lookup *l = ctx;
    (void)result;
    if (l->op == 0) {
        l->list = (void *)1;
        CHECK_IS(spargio_resolve(l->host, l->service, &l->hints, &l->list, &l->op), SPARGIO_OK);
        if (l->cancels) CHECK_IS(spargio_op_cancel(l->op), SPARGIO_OK);
    }
    int32_t said = spargio_op_poll(l->op, &l->result);
    if (said != SPARGIO_PENDING && l->result != 0) CHECK(l->list == (void *)1);
    return said;
}

/* The result lies there when it ends, and nobody takes it. */
static int32_t leaves_a_lookup(void *ctx, int64_t *result) {
    struct lookup *l = ctx;
    (void)result;
    CHECK_IS(spargio_resolve("127.0.0.1", NULL, NULL, &l->list, &l->op), SPARGIO_OK);
    CHECK_IS(spargio_resolve("localhost", NULL, NULL, &l->list, &l->op), SPARGIO_OK);
    return SPARGIO_READY;
}

static void join(spargio_runtime rt, spargio_poll_fn poll, void *ctx, int64_t wanted) {
    spargio_join handle;
    int64_t result = 0;
    CHECK_IS(spargio_spawn(rt, NULL, poll, ctx, &handle), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK(result == wanted);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
}

static void lookups(spargio_runtime rt) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct lookup numeric = {.host = "127.0.0.1", .service = "80", .hints = hints};
    struct lookup v6 = {.host = "::1", .service = "443", .hints = hints};
    struct lookup local = {.host = "localhost", .hints = hints};
    struct lookup none = {.host = "no-such-name.invalid", .hints = hints};
    struct lookup wrong = {.host = "::::", .hints = hints};
    struct lookup cancelled = {.host = "no-such-name.invalid", .hints = hints, .cancels = 1};
    join(rt, looks_up, &numeric, 0);
    struct sockaddr_in *in = (void *)numeric.list->ai_addr;
    CHECK(numeric.result == 0 && in->sin_family == AF_INET && ntohs(in->sin_port) == 80);
    join(rt, looks_up, &v6, 0);
    CHECK(v6.result == 0 && v6.list->ai_family == AF_INET6);
    join(rt, looks_up, &local, 0);
    CHECK(local.result == 0 && local.list != NULL);
    freeaddrinfo(numeric.list);
    freeaddrinfo(v6.list);
    freeaddrinfo(local.list);
    join(rt, looks_up, &none, 0);
    CHECK(SPARGIO_EAI_OF(none.result) < 0 && SPARGIO_EAI_OF(-ENOENT) == 0);
    CHECK(gai_strerror(SPARGIO_EAI_OF(none.result)) != NULL);
    join(rt, looks_up, &wrong, 0);
    CHECK(SPARGIO_EAI_OF(wrong.result) == EAI_NONAME);
    join(rt, looks_up, &cancelled, 0);
    CHECK(cancelled.result == -ECANCELED || SPARGIO_EAI_OF(cancelled.result) < 0);
    join(rt, leaves_a_lookup, &local, 0);
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);
    static struct calls calls, held;
    spargio_op op;
    join(rt, many, &calls, CALLS);
    CHECK(most > 1 && most <= THREADS && running == 0);
    pthread_mutex_lock(&gate);
    join(rt, cancels, &held, THREADS);
    join(rt, leaves, NULL, 0);
    CHECK(running == 0);
    lookups(rt);
    CHECK_IS(spargio_blocking(counted, NULL, &op), SPARGIO_E_NOT_ON_SHARD);
    CHECK_IS(spargio_resolve(NULL, NULL, NULL, NULL, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_spawn(rt, NULL, leaves, NULL, NULL), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(running == 0);
    return 0;
}
