/* SPDX-License-Identifier: MIT
 *
 * An HTTP responder on epoll(7), as one writes it by hand: one thread, level-triggered, a connection
 * that is readable is read once and answered at once. */
#include "http.h"

#include <sys/epoll.h>

enum { EVENTS = 256 };

static int poller;

static void watch(int fd, void *data) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl", errno);
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        watch(fd, exchange_new(fd));
    }
    if (errno != EAGAIN) fail("accept", errno);
}

/* The answers are small: a socket whose buffer has no room for them is a client that does not read. */
static bool serve(struct exchange *self) {
    uint32_t room;
    char *into = exchange_room(self, &room);
    ssize_t count = recv(self->fd, into, room, 0);
    if (count < 0) return errno == EAGAIN;
    if (count == 0) return false;
    int32_t size = exchange_feed(self, (uint32_t)count);
    return size >= 0 && (size == 0 || send(self->fd, self->out, (size_t)size, MSG_NOSIGNAL) == size);
}

int main(void) {
    static struct epoll_event events[EVENTS];
    in_port_t port;
    int listener = listen_on_loopback(SOCK_NONBLOCK, &port);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) fail("epoll_create1", errno);
    watch(listener, NULL);
    announce(port);
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait", errno);
        for (int i = 0; i < count; i++) {
            struct exchange *connection = events[i].data.ptr;
            if (connection == NULL) {
                accept_all(listener);
            } else if (!serve(connection)) {
                close(connection->fd);
                free(connection);
            }
        }
    }
}
