/* SPDX-License-Identifier: MIT
 *
 * Closed-loop load for a TCP echo server: every connection sends one payload, waits for the whole
 * echo, compares it, and starts again. One thread, one epoll; what it spends per request is one
 * send, one recv and a share of one epoll_wait, so that the server is the limit for as long as
 * possible. It reports its own CPU time too: where that is near 100 %, it was the limit after all.
 *
 * A phase (warm-up, measurement) ends when the last echo has come: no request straddles its ends,
 * so the server's CPU time between them belongs to exactly the requests that are counted.
 *
 * With --sync it prints "ready" after the warm-up and waits for a line on stdin: the time for the
 * harness to ask the server for its CPU time.
 *
 * Exit status: 0, or 1 for a wrong echo, a lost connection, a stalled server or bad arguments. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SUB_BITS = 6, SUB = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS + 1) * SUB };
enum { EVENTS_MAX = 256, RECV_MAX = 256 * 1024, STALL_MS = 10000 };
enum { SEQUENCE_BITS = 40, LOSSES_SHOWN = 4 };

struct connection {
    int fd; /* -1 once lost */
    bool busy;
    size_t sent;
    size_t received;
    uint64_t sequence;
    uint64_t started_ns;
    unsigned char *payload;
};

struct load {
    int epoll;
    size_t payload_size;
    size_t connection_count;
    struct connection *connections;
    unsigned char *received; /* shared: bytes are compared as they come, and never kept */
    /* Of the phase that runs. */
    uint64_t deadline_ns;
    uint64_t request_limit;
    uint64_t started;
    uint64_t finished;
    size_t busy;
    uint64_t errors; /* of all phases */
    uint64_t histogram[BUCKETS];
};

_Noreturn static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("echo_load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Log histogram: exact below 2^SUB_BITS ns, then SUB buckets for each power of two (1.6 % wide). */
static size_t bucket_of(uint64_t ns)
{
    if (ns < SUB)
        return (size_t)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
    return (size_t)shift * SUB + (size_t)(ns >> shift);
}

static double bucket_middle_ns(size_t bucket)
{
    if (bucket < 2 * SUB)
        return (double)bucket;
    unsigned shift = (unsigned)(bucket / SUB) - 1;
    uint64_t low = (uint64_t)(bucket % SUB + SUB) << shift;
    return (double)low + (double)((uint64_t)1 << shift) / 2;
}

static double percentile_us(const struct load *load, double fraction)
{
    uint64_t seen = 0;
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        seen += load->histogram[bucket];
        if (load->histogram[bucket] > 0 && (double)seen >= fraction * (double)load->finished)
            return bucket_middle_ns(bucket) / 1000;
    }
    return 0;
}

/* Bytes that no other connection sends (xorshift64*, seeded by the connection's index). */
static void fill_pattern(unsigned char *bytes, size_t size, size_t index)
{
    uint64_t state = 0x9e3779b97f4a7c15u * (index + 1);
    for (size_t at = 0; at < size; at++) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes[at] = (unsigned char)((state * 0x2545f4914f6cdd1du) >> 56);
    }
}

/* For messages: the count without the connection's index in the upper bits. */
static unsigned long long request_number(const struct connection *connection)
{
    return connection->sequence & (((uint64_t)1 << SEQUENCE_BITS) - 1);
}

static void set_idle(struct load *load, struct connection *connection)
{
    load->busy -= connection->busy;
    connection->busy = false;
}

static void lose(struct load *load, struct connection *connection, const char *why)
{
    if (load->errors < LOSSES_SHOWN)
        fprintf(stderr, "echo_load: connection %zu, request %llu: %s\n",
                (size_t)(connection - load->connections), request_number(connection), why);
    close(connection->fd);
    connection->fd = -1;
    load->errors++;
    set_idle(load, connection);
}

