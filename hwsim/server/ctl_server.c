#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hwsim/server/ctl_server.h"

static int somebody_there(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int there = fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0;

    if (fd >= 0)
        close(fd);
    return there;
}

/* Bound and listening under another name first, then moved: who watches the folder can connect at
 * once. */
int listen_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd, err;

    if (strlen(path) + 5 > sizeof(a.sun_path))
        return -ENAMETOOLONG;
    strcpy(a.sun_path, path);
    if (somebody_there(&a))
        return -EADDRINUSE;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    snprintf(a.sun_path, sizeof(a.sun_path), "%s.new", path);
    unlink(a.sun_path);
    if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 4) == 0 &&
        rename(a.sun_path, path) == 0)
        return fd;
    err = -errno;
    unlink(a.sun_path);
    close(fd);
    return err;
}

int ctl_open(struct ctl_server *s, const char *path)
{
    unsigned i;

    for (i = 0; i < CTL_CLIENTS; i++)
        s->peers[i].fd = -1;
    s->listen = listen_at(path);
    return s->listen < 0 ? s->listen : 0;
}

static void drop(struct ctl_server *s, unsigned slot)
{
    struct ctl_peer *p = &s->peers[slot];

    s->watch(s->ctx, slot, p->fd, 0);
    close(p->fd);
    free(p->out);
    memset(p, 0, sizeof(*p));
    p->fd = -1;
}

void ctl_close(struct ctl_server *s)
{
    unsigned i;

    for (i = 0; i < CTL_CLIENTS; i++)
        if (s->peers[i].fd >= 0)
            drop(s, i);
    if (s->listen >= 0)
        close(s->listen);
    s->listen = -1;
}

void ctl_accept(struct ctl_server *s)
{
    int fd = accept4(s->listen, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    unsigned i;

    if (fd < 0)
        return;
    for (i = 0; i < CTL_CLIENTS; i++) {
        if (s->peers[i].fd >= 0)
            continue;
        s->peers[i].fd = fd;
        s->watch(s->ctx, i, fd, EPOLLIN);
        return;
    }
    close(fd);
}

static void append(struct ctl_peer *p, const char *text)
{
    size_t n = strlen(text);
    char *out = realloc(p->out, p->out_len + n + 2);

    if (!out)
        return;
    p->out = out;
    memcpy(out + p->out_len, text, n);
    out[p->out_len + n] = '\n';
    p->out_len += n + 1;
}

static void answer_lines(struct ctl_server *s, struct ctl_peer *p)
{
    char *nl;

    while ((nl = memchr(p->in, '\n', p->in_len))) {
        size_t used = (size_t)(nl - p->in) + 1;
        char *text;

        *nl = 0;
        text = s->answer(s->ctx, p->in);
        append(p, text ? text : "{\"ok\":false,\"error\":\"no memory\"}");
        free(text);
        memmove(p->in, p->in + used, p->in_len - used);
        p->in_len -= used;
    }
}

static int send_out(struct ctl_peer *p)
{
    while (p->out_at < p->out_len) {
        ssize_t n = send(p->fd, p->out + p->out_at, p->out_len - p->out_at, MSG_NOSIGNAL);

        if (n > 0)
            p->out_at += (size_t)n;
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            return -EPIPE;
    }
    p->out_len = p->out_at = 0;
    return 0;
}

static int read_in(struct ctl_peer *p)
{
    ssize_t n = recv(p->fd, p->in + p->in_len, sizeof(p->in) - p->in_len, 0);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
    if (n == 0)
        p->ended = 1;
    p->in_len += (size_t)n;
    /* a last line without its end, or one that is too long */
    if (p->ended && p->in_len && p->in_len < sizeof(p->in))
        p->in[p->in_len++] = '\n';
    return p->in_len == sizeof(p->in) && !memchr(p->in, '\n', p->in_len) ? -EPROTO : 0;
}

void ctl_ready(struct ctl_server *s, unsigned slot, uint32_t events)
{
    struct ctl_peer *p = &s->peers[slot];
    int err = 0;

    if (p->fd < 0)
        return;
    if (events & (EPOLLIN | EPOLLHUP) && !p->ended)
        err = read_in(p);
    if (!err)
        answer_lines(s, p);
    if (!err)
        err = send_out(p);
    if (err || events & EPOLLERR || (p->ended && !p->out_len))
        drop(s, slot);
    else
        s->watch(s->ctx, slot, p->fd, (p->ended ? 0 : EPOLLIN) | (p->out_len ? EPOLLOUT : 0u));
}
