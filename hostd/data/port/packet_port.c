#include "hostd/data/port/packet_port.h"

#include "hostd/base/bytes.h"
#include "hostd/data/host/tap.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    PACKET_VNET = 10, /* AF_PACKET knows the short header only */
    BATCH = 64,
    SLOT =
        2048, /* an Ethernet frame of 1500 and room for ESP; larger ones have slots of their own */
    BIG = 66000,
    BIG_SLOTS = 4
};

struct slot {
    uint8_t hdr[VNET_HDR];
    uint8_t *frame;
    size_t room, len;
};

struct packet_port {
    struct dp_port dp;
    int fd;
    uint8_t *memory;
    struct slot slots[BATCH];
    bool taken[BATCH];
    unsigned next;
    unsigned queue[BATCH]; /* slots to send, in order */
    unsigned queued;
    uint64_t refused;
    bool gone;
    uint8_t rx[VNET_HDR + BIG];
};

static int port_get(void *ctx, size_t room, struct dp_buf *b);
static int port_send(void *ctx, struct dp_buf *b, const struct dp_tx *tx);
static void port_put(void *ctx, struct dp_buf *b);
static void port_flush(void *ctx);
static uint64_t port_refused(void *ctx);

int packet_port_new(struct packet_port **out, int fd, const uint8_t mac[6], uint16_t mtu)
{
    struct packet_port *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->memory = malloc((size_t)(BATCH - BIG_SLOTS) * SLOT + (size_t)BIG_SLOTS * BIG);
    if (!p->memory) {
        free(p);
        return -ENOMEM;
    }
    uint8_t *at = p->memory;
    for (unsigned i = 0; i < BATCH; i++) {
        p->slots[i].frame = at;
        p->slots[i].room = i < BATCH - BIG_SLOTS ? SLOT : BIG;
        at += p->slots[i].room;
    }
    int on = 1;
    (void)setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on);
    p->fd = fd;
    p->dp = (struct dp_port){.ctx = p,
                             .card = false,
                             .card_index = -1,
                             .mtu = mtu,
                             .get = port_get,
                             .send = port_send,
                             .put = port_put,
                             .flush = port_flush,
                             .refused = port_refused};
    memcpy(p->dp.mac, mac, 6);
    *out = p;
    return 0;
}

void packet_port_free(struct packet_port *p)
{
    if (!p)
        return;
    port_flush(p);
    close(p->fd);
    free(p->memory);
    free(p);
}

int packet_port_fd(const struct packet_port *p)
{
    return p->fd;
}

const struct dp_port *packet_port_dp(struct packet_port *p)
{
    return &p->dp;
}

static uint64_t port_refused(void *ctx)
{
    const struct packet_port *p = ctx;
    return p->refused;
}

/* A free slot that is large enough; the small ones first. */
static int find_slot(const struct packet_port *p, size_t room)
{
    unsigned from = room <= SLOT ? 0 : BATCH - BIG_SLOTS;
    for (unsigned i = from; i < BATCH; i++)
        if (!p->taken[i] && p->slots[i].room >= room)
            return (int)i;
    return -1;
}

static int port_get(void *ctx, size_t room, struct dp_buf *b)
{
    struct packet_port *p = ctx;
    if (p->gone)
        return -ENODEV;
    int i = find_slot(p, room);
    if (i < 0) {
        port_flush(p);
        i = find_slot(p, room);
    }
    if (i < 0)
        return -ENOBUFS;
    p->taken[i] = true;
    *b = (struct dp_buf){p->slots[i].frame, p->slots[i].room, (uint32_t)i};
    return 0;
}

static int port_send(void *ctx, struct dp_buf *b, const struct dp_tx *tx)
{
    struct packet_port *p = ctx;
    if (tx->op == DP_PROTECT || tx->len > b->room) {
        p->taken[b->id] = false;
        return -EINVAL;
    }
    p->slots[b->id].len = tx->len;
    p->queue[p->queued++] = b->id;
    if (p->queued == BATCH)
        port_flush(p);
    return 0;
}

