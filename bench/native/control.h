/* SPDX-License-Identifier: MIT
 *
 * The control protocol of python/servers/control.py for servers in C: prints the port, answers "usage" lines
 * with a JSON line of rusage, exits at the end of stdin. */
#ifndef BENCH_CONTROL_H
#define BENCH_CONTROL_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static inline long long microseconds(struct timeval time)
{
    return time.tv_sec * 1000000LL + time.tv_usec;
}

static inline void *control(void *unused)
{
    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        struct rusage usage;
        if (strcmp(line, "usage\n") != 0)
            continue;
        getrusage(RUSAGE_SELF, &usage);
        printf("{\"user_us\": %lld, \"system_us\": %lld, \"waits\": %ld, \"max_rss_kib\": %ld}\n",
               microseconds(usage.ru_utime), microseconds(usage.ru_stime), usage.ru_nvcsw,
               usage.ru_maxrss);
        fflush(stdout);
    }
    _exit(0);
    return unused;
}

/* Print `port`, and answer from now on, in a thread of its own. */
static inline void announce(unsigned port)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, control, NULL);
    if (error != 0) {
        fprintf(stderr, "pthread_create: %s\n", strerror(error));
        exit(1);
    }
    printf("%u\n", port);
    fflush(stdout);
}

#endif
