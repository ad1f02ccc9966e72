/* "Too big" told to the host, and ICMP errors that quote our ESP. */
#include "tests/unit/path/rig.h"

#define OA "192.0.2.1"
#define OB "192.0.2.2"
#define QA "2001:db8::1"
#define QB "2001:db8::2"

struct side {
    const char *name;
    enum esp_mode mode;
    const char *in_l, *in_r, *out_l, *out_r;
    unsigned mtu;       /* told for a wire of 1500 */
    const char *source; /* of the message */
    bool udp;
};

static const struct side sides[] = {
    {"4 in 4", ESP_TUNNEL, "10.1.0.1", "10.2.0.1", OA, OB, 1446, OB, false},
    {"4 in 4 udp", ESP_TUNNEL, "10.1.0.1", "10.2.0.1", OA, OB, 1438, OB, true},
    {"4 in 6", ESP_TUNNEL, "10.1.0.1", "10.2.0.1", QA, QB, 1426, "10.2.0.1", false},
    {"6 in 4", ESP_TUNNEL, "fd01::1", "fd02::1", OA, OB, 1446, "fd02::1", false},
    {"6 in 6", ESP_TUNNEL, "fd01::1", "fd02::1", QA, QB, 1426, QB, false},
    {"transport 4", ESP_TRANSPORT, OA, OB, OA, OB, 1466, OB, false},
    {"transport 6", ESP_TRANSPORT, QA, QB, QA, QB, 1466, QB, false},
};

static struct rig *fresh(const struct side *s, struct sa **sa)
{
    struct rig *r = rig_new(1);
    struct spd_policy p[2] = {s->mode == ESP_TUNNEL
                                  ? rig_tunnel("t", s->in_l, s->in_r, s->out_l, s->out_r)
                                  : rig_policy("t", s->in_l, s->in_r, SPD_PROTECT),
                              rig_policy("rest", "any", "any", SPD_PASS)};
    p[0].sel.proto = IPP_UDP;
    rig_load(r, p, 2);
    struct sa_spec spec =
        rig_spec(ESP_OUT, spd_at(r->spd, 0)->id, 0x1001, s->mode, s->out_l, s->out_r);
    if (s->udp) {
        spec.encap = ESP_ENCAP_UDP;
        spec.udp_sport = spec.udp_dport = 4500;
    }
    *sa = rig_sa(r, &spec);
    r->local[0] = rig_ip(s->out_l);
    return r;
}

static void send(struct rig *r, const struct side *s, size_t total)
{
    uint8_t f[2048];
    size_t hdr = strchr(s->in_l, ':') ? 48 : 28;
    size_t n = rig_udp(f, r, true, s->in_l, s->in_r, 1, 2, total - hdr, true);
    rig_send_host(r, f, n);
}

static void test_told(void **state)
{
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        struct sa *sa;
        const struct side *s = &sides[i];
        struct rig *r = fresh(s, &sa);
        send(r, s, s->mtu);
        assert_int_equal(r->n_out, 1);
        assert_int_equal(r->n_tap, 0);
        send(r, s, s->mtu + 1);
        assert_int_equal(r->n_out, 1);
        assert_int_equal(r->n_tap, 1);
        struct pkt p;
        assert_true(pkt_parse(&p, r->tap[0].p, r->tap[0].tx.len));
        struct ip_addr want = rig_ip(s->source), to = rig_ip(s->in_l);
        assert_true(ip_eq(&p.i.src, &want) && ip_eq(&p.i.dst, &to));
        assert_memory_equal(p.l2, r->port.mac, 6);
        const uint8_t *icmp = p.ip + p.i.l4_off;
        unsigned mtu = p.i.version == 4 ? get_be16(icmp + 6) : get_be32(icmp + 4);
        assert_int_equal(mtu, s->mtu);
        assert_int_equal(icmp[0], p.i.version == 4 ? 3 : 2);
        size_t len = p.i.total - p.i.l4_off;
        uint32_t sum = p.i.version == 4 ? 0 : ip_pseudo_sum(&p.i.src, &p.i.dst, IPP_ICMPV6, len);
        assert_int_equal(ip_sum_fold(ip_sum(icmp, len, sum)), 0);
        assert_int_equal(sa->drops[SA_DROP_TOO_BIG], 1);
        assert_int_equal(sa->next, 2);
        rig_free(r);
    }
}

