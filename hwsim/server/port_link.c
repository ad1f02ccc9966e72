/* link:PATH, a cable to another hwsim: a UNIX socket of whole frames. Who holds the lock PATH.lock
 * listens, the other connects; when one dies its lock is free, and the survivor takes it or
 * connects anew. So either may start first and either may die. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hwsim/server/port.h"

enum { SOCKET_BUFFER = 4 << 20, BURST = 64 };

static int new_socket(const struct port *p, struct sockaddr_un *to)
{
    int size = SOCKET_BUFFER,
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memset(to, 0, sizeof(*to));
    to->sun_family = AF_UNIX;
    strcpy(to->sun_path, p->path);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
        return fd; /* a smaller buffer serves, too */
    return fd;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void watch_what_is_there(struct port *p)
{
    p->user.watch(p->user.ctx, p->number, p->fd >= 0 ? p->fd : p->listen, EPOLLIN);
}

static void connected(struct port *p, int fd)
{
    p->fd = fd;
    watch_what_is_there(p);
    port_link(p, true);
}

/* We hold the lock: nobody else listens here, what lies at PATH is left over. */
static int start_listening(struct port *p)
{
    struct sockaddr_un a;
    int fd = new_socket(p, &a);

    if (fd < 0)
        return -errno;
    unlink(p->path);
    if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0) {
        int err = -errno;

        close(fd);
        return err;
    }
    p->listen = fd;
    return 0;
}

static void try_connect(struct port *p)
{
    struct sockaddr_un a;
    int fd = new_socket(p, &a);

    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
        close(fd);
    else
        connected(p, fd);
}

static void link_tick(struct port *p)
{
    if (p->fd >= 0)
        return;
    if (p->listen < 0 && flock(p->lock, LOCK_EX | LOCK_NB) == 0) {
        if (start_listening(p) < 0)
            flock(p->lock, LOCK_UN);
        else
            watch_what_is_there(p);
    }
    if (p->listen < 0)
        try_connect(p);
}

static int link_open(struct port *p, const char *name, char *err, size_t cap)
{
    char lock[128];

    if (strlen(name) >= sizeof(p->path) || !*name) {
        snprintf(err, cap, "link:%s: a path of at most %zu octets is wanted", name,
                 sizeof(p->path) - 1);
        return -EINVAL;
    }
    strcpy(p->path, name);
    snprintf(lock, sizeof(lock), "%s.lock", name);
    p->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (p->lock < 0) {
        snprintf(err, cap, "%s: %s", lock, strerror(errno));
        return -errno;
    }
    port_link(p, false);
    link_tick(p);
    return 0;
}

static void hang_up(struct port *p)
{
    close_fd(&p->fd);
    p->full_since = 0;
    p->captured = 0;
    watch_what_is_there(p);
    port_link(p, false);
    link_tick(p);
}

static void link_close(struct port *p)
{
    close_fd(&p->fd);
    if (p->listen >= 0)
        unlink(p->path);
    close_fd(&p->listen);
    close_fd(&p->lock);
}

static void link_ready(struct port *p, uint32_t events)
{
    unsigned i;

    if (p->fd < 0) {
        int fd = accept4(p->listen, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        int size = SOCKET_BUFFER;

        if (fd < 0)
            return;
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        connected(p, fd);
        return;
    }
    for (i = 0; i < BURST && p->fd >= 0; i++) {
        ssize_t n = recv(p->fd, p->buf, p->buf_cap, 0);

        if (n > 0)
            port_received(p, p->buf, (size_t)n);
        else if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        else
            hang_up(p);
    }
}

static int link_send(struct port *p, const uint8_t *frame, size_t len)
{
    if (send(p->fd, frame, len, MSG_NOSIGNAL) >= 0)
        return 0;
    if (errno == EAGAIN || errno == ENOBUFS)
        return -EAGAIN;
    hang_up(p);
    return -ENETDOWN;
}

const struct port_ops port_link_ops = {
    .prefix = "link:",
    .open = link_open,
    .close = link_close,
    .ready = link_ready,
    .send = link_send,
    .tick = link_tick,
};
