/* Questions to the kernel over rtnetlink, one at a time, and the walk through what it says. */
#ifndef SALLYPORT_NEXTHOP_NL_H
#define SALLYPORT_NEXTHOP_NL_H

#include <libmnl/libmnl.h>
#include <stddef.h>
#include <stdint.h>

enum { NL_BUFFER = 32768 };

/* A message of at least a header, whole inside what was read; its body is not checked yet. */
typedef void (*nl_take)(void *ctx, const struct nlmsghdr *h);

struct nl_ask {
    int fd;       /* a NETLINK_ROUTE socket for questions alone, in no group */
    uint32_t seq; /* of the last question: each has its own */
};

/* 0 or -errno. An answer that does not come ends a question after a quarter of a second. */
int nl_ask_open(struct nl_ask *a);
void nl_ask_close(struct nl_ask *a);
/* Sends h (flags and sequence number are set here; NLM_F_DUMP for a dump) and hands each part of
 * the answer to take; what an earlier question left behind is passed over. take must not ask. 0;
 * the kernel's own error (-ENOENT, -ENETUNREACH ...); -ETIMEDOUT; -EINTR (a dump that changes made
 * incomplete: ask again); -EBADMSG. */
int nl_question(struct nl_ask *a, struct nlmsghdr *h, uint16_t flags, nl_take take, void *ctx);

enum nl_more { NL_END, NL_MORE };
/* One datagram of an answer to question seq: NL_MORE while the end is not in it, else *rc as
 * nl_question returns it. */
enum nl_more nl_answer(const void *buf, size_t len, uint32_t seq, nl_take take, void *ctx, int *rc);
/* Every whole message of a datagram, whatever its number. */
void nl_each(const void *buf, size_t len, nl_take take, void *ctx);
/* One datagram from the kernel (what another process sends is dropped: 0). Octets, or -errno;
 * flags as recvfrom's. A datagram that buf cannot hold: -EMSGSIZE. */
int nl_receive(int fd, void *buf, size_t len, int flags);

#endif
