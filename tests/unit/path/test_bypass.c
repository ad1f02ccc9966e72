/* Every built-in bypass, both ways, with no policy at all and in every mode; and what only looks
 * like one. */
#include "tests/unit/path/rig.h"

#define L4 "192.0.2.1"
#define P4 "192.0.2.2"
#define L6 "fe80::1"
#define P6 "fe80::2"

static struct rig *fresh(enum dp_mode mode)
{
    struct rig *r = rig_new(1);
    struct spd_policy p = rig_policy("none", "any", "any", SPD_DISCARD);
    rig_load(r, &p, 1);
    r->local[0] = rig_ip(L4);
    r->local[1] = rig_ip(L6);
    dp_set_mode(r->dp, mode);
    return r;
}

/* Sends the frame both ways; how often it came out. */
static unsigned both(struct rig *r, uint8_t *f, size_t n, const uint8_t *g, size_t m)
{
    unsigned out = r->n_out, tap = r->n_tap;
    rig_send_host(r, f, n);
    rig_send_wire(r, g, m);
    assert_true(r->n_out == out || memcmp(r->out[out].p, f, n) == 0);
    assert_true(r->n_tap == tap || memcmp(r->tap[tap].p, g, m) == 0);
    return r->n_out - out + (r->n_tap - tap);
}

static unsigned udp(struct rig *r, bool v6, uint16_t lport, uint16_t rport, const char *data,
                    size_t len)
{
    uint8_t f[256], g[256];
    size_t n = rig_udp(f, r, true, v6 ? L6 : L4, v6 ? P6 : P4, lport, rport, len, false);
    size_t m = rig_udp(g, r, false, v6 ? P6 : P4, v6 ? L6 : L4, rport, lport, len, false);
    if (data) {
        memcpy(f + n - len, data, len);
        memcpy(g + m - len, data, len);
    }
    return both(r, f, n, g, m);
}

static unsigned icmp6(struct rig *r, uint8_t type, uint8_t ttl, bool hopopts)
{
    uint8_t f[256], g[256], body[40] = {IPP_ICMPV6, 0, 5, 2, 0, 0, 1, 0};
    uint8_t *l4 = body + (hopopts ? 8 : 0);
    size_t len = hopopts ? 40 : 32;
    memset(l4, 0, 32);
    l4[0] = type;
    size_t n = rig_raw(f, r, true, L6, "ff02::16", hopopts ? 0 : IPP_ICMPV6, body, len);
    size_t m = rig_raw(g, r, false, P6, "ff02::1", hopopts ? 0 : IPP_ICMPV6, body, len);
    f[14 + 7] = g[14 + 7] = ttl;
    return both(r, f, n, g, m);
}

static unsigned ether(struct rig *r, uint16_t type, bool tag)
{
    uint8_t f[64] = {0}, g[64] = {0};
    uint8_t *p = rig_eth(f, r, true, tag ? ETH_VLAN : type);
    uint8_t *q = rig_eth(g, r, false, tag ? ETH_VLAN : type);
    if (tag) {
        put_be16(p + 2, type);
        put_be16(q + 2, type);
    }
    return both(r, f, 60, g, 60);
}

static void every(enum dp_mode mode)
{
    struct rig *r = fresh(mode);
    assert_int_equal(ether(r, ETH_ARP, false), 2);
    assert_int_equal(ether(r, ETH_ARP, true), 2);
    assert_int_equal(ether(r, ETH_LLDP, false), 2);
    assert_int_equal(ether(r, ETH_EAPOL, false), 2);
    for (uint8_t t = 133; t <= 137; t++)
        assert_int_equal(icmp6(r, t, 255, false), 2);
    for (uint8_t t = 130; t <= 132; t++)
        assert_int_equal(icmp6(r, t, 1, true), 2);
    assert_int_equal(icmp6(r, 143, 1, true), 2);
    assert_int_equal(icmp6(r, 143, 1, false), 2);
    uint8_t f[64], g[64], igmp[8] = {0x16};
    size_t n = rig_raw(f, r, true, L4, "224.0.0.22", IPP_IGMP, igmp, 8);
    size_t m = rig_raw(g, r, false, P4, "224.0.0.1", IPP_IGMP, igmp, 8);
    f[14 + 8] = g[14 + 8] = 1;
    ip4_fix_checksum(f + 14, 20);
    ip4_fix_checksum(g + 14, 20);
    assert_int_equal(both(r, f, n, g, m), 2);
    assert_int_equal(udp(r, false, 68, 67, NULL, 100), 2);
    assert_int_equal(udp(r, false, 67, 68, NULL, 100), 2);
    assert_int_equal(udp(r, true, 546, 547, NULL, 100), 2);
    assert_int_equal(udp(r, false, 500, 500, NULL, 100), 2);
    assert_int_equal(udp(r, false, 500, 1234, NULL, 100), 2);
    assert_int_equal(udp(r, true, 500, 500, NULL, 100), 2);
    assert_int_equal(udp(r, false, 4500, 4500, "\0\0\0\0abcd", 8), 2);
    assert_int_equal(dp_counters(r->dp)->bypassed[0], dp_counters(r->dp)->bypassed[1]);
    assert_int_equal(dp_counters(r->dp)->bypassed[0], r->n_out);
    rig_free(r);
}

