#include "hostd/data/host/nexthop_nl.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* A dump of many thousand addresses is some hundred datagrams; above this it is no answer. */
enum { MAX_DATAGRAMS = 4096 };

int nl_ask_open(struct nl_ask *a)
{
    const struct timeval wait = {.tv_usec = 250000};
    a->seq = 0;
    a->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (a->fd < 0)
        return -errno;
    if (setsockopt(a->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0 &&
        setsockopt(a->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) == 0)
        return 0;
    int rc = -errno;
    nl_ask_close(a);
    return rc;
}

void nl_ask_close(struct nl_ask *a)
{
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
}

int nl_receive(int fd, void *buf, size_t len, int flags)
{
    struct sockaddr_nl from = {0};
    socklen_t from_len = sizeof from;
    ssize_t got;
    do
        got = recvfrom(fd, buf, len, flags | MSG_TRUNC, (struct sockaddr *)&from, &from_len);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    if (from.nl_pid != 0)
        return 0;
    return (size_t)got > len ? -EMSGSIZE : (int)got;
}

/* libmnl takes a length above 2^31 for a negative one that fits. */
static bool whole(const struct nlmsghdr *h, size_t left)
{
    return left >= sizeof *h && h->nlmsg_len >= sizeof *h && h->nlmsg_len <= left;
}

static const struct nlmsghdr *after(const struct nlmsghdr *h, size_t *left)
{
    size_t step = MNL_ALIGN((size_t)h->nlmsg_len);
    *left = step < *left ? *left - step : 0;
    return (const struct nlmsghdr *)(const void *)((const uint8_t *)h + step);
}

void nl_each(const void *buf, size_t len, nl_take take, void *ctx)
{
    const struct nlmsghdr *h = buf;
    for (; whole(h, len); h = after(h, &len))
        take(ctx, h);
}

/* The error in a message of type NLMSG_ERROR or NLMSG_DONE; a dump may end without one. */
static int error_in(const struct nlmsghdr *h)
{
    int32_t e = 0;
    if (mnl_nlmsg_get_payload_len(h) < sizeof e)
        return h->nlmsg_type == NLMSG_DONE ? 0 : -EBADMSG;
    memcpy(&e, mnl_nlmsg_get_payload(h), sizeof e);
    return e < 0 && e > -4096 ? e : e ? -EBADMSG : 0;
}

enum nl_more nl_answer(const void *buf, size_t len, uint32_t seq, nl_take take, void *ctx, int *rc)
{
    const struct nlmsghdr *h = buf;
    for (; whole(h, len); h = after(h, &len)) {
        if (h->nlmsg_seq != seq || h->nlmsg_type == NLMSG_NOOP)
            continue;
        if (h->nlmsg_flags & NLM_F_DUMP_INTR)
            *rc = -EINTR;
        if (h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE) {
            int error = error_in(h);
            *rc = error ? error : *rc;
            return NL_END;
        }
        if (h->nlmsg_type >= NLMSG_MIN_TYPE)
            take(ctx, h);
        if (!(h->nlmsg_flags & NLM_F_MULTI))
            return NL_END;
    }
    return NL_MORE;
}

int nl_question(struct nl_ask *a, struct nlmsghdr *h, uint16_t flags, nl_take take, void *ctx)
{
    _Alignas(struct nlmsghdr) uint8_t buf[NL_BUFFER];
    int rc = 0;
    h->nlmsg_flags = NLM_F_REQUEST | flags;
    h->nlmsg_seq = ++a->seq;
    if (send(a->fd, h, h->nlmsg_len, 0) < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    for (int i = 0; i < MAX_DATAGRAMS; i++) {
        int got = nl_receive(a->fd, buf, sizeof buf, 0);
        if (got < 0)
            return got == -EAGAIN || got == -EWOULDBLOCK ? -ETIMEDOUT : got;
        if (nl_answer(buf, (size_t)got, h->nlmsg_seq, take, ctx, &rc) == NL_END)
            return rc;
    }
    return -ETIMEDOUT;
}
