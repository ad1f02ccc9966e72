/* Wire ports: what a packet socket leaves undone, an interface made deaf, the cable, the capture.
 * Runs in namespaces of its own, as root or not. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "hwsim/model/packet.h"
#include "hwsim/server/port.h"

struct seen {
    unsigned n;
    size_t len[64];
    uint8_t frame[64][1600];
    int fd;
    bool up;
};

static void keep(void *ctx, const uint8_t *frame, size_t len)
{
    struct seen *s = ctx;

    assert_true(s->n < 64 && len <= sizeof(s->frame[0]));
    memcpy(s->frame[s->n], frame, len);
    s->len[s->n++] = len;
}

static void on_rx(void *ctx, unsigned port, const uint8_t *frame, size_t len)
{
    keep(ctx, frame, len);
}

static void on_link(void *ctx, unsigned port, bool up)
{
    ((struct seen *)ctx)->up = up;
}

static int on_watch(void *ctx, unsigned port, int fd, uint32_t events)
{
    ((struct seen *)ctx)->fd = fd;
    return 0;
}

/* --- vnet
 * ------------------------------------------------------------------------------------------------------
 */

static void check_l4(const uint8_t *frame, size_t len, unsigned proto)
{
    struct hw_frame f;

    hw_parse_frame(frame, len, &f);
    assert_int_equal(f.proto, proto);
    assert_int_equal(f.l2_len + f.ip_len, len);
    if (f.family == 4)
        assert_int_equal(hw_fold(hw_sum(0, frame + 14, f.l3_len)), 0);
    assert_int_equal(
        hw_fold(hw_sum(hw_sum_pseudo(f.family, f.src, f.dst, (uint32_t)hw_payload_len(&f), f.proto),
                       hw_payload(&f), hw_payload_len(&f))),
        0);
}

static size_t super_packet(uint8_t *f, unsigned family, unsigned proto, size_t n)
{
    size_t head = family == 4 ? 20 : 40, l4 = proto == 6 ? 20 : 8, i;
    uint8_t *ip = f + 14;

    memset(f, 0, 14 + head + l4);
    hw_put16(f + 12, family == 4 ? 0x0800 : 0x86dd);
    if (family == 4) {
        ip[0] = 0x45;
        hw_put16(ip + 2, (uint16_t)(head + l4 + n));
        hw_put16(ip + 4, 0xfffe);
        ip[9] = (uint8_t)proto;
        ip[15] = 1;
    } else {
        ip[0] = 0x60;
        hw_put16(ip + 4, (uint16_t)(l4 + n));
        ip[6] = (uint8_t)proto;
        ip[23] = 1;
    }
    if (proto == 6) {
        hw_put32(ip + head + 4, 0xfffffff0);
        ip[head + 12] = 0x50;
        ip[head + 13] = 0x99; /* CWR ACK PSH FIN */
    }
    for (i = 0; i < n; i++)
        ip[head + l4 + i] = (uint8_t)(i * 3);
    return 14 + head + l4 + n;
}

static void super_packets_are_cut(void **state)
{
    static const struct {
        unsigned family, proto;
        uint8_t gso;
    } rows[] = {
        {4, 6, VIRTIO_NET_HDR_GSO_TCPV4},
        {6, 6, VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN},
        {4, 17, 5 /* UDP_L4 */},
    };
    static uint8_t f[8000];
    size_t i;
    unsigned k;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct seen *s = calloc(1, sizeof(*s));
        struct vnet v = {.flags = 1, .gso_type = rows[i].gso, .gso_size = 1000};
        size_t len = super_packet(f, rows[i].family, rows[i].proto, 4500), total = 0;

        assert_int_equal(vnet_frames(&v, f, len, keep, s), 0);
        assert_int_equal(s->n, 5);
        for (k = 0; k < 5; k++) {
            size_t l4 = 14 + (rows[i].family == 4 ? 20u : 40u);

            check_l4(s->frame[k], s->len[k], rows[i].proto);
            total += s->len[k] - l4 - (rows[i].proto == 6 ? 20 : 8);
            if (rows[i].proto == 6) {
                assert_int_equal(hw_get32(s->frame[k] + l4 + 4), 0xfffffff0 + k * 1000);
                assert_int_equal(s->frame[k][l4 + 13],
                                 0x10 | (k == 0 ? 0x80 : 0) | (k == 4 ? 9 : 0));
            }
            if (rows[i].family == 4)
                assert_int_equal(hw_get16(s->frame[k] + 18), (uint16_t)(0xfffe + k));
        }
        assert_int_equal(total, 4500);
        free(s);
    }
}

static void hostile_vnet_headers(void **state)
{
    uint8_t f[2000];
    size_t len = super_packet(f, 4, 6, 100);
    struct seen *s = calloc(1, sizeof(*s));
    struct vnet v = {.flags = 1, .csum_start = 5000, .csum_offset = 16};

    assert_true(vnet_frames(&v, f, len, keep, s) < 0);
    v = (struct vnet){.flags = 1, .csum_start = (uint16_t)(len - 2), .csum_offset = 16};
    assert_true(vnet_frames(&v, f, len, keep, s) < 0);
    v = (struct vnet){.gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 0};
    assert_true(vnet_frames(&v, f, len, keep, s) < 0);
    v.gso_size = 65535;
    assert_true(vnet_frames(&v, f, len, keep, s) < 0);
    v.gso_size = 100;
    f[14 + 20 + 12] = 0xf0; /* a TCP header longer than the packet */
    assert_true(vnet_frames(&v, f, 60, keep, s) < 0);
    assert_int_equal(s->n, 0);
    free(s);
}

