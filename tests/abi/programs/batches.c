/* Datagrams in batches (UDP_SEGMENT, UDP_GRO), the list of a shard's tasks, and the monitor. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"

enum { SEGMENT = 1000, COUNT = 40, LAST = 17, TOTAL = (COUNT - 1) * SEGMENT + LAST };

struct udp {
    int fds[2], step;
    uint32_t received, datagrams, segment, length;
    struct sockaddr_in to, from;
    unsigned char out[TOTAL], in[65535];
    spargio_op op;
};

static int32_t batch(void *ctx, int64_t *result) {
    struct udp *u = ctx;
    int32_t value = 0;
    if (u->step > 0 && spargio_op_poll(u->op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
    if (u->step == 0) {
        CHECK_IS(spargio_udp_send_batch(u->fds[0], u->out, TOTAL, 0, &u->to, sizeof u->to, &u->op), SPARGIO_E_INVALID);
        CHECK_IS(spargio_udp_send_batch(u->fds[0], u->out, TOTAL, SEGMENT, &u->to, sizeof u->to, &u->op), SPARGIO_OK);
        u->step = 1;
        return SPARGIO_PENDING;
    }
    if (u->step == 1) {
        CHECK(value == TOTAL);
        u->step = 2;
    } else {
        CHECK(value > 0 && u->length == sizeof u->from && u->from.sin_family == AF_INET);
        CHECK(u->segment == SEGMENT || u->segment == (uint32_t)value);
        CHECK(memcmp(u->in, u->out + u->received, (size_t)value) == 0);
        u->datagrams += ((uint32_t)value + u->segment - 1) / u->segment;
        u->received += (uint32_t)value;
        ++*result;
    }
    if (u->received == TOTAL) return SPARGIO_READY;
    u->length = sizeof u->from;
    CHECK_IS(spargio_udp_recv_batch(u->fds[1], u->in, sizeof u->in, NULL, NULL, NULL, &u->op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_udp_recv_batch(u->fds[1], u->in, sizeof u->in, &u->segment, &u->from, &u->length, &u->op), SPARGIO_OK);
    return SPARGIO_PENDING;
}

static void join(spargio_runtime rt, spargio_poll_fn poll, void *ctx) {
    spargio_join handle;
    spargio_placement here = place(SPARGIO_PLACE_PINNED, 0);
    CHECK_IS(spargio_spawn(rt, &here, poll, ctx, &handle), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, NULL), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
}

static void batches(spargio_runtime rt) {
    static struct udp u;
    for (int together = 0; together < 2; together++) {
        uint16_t port;
        memset(&u, 0, sizeof u);
        for (int i = 0; i < 2; i++) CHECK_IS(spargio_udp_bind("127.0.0.1", 0, &u.fds[i]), SPARGIO_OK);
        CHECK_IS(spargio_local_port(u.fds[1], &port), SPARGIO_OK);
        CHECK_IS(spargio_udp_set_batches(u.fds[1], together), SPARGIO_OK);
        u.to.sin_family = AF_INET, u.to.sin_port = htons(port), u.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        for (int i = 0; i < TOTAL; i++) u.out[i] = (unsigned char)(i * 31);
        join(rt, batch, &u);
        CHECK(u.datagrams == COUNT);
        close(u.fds[0]), close(u.fds[1]);
    }
    CHECK_IS(spargio_udp_set_batches(-1, 1), SPARGIO_E_ERRNO(EBADF));
}

/* ---- what runs ---- */

static int32_t waits(void *ctx, int64_t *result) {
    spargio_op *op = ctx;
    (void)result;
    if (*op == 0) CHECK_IS(spargio_sleep(3600000000000ull, op), SPARGIO_OK);
    return spargio_task_cancelled() ? SPARGIO_READY : SPARGIO_PENDING;
}

enum { WAITING = 5 };

static spargio_op ops[WAITING];

