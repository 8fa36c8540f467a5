/* Operations on names, vectors, pipes and sockets of any family, one after another in a task: what
 * each gives, and what plain system calls say of it afterwards. Works in a directory of its own. */
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

static int file, pipe_ends[2], listener, client, server, udp[2];
static char first[4], second[8], name[64];
static struct iovec out_vectors[2], in_vectors[2];
static struct statx about;
static struct sockaddr_in to, from;
static struct iovec datagram;
static struct msghdr outgoing, incoming;

/* Starts step `n`; 0 after the last one. */
static int32_t start_step(int n, spargio_op *op) {
    switch (n) {
    case 0: return spargio_mkdir("folder", 0700, op);
    case 1: return spargio_mkdir("folder", 0700, op);
    case 2: return spargio_open("folder/a", O_RDWR | O_CREAT, 0600, op);
    case 3: return spargio_writev_at(file, out_vectors, 2, 0, op);
    case 4: return spargio_readv_at(file, in_vectors, 2, 2, op);
    case 5: return spargio_truncate(file, 3, op);
    case 6: return spargio_allocate(file, 0, 0, 4096, op);
    case 7: return spargio_link("folder/a", "folder/b", op);
    case 8: return spargio_symlink("b", "folder/c", op);
    case 9: return spargio_statx("folder/c", 0, STATX_BASIC_STATS, &about, op);
    case 10: return spargio_rename("folder/b", "folder/a", 1 /* RENAME_NOREPLACE */, op);
    case 11: return spargio_rename("folder/b", "folder/d", 0, op);
    case 12: return spargio_splice(file, 0, pipe_ends[1], UINT64_MAX, 3, 0, op);
    case 13: return spargio_poll(pipe_ends[0], POLLIN, op);
    case 14: return spargio_unlink("folder/none", op);
    case 15: return spargio_unix_connect(name, op);
    case 16: return spargio_accept(listener, op);
    case 17: return spargio_send(client, "hello", 5, 0, op);
    case 18: return spargio_recv(server, second, 5, 0, op);
    case 19: return spargio_sendmsg(udp[0], &outgoing, 0, op);
    case 20: return spargio_recvmsg(udp[1], &incoming, 0, op);
    case 21: return spargio_connect(udp[0], &to, sizeof to, op);
    case 22: return spargio_send(udp[0], "again", 5, 0, op);
    case 23: return spargio_rmdir("folder", op);
    case 24: return spargio_unlink("folder/a", op);
    case 25: return spargio_unlink("folder/c", op);
    case 26: return spargio_unlink("folder/d", op);
    case 27: return spargio_rmdir("folder", op);
    default: return 1;
    }
}

static void check_step(int n, int32_t result) {
    struct stat seen;
    switch (n) {
    case 1: CHECK_IS(result, -EEXIST); break;
    case 2: file = result; CHECK(result >= 0); break;
    case 3: CHECK_IS(result, 8); break;
    case 4:
        CHECK_IS(result, 6);
        CHECK(memcmp(first, "cde", 3) == 0 && memcmp(second, "fgh", 3) == 0);
        break;
    case 5:
        if (result == -EINVAL) CHECK(ftruncate(file, 3) == 0); /* Before Linux 6.9. */
        else CHECK_IS(result, 0);
        CHECK(fstat(file, &seen) == 0 && seen.st_size == 3);
        break;
    case 6:
        if (result != -EOPNOTSUPP) CHECK_IS(result, 0);
        else CHECK(ftruncate(file, 4096) == 0); /* What the file system cannot do. */
        CHECK(fstat(file, &seen) == 0 && seen.st_size == 4096);
        break;
    case 9:
        CHECK_IS(result, 0);
        CHECK(about.stx_size == 4096 && about.stx_nlink == 2 && S_ISREG(about.stx_mode));
        break;
    case 10: CHECK_IS(result, -EEXIST); break;
    case 12: CHECK_IS(result, 3); break;
    case 13:
        CHECK((result & POLLIN) != 0);
        CHECK(read(pipe_ends[0], second, 8) == 3 && memcmp(second, "abc", 3) == 0);
        break;
    case 14: CHECK_IS(result, -ENOENT); break;
    case 15: client = result; CHECK(result >= 0); break;
    case 16: server = result; CHECK(result >= 0); break;
    case 18: CHECK_IS(result, 5); CHECK(memcmp(second, "hello", 5) == 0); break;
    case 17:
    case 19:
    case 22: CHECK_IS(result, 5); break;
    case 20:
        CHECK_IS(result, 5);
        CHECK(incoming.msg_namelen == sizeof from && from.sin_family == AF_INET);
        break;
    case 23: CHECK_IS(result, -ENOTEMPTY); break;
    default: CHECK_IS(result, 0);
    }
}

struct script {
    int step;
    spargio_op op;
};

static int32_t perform(void *ctx, int64_t *count) {
    struct script *script = ctx;
    for (;;) {
        int32_t result, status;
        if (script->op != 0) {
            if ((status = spargio_op_poll(script->op, &result)) != SPARGIO_READY) return status;
            check_step(script->step++, result);
            script->op = 0;
        }
        status = start_step(script->step, &script->op);
        *count = script->step;
        if (status == 1) return SPARGIO_READY;
        CHECK_IS(status, SPARGIO_OK);
    }
}

static char pages[8192] __attribute__((aligned(4096)));

