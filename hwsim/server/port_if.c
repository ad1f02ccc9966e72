/* if:NAME, a plain interface by a packet socket with vnet headers: what the kernel left undone for
 * its own hardware (segmentation, checksums) is done here, as a wire would show it. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hwsim/model/packet.h"
#include "hwsim/server/port.h"

enum { BURST = 64, VNET_LEN = 10 };

/* --- what a vnet header asks for
 * ---------------------------------------------------------------------- */

/* Completes a partial checksum: the field holds the pseudo header's sum, the rest is summed from
 * start. */
static int complete_csum(const struct vnet *v, uint8_t *data, size_t len)
{
    size_t field = (size_t)v->csum_start + v->csum_offset;
    uint16_t sum;

    if (v->csum_start >= len || field + 2 > len)
        return -EINVAL;
    sum = hw_fold(hw_sum(0, data + v->csum_start, len - v->csum_start));
    /* UDP says "no checksum" by 0; TCP has no such word and 0xffff is as good for it */
    hw_put16(data + field, sum ? sum : 0xffff);
    return 0;
}

static void fix_ip(uint8_t *ip, size_t len, unsigned i)
{
    if (ip[0] >> 4 == 4) {
        hw_put16(ip + 2, (uint16_t)len);
        hw_put16(ip + 4, (uint16_t)(hw_get16(ip + 4) + i));
        hw_put16(ip + 10, 0);
        hw_put16(ip + 10, hw_fold(hw_sum(0, ip, (size_t)(ip[0] & 15) * 4)));
    } else {
        hw_put16(ip + 4, (uint16_t)(len - 40));
    }
}

/* The upper header of one segment, and its checksum whole. */
static void fix_l4(const struct hw_frame *f, uint8_t *l4, size_t len, uint32_t seq, bool first,
                   bool last)
{
    bool tcp = f->proto == HW_IPPROTO_TCP;
    uint8_t *field = l4 + (tcp ? 16 : 6);
    uint16_t sum;

    if (tcp) {
        hw_put32(l4 + 4, seq);
        if (!first)
            l4[13] &= 0x7f; /* CWR on the first only */
        if (!last)
            l4[13] &= (uint8_t)~0x09; /* FIN and PSH on the last only */
    } else {
        hw_put16(l4 + 4, (uint16_t)len);
    }
    hw_put16(field, 0);
    sum =
        hw_fold(hw_sum(hw_sum_pseudo(f->family, f->src, f->dst, (uint32_t)len, f->proto), l4, len));
    hw_put16(field, sum || tcp ? sum : 0xffff);
}

static int cut(const struct vnet *v, const uint8_t *data, size_t len,
               void (*emit)(void *ctx, const uint8_t *frame, size_t len), void *ctx)
{
    uint8_t out[HW_FRAME_MAX];
    struct hw_frame f;
    size_t l4, head, at;
    uint32_t seq;
    unsigned i;

    hw_parse_frame(data, len, &f);
    l4 = (size_t)f.l2_len + f.l3_len;
    if (!f.family || (f.proto != HW_IPPROTO_TCP && f.proto != HW_IPPROTO_UDP) ||
        hw_payload_len(&f) < (f.proto == HW_IPPROTO_TCP ? 20u : 8u) || !v->gso_size)
        return -EINVAL;
    head = l4 + (f.proto == HW_IPPROTO_TCP ? (size_t)(data[l4 + 12] >> 4) * 4 : 8);
    if (head > (size_t)f.l2_len + f.ip_len || head + v->gso_size > sizeof(out))
        return -EINVAL;
    len = (size_t)f.l2_len + f.ip_len;
    seq = f.proto == HW_IPPROTO_TCP ? hw_get32(data + l4 + 4) : 0;
    for (at = head, i = 0; at < len; at += v->gso_size, i++) {
        size_t part = len - at < v->gso_size ? len - at : v->gso_size;

        memcpy(out, data, head);
        memcpy(out + head, data + at, part);
        fix_ip(out + f.l2_len, head - f.l2_len + part, i);
        fix_l4(&f, out + l4, head - l4 + part, seq + (uint32_t)(at - head), i == 0,
               at + part == len);
        emit(ctx, out, head + part);
    }
    return 0;
}

