/* See client.h. */
#include "hostd/control/client.h"

#include "hostd/base/log.h"
#include "hostd/control/methods.h"
#include "hostd/control/rpc.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
    struct client_env *env;
    struct client *next;
    int fd;
    struct event *readable, *writable;
    struct evbuffer *out;
    struct ctl_client *ctl;
    uint32_t uid;
    char in[RPC_LINE_MAX + 1];
    size_t n_in;
    int fds[MSG_FDS]; /* came since the last line: they belong to the next */
    unsigned n_fds;
    bool full;       /* it counts in n_full */
    bool at_end;     /* it sends no more: ended when everything is answered */
    const char *cut; /* why it is to be ended, or NULL */
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

unsigned client_rights(uint32_t uid, const uint32_t *gids, unsigned n_gids, uint32_t read_gid,
                       uint32_t change_gid)
{
    unsigned rights = uid == 0 ? RIGHT_READ | RIGHT_CHANGE : RIGHT_NONE;

    for (unsigned i = 0; i < n_gids; i++) {
        if (gids[i] == UINT32_MAX)
            continue;
        if (gids[i] == change_gid)
            rights |= RIGHT_READ | RIGHT_CHANGE;
        if (gids[i] == read_gid)
            rights |= RIGHT_READ;
    }
    return rights;
}

static unsigned peer_rights(struct client *k)
{
    enum { GROUPS = 256 };
    struct ucred cred;
    socklen_t len = sizeof cred;
    uint32_t gids[GROUPS + 1];
    unsigned n = 0;

    _Static_assert(sizeof(gid_t) == sizeof(uint32_t), "groups are 32 bits");
    if (getsockopt(k->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
        return RIGHT_NONE;
    k->uid = cred.uid;
    len = GROUPS * sizeof *gids;
    if (getsockopt(k->fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len) == 0)
        n = (unsigned)(len / sizeof *gids);
    gids[n++] = cred.gid;
    return client_rights(cred.uid, gids, n, k->env->read_gid, k->env->change_gid);
}

static void close_fds(struct client *k)
{
    while (k->n_fds)
        close(k->fds[--k->n_fds]);
}

/* A long queue tells the process to read no more answers for a while. */
static void set_full(struct client *k, bool full)
{
    struct client_env *env = k->env;

    if (k->full == full)
        return;
    k->full = full;
    env->n_full += full ? 1 : -1u;
    if (env->flow && env->n_full == (full ? 1 : 0))
        env->flow(env->ctx);
}

static void client_free(struct client *k)
{
    struct client **at = &k->env->list;

    set_full(k, false);
    while (*at && *at != k)
        at = &(*at)->next;
    if (*at) {
        *at = k->next;
        k->env->n--;
    }
    ctl_client_free(k->ctl);
    if (k->readable)
        event_free(k->readable);
    if (k->writable)
        event_free(k->writable);
    if (k->out)
        evbuffer_free(k->out);
    close_fds(k);
    close(k->fd);
    if (k->env->closed)
        k->env->closed(k->env->ctx);
    free(k);
}

static void end(struct client *k)
{
    char who[32];

    if (k->cut && *k->cut) {
        snprintf(who, sizeof who, "uid %u", k->uid);
        log_event(MSG_CLIENT_CUT, who, k->cut);
    }
    client_free(k);
}

/* The client cannot be freed while the core holds it: the write event, which comes at once, does
 * it. */
static void cut(struct client *k, const char *why)
{
    if (!k->cut)
        k->cut = why;
    event_active(k->writable, EV_WRITE, 0);
}

void client_write(struct client *k, const char *line, size_t len)
{
    if (k->cut)
        return;
    if (evbuffer_get_length(k->out) + len > CLIENT_QUEUE_MAX)
        cut(k, "it does not read what it asked for");
    else if (evbuffer_add(k->out, line, len))
        cut(k, "out of memory");
    else
        event_add(k->writable, NULL);
    if (!k->cut && evbuffer_get_length(k->out) >= CLIENT_QUEUE_HIGH)
        set_full(k, true);
}

static bool finished(const struct client *k)
{
    return k->at_end && !evbuffer_get_length(k->out) && !ctl_client_pending(k->ctl);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct client *k = arg;

    if (evbuffer_get_length(k->out) && (!k->cut || !*k->cut)) {
        int n = evbuffer_write(k->out, fd);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            cut(k, "");
    }
    if (evbuffer_get_length(k->out) < CLIENT_QUEUE_HIGH / 4)
        set_full(k, false);
    if (k->cut || finished(k))
        end(k);
    else if (evbuffer_get_length(k->out))
        event_add(k->writable, NULL);
}

/* Takes the descriptors of one recvmsg. False when there were more than a request can have. */
static bool take_fds(struct client *k, struct msghdr *mh)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (k->n_fds < MSG_FDS) {
                k->fds[k->n_fds++] = fd;
            } else {
                close(fd);
                k->cut = "it passed too many descriptors";
            }
        }
    }
    return !k->cut && !(mh->msg_flags & MSG_CTRUNC);
}