static void send_rest(struct load *load, struct connection *connection)
{
    while (connection->sent < load->payload_size) {
        ssize_t sent = send(connection->fd, connection->payload + connection->sent,
                            load->payload_size - connection->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN) /* EAGAIN: an EPOLLOUT edge will follow */
                lose(load, connection, strerror(errno));
            return;
        }
        connection->sent += (size_t)sent;
    }
}

static void start_request(struct load *load, struct connection *connection, uint64_t now)
{
    load->started++;
    connection->started_ns = now;
    connection->sent = 0;
    connection->received = 0;
    connection->sequence++;
    /* The number of the request is in its bytes, so the echo of an earlier one is a mismatch. */
    if (load->payload_size >= sizeof connection->sequence)
        memcpy(connection->payload, &connection->sequence, sizeof connection->sequence);
    send_rest(load, connection);
}

static void finish_request(struct load *load, struct connection *connection)
{
    uint64_t now = now_ns();
    load->finished++;
    load->histogram[bucket_of(now - connection->started_ns)]++;
    if (now < load->deadline_ns && load->started < load->request_limit)
        start_request(load, connection, now);
    else
        set_idle(load, connection);
}

static void check_echo(const struct load *load, const struct connection *connection, size_t size)
{
    size_t index = (size_t)(connection - load->connections);
    if (connection->received + size > connection->sent)
        die("mismatch: connection %zu, request %llu: more bytes came than were sent", index,
            request_number(connection));
    const unsigned char *expected = connection->payload + connection->received;
    if (memcmp(load->received, expected, size) == 0)
        return;
    size_t at = 0;
    while (load->received[at] == expected[at])
        at++;
    die("mismatch: connection %zu, request %llu, byte %zu: sent %02x, got %02x", index,
        request_number(connection), connection->received + at, expected[at], load->received[at]);
}

/* The edge-triggered epoll reports new bytes once. A recv that was given room to spare and did not
 * fill it has emptied the socket (epoll(7)), so no second recv has to ask. */
static void receive(struct load *load, struct connection *connection)
{
    for (;;) {
        ssize_t got = recv(connection->fd, load->received, RECV_MAX, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            lose(load, connection, got < 0 ? strerror(errno) : "closed by the server");
            return;
        }
        check_echo(load, connection, (size_t)got);
        connection->received += (size_t)got;
        if (connection->received == load->payload_size) {
            finish_request(load, connection);
            return;
        }
        if (got < RECV_MAX)
            return;
    }
}

static void run_phase(struct load *load, double seconds, uint64_t request_limit)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t start = now_ns();
    load->deadline_ns = UINT64_MAX;
    if (request_limit == UINT64_MAX)
        load->deadline_ns = start + (uint64_t)(seconds * 1e9);
    load->request_limit = request_limit;
    load->started = load->finished = 0;
    memset(load->histogram, 0, sizeof load->histogram);

    for (size_t i = 0; i < load->connection_count && load->started < request_limit; i++) {
        if (load->connections[i].fd < 0)
            continue;
        load->connections[i].busy = true;
        load->busy++;
        start_request(load, &load->connections[i], now_ns());
    }
    while (load->busy > 0) {
        int count = epoll_wait(load->epoll, events, EVENTS_MAX, STALL_MS);
        if (count == 0)
            die("no answer for %d ms on %zu connections", STALL_MS, load->busy);
        if (count < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && connection->sent < load->payload_size)
                send_rest(load, connection);
            if (connection->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT)
                receive(load, connection);
        }
    }
}

/* A host with a slash is the path of a Unix socket, and the port means nothing. */
static struct addrinfo *address_of(const char *host, const char *port)
{
    static struct sockaddr_un path = {.sun_family = AF_UNIX};
    static struct addrinfo local = {.ai_family = AF_UNIX, .ai_addr = (struct sockaddr *)&path};
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
    };
    if (strchr(host, '/') != NULL) {
        if (strlen(host) >= sizeof path.sun_path)
            die("%s: too long for the path of a socket", host);
        strcpy(path.sun_path, host);
        local.ai_addrlen = sizeof path;
        return &local;
    }
    struct addrinfo *address; /* kept to the end */
    int status = getaddrinfo(host, port, &hints, &address);
    if (status != 0)
        die("%s:%s: %s", host, port, gai_strerror(status));
    return address;
}