static void test_rate(void **state)
{
    struct sa *sa;
    struct rig *r = fresh(&sides[0], &sa);
    for (int i = 0; i < 400; i++)
        send(r, &sides[0], 1500);
    assert_int_equal(r->n_tap, 200);
    assert_int_equal(sa->drops[SA_DROP_TOO_BIG], 400);
    r->now += SECOND / 100;
    for (int i = 0; i < 400; i++)
        send(r, &sides[0], 1500);
    assert_int_equal(r->n_tap, 210);
    rig_free(r);
}

/* No error about an error, or about a group. */
static void test_not_told(void **state)
{
    struct sa *sa;
    struct rig *r = fresh(&sides[0], &sa);
    static uint8_t f[4096], body[1600] = {3, 1};
    r->port.mtu = 1000;
    size_t n = rig_raw(f, r, true, "10.7.0.1", "10.8.0.1", IPP_ICMP, body, 1200);
    f[14 + 6] = 0x40;
    ip4_fix_checksum(f + 14, 20);
    rig_send_host(r, f, n);
    n = rig_udp(f, r, true, "10.7.0.1", "224.1.1.1", 1, 2, 1200, true);
    rig_send_host(r, f, n);
    assert_int_equal(r->n_tap, 0);
    assert_int_equal(rig_drop(r, DP_DROP_TOO_BIG), 2);
    /* without IPsec too: cut where that is allowed, told where it is not */
    n = rig_udp(f, r, true, "10.7.0.1", "10.8.0.1", 1, 2, 1200, true);
    rig_send_host(r, f, n);
    assert_int_equal(r->n_tap, 1);
    n = rig_udp(f, r, true, "10.7.0.1", "10.8.0.1", 1, 2, 1200, false);
    rig_send_host(r, f, n);
    assert_int_equal(r->n_out, 2);
    rig_free(r);
}

/* A router's answer to the frame that left last. */
static size_t answer(struct rig *r, uint8_t *f, uint8_t type, uint8_t code, uint32_t mtu,
                     size_t quote)
{
    const struct rig_frame *x = &r->out[r->n_out - 1];
    const uint8_t *ip = x->p + 14;
    uint8_t body[1300] = {type, code};
    bool v6 = ip[0] >> 4 == 6;
    put_be32(body + 4, mtu);
    if (quote > x->tx.len - 14)
        quote = x->tx.len - 14;
    memcpy(body + 8, ip, quote);
    char to[IP_ADDR_STR];
    struct ip_addr us = {.family = v6 ? 6 : 4};
    memcpy(us.b, ip + (v6 ? 8 : 12), v6 ? 16 : 4);
    size_t n = rig_raw(f, r, false, v6 ? "2001:db8::99" : "192.0.2.99", ip_str(&us, to),
                       v6 ? IPP_ICMPV6 : IPP_ICMP, body, 8 + quote);
    struct pkt p;
    assert_true(pkt_parse(&p, f, n));
    uint32_t sum = v6 ? ip_pseudo_sum(&p.i.src, &p.i.dst, IPP_ICMPV6, 8 + quote) : 0;
    uint8_t *icmp = f + p.l2_len + p.i.l4_off;
    put_be16(icmp + 2, ip_sum_fold(ip_sum(icmp, 8 + quote, sum)));
    return n;
}

