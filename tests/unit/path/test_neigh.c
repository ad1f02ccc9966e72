/* ARP and neighbour discovery for what lies behind a tunnel. */
#include "tests/unit/path/rig.h"

static struct rig *fresh(void)
{
    struct rig *r = rig_new(1);
    struct spd_policy p[4] = {
        rig_tunnel("t4", "192.0.2.0/25", "192.0.2.128/25", "192.0.2.1", "192.0.2.200"),
        rig_tunnel("t6", "any", "2001:db8:0:1::/112", "2001:db8::1", "2001:db8:0:1::99"),
        rig_tunnel("all", "any", "any", "192.0.2.1", "192.0.2.201"),
        rig_policy("hosts", "any", "192.0.2.64/28", SPD_PROTECT)};
    rig_load(r, p, 4);
    r->local[0] = rig_ip("192.0.2.1");
    r->local[1] = rig_ip("192.0.2.129");
    r->local[2] = rig_ip("2001:db8::1");
    return r;
}

static size_t arp(uint8_t *f, struct rig *r, const char *from, const char *target, uint8_t op)
{
    struct ip_addr s = rig_ip(from), t = rig_ip(target);
    uint8_t *a = rig_eth(f, r, true, ETH_ARP);
    memset(f, 0xff, 6);
    memset(a, 0, 46);
    memcpy(a, (uint8_t[8]){0, 1, 8, 0, 6, 4, 0, op}, 8);
    memcpy(a + 8, r->port.mac, 6);
    memcpy(a + 14, s.b, 4);
    memcpy(a + 24, t.b, 4);
    return 60;
}

static bool asks4(struct rig *r, const char *from, const char *target, uint8_t op)
{
    uint8_t f[64];
    size_t n = arp(f, r, from, target, op);
    rig_send_host(r, f, n);
    bool answered = r->n_tap == 1;
    assert_int_equal(r->n_out, answered ? 0 : 1); /* else it goes to the wire */
    if (answered) {
        const uint8_t *a = r->tap[0].p;
        struct ip_addr t = rig_ip(target), s = rig_ip(from);
        assert_memory_equal(a, r->port.mac, 6);
        assert_int_equal(a[14 + 7], 2);
        assert_memory_equal(a + 14 + 8, a + 6, 6);
        assert_true(a[6] == r->port.mac[0] && (a[11] ^ r->port.mac[5]) == 0xff);
        assert_memory_equal(a + 14 + 14, t.b, 4);
        assert_memory_equal(a + 14 + 18, r->port.mac, 6);
        assert_memory_equal(a + 14 + 24, s.b, 4);
    }
    rig_clear(r);
    return answered;
}

static void test_arp(void **state)
{
    struct rig *r = fresh();
    assert_true(asks4(r, "192.0.2.1", "192.0.2.130", 1));
    assert_true(asks4(r, "192.0.2.1", "192.0.2.255", 1));
    assert_false(asks4(r, "192.0.2.1", "192.0.2.127", 1)); /* outside */
    assert_false(asks4(r, "192.0.2.1", "192.0.2.66", 1));  /* transport: a real neighbour */
    assert_false(asks4(r, "192.0.2.1", "192.0.2.200", 1)); /* the far end itself */
    assert_false(asks4(r, "192.0.2.1", "192.0.2.201", 1)); /* another tunnel's far end */
    assert_false(asks4(r, "192.0.2.1", "192.0.2.129", 1)); /* ours */
    assert_false(asks4(r, "0.0.0.0", "192.0.2.130", 1));   /* a probe for duplicates */
    assert_false(asks4(r, "192.0.2.130", "192.0.2.130", 1));
    assert_false(asks4(r, "192.0.2.1", "192.0.2.130", 2));
    assert_false(asks4(r, "192.0.2.1", "10.0.0.1", 1)); /* "any" says nothing of what is on-link */
    dp_set_mode(r->dp, DP_PASS);
    assert_false(asks4(r, "192.0.2.1", "192.0.2.130", 1));
    rig_free(r);
}

static bool asks6(struct rig *r, const char *from, const char *target)
{
    uint8_t f[128], body[32] = {135};
    struct ip_addr t = rig_ip(target), s = rig_ip(from);
    memcpy(body + 8, t.b, 16);
    body[24] = body[25] = 1;
    memcpy(body + 26, r->port.mac, 6);
    size_t n = rig_raw(f, r, true, from, "ff02::1:ff00:1", IPP_ICMPV6, body, sizeof body);
    f[14 + 7] = 255;
    rig_send_host(r, f, n);
    bool answered = r->n_tap == 1;
    assert_int_equal(r->n_out, answered ? 0 : 1);
    if (answered) {
        struct pkt p;
        assert_true(pkt_parse(&p, r->tap[0].p, r->tap[0].tx.len));
        assert_true(ip_eq(&p.i.src, &t) && ip_eq(&p.i.dst, &s));
        assert_int_equal(p.i.ttl, 255);
        const uint8_t *icmp = p.ip + 40;
        assert_int_equal(icmp[0], 136);
        assert_int_equal(icmp[4], 0x60);
        assert_memory_equal(icmp + 8, t.b, 16);
        assert_memory_equal(icmp + 26, p.l2 + 6, 6);
        uint32_t sum = ip_pseudo_sum(&t, &s, IPP_ICMPV6, 32);
        assert_int_equal(ip_sum_fold(ip_sum(icmp, 32, sum)), 0);
    }
    rig_clear(r);
    return answered;
}

static void test_nd(void **state)
{
    struct rig *r = fresh();
    assert_true(asks6(r, "2001:db8::1", "2001:db8:0:1::5"));
    assert_false(asks6(r, "2001:db8::1", "2001:db8:0:1::99"));
    assert_false(asks6(r, "2001:db8::1", "2001:db8:0:2::5"));
    assert_false(asks6(r, "::", "2001:db8:0:1::5")); /* DAD */
    rig_free(r);
}

/* What leaves for the MAC that was told has the real next hop's on the wire. */
static void test_mac_stays_here(void **state)
{
    struct rig *r = fresh();
    uint8_t f[256], told[6];
    size_t n = arp(f, r, "192.0.2.1", "192.0.2.130", 1);
    rig_send_host(r, f, n);
    memcpy(told, r->tap[0].p + 6, 6);
    struct spd_policy p = rig_policy("pass", "any", "any", SPD_PASS);
    rig_load(r, &p, 1);
    n = rig_udp(f, r, true, "192.0.2.1", "192.0.2.130", 1, 2, 10, false);
    memcpy(f, told, 6);
    rig_send_host(r, f, n);
    assert_int_equal(r->n_out, 1);
    assert_memory_equal(r->out[0].p, r->hop_mac, 6);
    r->hop_rc = -EAGAIN;
    rig_send_host(r, f, n);
    assert_int_equal(r->n_out, 1);
    r->hop_rc = 0;
    struct ip_addr dst = rig_ip("192.0.2.130");
    dp_neighbour_ready(r->dp, r->now, &dst);
    assert_int_equal(r->n_out, 2);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arp),
        cmocka_unit_test(test_nd),
        cmocka_unit_test(test_mac_stays_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
