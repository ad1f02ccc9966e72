#include "hostd/base/msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct msg_header { /* host order: the socket never leaves the machine */
    uint16_t type, version;
    uint32_t len; /* of the body */
    uint32_t id;
};
_Static_assert(sizeof(struct msg_header) == MSG_HEADER, "header layout");

enum { BODY_MAX = MSG_MAX - MSG_HEADER };

struct msg_chan {
    int fd;
    /* Aligned, so that a reader may look at a struct in it once the length is checked; one octet
     * more than a body needs, since msg_recv ends each body with NUL (JSON readers). */
    _Alignas(16) uint8_t body[BODY_MAX + 16];
};

const char *proc_name(enum proc p)
{
    static const char *const names[PROC_COUNT] = {
        [PROC_PARENT] = "parent", [PROC_IKE] = "ike",   [PROC_KEYS] = "keys",
        [PROC_FETCH] = "fetch",   [PROC_DATA] = "data", [PROC_CONTROL] = "control",
    };
    return (unsigned)p < PROC_COUNT ? names[p] : "unknown";
}

int msg_chan_new(struct msg_chan **out, int fd)
{
    struct msg_chan *c = aligned_alloc(16, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->fd = fd;
    *out = c;
    return 0;
}

void msg_chan_free(struct msg_chan *c)
{
    if (!c)
        return;
    close(c->fd);
    free(c);
}

int msg_chan_fd(const struct msg_chan *c)
{
    return c->fd;
}

int msg_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) ? -errno : 0;
}

union fd_room {
    struct cmsghdr align;
    char b[CMSG_SPACE(MSG_FDS * sizeof(int))];
};

static void attach_fds(struct msghdr *mh, union fd_room *room, const int *fds, unsigned n)
{
    memset(room, 0, sizeof *room);
    mh->msg_control = room->b;
    mh->msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(mh);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
}

int msg_send(struct msg_chan *c, uint16_t type, uint32_t id, const void *body, size_t len,
             const int *fds, unsigned n_fds)
{
    if (len > BODY_MAX || n_fds > MSG_FDS)
        return -EMSGSIZE;
    struct msg_header h = {type, MSG_VERSION, (uint32_t)len, id};
    union { /* iovec has no const form; the octets are only read */
        const void *in;
        void *out;
    } b = {body};
    struct iovec iov[2] = {{&h, sizeof h}, {b.out, len}};
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = len ? 2 : 1};
    union fd_room room;
    if (n_fds)
        attach_fds(&mh, &room, fds, n_fds);
    ssize_t n;
    do
        n = sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ENOBUFS ? -EAGAIN : -errno;
    return 0;
}

/* Every descriptor that came is either in m or closed: a sender may put them into several control
 * messages, and more of them than a message may have. */
static void take_fds(struct msghdr *mh, struct msg *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (m->n_fds < MSG_FDS)
                m->fds[m->n_fds++] = fd;
            else
                close(fd);
        }
    }
}

int msg_recv(struct msg_chan *c, struct msg *m)
{
    struct msg_header h;
    struct iovec iov[2] = {{&h, sizeof h}, {c->body, BODY_MAX}};
    union fd_room room;
    struct msghdr mh = {
        .msg_iov = iov, .msg_iovlen = 2, .msg_control = room.b, .msg_controllen = sizeof room.b};
    memset(m, 0, sizeof *m);
    ssize_t n;
    do
        n = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : errno == EPIPE ? -ECONNRESET : -errno;
    take_fds(&mh, m);
    /* An empty record reads like the end of the socket: who sends one is as good as gone. */
    if (n == 0) {
        msg_close_fds(m);
        return -ECONNRESET;
    }
    if ((mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)n < sizeof h ||
        h.version != MSG_VERSION || h.len != (size_t)n - sizeof h) {
        msg_close_fds(m);
        return -EBADMSG;
    }
    m->type = h.type;
    m->id = h.id;
    m->len = h.len;
    m->body = c->body;
    c->body[h.len] = 0;
    return 1;
}

void msg_close_fds(struct msg *m)
{
    for (unsigned i = 0; i < m->n_fds; i++)
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    m->n_fds = 0;
}
