#include "driver/transport/vfu_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int die(struct card_vfu *v, int err)
{
    v->dead = true;
    return err;
}

static int wait_for(struct card_vfu *v, short what, uint64_t until)
{
    for (;;) {
        struct pollfd p = {.fd = v->sock, .events = what};
        uint64_t now = now_ms();
        int n = poll(&p, 1, now < until ? (int)(until - now) : 0);
        if (n > 0)
            return 0;
        if (!n)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

/* The whole of header and body, with descriptors beside the first octet. */
static int send_all(struct card_vfu *v, const uint8_t *head, const uint8_t *body, size_t body_len,
                    const int *fds, unsigned n_fds, uint64_t until)
{
    char ctl[CMSG_SPACE(VFUC_FDS_MAX * sizeof(int))] = {0};
    size_t sent = 0, all = VFUC_HEADER + body_len;
    while (sent < all) {
        struct iovec iov[2];
        struct msghdr m = {.msg_iov = iov};
        if (sent < VFUC_HEADER)
            iov[m.msg_iovlen++] =
                (struct iovec){(void *)(uintptr_t)(head + sent), VFUC_HEADER - sent};
        size_t at = sent > VFUC_HEADER ? sent - VFUC_HEADER : 0;
        if (at < body_len)
            iov[m.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)(body + at), body_len - at};
        if (n_fds && !sent) {
            m.msg_control = ctl;
            m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
            memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
        }
        ssize_t n = sendmsg(v->sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        int err = errno == EAGAIN ? wait_for(v, POLLOUT, until) : -errno;
        if (err && err != -EINTR)
            return err;
    }
    return 0;
}

/* Keeps the first descriptor in *fd when that is wanted and free; closes the rest. */
static void take_fds(struct msghdr *m, int *fd)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int got;
            memcpy(&got, CMSG_DATA(c) + i * sizeof got, sizeof got);
            if (fd && *fd < 0)
                *fd = got;
            else
                close(got);
        }
    }
}

static int recv_all(struct card_vfu *v, uint8_t *out, size_t len, int *fd, uint64_t until)
{
    size_t have = 0;
    while (have < len) {
        char ctl[CMSG_SPACE(VFUC_FDS_MAX * sizeof(int))];
        struct iovec iov = {out + have, len - have};
        struct msghdr m = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
        ssize_t n = recvmsg(v->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n > 0) {
            take_fds(&m, fd);
            have += (size_t)n;
            continue;
        }
        if (!n)
            return -EPIPE;
        int err = errno == EAGAIN ? wait_for(v, POLLIN, until) : -errno;
        if (err && err != -EINTR)
            return err;
    }
    return 0;
}

static int send_message(struct card_vfu *v, const struct vfuc_header *h, const uint8_t *body,
                        size_t body_len, const int *fds, unsigned n_fds, uint64_t until)
{
    uint8_t head[VFUC_HEADER];
    vfuc_put_header(head, h);
    pthread_mutex_lock(&v->send_lock);
    int err = v->dead ? -EPIPE : send_all(v, head, body, body_len, fds, n_fds, until);
    pthread_mutex_unlock(&v->send_lock);
    return err;
}

/* The next message into v->body. */
static int recv_message(struct card_vfu *v, struct vfuc_header *h, int *fd, uint64_t until)
{
    uint8_t head[VFUC_HEADER];
    int err = recv_all(v, head, sizeof head, fd, until);
    if (!err)
        err = vfuc_get_header(head, h);
    return err ? err : recv_all(v, v->body, h->size - VFUC_HEADER, fd, until);
}

/* All our memory is mapped by descriptor, so a server needs no DMA by message. */
static int refuse(struct card_vfu *v, const struct vfuc_header *h, uint64_t until)
{
    struct vfuc_header r = {h->id, h->command, VFUC_HEADER, VFUC_TYPE_REPLY | VFUC_ERROR, ENOTSUP};
    return h->flags & VFUC_NO_REPLY ? 0 : send_message(v, &r, NULL, 0, NULL, 0, until);
}

int vfu_request(struct card_vfu *v, uint16_t command, const uint8_t *body, size_t body_len,
                const int *fds, unsigned n_fds, size_t *len, int *fd)
{
    uint64_t until = now_ms() + v->deadline_ms;
    struct vfuc_header h = {v->next_id++, command, (uint32_t)(VFUC_HEADER + body_len), 0, 0}, a;
    int got = -1;
    int err = send_message(v, &h, body, body_len, fds, n_fds, until);
    while (!err) {
        err = recv_message(v, &a, fd ? &got : NULL, until);
        if (err || (a.flags & VFUC_TYPE_MASK) == VFUC_TYPE_REPLY)
            break;
        err = refuse(v, &a, until);
    }
    if (err) {
        if (got >= 0)
            close(got);
        return die(v, err);
    }
    err = vfuc_check_reply(&a, h.id, command);
    if (err == -EPROTO)
        die(v, err);
    if (err && got >= 0) {
        close(got);
        got = -1;
    }
    if (fd)
        *fd = got;
    if (len)
        *len = a.size - VFUC_HEADER;
    return err;
}

int vfu_post(struct card_vfu *v, uint16_t command, const uint8_t *body, size_t body_len, bool wait)
{
    struct pollfd p = {.fd = v->sock, .events = POLLOUT};
    if (!wait && poll(&p, 1, 0) == 0)
        return 0;
    struct vfuc_header h = {v->next_id++, command, (uint32_t)(VFUC_HEADER + body_len),
                            VFUC_NO_REPLY, 0};
    int err = send_message(v, &h, body, body_len, NULL, 0, now_ms() + v->deadline_ms);
    return err ? die(v, err) : 0;
}

void vfu_service(struct card_vfu *v)
{
    uint8_t peek;
    struct vfuc_header h;
    for (unsigned i = 0; i < 16 && !v->dead; i++) {
        ssize_t n = recv(v->sock, &peek, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        uint64_t until = now_ms() + v->deadline_ms;
        int err = n <= 0 ? -EPIPE : recv_message(v, &h, NULL, until);
        if (!err && (h.flags & VFUC_TYPE_MASK) == VFUC_TYPE_REPLY)
            err = -EPROTO; /* an answer to nothing */
        if (!err)
            err = refuse(v, &h, until);
        if (err)
            die(v, err);
    }
}
