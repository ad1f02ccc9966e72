/* Super-packets and partial checksums against a plain reference. */
#include "tests/unit/path/rig.h"

#define A4 "10.1.0.1"
#define B4 "10.2.0.1"
#define A6 "fd01::1"
#define B6 "fd02::1"

enum { FIN = 1, SYN = 2, PSH = 8, ACK = 16, CWR = 0x80, OPTS = 12 };

static bool l4_sum_good(const struct pkt *p)
{
    size_t len = p->i.total - p->i.l4_off;
    uint32_t sum = ip_pseudo_sum(&p->i.src, &p->i.dst, p->i.proto, len);
    return ip_sum_fold(ip_sum(p->ip + p->i.l4_off, len, sum)) == 0;
}

static bool ip_sum_good(const struct pkt *p)
{
    return p->i.version == 6 || ip_sum_fold(ip_sum(p->ip, p->i.unfrag_len, 0)) == 0;
}

/* A TCP super-packet with n octets of data, as the kernel gives it. */
static size_t super(uint8_t *f, const struct rig *r, bool v6, size_t n, uint8_t flags, bool udp)
{
    struct ip_addr s = rig_ip(v6 ? A6 : A4), d = rig_ip(v6 ? B6 : B4);
    size_t hdr = udp ? 8 : 20 + OPTS;
    uint8_t *ip = rig_eth(f, r, true, eth_type(s.family));
    uint8_t *l4 = rig_hdr(ip, &s, &d, udp ? IPP_UDP : IPP_TCP, hdr + n, true);
    memset(l4, 0, hdr);
    put_be16(l4, 1000);
    put_be16(l4 + 2, 2000);
    if (udp) {
        put_be16(l4 + 4, (uint16_t)(8 + n));
    } else {
        put_be32(l4 + 4, 0xfffffe00u); /* wraps within the super-packet */
        l4[12] = (20 + OPTS) / 4 << 4;
        l4[13] = flags;
        memset(l4 + 20, 1, OPTS);
    }
    for (size_t i = 0; i < n; i++)
        l4[hdr + i] = (uint8_t)(i * 13 + i / 251);
    return (size_t)(l4 - f) + hdr + n;
}

static struct rig *passing(void)
{
    struct rig *r = rig_new(1);
    struct spd_policy pass = rig_policy("p", "any", "any", SPD_PASS);
    rig_load(r, &pass, 1);
    r->port.mtu = 65535;
    return r;
}

static void check(struct rig *r, bool v6, bool udp, size_t n, uint16_t mss, uint8_t flags)
{
    static uint8_t f[70000];
    size_t len = super(f, r, v6, n, flags, udp), hdr = udp ? 8 : 20 + OPTS;
    struct dp_offload off = {.needs_csum = true,
                             .gso = udp  ? DP_GSO_UDP
                                    : v6 ? DP_GSO_TCP6
                                         : DP_GSO_TCP4,
                             .gso_size = mss};
    dp_from_tap(r->dp, r->now, f, len, &off);
    unsigned want = n ? (unsigned)((n + mss - 1) / mss) : 1;
    assert_int_equal(r->n_out, want);
    size_t at = 0;
    for (unsigned i = 0; i < want; i++) {
        struct pkt p;
        bool last = i + 1 == want;
        size_t part = last ? n - at : mss;
        assert_true(pkt_parse(&p, r->out[i].p, r->out[i].tx.len));
        const uint8_t *l4 = p.ip + p.i.l4_off;
        assert_int_equal(p.i.total, p.i.l4_off + hdr + part);
        assert_true(ip_sum_good(&p) && l4_sum_good(&p));
        assert_memory_equal(l4 + hdr, f + len - n + at, part);
        if (!v6)
            assert_int_equal(get_be16(p.ip + 4), (uint16_t)(get_be16(f + 14 + 4) + i));
        if (udp) {
            assert_int_equal(get_be16(l4 + 4), 8 + part);
        } else {
            assert_int_equal(get_be32(l4 + 4), (uint32_t)(0xfffffe00u + at));
            uint8_t not_here = (uint8_t)((last ? 0 : FIN | PSH) | (i ? CWR : 0));
            assert_int_equal(l4[13], flags & ~not_here);
        }
        at += part;
    }
    assert_int_equal(at, n);
    rig_clear(r);
}

static void test_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 99, 100, 101, 1459, 1460, 1461, 14600, 30001, 60000};
    struct rig *r = passing();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned v = 0; v < 4; v++) {
            check(r, v & 1, v & 2, sizes[i], 1400, ACK);
            check(r, v & 1, v & 2, sizes[i], (uint16_t)(sizes[i] / 7 + 100), ACK | FIN | PSH | CWR);
        }
    rig_free(r);
}