static ssize_t receive(struct client *k)
{
    union {
        char b[CMSG_SPACE(sizeof(int) * MSG_FDS)];
        struct cmsghdr align;
    } room;
    struct iovec iov = {k->in + k->n_in, sizeof k->in - k->n_in};
    struct msghdr mh = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room.b, .msg_controllen = sizeof room.b};
    ssize_t n = recvmsg(k->fd, &mh, MSG_CMSG_CLOEXEC);

    if (n >= 0 && !take_fds(k, &mh)) {
        k->cut = "it passed too many descriptors";
        return -1;
    }
    return n;
}

static void serve_lines(struct client *k)
{
    size_t from = 0;
    char *lf;

    while (!k->cut && (lf = memchr(k->in + from, '\n', k->n_in - from))) {
        size_t len = (size_t)(lf - (k->in + from));
        if (len)
            ctl_client_line(k->ctl, k->in + from, len, k->fds, k->n_fds, now_ns());
        close_fds(k);
        from += len + 1;
    }
    k->n_in -= from;
    memmove(k->in, k->in + from, k->n_in);
    if (k->n_in == sizeof k->in)
        cut(k, "its line is too long");
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct client *k = arg;
    ssize_t n = receive(k);

    if (n < 0 && !k->cut && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        cut(k, "");
        return;
    }
    if (n == 0) {
        k->at_end = true;
        event_del(k->readable);
        event_active(k->writable, EV_WRITE, 0);
        return;
    }
    k->n_in += (size_t)n;
    serve_lines(k);
}

static int client_events(struct client *k)
{
    k->out = evbuffer_new();
    k->readable = event_new(k->env->base, k->fd, EV_READ | EV_PERSIST, on_readable, k);
    k->writable = event_new(k->env->base, k->fd, EV_WRITE, on_writable, k);
    k->ctl = ctl_client_new(k->env->ctl, k, k->uid, peer_rights(k));
    if (!k->out || !k->readable || !k->writable || !k->ctl || event_add(k->readable, NULL))
        return -ENOMEM;
    return 0;
}

int client_new(struct client_env *env, int fd)
{
    struct client *k = calloc(1, sizeof *k);
    int err;

    if (!k) {
        close(fd);
        return -ENOMEM;
    }
    k->env = env;
    k->fd = fd;
    k->next = env->list;
    env->list = k;
    env->n++;
    err = client_events(k);
    if (err)
        client_free(k);
    return err;
}

void client_sweep(struct client_env *env)
{
    for (struct client *k = env->list, *next; k; k = next) {
        next = k->next;
        if (finished(k))
            client_free(k);
    }
}

void client_end_all(struct client_env *env)
{
    env->closed = env->flow = NULL;
    while (env->list) {
        struct client *k = env->list;
        if (k->out && evbuffer_get_length(k->out))
            evbuffer_write(k->out, k->fd);
        client_free(k);
    }
}
