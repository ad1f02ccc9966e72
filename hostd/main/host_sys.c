#include "hostd/main/host_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Kernel 6.2; the headers of Debian 12 are older. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum { VNET_HDR_LEN = 12, WIRE_RCVBUF = 8 << 20 };

static int tap_settings(int fd, uid_t owner)
{
    unsigned plain = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    int size = VNET_HDR_LEN;
    if (ioctl(fd, TUNSETPERSIST, 1) || ioctl(fd, TUNSETVNETHDRSZ, &size))
        return -errno;
    if (owner != (uid_t)-1 && ioctl(fd, TUNSETOWNER, (unsigned long)owner))
        return -errno;
    if (ioctl(fd, TUNSETOFFLOAD, plain | TUN_F_USO4 | TUN_F_USO6) &&
        ioctl(fd, TUNSETOFFLOAD, plain))
        return -errno;
    return 0;
}

int sys_tap_open(const char *name, uid_t owner, uint32_t *index)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (strlen(name) >= sizeof ifr.ifr_name)
        return -ENAMETOOLONG;
    memcpy(ifr.ifr_name, name, strlen(name));
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int r = ioctl(fd, TUNSETIFF, &ifr) ? -errno : tap_settings(fd, owner);
    if (!r) {
        *index = if_nametoindex(name);
        if (*index)
            return fd;
        r = -ENODEV;
    }
    close(fd);
    return r;
}

void sys_tap_carrier(int fd, bool on)
{
    int carrier = on;
    ioctl(fd, TUNSETCARRIER, &carrier);
}

void sys_tap_forget(int fd)
{
    ioctl(fd, TUNSETPERSIST, 0);
    close(fd);
}

int sys_sysctl(const char *family, const char *device, const char *key, const char *value)
{
    char path[128];
    int n = snprintf(path, sizeof path, "/proc/sys/net/%s/conf/%s/%s", family, device, key);
    if (n < 0 || (size_t)n >= sizeof path || strchr(device, '/'))
        return -EINVAL;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = write(fd, value, strlen(value)) < 0 ? -errno : 0;
    close(fd);
    return r;
}

void sys_ipv6_back(const char *device)
{
    char value[8] = "0";
    int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, value, sizeof value - 1);
    close(fd);
    value[n > 0 ? n : 0] = 0;
    sys_sysctl("ipv6", device, "disable_ipv6", value[0] == '1' ? "1" : "0");
}

/* --- the drop --- */

/* A device's name holds what an identifier of nft may not: such octets become _XX. */
static int table_name(const char *device, char *buf, size_t room)
{
    size_t at = (size_t)snprintf(buf, room, "sallyport_");
    for (; *device; device++) {
        if (at + 4 >= room)
            return -ENAMETOOLONG;
        if (isalnum((unsigned char)*device))
            buf[at++] = *device;
        else
            at += (size_t)snprintf(buf + at, room - at, "_%02x", (unsigned char)*device);
    }
    buf[at] = 0;
    return 0;
}

static int run_nft(const char *text)
{
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!nft)
        return -ENOMEM;
    nft_ctx_buffer_output(nft);
    nft_ctx_buffer_error(nft);
    errno = 0;
    int r = nft_run_cmd_from_buffer(nft, text) ? (errno ? -errno : -EINVAL) : 0;
    nft_ctx_free(nft);
    return r;
}

int sys_drop_in(const char *device)
{
    char table[96], text[640];
    if (strpbrk(device, "\"\\\n") || table_name(device, table, sizeof table))
        return -EINVAL;
    /* One transaction: an older table of ours, of a device that has been away, is replaced. */
    int n = snprintf(text, sizeof text,
                     "add table netdev %s\n"
                     "delete table netdev %s\n"
                     "add table netdev %s\n"
                     "add chain netdev %s wire { type filter hook ingress device \"%s\" priority "
                     "-500; policy drop; }\n",
                     table, table, table, table, device);
    return n < 0 || (size_t)n >= sizeof text ? -ENAMETOOLONG : run_nft(text);
}

int sys_drop_out(const char *device)
{
    char table[96], text[256];
    if (table_name(device, table, sizeof table))
        return -EINVAL;
    snprintf(text, sizeof text, "add table netdev %s\ndelete table netdev %s\n", table, table);
    return run_nft(text);
}

/* --- the wire --- */

static int packet_settings(int fd, uint32_t index)
{
    int on = 1, room = WIRE_RCVBUF;
    struct packet_mreq all = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC};
    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all))
        return -errno;
    /* Beyond the system's limit where that is allowed. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room))
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    /* Bound last: before that nothing is received, so nothing comes from another interface. */
    struct sockaddr_ll sa = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index};
    return bind(fd, (struct sockaddr *)&sa, sizeof sa) ? -errno : 0;
}

int sys_packet_open(uint32_t index)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = packet_settings(fd, index);
    if (!r)
        return fd;
    close(fd);
    return r;
}