static void test_malformed(void **state)
{
    static uint8_t f[4096];
    struct rig *r = passing();
    size_t n = super(f, r, false, 3000, ACK, false);
    static const struct dp_offload bad[] = {
        {.gso = DP_GSO_TCP4, .gso_size = 0},
        {.gso = DP_GSO_TCP6, .gso_size = 100},
        {.gso = DP_GSO_UDP, .gso_size = 100},
        {.needs_csum = true, .csum_start = 4095, .csum_offset = 16},
        {.needs_csum = true, .csum_start = 34, .csum_offset = 5000},
        {.needs_csum = true, .csum_start = 3, .csum_offset = 16},
        {.needs_csum = true, .csum_start = 0xffff, .csum_offset = 0xffff},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        dp_from_tap(r->dp, r->now, f, n, &bad[i]);
    f[14 + 20 + 12] = 0x40; /* a TCP header shorter than one */
    struct dp_offload off = {.gso = DP_GSO_TCP4, .gso_size = 100};
    dp_from_tap(r->dp, r->now, f, n, &off);
    f[14 + 20 + 12] = 0xf0;
    n = super(f, r, false, 10, ACK, false);
    f[14 + 20 + 12] = 0xf0; /* longer than the packet */
    dp_from_tap(r->dp, r->now, f, n, &off);
    assert_int_equal(r->n_out, 0);
    assert_int_equal(rig_drop(r, DP_DROP_MALFORMED), sizeof bad / sizeof *bad + 2);
    rig_free(r);
}

/* Partial checksums are complete before ESP: for the pseudo header's sum the kernel has put in. */
static void test_partial(void **state)
{
    struct rig *r = passing();
    for (int v6 = 0; v6 < 2; v6++)
        for (size_t n = 0; n < 300; n++) {
            uint8_t f[1024], g[1024];
            size_t len = rig_udp(f, r, true, v6 ? A6 : A4, v6 ? B6 : B4, 7, 9, n, false);
            size_t l4 = len - n - 8;
            struct ip_addr s = rig_ip(v6 ? A6 : A4), d = rig_ip(v6 ? B6 : B4);
            memcpy(g, f, len);
            put_be16(g + l4 + 6, (uint16_t)~ip_sum_fold(ip_pseudo_sum(&s, &d, IPP_UDP, 8 + n)));
            struct dp_offload off = {
                .needs_csum = true, .csum_start = (uint16_t)l4, .csum_offset = 6};
            dp_from_tap(r->dp, r->now, g, len, &off);
            assert_int_equal(r->n_out, 1);
            assert_memory_equal(r->out[0].p, f, len);
            rig_clear(r);
        }
    rig_free(r);
}

/* A super-packet of a tunnel takes one number a segment, and "too big" is told once. */
static void test_tunnel(void **state)
{
    static uint8_t f[70000];
    struct rig *r = rig_new(1);
    struct spd_policy p = rig_tunnel("t", "10.1.0.0/16", "10.2.0.0/16", "192.0.2.1", "192.0.2.2");
    rig_load(r, &p, 1);
    struct sa_spec s =
        rig_spec(ESP_OUT, spd_at(r->spd, 0)->id, 0x1001, ESP_TUNNEL, "192.0.2.1", "192.0.2.2");
    struct sa *sa = rig_sa(r, &s);
    size_t len = super(f, r, false, 60000, ACK | PSH, false);
    struct dp_offload off = {.gso = DP_GSO_TCP4, .gso_size = 1394};
    dp_from_tap(r->dp, r->now, f, len, &off);
    assert_int_equal(r->n_out, (60000 + off.gso_size - 1) / off.gso_size);
    assert_int_equal(sa->next, r->n_out + 1);
    for (unsigned i = 0; i < r->n_out; i++)
        assert_int_equal(r->out[i].tx.seq, i + 1);
    assert_int_equal(dp_counters(r->dp)->cache_misses, 1);
    off.gso_size = 1448;
    dp_from_tap(r->dp, r->now, f, len, &off);
    assert_int_equal(r->n_tap, 1);
    rig_free(r);
}

static const struct dp_offload *seen;
static int with_offload(void *ctx, const uint8_t *frame, size_t len, const struct dp_offload *off)
{
    seen = off;
    return rig_to_tap(ctx, frame, len, off);
}

/* From a plain interface: TCP goes on as one, datagrams are cut, a checksum is completed. */
static void test_from_wire(void **state)
{
    static uint8_t f[70000];
    struct rig *r = passing();
    r->dp->ops.to_tap = with_offload;
    size_t len = super(f, r, false, 30000, ACK, false);
    struct dp_offload off = {.needs_csum = true,
                             .csum_start = 34,
                             .csum_offset = 16,
                             .gso = DP_GSO_TCP4,
                             .gso_size = 1000};
    struct dp_rx rx = {.kind = DP_RX_WIRE, .frame = f, .len = len, .off = &off};
    memcpy(f, r->port.mac, 6);
    dp_from_port(r->dp, r->now, &rx);
    assert_int_equal(r->n_tap, 1);
    assert_ptr_equal(seen, &off);
    assert_int_equal(r->tap[0].tx.len, len);
    len = super(f, r, true, 30000, 0, true);
    memcpy(f, r->port.mac, 6);
    off.gso = DP_GSO_UDP;
    rx.len = len;
    dp_from_port(r->dp, r->now, &rx);
    assert_int_equal(r->n_tap, 31);
    assert_null(seen);
    for (unsigned i = 1; i < 31; i++) {
        struct pkt p;
        assert_true(pkt_parse(&p, r->tap[i].p, r->tap[i].tx.len) && l4_sum_good(&p));
    }
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_partial),   cmocka_unit_test(test_tunnel),
        cmocka_unit_test(test_from_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