static void test_learned(void **state)
{
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        const struct side *s = &sides[i];
        bool v6 = strchr(s->out_l, ':') != NULL;
        struct sa *sa;
        struct rig *r = fresh(s, &sa);
        uint8_t f[2048];
        send(r, s, s->mtu);
        size_t quote = v6 ? 60 : 40;
#define TELL(mtu)                                                                                  \
    rig_send_wire(r, f, v6 ? answer(r, f, 2, 0, mtu, quote) : answer(r, f, 3, 4, mtu, quote))
        TELL(v6 ? 1279 : 575); /* not plausible */
        assert_int_equal(sa->pmtu, 0);
        TELL(1501); /* never raised */
        assert_int_equal(sa->pmtu, 0);
        TELL(1400);
        assert_int_equal(sa->pmtu, 1400);
        TELL(1450);
        assert_int_equal(sa->pmtu, 1400);
        TELL(1300);
        assert_int_equal(sa->pmtu, 1300);
        assert_int_equal(r->n_tap, 0); /* none went to the host or to the SPD */
        unsigned less = s->mtu - 200;
        send(r, s, less);
        assert_int_equal(r->n_out, 2);
        assert_true(r->out[1].tx.len <= 14 + 1300);
        send(r, s, s->mtu);
        assert_int_equal(r->n_tap, 1);
        if (!v6) { /* a router that does not say */
            rig_send_wire(r, f, answer(r, f, 3, 4, 0, quote));
            assert_int_equal(sa->pmtu, 1280);
        }
        /* unreachable: ours, but nothing learned */
        rig_send_wire(r, f, v6 ? answer(r, f, 1, 0, 0, quote) : answer(r, f, 3, 1, 0, quote));
        assert_int_equal(r->n_tap, 1);
        rig_free(r);
    }
}

static void test_forged(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        struct sa *sa;
        struct rig *r = fresh(&sides[i], &sa);
        uint8_t f[2048], g[2048];
        send(r, &sides[i], 1000);
        size_t n = answer(r, f, 3, 4, 1300, 60), l4 = 34, spi = l4 + 8 + 20 + (i ? 8 : 0);
        /* what is changed, and by how much; each is a packet for the SPD, whose last rule passes */
        const size_t at[] = {spi + 3, spi + 4, l4 + 8 + 12, l4 + 8 + 16, l4 + 8 + 9};
        unsigned k = sizeof at / sizeof *at;
        for (unsigned j = 0; j < k; j++) {
            memcpy(g, f, n);
            g[at[j]] ^= 0x40;
            put_be16(g + l4 + 2, 0);
            put_be16(g + l4 + 2, ip_sum_fold(ip_sum(g + l4, n - l4, 0)));
            rig_send_wire(r, g, n);
            assert_int_equal(r->n_tap, j + 1);
        }
        f[l4 + 7] ^= 1; /* a bad checksum */
        rig_send_wire(r, f, n);
        assert_int_equal(r->n_tap, k + 1);
        /* cut short before the SPI */
        n = answer(r, f, 3, 4, 1300, i ? 30 : 22);
        rig_send_wire(r, f, n);
        assert_int_equal(r->n_tap, k + 2);
        assert_int_equal(sa->pmtu, 0);
        rig_free(r);
    }
}

/* Two peers may have chosen the same SPI. */
static void test_same_spi(void **state)
{
    struct sa *sa, *other;
    struct rig *r = fresh(&sides[0], &sa);
    uint8_t f[2048];
    send(r, &sides[0], 1000);
    struct sa_spec s = rig_spec(ESP_OUT, 77, 0x1001, ESP_TUNNEL, OA, "192.0.2.3");
    other = rig_sa(r, &s);
    rig_send_wire(r, f, answer(r, f, 3, 4, 1300, 40));
    assert_int_equal(sa->pmtu, 1300);
    assert_int_equal(other->pmtu, 0);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told),     cmocka_unit_test(test_rate),
        cmocka_unit_test(test_not_told), cmocka_unit_test(test_learned),
        cmocka_unit_test(test_forged),   cmocka_unit_test(test_same_spi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
