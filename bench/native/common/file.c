/* The file that the fs_ workloads read: written once, then in the page cache. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer.h"

static void fill(int fd) {
    static unsigned char block[BLOCK];
    for (unsigned b = 0; b < BLOCKS; b++) {
        for (unsigned k = 0; k < BLOCK; k++) block[k] = (unsigned char)(b * 131 + k * 7 + (k >> 8));
        if (pwrite(fd, block, BLOCK, (off_t)b * BLOCK) != BLOCK) fail("pwrite", strerror(errno));
    }
    fsync(fd);
}

int file_open(void) {
    char temporary[] = "/var/tmp/bench-peer-XXXXXX";
    struct stat status;
    int fd = file_path ? open(file_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : mkostemp(temporary, O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0) fail("open", strerror(errno));
    if (!file_path) unlink(temporary);
    if (status.st_size != (off_t)BLOCK * BLOCKS) fill(fd);
    return fd;
}
