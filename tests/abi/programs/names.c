/* spargio_resolve with a name server that never answers, in namespaces of the program's own: lookups end when they
 * are cancelled, their threads stay bounded, and nothing else waits for them, the runtime's end included. Exits with
 * 77 where the system allows no such namespaces. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

enum { LOOKUPS = 200, THREADS = 32 };
/* A lookup takes 2 seconds; what does not wait for one takes much less. */
static const double soon = 1.2;

static int server;

static void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

static void put_over(const char *path, const char *name, const char *text) {
    write_file(name, text);
    CHECK(mount(name, path, NULL, MS_BIND, NULL) == 0);
}

static void alone_with_a_silent_server(void) {
    char map[64];
    uid_t user = getuid();
    gid_t group = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0) exit(77);
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %d 1", (int)user);
    write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %d 1", (int)group);
    write_file("/proc/self/gid_map", map);
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) exit(77);
    if (access("/etc/resolv.conf", F_OK) != 0 || access("/etc/nsswitch.conf", F_OK) != 0) exit(77);
    put_over("/etc/resolv.conf", "resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n");
    put_over("/etc/nsswitch.conf", "nsswitch.conf", "hosts: files dns\n");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq loopback = {.ifr_name = "lo"};
    CHECK(ioctl(fd, SIOCGIFFLAGS, &loopback) == 0);
    loopback.ifr_flags |= IFF_UP;
    CHECK(ioctl(fd, SIOCSIFFLAGS, &loopback) == 0 && close(fd) == 0);
    server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(server, (struct sockaddr *)&at, sizeof at) == 0);
}

/* Waits for so many questions, and answers none. */
static void asked(int count) {
    char question[512];
    for (int i = 0; i < count; i++) CHECK(recv(server, question, sizeof question, 0) > 0);
}

static int name_threads(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL) continue;
        if (fgets(name, sizeof name, file) != NULL) count += strncmp(name, "spargio-names", 13) == 0;
        fclose(file);
    }
    closedir(folder);
    return count;
}

struct lookups {
    spargio_op ops[LOOKUPS];
    struct addrinfo *lists[LOOKUPS];
    int begun;
};

static const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};

static int32_t limited(void *ctx, int64_t *result) {
    struct lookups *l = ctx;
    int32_t value = 0;
    if (!l->begun) {
        l->begun = 1;
        CHECK_IS(spargio_resolve("limited.test.", "80", &hints, &l->lists[0], &l->ops[0]), SPARGIO_OK);
        CHECK_IS(spargio_op_timeout(l->ops[0], 20 * 1000 * 1000), SPARGIO_OK);
    }
    if (spargio_op_poll(l->ops[0], &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
    *result = value;
    return SPARGIO_READY;
}

/* Begun and queued ones: all end within their cancellation. */
static int32_t many_in_vain(void *ctx, int64_t *result) {
    struct lookups *l = ctx;
    char name[32];
    int32_t value = 0;
    (void)result;
    for (int i = 0; i < LOOKUPS; i++) {
        snprintf(name, sizeof name, "n%d.test.", i);
        CHECK_IS(spargio_resolve(name, "80", &hints, &l->lists[i], &l->ops[i]), SPARGIO_OK);
    }
    if (!l->begun) asked(THREADS - 1); /* One thread waits for "limited.test". */
    for (int i = 0; i < LOOKUPS; i++) {
        CHECK_IS(spargio_op_cancel(l->ops[i]), SPARGIO_OK);
        CHECK_IS(spargio_op_poll(l->ops[i], &value), SPARGIO_READY);
        CHECK(value == -ECANCELED && l->lists[i] == NULL);
    }
    return SPARGIO_READY;
}

static int32_t looks_up(void *ctx, int64_t *result) {
    struct lookups *l = ctx;
    const char *name = (const char *)l->lists[1];
    int32_t value = 0;
    if (!l->begun) {
        l->begun = 1;
        CHECK_IS(spargio_resolve(name, NULL, &hints, &l->lists[0], &l->ops[0]), SPARGIO_OK);
    }
    if (spargio_op_poll(l->ops[0], &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
    if (value == 0) freeaddrinfo(l->lists[0]);
    *result = value;
    return SPARGIO_READY;
}

static int32_t nothing(void *ctx) {
    (void)ctx;
    return 3;
}

static int32_t blocking_call(void *ctx, int64_t *result) {
    spargio_op *op = ctx;
    int32_t value = 0;
    if (*op == 0) CHECK_IS(spargio_blocking(nothing, NULL, op), SPARGIO_OK);
    if (spargio_op_poll(*op, &value) == SPARGIO_PENDING) return SPARGIO_PENDING;
    *result = value;
    return SPARGIO_READY;
}

static int64_t join(spargio_runtime rt, spargio_poll_fn poll, void *ctx) {
    spargio_join handle;
    int64_t result = 0;
    CHECK_IS(spargio_spawn(rt, NULL, poll, ctx, &handle), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(handle, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK_IS(spargio_join_release(handle), SPARGIO_OK);
    return result;
}

static int64_t look_up(spargio_runtime rt, const char *name) {
    struct lookups one = {.lists = {NULL, (struct addrinfo *)name}};
    return join(rt, looks_up, &one);
}

int main(int argc, char **argv) {
    spargio_runtime_options options;
    static struct lookups first, many, again;
    spargio_op op = 0;
    alone_with_a_silent_server();
    spargio_runtime rt = start(argc, argv, &options);
    double began = seconds();
    CHECK(join(rt, limited, &first) == -ETIME);
    asked(1);
    join(rt, many_in_vain, &many);
    CHECK(name_threads() == THREADS);
    again.begun = 1; /* No thread is free: nothing is asked. */
    join(rt, many_in_vain, &again);
    CHECK(name_threads() == THREADS);
    CHECK(look_up(rt, "127.0.0.1") == 0);
    CHECK(join(rt, blocking_call, &op) == 3);
    CHECK(seconds() - began < soon);

    /* The threads come back: names are looked up again, and a silent server is an answer at last. */
    CHECK(look_up(rt, "localhost") == 0);
    CHECK(SPARGIO_EAI_OF(look_up(rt, "late.test.")) == EAI_AGAIN);
    asked(1);
    CHECK(name_threads() <= THREADS);

    /* The end waits for none of them. */
    memset(&many, 0, sizeof many);
    join(rt, many_in_vain, &many);
    began = seconds();
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    CHECK(seconds() - began < soon);
    while (name_threads() > 0) usleep(10 * 1000); /* They free what is theirs. */
    return 0;
}