int vnet_frames(const struct vnet *v, uint8_t *data, size_t len,
                void (*emit)(void *ctx, const uint8_t *frame, size_t len), void *ctx)
{
    int err = 0;

    if ((v->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) != VIRTIO_NET_HDR_GSO_NONE)
        return cut(v, data, len, emit, ctx);
    if (v->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        err = complete_csum(v, data, len);
    if (!err)
        emit(ctx, data, len);
    return err;
}

/* --- the socket
 * ---------------------------------------------------------------------------------------- */

static int bind_to(struct port *p, unsigned index)
{
    struct sockaddr_ll a = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index};
    struct packet_mreq m = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC};
    int one = 1, size = 8 << 20;

    if (setsockopt(p->fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
        setsockopt(p->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0 ||
        setsockopt(p->fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) < 0 ||
        setsockopt(p->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)) < 0 ||
        bind(p->fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
        return -errno;
    if (setsockopt(p->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    return 0;
}

/* Brings the interface up and reads its address. */
static int prepare(struct port *p)
{
    struct ifreq r;

    memset(&r, 0, sizeof(r));
    strcpy(r.ifr_name, p->ifname);
    if (ioctl(p->fd, SIOCGIFHWADDR, &r) < 0)
        return -errno;
    memcpy(p->mac, r.ifr_hwaddr.sa_data, 6);
    if (ioctl(p->fd, SIOCGIFFLAGS, &r) < 0)
        return -errno;
    if (r.ifr_flags & IFF_UP)
        return 0;
    r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
    return ioctl(p->fd, SIOCSIFFLAGS, &r) < 0 ? -errno : 0;
}

static int if_open(struct port *p, const char *name, char *err, size_t cap)
{
    unsigned index = if_nametoindex(name);
    int bad;

    if (!index || strlen(name) >= sizeof(p->ifname)) {
        snprintf(err, cap, "if:%s: there is no such interface", name);
        return -ENODEV;
    }
    strcpy(p->ifname, name);
    p->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0) {
        snprintf(err, cap, "if:%s: packet socket: %s", name, strerror(errno));
        return -errno;
    }
    bad = deaf_make(p, err, cap); /* before the interface comes up: no neighbour discovery */
    if (bad)
        return bad;
    bad = prepare(p);
    if (!bad)
        bad = bind_to(p, index);
    if (!bad)
        bad = p->user.watch(p->user.ctx, p->number, p->fd, EPOLLIN);
    if (bad)
        snprintf(err, cap, "if:%s: %s", name, strerror(-bad));
    return bad;
}

static void if_close(struct port *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    deaf_undo(p);
}

/* A VLAN tag that the kernel took out of the frame goes back in: p->buf has room before the frame.
 */
static uint8_t *restore_tag(const struct msghdr *m, uint8_t *frame, size_t *len)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(m);
    struct tpacket_auxdata aux;

    if (!c || c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA ||
        c->cmsg_len < CMSG_LEN(sizeof(aux)))
        return frame;
    memcpy(&aux, CMSG_DATA(c), sizeof(aux));
    if (!(aux.tp_status & TP_STATUS_VLAN_VALID) || *len < 12)
        return frame;
    memmove(frame - 4, frame, 12);
    hw_put16(frame + 8, aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : 0x8100);
    hw_put16(frame + 10, aux.tp_vlan_tci);
    *len += 4;
    return frame - 4;
}

static void emit_frame(void *ctx, const uint8_t *frame, size_t len)
{
    port_received(ctx, frame, len);
}

static struct vnet read_vnet(const uint8_t *h)
{
    struct virtio_net_hdr raw;

    memcpy(&raw, h, sizeof(raw));
    return (struct vnet){raw.flags,    raw.gso_type,   raw.hdr_len,
                         raw.gso_size, raw.csum_start, raw.csum_offset};
}

static bool receive_one(struct port *p)
{
    uint8_t vnet[VNET_LEN], control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    uint8_t *frame = p->buf + 16, *start;
    struct iovec iov[2] = {{vnet, sizeof(vnet)}, {frame, p->buf_cap - 16}};
    struct msghdr m = {
        .msg_iov = iov, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(p->fd, &m, 0);
    struct vnet v;
    size_t len;

    if (n < 0)
        return errno == EINTR;
    if (n <= VNET_LEN || m.msg_flags & MSG_TRUNC)
        return true;
    len = (size_t)n - VNET_LEN;
    v = read_vnet(vnet);
    start = restore_tag(&m, frame, &len);
    v.csum_start = (uint16_t)(v.csum_start + (frame - start));
    vnet_frames(&v, start, len, emit_frame, p);
    return true;
}

static void if_ready(struct port *p, uint32_t events)
{
    unsigned i;

    for (i = 0; i < BURST; i++)
        if (!receive_one(p))
            return;
}

static int if_send(struct port *p, const uint8_t *frame, size_t len)
{
    union {
        const uint8_t *in;
        void *out;
    } data = {.in = frame}; /* sendmsg only reads it */
    uint8_t vnet[VNET_LEN] = {0};
    struct iovec iov[2] = {{vnet, sizeof(vnet)}, {data.out, len}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

    if (sendmsg(p->fd, &m, 0) >= 0)
        return 0;
    if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
        return -EAGAIN;
    return errno == EMSGSIZE ? 0
                             : -ENETDOWN; /* longer than the interface takes: lost on the wire */
}

static void if_tick(struct port *p)
{
    struct ifreq r;

    memset(&r, 0, sizeof(r));
    strcpy(r.ifr_name, p->ifname);
    if (ioctl(p->fd, SIOCGIFFLAGS, &r) == 0)
        port_link(p, (r.ifr_flags & IFF_RUNNING) != 0);
    else
        port_link(p, false);
}

const struct port_ops port_if_ops = {
    .prefix = "if:",
    .open = if_open,
    .close = if_close,
    .ready = if_ready,
    .send = if_send,
    .tick = if_tick,
};