static void test_all(void **state)
{
    every(DP_RUNNING);
    every(DP_DISCARD);
    every(DP_PASS);
}

static void test_only_these(void **state)
{
    for (int mode = DP_RUNNING; mode <= DP_DISCARD; mode++) {
        if (mode == DP_PASS)
            continue;
        struct rig *r = fresh((enum dp_mode)mode);
        assert_int_equal(ether(r, 0x88f7, false), 0);
        assert_int_equal(icmp6(r, 128, 255, false), 0);
        assert_int_equal(icmp6(r, 135, 254, false), 0); /* not from this link */
        assert_int_equal(icmp6(r, 138, 255, false), 0);
        assert_int_equal(udp(r, false, 501, 500, NULL, 100),
                         0); /* the far port alone is not ours */
        assert_int_equal(udp(r, false, 67, 1067, NULL, 100), 0);
        assert_int_equal(udp(r, false, 4500, 4500, "\0\0\0\1abcd", 8), 0);
        assert_int_equal(udp(r, false, 4500, 4500, "\0\0\0", 3), 0);
        rig_free(r);
    }
}

static void test_keepalive(void **state)
{
    struct rig *r = fresh(DP_RUNNING);
    assert_int_equal(udp(r, false, 4500, 4500, "\xff", 1), 1); /* ours leaves, theirs ends here */
    assert_int_equal(r->n_out, 1);
    assert_int_equal(r->out[0].tx.op, DP_RAW);
    assert_int_equal(rig_drop(r, DP_DROP_KEEPALIVE), 1);
    rig_free(r);
}

static void test_not_local(void **state)
{
    struct rig *r = fresh(DP_RUNNING);
    uint8_t f[256];
    /* forwarded IKE is nobody's here: policy decides */
    size_t n = rig_udp(f, r, true, "10.9.9.9", P4, 500, 500, 50, false);
    rig_send_host(r, f, n);
    n = rig_udp(f, r, false, P4, "10.9.9.9", 500, 500, 50, false);
    rig_send_wire(r, f, n);
    assert_int_equal(r->n_out + r->n_tap, 0);
    assert_int_equal(rig_drop(r, DP_DROP_DISCARD), 2);
    rig_free(r);
}

/* No socket of ours is in use: the ports are anybody's, the marker and the keep-alive as well. ESP
 * in UDP is still met. */
static void test_no_socket(void **state)
{
    struct rig *r = fresh(DP_RUNNING);
    r->dp->cfg.n_ike_ports = 0;
    assert_int_equal(udp(r, false, 500, 500, NULL, 100), 0);
    assert_int_equal(udp(r, false, 4500, 4500, "\0\0\0\0abcd", 8), 0);
    assert_int_equal(udp(r, false, 4500, 4500, "\xff", 1), 0);
    assert_int_equal(rig_drop(r, DP_DROP_KEEPALIVE), 1);
    assert_int_equal(udp(r, false, 4500, 4500, "\0\0\1\1\0\0\0\1abcdefgh", 16), 0);
    assert_int_equal(rig_drop(r, DP_DROP_UNKNOWN_SPI), 1);
    r->dp->cfg.n_ike_ports = 1; /* 500 alone */
    assert_int_equal(udp(r, false, 500, 500, NULL, 100), 2);
    assert_int_equal(udp(r, false, 4500, 4500, "\0\0\0\0abcd", 8), 0);
    rig_free(r);
}

/* One packet in one direction: did it pass? */
static bool passes(struct rig *r, bool out, const char *src, const char *dst, uint16_t sport,
                   uint16_t dport)
{
    uint8_t f[256];
    unsigned before = r->n_out + r->n_tap;
    size_t n = rig_udp(f, r, out, src, dst, sport, dport, 40, false);
    if (out)
        rig_send_host(r, f, n);
    else
        rig_send_wire(r, f, n);
    return r->n_out + r->n_tap != before;
}

static bool raw_passes(struct rig *r, bool out, const char *src, const char *dst, uint8_t type,
                       uint8_t ttl)
{
    uint8_t f[256], data[32] = {type};
    unsigned before = r->n_out + r->n_tap;
    bool v6 = rig_ip(src).family == 6;
    size_t n = rig_raw(f, r, out, src, dst, v6 ? IPP_ICMPV6 : IPP_IGMP, data, sizeof data);
    f[14 + (v6 ? 7 : 8)] = ttl;
    if (!v6)
        ip4_fix_checksum(f + 14, 20);
    if (out)
        rig_send_host(r, f, n);
    else
        rig_send_wire(r, f, n);
    return r->n_out + r->n_tap != before;
}