/* Reads into registered memory, and half into it: the same bytes. */
static int32_t registers(void *ctx, int64_t *result) {
    static spargio_op op;
    static uint32_t place, step;
    int32_t count;
    (void)ctx, (void)result;
    if (step == 0) {
        CHECK_IS(spargio_buffer_register(NULL, 1, &place), SPARGIO_E_INVALID);
        CHECK_IS(spargio_buffer_register(pages, 0, &place), SPARGIO_E_INVALID);
        CHECK_IS(spargio_buffer_register(pages, 4096, &place), SPARGIO_OK);
    } else {
        int32_t status = spargio_op_poll(op, &count);
        if (status != SPARGIO_READY) return status;
        CHECK_IS(count, 100);
    }
    static const int offsets[] = {0, 1000, 4050, 5000};
    if (step > 0) CHECK(memcmp(pages + offsets[step - 1], "\177ELF", 4) == 0);
    if (step == 4) {
        CHECK_IS(spargio_buffer_unregister(place), SPARGIO_OK);
        CHECK_IS(spargio_buffer_unregister(64), SPARGIO_E_INVALID);
        step = 0;
        return SPARGIO_READY;
    }
    CHECK_IS(spargio_read_at(file, pages + offsets[step++], 100, 0, &op), SPARGIO_OK);
    return SPARGIO_PENDING;
}

static int32_t refused(void *ctx, int64_t *result) {
    spargio_op op = 0;
    char long_name[200];
    (void)ctx, (void)result;
    memset(long_name, 'x', sizeof long_name);
    long_name[sizeof long_name - 1] = 0;
    CHECK_IS(spargio_mkdir(NULL, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_rename("a", NULL, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_statx("a", 0, 0, NULL, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_readv_at(0, in_vectors, 1025, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_writev_at(0, out_vectors, 0, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_unix_connect(long_name, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_unix_connect("", &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_connect(0, &to, 1000, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_sendmsg(0, NULL, 0, &op), SPARGIO_E_INVALID);
    CHECK_IS(spargio_unlink("a", NULL), SPARGIO_E_INVALID);
    return SPARGIO_READY;
}

/* Ends while a connect and a rename may still be under way: nothing leaks. */
static int32_t leaves(void *ctx, int64_t *result) {
    spargio_op op = 0;
    (void)ctx, (void)result;
    CHECK_IS(spargio_unix_connect(name, &op), SPARGIO_OK);
    CHECK_IS(spargio_rename("none", "nowhere", 0, &op), SPARGIO_OK);
    CHECK_IS(spargio_poll(pipe_ends[0], POLLIN, &op), SPARGIO_OK);
    return SPARGIO_READY;
}

static int64_t run(spargio_runtime rt, spargio_poll_fn fn, void *ctx) {
    spargio_join join = 0;
    int64_t result = 0;
    CHECK_IS(spargio_spawn(rt, NULL, fn, ctx, &join), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
    return result;
}

int main(int argc, char **argv) {
    char folder[] = "/tmp/spargio-more-ops-XXXXXX";
    spargio_runtime_options options;
    struct script script = {0};
    socklen_t length = sizeof to;
    uint16_t port = 0;
    CHECK(mkdtemp(folder) != NULL && chdir(folder) == 0);
    CHECK(pipe(pipe_ends) == 0);
    snprintf(name, sizeof name, "@spargio-more-ops-%d", (int)getpid());
    CHECK_IS(spargio_unix_listen(name, 100, &listener), SPARGIO_OK);
    CHECK_IS(spargio_udp_bind("127.0.0.1", 0, &udp[0]), SPARGIO_OK);
    CHECK_IS(spargio_udp_bind("127.0.0.1", 0, &udp[1]), SPARGIO_OK);
    CHECK_IS(spargio_local_port(udp[1], &port), SPARGIO_OK);
    CHECK(getsockname(udp[1], (struct sockaddr *)&to, &length) == 0 && ntohs(to.sin_port) == port);
    CHECK_IS(spargio_udp_bind("127.0.0.1", port, &client), SPARGIO_E_ERRNO(EADDRINUSE));
    CHECK_IS(spargio_udp_bind("localhost", 0, &client), SPARGIO_E_INVALID);
    CHECK_IS(spargio_unix_listen("", 1, &client), SPARGIO_E_INVALID);
    CHECK_IS(spargio_mkdir("x", 0700, NULL), SPARGIO_E_INVALID);
    out_vectors[0] = (struct iovec){"abcde", 5}, out_vectors[1] = (struct iovec){"fgh", 3};
    in_vectors[0] = (struct iovec){first, 3}, in_vectors[1] = (struct iovec){second, 3};
    datagram = (struct iovec){"hello", 5};
    outgoing = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &datagram, .msg_iovlen = 1};
    static struct iovec room;
    static char space[16];
    room = (struct iovec){space, sizeof space};
    incoming = (struct msghdr){.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &room, .msg_iovlen = 1};

    spargio_runtime rt = start(argc, argv, &options);
    CHECK(run(rt, perform, &script) == 28);
    CHECK(memcmp(space, "hello", 5) == 0);
    run(rt, refused, NULL);
    file = open("/proc/self/exe", O_RDONLY);
    CHECK(file >= 0);
    for (int i = 0; i < 70; i++) { /* More often than there are places. */
        memset(pages, 0, sizeof pages);
        run(rt, registers, NULL);
    }
    CHECK_IS(spargio_buffer_unregister(0), SPARGIO_E_NOT_ON_SHARD);
    int before = open_descriptors();
    for (int i = 0; i < 50; i++) run(rt, leaves, NULL);
    CHECK_IS(open_descriptors(), before);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(chdir("/") == 0 && rmdir(folder) == 0);
    return 0;
}