static void port_put(void *ctx, struct dp_buf *b)
{
    struct packet_port *p = ctx;
    p->taken[b->id] = false;
}

/* What the kernel does not take now waits a little, one budget for the whole burst; what is left
 * then is dropped and counted: a stuck device must not hold up the others. Returns the frames dealt
 * with. */
static unsigned send_some(struct packet_port *p, struct mmsghdr *m, unsigned n, unsigned *budget)
{
    for (;;) {
        int sent = sendmmsg(p->fd, m, n, MSG_DONTWAIT);
        if (sent > 0)
            return (unsigned)sent;
        if (errno == ENODEV || errno == ENXIO)
            p->gone = true;
        bool again = errno == EAGAIN || errno == ENOBUFS || errno == EINTR;
        if (!again || *budget == 0)
            break;
        --*budget;
        usleep(20);
    }
    p->refused++;
    return 1;
}

static void port_flush(void *ctx)
{
    struct packet_port *p = ctx;
    struct mmsghdr m[BATCH];
    struct iovec iov[BATCH][2];
    memset(m, 0, sizeof m);
    for (unsigned i = 0; i < p->queued; i++) {
        struct slot *s = &p->slots[p->queue[i]];
        memset(s->hdr, 0, sizeof s->hdr);
        iov[i][0] = (struct iovec){s->hdr, PACKET_VNET};
        iov[i][1] = (struct iovec){s->frame, s->len};
        m[i].msg_hdr.msg_iov = iov[i];
        m[i].msg_hdr.msg_iovlen = 2;
    }
    for (unsigned done = 0, budget = 20; done < p->queued;)
        done += send_some(p, m + done, p->queued - done, &budget);
    for (unsigned i = 0; i < p->queued; i++)
        p->taken[p->queue[i]] = false;
    p->queued = 0;
}

/* The kernel takes a VLAN tag out of the frame before it shows it here: it is put back, so that a
 * frame of another VLAN is never taken for an untagged one. Returns the octets added. */
static size_t put_tag_back(uint8_t *frame, size_t len, const struct msghdr *mh)
{
    struct tpacket_auxdata aux;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c;
         c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)mh, c)) {
        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA ||
            c->cmsg_len < CMSG_LEN(sizeof aux))
            continue;
        memcpy(&aux, CMSG_DATA(c), sizeof aux);
        if (!(aux.tp_status & TP_STATUS_VLAN_VALID) || len < 12)
            return 0;
        memmove(frame + 16, frame + 12, len - 12);
        put_be16(frame + 12, aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : 0x8100);
        put_be16(frame + 14, aux.tp_vlan_tci);
        return 4;
    }
    return 0;
}

/* One frame. 1: it is there; 0: nothing waits; -errno. */
static int read_frame(struct packet_port *p, size_t *len, struct dp_offload *off)
{
    uint8_t hdr[VNET_HDR] = {0}, control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    struct iovec iov[2] = {{hdr, PACKET_VNET}, {p->rx, sizeof p->rx - 4}};
    struct msghdr mh = {
        .msg_iov = iov, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(p->fd, &mh, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    *len = 0;
    if (got <= PACKET_VNET || vnet_decode(hdr, (size_t)got - PACKET_VNET, off))
        return 1;
    *len = (size_t)got - PACKET_VNET;
    size_t tag = put_tag_back(p->rx, *len, &mh);
    off->csum_start = (uint16_t)(off->csum_start + (off->needs_csum ? tag : 0));
    *len += tag;
    return 1;
}

int packet_port_read(struct packet_port *p, unsigned max, packet_rx rx, void *ctx)
{
    unsigned n = 0;
    for (; n < max; n++) {
        struct dp_offload off;
        size_t len = 0;
        int rc = read_frame(p, &len, &off);
        if (rc == 0)
            break;
        if (rc == -ENETDOWN)
            continue; /* the link went down: told once by the socket, which stays good */
        if (rc < 0) {
            p->gone = true;
            return rc;
        }
        if (len == 0)
            continue;
        rx(ctx, p->rx, len, &off);
    }
    return (int)n;
}
