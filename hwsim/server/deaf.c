/* An interface that carries a wire is deaf to the host's own stack: no address, no IPv6 of its own,
 * and an nft ingress drop of everything. Packet sockets read before that hook. */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hwsim/server/port.h"

static int run_nft(const char *commands, bool quiet)
{
    struct nft_ctx *n = nft_ctx_new(NFT_CTX_DEFAULT);
    int err;

    if (!n)
        return -ENOMEM;
    nft_ctx_buffer_output(n);
    nft_ctx_buffer_error(n);
    err = nft_run_cmd_from_buffer(n, commands);
    if (err && !quiet)
        fprintf(stderr, "hwsim: nft: %s", nft_ctx_get_error_buffer(n));
    nft_ctx_free(n);
    return err ? -EPERM : 0;
}

static int drop_rule(const char *name, bool add)
{
    char cmd[512];

    /* one left over by a killed process goes first */
    snprintf(cmd, sizeof(cmd), "delete table netdev hwsim_%s", name);
    run_nft(cmd, true);
    if (!add)
        return 0;
    snprintf(cmd, sizeof(cmd),
             "add table netdev hwsim_%s\n"
             "add chain netdev hwsim_%s wire { type filter hook ingress device \"%s\" "
             "priority 0; policy drop; }\n",
             name, name, name);
    return run_nft(cmd, false);
}

static int ipv6_off(const char *name, bool off, bool *was_on)
{
    char path[128], now = '1';
    int fd;

    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno; /* no IPv6 at all */
    if (read(fd, &now, 1) == 1 && was_on)
        *was_on = now == '0';
    if (pwrite(fd, off ? "1" : "0", 1, 0) != 1) {
        close(fd);
        return -EPERM;
    }
    close(fd);
    return 0;
}

static bool has_ipv4(const char *name)
{
    struct ifaddrs *all = NULL, *a;
    bool found = false;

    if (getifaddrs(&all) < 0)
        return false;
    for (a = all; a; a = a->ifa_next)
        found = found ||
                (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && !strcmp(a->ifa_name, name));
    freeifaddrs(all);
    return found;
}

int deaf_make(struct port *p, char *err, size_t cap)
{
    int bad;

    if (has_ipv4(p->ifname)) {
        snprintf(err, cap,
                 "if:%s: the interface has an IPv4 address; a wire has none: ip addr flush dev %s",
                 p->ifname, p->ifname);
        return -EADDRINUSE;
    }
    bad = ipv6_off(p->ifname, true, &p->ipv6_was_on);
    if (!bad)
        bad = drop_rule(p->ifname, true);
    if (bad)
        snprintf(err, cap, "if:%s: cannot keep the host's stack away from it: %s", p->ifname,
                 strerror(-bad));
    else
        p->deaf = true;
    return bad;
}

void deaf_undo(struct port *p)
{
    if (!p->deaf)
        return;
    drop_rule(p->ifname, false);
    if (p->ipv6_was_on)
        ipv6_off(p->ifname, false, NULL);
    p->deaf = false;
}