/* --- an interface
 * -----------------------------------------------------------------------------------------------
 */

static bool sh(const char *cmd)
{
    return system(cmd) == 0;
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        print_message("%s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* A network of our own: as root directly, else with a user namespace. */
static bool own_network(void)
{
    unsigned uid = getuid();
    char map[64];

    if (uid == 0)
        return unshare(CLONE_NEWNET) == 0;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof(map), "0 %u 1", uid);
    write_file("/proc/self/uid_map", map);
    write_file("/proc/self/gid_map", map);
    return true;
}

static void wait_frames(struct port *p, struct seen *s, unsigned n)
{
    unsigned i;

    for (i = 0; i < 100 && s->n < n; i++) {
        struct pollfd w = {.fd = s->fd, .events = POLLIN};

        if (poll(&w, 1, 20) > 0)
            p->ops->ready(p, EPOLLIN);
    }
}

static void a_deaf_interface(void **state)
{
    struct seen *s = calloc(1, sizeof(*s));
    struct port_user user = {s, on_rx, on_link, on_watch};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)};
    char err[256], data[100] = {0};
    struct port *p;
    int fd, one = 1;

    if (!own_network() || !sh("ip link add va type veth peer name vb")) {
        print_message("no namespace of our own: skipped\n");
        free(s);
        skip();
    }
    sh("ip addr add 10.9.9.2/24 dev vb; ip link set vb up; "
       "ip neigh add 10.9.9.1 lladdr 02:00:00:00:00:05 dev vb");
    sh("ip addr add 10.9.9.1/24 dev va");
    assert_null(port_open(0, "if:va", &user, err, sizeof(err)));
    assert_non_null(strstr(err, "IPv4 address"));
    sh("ip addr flush dev va");
    assert_null(port_open(0, "if:nothing", &user, err, sizeof(err)));
    p = port_open(0, "if:va", &user, err, sizeof(err));
    if (!p)
        fail_msg("%s", err);
    assert_true(sh("nft list table netdev hwsim_va >/dev/null"));
    usleep(100000);
    s->n = 0;
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
    inet_pton(AF_INET, "10.9.9.1", &to.sin_addr);
    assert_int_equal(sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)), 100);
    for (one = 0; one < 50; one++) {
        wait_frames(p, s, s->n + 1);
        if (s->n && s->frame[s->n - 1][23] == 17)
            break;
    }
    assert_true(s->n > 0);
    check_l4(s->frame[s->n - 1], s->len[s->n - 1], 17); /* the checksum was left to hardware */
    assert_int_equal(port_send(p, 1, s->frame[s->n - 1], s->len[s->n - 1]), 0);
    port_close(p);
    assert_false(sh("nft list table netdev hwsim_va >/dev/null 2>&1"));
    close(fd);
    free(s);
}

/* --- a cable
 * ----------------------------------------------------------------------------------------------------
 */

static void a_cable_heals(void **state)
{
    struct seen *sa = calloc(1, sizeof(*sa)), *sb = calloc(1, sizeof(*sb));
    struct port_user ua = {sa, on_rx, on_link, on_watch}, ub = {sb, on_rx, on_link, on_watch};
    char dir[] = "/tmp/sp-cable-XXXXXX", spec[128], err[256], path[128];
    uint8_t frame[1500] = {1, 2, 3};
    struct port *a, *b;
    unsigned i;

    assert_non_null(mkdtemp(dir));
    snprintf(spec, sizeof(spec), "link:%s/w,pcap=%s/w.pcapng", dir, dir);
    a = port_open(0, spec, &ua, err, sizeof(err));
    assert_non_null(a);
    assert_false(sa->up);
    assert_int_equal(port_send(a, 1, frame, 100), -ENETDOWN);
    for (i = 0; i < 3; i++) {
        b = port_open(0, spec, &ub, err, sizeof(err));
        assert_non_null(b);
        a->ops->ready(a, EPOLLIN); /* accepts, if it is the one that listens */
        a->ops->tick(a);
        assert_true(sa->up && sb->up);
        assert_int_equal(port_send(a, 1, frame, 1500), 0);
        assert_int_equal(port_send(b, 1, frame, 60), 0);
        wait_frames(b, sb, i + 1);
        wait_frames(a, sa, i + 1);
        assert_int_equal(sb->len[i], 1500);
        assert_int_equal(sa->len[i], 60);
        if (i & 1) { /* either may go */
            port_close(b);
            a->ops->ready(a, EPOLLIN);
            assert_false(sa->up);
        } else {
            struct port *gone = a;
            struct seen *s = sa;

            port_close(gone);
            b->ops->ready(b, EPOLLIN);
            assert_false(sb->up);
            a = b;
            sa = sb;
            sb = s;
            ua.ctx = sa;
            ub.ctx = sb;
            sa->n = sb->n = i + 1;
        }
    }
    port_close(a);
    for (i = 0; i < 3; i++) {
        static const char *const left[] = {"w", "w.lock", "w.pcapng"};

        snprintf(path, sizeof(path), "%s/%s", dir, left[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
    free(sa);
    free(sb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(super_packets_are_cut),
        cmocka_unit_test(hostile_vnet_headers),
        cmocka_unit_test(a_cable_heals),
        cmocka_unit_test(a_deaf_interface),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