/* What a router could forward is no protocol of the link. */
static void test_link_only(void **state)
{
    struct rig *r = fresh(DP_RUNNING);
    for (int out = 0; out < 2; out++) {
        assert_true(raw_passes(r, out, "10.9.9.9", "224.0.0.22", 0x22, 1));
        assert_false(raw_passes(r, out, "10.9.9.9", "224.0.0.22", 0x22, 2));
        assert_false(raw_passes(r, out, "10.9.9.9", "203.0.113.7", 0x22, 1));
        assert_true(raw_passes(r, out, "fe80::9", "ff02::16", 143, 1));
        assert_true(raw_passes(r, out, "::", "ff02::16", 143, 1));
        assert_false(raw_passes(r, out, "fe80::9", "ff02::16", 143, 64));
        assert_false(raw_passes(r, out, "2001:db8::9", "2001:db8:1::9", 143, 1));
        assert_false(raw_passes(r, out, "fec0::9", "ff02::16", 143, 1));
    }
    assert_true(passes(r, true, "fe80::9", "ff02::1:2", 546, 547));
    assert_false(passes(r, true, "2001:db8::9", "2001:db8:1::9", 546, 547));
    assert_true(passes(r, false, "fe80::9", "fe80::1", 547, 546));
    assert_true(passes(r, false, "fe80::9", "ff02::1:2", 546, 547));
    assert_false(passes(r, false, "fe80::9", "2001:db8:1::9", 547, 546));
    rig_free(r);
}

static void test_dhcp4(void **state)
{
    struct rig *r = fresh(DP_RUNNING);
    assert_false(passes(r, true, "10.9.9.9", "203.0.113.7", 68, 67)); /* another's, forwarded */
    assert_false(passes(r, false, "203.0.113.7", "10.9.9.9", 67, 68));
    assert_true(passes(r, false, P4, "255.255.255.255", 67, 68));
    assert_true(passes(r, false, P4, "224.0.0.12", 67, 68));
    assert_true(passes(r, true, L4, P4, 67, 68)); /* a server asks for nothing */
    assert_false(passes(r, false, P4, "192.0.2.77", 67, 68));
    /* an offer by unicast to the address that is offered, after this host has asked */
    assert_true(passes(r, true, "0.0.0.0", "255.255.255.255", 68, 67));
    r->now += 59 * SECOND;
    assert_true(passes(r, false, P4, "192.0.2.77", 67, 68));
    assert_false(passes(r, false, P4, "192.0.2.77", 67, 67));
    r->now += SECOND;
    assert_false(passes(r, false, P4, "192.0.2.77", 67, 68));
    rig_free(r);
}

/* IKE in any number of fragments passes, and leaves and arrives in fragments. */
static void test_fragments(void **state)
{
    static uint8_t f[8192];
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = fresh(DP_RUNNING);
        size_t n = rig_udp(f, r, true, v6 ? L6 : L4, v6 ? P6 : P4, 500, 500, 4000, false);
        for (size_t mtu = 600; mtu <= 1500; mtu += 100) {
            rig_send_cut(r, f, n, mtu);
            for (unsigned i = 0; i < r->n_out; i++)
                assert_int_equal(r->out[i].tx.op, DP_RAW);
            assert_true(r->n_out >= 3);
            rig_clear(r);
        }
        n = rig_udp(f, r, false, v6 ? P6 : P4, v6 ? L6 : L4, 500, 500, 4000, false);
        struct pkt p;
        struct frag c;
        uint8_t piece[2048];
        size_t len;
        assert_true(pkt_parse(&p, f, n));
        assert_true(frag_begin(&c, p.ip, &p.i, 1300, 77, false));
        memcpy(piece, f, 14);
        while ((len = frag_next(&c, piece + 14)) != 0)
            rig_send_wire(r, piece, 14 + len);
        assert_int_equal(r->n_tap, 4);
        rig_free(r);
    }
}

static void test_other_hosts(void **state)
{
    struct rig *r = fresh(DP_PASS);
    uint8_t f[256];
    size_t n = rig_udp(f, r, false, P4, L4, 1, 2, 50, false);
    f[5] ^= 0x55;
    rig_send_wire(r, f, n);
    assert_int_equal(rig_drop(r, DP_DROP_NOT_FOR_US), 1);
    memset(f, 0xff, 6);
    rig_send_wire(r, f, n);
    assert_int_equal(r->n_tap, 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),       cmocka_unit_test(test_only_these),
        cmocka_unit_test(test_keepalive), cmocka_unit_test(test_not_local),
        cmocka_unit_test(test_fragments), cmocka_unit_test(test_other_hosts),
        cmocka_unit_test(test_no_socket), cmocka_unit_test(test_link_only),
        cmocka_unit_test(test_dhcp4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
