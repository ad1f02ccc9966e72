#include "hostd/data/host/tap.h"

#include "hostd/base/bytes.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* The header is in the machine's order: it never leaves it. */
static uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

static int gso_kind(uint8_t type, enum dp_gso *out)
{
    static const struct {
        uint8_t type;
        enum dp_gso gso;
    } kinds[] = {{VIRTIO_NET_HDR_GSO_NONE, DP_GSO_NONE},
                 {VIRTIO_NET_HDR_GSO_TCPV4, DP_GSO_TCP4},
                 {VIRTIO_NET_HDR_GSO_TCPV6, DP_GSO_TCP6},
                 {VIRTIO_NET_HDR_GSO_UDP_L4, DP_GSO_UDP}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].type == (type & ~VIRTIO_NET_HDR_GSO_ECN)) {
            *out = kinds[i].gso;
            return 0;
        }
    return -EBADMSG;
}

int vnet_decode(const uint8_t hdr[VNET_HDR], size_t frame_len, struct dp_offload *off)
{
    memset(off, 0, sizeof *off);
    off->needs_csum = hdr[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM;
    off->hdr_len = get16(hdr + 2);
    off->gso_size = get16(hdr + 4);
    off->csum_start = get16(hdr + 6);
    off->csum_offset = get16(hdr + 8);
    if (gso_kind(hdr[1], &off->gso))
        return -EBADMSG;
    if (off->needs_csum && (size_t)off->csum_start + off->csum_offset + 2 > frame_len)
        return -EBADMSG;
    if (off->gso != DP_GSO_NONE && (off->gso_size == 0 || !off->needs_csum))
        return -EBADMSG;
    return 0;
}

void vnet_encode(const struct dp_offload *off, uint8_t hdr[VNET_HDR])
{
    static const uint8_t types[] = {[DP_GSO_NONE] = VIRTIO_NET_HDR_GSO_NONE,
                                    [DP_GSO_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
                                    [DP_GSO_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6,
                                    [DP_GSO_UDP] = VIRTIO_NET_HDR_GSO_UDP_L4};
    memset(hdr, 0, VNET_HDR);
    if (!off)
        return;
    hdr[0] = off->needs_csum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0;
    hdr[1] = types[off->gso];
    put16(hdr + 2, off->hdr_len);
    put16(hdr + 4, off->gso_size);
    put16(hdr + 6, off->csum_start);
    put16(hdr + 8, off->csum_offset);
}

int tap_setup(int fd)
{
    int size = VNET_HDR;
    return ioctl(fd, TUNSETVNETHDRSZ, &size) ? -errno : 0;
}

int tap_read(int fd, uint8_t *buf, size_t room, struct dp_offload *off)
{
    uint8_t hdr[VNET_HDR];
    struct iovec iov[2] = {{hdr, sizeof hdr}, {buf, room}};
    for (int tries = 0; tries < 8; tries++) {
        ssize_t n = readv(fd, iov, 2);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n <= VNET_HDR || vnet_decode(hdr, (size_t)n - VNET_HDR, off))
            continue;
        return (int)(n - VNET_HDR);
    }
    return 0;
}

int tap_write(int fd, const uint8_t *frame, size_t len, const struct dp_offload *off)
{
    uint8_t hdr[VNET_HDR];
    vnet_encode(off, hdr);
    struct iovec iov[2] = {{hdr, sizeof hdr}, {(void *)(uintptr_t)frame, len}};
    ssize_t n = writev(fd, iov, 2);
    return n < 0 ? -errno : 0;
}