static int32_t lists(void *ctx, int64_t *result) {
    spargio_task_info list[32];
    uint32_t count = 0, waiting = 0, self = 0;
    (void)result;
    CHECK_IS(spargio_tasks_here(list, 1, &count), SPARGIO_E_BUFFER);
    CHECK(count == WAITING + 1);
    CHECK_IS(spargio_tasks_here(list, 32, &count), SPARGIO_OK);
    for (uint32_t i = 0; i < count; i++) {
        if (list[i].poll == waits) {
            CHECK(list[i].state == SPARGIO_TASK_WAITING && list[i].operations == 1);
            CHECK((spargio_op *)list[i].ctx >= ops && (spargio_op *)list[i].ctx < ops + WAITING);
            waiting++;
        } else {
            CHECK(list[i].poll == lists && list[i].ctx == ctx);
            CHECK(list[i].state == SPARGIO_TASK_RUNNING && list[i].operations == 0);
            self++;
        }
    }
    CHECK(waiting == WAITING && self == 1);
    CHECK_IS(spargio_tasks_here(NULL, 1, &count), SPARGIO_E_INVALID);
    return SPARGIO_READY;
}

static void tasks(spargio_runtime rt) {
    spargio_join joins[WAITING];
    spargio_placement here = place(SPARGIO_PLACE_PINNED, 0);
    uint32_t count;
    for (int i = 0; i < WAITING; i++) CHECK_IS(spargio_spawn(rt, &here, waits, &ops[i], &joins[i]), SPARGIO_OK);
    join(rt, lists, &count);
    for (int i = 0; i < WAITING; i++) {
        CHECK_IS(spargio_join_cancel(joins[i]), SPARGIO_OK);
        CHECK_IS(spargio_join_wait(joins[i], SPARGIO_FOREVER, NULL), SPARGIO_OK);
        CHECK_IS(spargio_join_release(joins[i]), SPARGIO_OK);
    }
    CHECK_IS(spargio_tasks_here(NULL, 0, &count), SPARGIO_E_NOT_ON_SHARD);
}

static ssize_t ask(const char *name, const char *request, char *answer, size_t size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    ssize_t count, total = 0;
    memcpy(address.sun_path + 1, name, strlen(name));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(fd, (void *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) == 0);
    CHECK(write(fd, request, strlen(request)) == (ssize_t)strlen(request));
    while ((count = read(fd, answer + total, size - (size_t)total)) > 0) total += count;
    close(fd);
    return total;
}

static void monitor(spargio_runtime rt) {
    static const char none[] = "{\"tasks\": []}";
    char name[64] = "", again[64] = "", answer[65536];
    CHECK_IS(spargio_runtime_monitor(rt, name, sizeof name), SPARGIO_OK);
    CHECK_IS(spargio_runtime_monitor(rt, again, sizeof again), SPARGIO_OK);
    CHECK(strncmp(name, "spargio.", 8) == 0 && strcmp(name, again) == 0);
    CHECK_IS(spargio_runtime_monitor(rt, NULL, 0), SPARGIO_OK);
    CHECK(ask(name, "stats\n", answer, sizeof answer) > 100 && (answer[0] & 0xe0) == 0xa0); /* A map in CBOR. */
    CHECK(ask(name, "tasks\n", answer, sizeof answer) == sizeof none - 1 && memcmp(answer, none, sizeof none - 1) == 0);
    CHECK(ask(name, "else\n", answer, sizeof answer) > 10 && memcmp(answer, "{\"error\": ", 10) == 0);
}

int main(int argc, char **argv) {
    int before = open_descriptors();
    spargio_runtime_options options;
    spargio_runtime rt = start(argc, argv, &options);
    batches(rt);
    tasks(rt);
    monitor(rt);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK_IS(spargio_runtime_monitor(rt, NULL, 0), SPARGIO_E_CLOSED);
    CHECK(open_descriptors() == before);
    return 0;
}
