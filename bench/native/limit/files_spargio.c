/* SPDX-License-Identifier: MIT
 *
 * The limit of reading many small files from Python on spargio: open, read and close of each in C, on the
 * same library; two shards, 32 tasks on each. Arguments: LIST SECONDS, where LIST is a file of paths, one a
 * line. Prints a sample of python/small_files.py. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>

#include "limit.h"

enum { SHARDS = 2, TASKS = 64, FILES_MAX = 100000, LARGEST = 65536 };

static char *paths[FILES_MAX];
static uint32_t path_count;

static struct reader {
    spargio_await await;
    uint32_t next;
    int check;
    int32_t fd, got;
    uint32_t checksum;
    unsigned char buffer[LARGEST + 1]; /* room for a byte more: a short read is the end */
} readers[TASKS];

static void see(struct reader *self, const char *path) {
    const char *name = strrchr(path, '/') + 1;
    uint32_t start = crc32((const unsigned char *)name, strlen(name), 0);
    self->checksum += crc32(self->buffer, (size_t)self->got, start);
}

static int32_t read_part(void *ctx, int64_t *result) {
    struct reader *self = ctx;
    SPARGIO_BEGIN(&self->await);
    for (self->next = (uint32_t)(self - readers); self->next < path_count; self->next += TASKS) {
        SPARGIO_AWAIT(self->fd, spargio_open(paths[self->next], O_RDONLY, 0, SPARGIO_OP));
        if (self->fd < 0) die("open", self->fd);
        SPARGIO_AWAIT(self->got, spargio_read_at(self->fd, self->buffer, sizeof self->buffer, 0, SPARGIO_OP));
        if (self->got < 0 || self->got > LARGEST) die("read", self->got);
        if (self->check) see(self, paths[self->next]);
        SPARGIO_AWAIT(self->got, spargio_close(self->fd, SPARGIO_OP));
    }
    *result = self->checksum;
    SPARGIO_END;
}

static uint32_t run_pass(int check) {
    spargio_join joins[TASKS];
    uint32_t sum = 0;
    for (uint32_t n = 0; n < TASKS; n++) {
        readers[n].await = (spargio_await){0};
        readers[n].check = check;
        readers[n].checksum = 0;
        joins[n] = start_pinned(n % SHARDS, read_part, &readers[n]);
    }
    for (uint32_t n = 0; n < TASKS; n++) sum += (uint32_t)finish(joins[n]);
    return sum;
}

static void read_list(const char *path) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    FILE *list = fopen(path, "r");
    if (list == NULL) die("the list", 0);
    while ((length = getline(&line, &room, list)) > 0) {
        if (path_count == FILES_MAX) die("the number of files", path_count);
        if (line[length - 1] == '\n') line[length - 1] = 0;
        paths[path_count++] = strdup(line);
    }
    fclose(list);
}

int main(int count, char **arguments) {
    if (count != 3) die("the number of arguments", count);
    double seconds = atof(arguments[2]);
    read_list(arguments[1]);
    start_runtime(SHARDS);
    uint32_t checksum = run_pass(1);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double began = now(), took;
    uint64_t passes = 0;
    do {
        run_pass(0);
        passes++;
        took = now() - began;
    } while (took < seconds);
    getrusage(RUSAGE_SELF, &after);
    double files = (double)passes * path_count;
    double cpu = microseconds_between(before.ru_utime, after.ru_utime) +
                 microseconds_between(before.ru_stime, after.ru_stime);
    printf("{\"files_per_second\": %.1f, \"cpu_us\": %.3f, \"checksum\": %u}\n", files / took, cpu / files,
           checksum);
    CHECK(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER));
    return 0;
}
