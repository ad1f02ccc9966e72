#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "hwsim/server/conn.h"
#include "hwsim/server/le.h"

enum { BURST = 64, DMA_HEAD = 16, WAIT_MS = 2000, SEND_MS = 1000 };

int conn_init(struct conn *c, struct vfu *vfu)
{
    memset(c, 0, sizeof(*c));
    c->fd = -1;
    c->vfu = vfu;
    c->buf = malloc(VFU_MESSAGE_MAX);
    return c->buf ? 0 : -ENOMEM;
}

static void drop_fds(struct conn *c)
{
    while (c->n_fds)
        close(c->fds[--c->n_fds]);
}

void conn_close(struct conn *c)
{
    drop_fds(c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->have = 0;
    if (c->waiting)
        c->wait_result = -EPIPE;
}

void conn_free(struct conn *c)
{
    conn_close(c);
    free(c->buf);
    c->buf = NULL;
}

void conn_open(struct conn *c, int fd)
{
    c->fd = fd;
    c->have = 0;
}

/* --- out
 * ------------------------------------------------------------------------------------------------
 */

static int wait_writable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    return poll(&p, 1, SEND_MS) == 1 && !(p.revents & (POLLERR | POLLHUP)) ? 0 : -EPIPE;
}

static void attach(struct msghdr *m, char *control, size_t cap, int fd)
{
    struct cmsghdr *h;

    memset(control, 0, cap);
    m->msg_control = control;
    m->msg_controllen = CMSG_SPACE(sizeof(int));
    h = CMSG_FIRSTHDR(m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &fd, sizeof(int));
}

int conn_send(void *ctx, const uint8_t *msg, size_t len, int fd)
{
    struct conn *c = ctx;
    char control[CMSG_SPACE(sizeof(int))];
    size_t sent = 0;

    while (c->fd >= 0 && sent < len) {
        union {
            const uint8_t *in;
            void *out;
        } data = {.in = msg + sent}; /* sendmsg only reads it */
        struct iovec iov = {data.out, len - sent};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        if (fd >= 0 && sent == 0)
            attach(&m, control, sizeof(control), fd);
        n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += (size_t)n;
        else if (errno == EAGAIN && wait_writable(c->fd) == 0)
            continue;
        else if (errno != EINTR)
            return -EPIPE; /* a client that does not read is gone */
    }
    return c->fd >= 0 ? 0 : -EPIPE;
}

/* --- in
 * -------------------------------------------------------------------------------------------------
 */

static void take_fds(struct conn *c, struct msghdr *m)
{
    struct cmsghdr *h;

    for (h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        size_t n, i;

        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            if (c->n_fds < VFU_FDS_MAX)
                c->fds[c->n_fds++] = fd;
            else
                close(fd);
        }
    }
}

/* Reads up to want octets of the message. 1: got some; 0: nothing there; -errno. */
static int read_some(struct conn *c, size_t want)
{
    char control[CMSG_SPACE(VFU_FDS_MAX * sizeof(int))];
    struct iovec iov = {c->buf + c->have, want - c->have};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -EPIPE;
    take_fds(c, &m);
    c->have += (size_t)n;
    return 1;
}

static void got_reply(struct conn *c, size_t len)
{
    uint32_t flags = le_get32(c->buf + 8), error = le_get32(c->buf + 12);

    if (!c->waiting || le_get16(c->buf) != c->wait_id)
        return; /* nobody waits for it any more */
    if (flags & VFU_ERROR)
        c->wait_result = error && error < 4096 ? -(int)error : -EIO;
    else if (c->wait_buf && len < VFU_HEADER + DMA_HEAD + c->wait_len)
        c->wait_result = -EPROTO;
    else
        c->wait_result = 0;
    if (c->wait_result == 0 && c->wait_buf)
        memcpy(c->wait_buf, c->buf + VFU_HEADER + DMA_HEAD, c->wait_len);
    c->waiting = false;
}

/* Handles the message in the buffer. The handler answers, and may send; it does not read. */
static int dispatch(struct conn *c, size_t len)
{
    unsigned n = c->n_fds;

    c->have = 0;
    if ((le_get32(c->buf + 8) & VFU_TYPE) == VFU_REPLY) {
        got_reply(c, len);
        drop_fds(c);
        return 0;
    }
    c->n_fds = 0;
    return vfu_message(c->vfu, c->buf, len, c->fds, n);
}

int conn_read(struct conn *c)
{
    unsigned i = 0;

    while (i < BURST && c->fd >= 0) {
        size_t want = VFU_HEADER;
        int err;

        if (c->have >= VFU_HEADER) {
            want = le_get32(c->buf + 4);
            if (want < VFU_HEADER || want > VFU_MESSAGE_MAX)
                return -EPROTO;
        }
        err = c->have < want ? read_some(c, want) : 1;
        if (err <= 0)
            return err;
        if (c->have < VFU_HEADER || c->have < le_get32(c->buf + 4))
            continue;
        err = dispatch(c, c->have);
        if (err)
            return err;
        i++;
    }
    return 0;
}

/* --- DMA by message: the client's commands are served while its reply is awaited
 * ------------------------ */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int await(struct conn *c)
{
    int64_t end = now_ms() + WAIT_MS;

    while (c->waiting) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        int64_t left = end - now_ms();

        if (left <= 0 || c->fd < 0 || poll(&p, 1, (int)left) < 0)
            c->wait_result = -ETIMEDOUT;
        else if (conn_read(c) < 0)
            c->wait_result = -EPIPE;
        if (c->wait_result <= 0)
            c->waiting = false;
    }
    return c->wait_result;
}

static int dma_part(struct conn *c, bool write, uint64_t iova, uint8_t *buf, size_t len)
{
    size_t size = VFU_HEADER + DMA_HEAD + (write ? len : 0);
    uint8_t *msg;
    int err;

    if (c->fd < 0 || c->waiting)
        return -EIO;
    msg = calloc(1, size);
    if (!msg)
        return -ENOMEM;
    c->wait_id = c->next_id++;
    le_put16(msg, c->wait_id);
    le_put16(msg + 2, write ? VFU_DMA_WRITE : VFU_DMA_READ);
    le_put32(msg + 4, (uint32_t)size);
    le_put64(msg + VFU_HEADER, iova);
    le_put64(msg + VFU_HEADER + 8, len);
    if (write)
        memcpy(msg + VFU_HEADER + DMA_HEAD, buf, len);
    c->waiting = true;
    c->wait_result = 1;
    c->wait_buf = write ? NULL : buf;
    c->wait_len = len;
    err = conn_send(c, msg, size, -1);
    free(msg);
    if (err) {
        c->waiting = false;
        return err;
    }
    return await(c);
}

int conn_dma(void *ctx, bool write, uint64_t iova, void *buf, size_t len)
{
    uint8_t *at = buf;

    while (len) {
        size_t part = len < VFU_XFER_MAX ? len : VFU_XFER_MAX;
        int err = dma_part(ctx, write, iova, at, part);

        if (err)
            return err;
        iova += part;
        at += part;
        len -= part;
    }
    return 0;
}