static void connect_all(struct load *load, const char *host, const char *port)
{
    struct addrinfo *address = address_of(host, port);
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0)
        die("epoll_create1: %s", strerror(errno));
    for (size_t i = 0; i < load->connection_count; i++) {
        struct connection *connection = &load->connections[i];
        int on = 1;
        connection->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connection->fd < 0 ||
            connect(connection->fd, address->ai_addr, address->ai_addrlen) < 0)
            die("connection %zu to %s:%s: %s", i, host, port, strerror(errno));
        if (address->ai_family != AF_UNIX &&
            setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
            die("TCP_NODELAY: %s", strerror(errno));
        connection->payload = malloc(load->payload_size);
        if (connection->payload == NULL)
            die("out of memory");
        fill_pattern(connection->payload, load->payload_size, i);
        /* Small payloads are all sequence number: it has to tell the connections apart as well. */
        connection->sequence = (uint64_t)i << SEQUENCE_BITS;
        connection->sent = load->payload_size;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
        event.data.ptr = connection;
        if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0)
            die("epoll_ctl: %s", strerror(errno));
    }
}

static double cpu_us(struct timeval before, struct timeval after)
{
    return (double)(after.tv_sec - before.tv_sec) * 1e6 + (double)(after.tv_usec - before.tv_usec);
}

static void measure(struct load *load, double seconds, uint64_t request_limit)
{
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    uint64_t start = now_ns();
    run_phase(load, seconds, request_limit);
    double elapsed = (double)(now_ns() - start) / 1e9;
    getrusage(RUSAGE_SELF, &after);
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"requests_per_second\": %.1f, "
           "\"p50_us\": %.2f, \"p95_us\": %.2f, \"p99_us\": %.2f, \"errors\": %llu, "
           "\"load_user_us\": %.0f, \"load_system_us\": %.0f}\n",
           (unsigned long long)load->finished, elapsed, (double)load->finished / elapsed,
           percentile_us(load, 0.50), percentile_us(load, 0.95), percentile_us(load, 0.99),
           (unsigned long long)load->errors, cpu_us(before.ru_utime, after.ru_utime),
           cpu_us(before.ru_stime, after.ru_stime));
}

_Noreturn static void usage(void)
{
    die("usage: echo_load [--sync] [--requests N] HOST PORT CONNECTIONS PAYLOAD_BYTES SECONDS "
        "[WARMUP_SECONDS]\n--requests: that many requests instead of SECONDS");
}

static double number(const char *text, double least)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= 1e12))
        usage();
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"sync", no_argument, NULL, 's'},
        {"requests", required_argument, NULL, 'r'},
        {0},
    };
    static struct load load;
    bool sync = false;
    uint64_t request_limit = UINT64_MAX;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 's')
            sync = true;
        else if (option == 'r')
            request_limit = (uint64_t)number(optarg, 1);
        else
            usage();
    }
    argv += optind;
    argc -= optind;
    if (argc < 5 || argc > 6)
        usage();
    load.connection_count = (size_t)number(argv[2], 1);
    load.payload_size = (size_t)number(argv[3], 1);
    double seconds = number(argv[4], 0);
    double warmup_seconds = argc == 6 ? number(argv[5], 0) : 0;
    load.connections = calloc(load.connection_count, sizeof *load.connections);
    load.received = malloc(RECV_MAX);
    if (load.connections == NULL || load.received == NULL)
        die("out of memory");

    connect_all(&load, argv[0], argv[1]);
    if (warmup_seconds > 0)
        run_phase(&load, warmup_seconds, UINT64_MAX);
    if (sync) {
        puts("ready");
        fflush(stdout);
        while (getchar() != '\n' && !feof(stdin))
            ;
    }
    measure(&load, seconds, request_limit);
    return load.errors > 0 ? 1 : 0;
}
