/* ESP from the wire: what is refused and where it is counted; clear packets; endpoints that move.
 */
#include "tests/unit/path/rig.h"

#define A  "10.1.0.1"
#define B  "10.2.0.1"
#define OA "192.0.2.1"
#define OB "192.0.2.2"

/* a: the far end, which encrypts; b: the one under test. */
struct pair {
    struct rig *a, *b;
    struct sa *out, *in, *back; /* a's; b's; b's own outbound */
};

static struct pair fresh(enum esp_mode mode, enum esp_encap encap)
{
    struct pair p = {rig_new(1), rig_new(2), NULL, NULL, NULL};
    struct spd_policy q[2] = {mode == ESP_TUNNEL ? rig_tunnel("t", A, B, OA, OB)
                                                 : rig_policy("t", OA, OB, SPD_PROTECT),
                              rig_policy("pass", OA, OB, SPD_PASS)};
    rig_load(p.a, q, 1);
    struct ip_range swap = q[0].sel.local;
    q[0].sel.local = q[0].sel.remote;
    q[0].sel.remote = swap;
    q[0].tunnel_local = rig_ip(OB);
    q[0].tunnel_remote = rig_ip(OA);
    q[0].sel.remote_port = (struct spd_ports){0, 1000};
    q[1] = rig_policy("other", "10.2.0.0/16", "10.1.0.0/16", SPD_PROTECT);
    rig_load(p.b, q, 2);
    struct sa_spec s = rig_spec(ESP_OUT, spd_at(p.a->spd, 0)->id, 0x1001, mode, OA, OB);
    struct sa_spec t = rig_spec(ESP_IN, spd_at(p.b->spd, 0)->id, 0x1001, mode, OA, OB);
    struct sa_spec u = rig_spec(ESP_OUT, spd_at(p.b->spd, 0)->id, 0x1002, mode, OB, OA);
    t.encap = encap;
    if (encap == ESP_ENCAP_UDP) {
        s.encap = u.encap = encap;
        s.udp_sport = s.udp_dport = t.udp_sport = t.udp_dport = u.udp_sport = u.udp_dport = 4500;
    }
    p.out = rig_sa(p.a, &s);
    p.in = rig_sa(p.b, &t);
    p.back = rig_sa(p.b, &u);
    p.a->local[0] = rig_ip(OA);
    p.b->local[0] = rig_ip(OB);
    return p;
}

static void done(struct pair *p)
{
    rig_free(p->a);
    rig_free(p->b);
}

static void make(struct pair *p, const char *src, const char *dst, uint16_t port)
{
    uint8_t f[2048];
    size_t n = rig_udp(f, p->a, true, src, dst, port, 2, 64, false);
    rig_send_host(p->a, f, n);
}

/* The frame i that left a, changed at one place, into b. */
static void give(struct pair *p, unsigned i, size_t at, uint8_t flip)
{
    uint8_t f[2048];
    size_t n = p->a->out[i].tx.len;
    memcpy(f, p->a->out[i].p, n);
    memcpy(f, p->b->port.mac, 6);
    f[at] ^= flip;
    ip4_fix_checksum(f + 14, 20);
    rig_send_wire(p->b, f, n);
}

static void test_refusals(void **state)
{
    struct pair p = fresh(ESP_TUNNEL, ESP_ENCAP_NONE);
    for (int i = 0; i < 4; i++)
        make(&p, A, B, 1);
    give(&p, 0, 0, 0);
    assert_int_equal(p.b->n_tap, 1);
    give(&p, 0, 0, 0);
    assert_int_equal(p.in->drops[SA_DROP_REPLAY], 1);
    give(&p, 1, 60, 1);
    assert_int_equal(p.in->drops[SA_DROP_ICV], 1);
    assert_int_equal(*p.in->win.top, 1); /* a bad ICV moves nothing */
    give(&p, 1, 34, 1);                  /* SPI */
    assert_int_equal(rig_drop(p.b, DP_DROP_UNKNOWN_SPI), 1);
    p.in->spec.dst = rig_ip("192.0.2.9");
    give(&p, 1, 0, 0);
    assert_int_equal(rig_drop(p.b, DP_DROP_UNKNOWN_SPI), 2);
    p.in->spec.dst = rig_ip(OB);
    p.in->spec.encap = ESP_ENCAP_UDP;
    give(&p, 1, 0, 0);
    assert_int_equal(rig_drop(p.b, DP_DROP_UNKNOWN_SPI), 3);
    p.in->spec.encap = ESP_ENCAP_EITHER;
    give(&p, 1, 0, 0);
    assert_int_equal(p.b->n_tap, 2);
    p.in->spec.hard.packets = 2;
    give(&p, 2, 0, 0);
    assert_int_equal(p.in->drops[SA_DROP_LIFETIME], 1);
    assert_int_equal(p.b->life, LIFE_HARD);
    dp_set_mode(p.b->dp, DP_DISCARD);
    give(&p, 3, 0, 0);
    assert_int_equal(rig_drop(p.b, DP_DROP_STOPPED), 1);
    assert_int_equal(p.b->n_tap, 2);
    assert_memory_equal(p.b->tap[0].p, p.b->port.mac, 6);
    done(&p);
}

/* The inner packet must meet the SA's own policy first. */
static void test_selectors(void **state)
{
    struct pair p = fresh(ESP_TUNNEL, ESP_ENCAP_NONE);
    struct spd_policy wide = rig_tunnel("t", "any", "any", OA, OB);
    rig_load(p.a, &wide, 1);
    p.out->spec.policy_id = spd_at(p.a->spd, 0)->id;
    sad_delete(p.a->sad, p.out);
    struct sa_spec s = rig_spec(ESP_OUT, spd_at(p.a->spd, 0)->id, 0x1001, ESP_TUNNEL, OA, OB);
    p.out = rig_sa(p.a, &s);
    make(&p, A, B, 1000);
    make(&p, A, B, 1001);       /* another policy's: first match is "other" */
    make(&p, "10.1.0.2", B, 1); /* likewise */
    make(&p, "10.9.0.1", B, 1); /* nobody's */
    make(&p, A, "10.2.0.9", 1);
    for (unsigned i = 0; i < p.a->n_out; i++)
        give(&p, i, 0, 0);
    assert_int_equal(p.b->n_tap, 1);
    assert_int_equal(p.in->drops[SA_DROP_SELECTOR], 4);
    done(&p);
}

/* Transport: the outer source is the inner one, and the ICV does not cover it. A policy for a whole
 * net has an SA for each peer; none may speak as another, whoever decrypted it. */
static void test_spoofed_source(void **state)
{
    for (int card = 0; card < 2; card++) {
        struct pair p = fresh(ESP_TRANSPORT, ESP_ENCAP_NONE);
        struct spd_policy net = rig_policy("net", OB, "192.0.0.0/16", SPD_PROTECT);
        rig_load(p.b, &net, 1);
        p.in->spec.policy_id = spd_at(p.b->spd, 0)->id;
        uint8_t f[512];
        for (unsigned i = 0; i < 3; i++) {
            size_t n = rig_udp(f, p.b, false, i == 1 ? "192.0.3.0" : OA, OB, 1, 2, 64, false);
            struct dp_rx rx = {
                .kind = DP_RX_PROTECTED, .sa = p.in, .seq = i + 1, .frame = f, .len = n};
            make(&p, OA, OB, 1);
            if (i == 2)
                p.in->spec.src = p.in->spec.dst = (struct ip_addr){0}; /* an SA for any source */
            if (card)
                dp_from_port(p.b->dp, p.b->now, &rx);
            else
                give(&p, i, 14 + 15, i == 1 ? 0x80 : 0);
            assert_int_equal(p.b->n_tap, i == 0 ? 1 : i);
            assert_int_equal(p.in->drops[SA_DROP_SELECTOR], i > 0);
        }
        done(&p);
    }
}

/* In UDP a transport SA follows its peer; a packet late from where the peer was is refused. */
static void test_late_source(void **state)
{
    struct pair p = fresh(ESP_TRANSPORT, ESP_ENCAP_UDP);
    struct spd_policy any = rig_policy("t", "any", "any", SPD_PROTECT);
    rig_load(p.b, &any, 1);
    p.in->spec.policy_id = spd_at(p.b->spd, 0)->id;
    make(&p, OA, OB, 1);
    make(&p, OA, OB, 1);
    give(&p, 1, 14 + 15, 77 ^ 1);
    assert_int_equal(p.b->n_tap, 1);
    give(&p, 0, 0, 0);
    assert_int_equal(p.b->n_tap, 1);
    assert_int_equal(p.in->drops[SA_DROP_SELECTOR], 1);
    done(&p);
}

static void test_clear(void **state)
{
    struct pair p = fresh(ESP_TUNNEL, ESP_ENCAP_NONE);
    uint8_t f[2048];
    size_t n = rig_udp(f, p.b, false, A, B, 1, 2, 64, false);
    rig_send_wire(p.b, f, n);
    assert_int_equal(rig_drop(p.b, DP_DROP_CLEAR_FORBIDDEN), 1);
    n = rig_udp(f, p.b, false, "10.77.0.1", B, 1, 2, 64, false);
    rig_send_wire(p.b, f, n);
    assert_int_equal(rig_drop(p.b, DP_DROP_NO_POLICY), 1);
    struct spd_policy pass = rig_policy("pass", "any", "10.77.0.0/16", SPD_PASS);
    rig_load(p.b, &pass, 1);
    rig_send_wire(p.b, f, n);
    assert_int_equal(p.b->n_tap, 1);
    rig_send_wire(p.b, f, 20);
    f[14] = 0x43;
    rig_send_wire(p.b, f, n);
    assert_int_equal(rig_drop(p.b, DP_DROP_MALFORMED), 2);
    /* ESP for another host is a packet like any other */
    uint8_t esp[40] = {0, 0, 16, 1};
    n = rig_raw(f, p.b, false, "10.77.0.1", "10.2.0.7", IPP_ESP, esp, sizeof esp);
    rig_send_wire(p.b, f, n);
    assert_int_equal(p.b->n_tap, 2);
    done(&p);
}

/* The outer packet in fragments; inner fragments through the tunnel. */
static void test_fragments(void **state)
{
    struct pair p = fresh(ESP_TUNNEL, ESP_ENCAP_NONE);
    make(&p, A, B, 1);
    struct pkt q;
    struct frag c;
    uint8_t piece[512];
    size_t n;
    memcpy(p.a->out[0].p, p.b->port.mac, 6);
    assert_true(pkt_parse(&q, p.a->out[0].p, p.a->out[0].tx.len));
    assert_true(frag_begin(&c, q.ip, &q.i, 60, 9, false));
    memcpy(piece, q.l2, 14);
    while ((n = frag_next(&c, piece + 14)) != 0)
        rig_send_wire(p.b, piece, 14 + n);
    assert_int_equal(p.b->n_tap, 1);
    uint8_t f[4096];
    n = rig_udp(f, p.a, true, A, B, 5, 2, 3000, false);
    rig_clear(p.a);
    rig_send_cut(p.a, f, n, 1500);
    assert_int_equal(p.a->n_out, 3);
    rig_wire(p.a, p.b);
    assert_int_equal(p.b->n_tap, 4); /* in fragments to the host, as the far host made them */
    assert_int_equal(p.in->packets[PATH_SOFTWARE], 4);
    done(&p);
}

/* A NAT gave the peer a new address and port: the verified, newest packet moves both directions. */
static void test_moves(void **state)
{
    struct pair p = fresh(ESP_TUNNEL, ESP_ENCAP_UDP);
    for (int i = 0; i < 4; i++)
        make(&p, A, B, 1);
    give(&p, 0, 0, 0);
    assert_int_equal(p.b->moved, 0);
    struct ip_addr src = rig_ip(OA), dst = rig_ip(OB), now_at = rig_ip("198.51.100.7");
    /* unverified: moves nothing */
    p.a->out[2].p[14 + 12] ^= 0x80;
    give(&p, 2, 80, 1);
    p.a->out[2].p[14 + 12] ^= 0x80;
    assert_int_equal(p.b->moved, 0);
    sad_move(p.a->sad, p.out, &now_at, &dst, 61000, 4500);
    make(&p, A, B, 1); /* number 5 */
    give(&p, 4, 0, 0);
    assert_int_equal(p.b->n_tap, 2);
    assert_int_equal(p.b->moved, 2);
    assert_true(ip_eq(&p.in->spec.src, &now_at) && p.in->spec.udp_sport == 61000);
    assert_true(ip_eq(&p.back->spec.dst, &now_at) && p.back->spec.udp_dport == 61000);
    assert_int_equal(p.back->spec.udp_sport, 4500);
    /* an older one, delayed on the way, is delivered and moves nothing back */
    give(&p, 1, 0, 0);
    assert_int_equal(p.b->n_tap, 3);
    assert_int_equal(p.b->moved, 2);
    /* outbound follows at once */
    uint8_t f[512];
    size_t n = rig_udp(f, p.b, true, B, A, 2, 1, 64, false);
    rig_send_host(p.b, f, n);
    assert_int_equal(p.b->n_out, 1);
    assert_memory_equal(p.b->out[0].p + 14 + 16, now_at.b, 4);
    assert_int_equal(get_be16(p.b->out[0].p + 36), 61000);
    assert_true(ip_eq(&p.b->hop_dst, &now_at));
    (void)src;
    done(&p);
}

/* A peer that changes its port with every packet is followed once a second, in tunnel mode without
 * loss. */
static void test_move_pace(void **state)
{
    struct pair p = fresh(ESP_TUNNEL, ESP_ENCAP_UDP);
    struct ip_addr a = rig_ip(OA), b = rig_ip(OB);
    for (uint16_t i = 0; i < 20; i++) {
        sad_move(p.a->sad, p.out, &a, &b, 61000 + i, 4500);
        make(&p, A, B, 1);
        p.b->now += SECOND / 10;
        give(&p, i, 0, 0);
    }
    assert_int_equal(p.b->n_tap, 20);
    assert_int_equal(p.b->moved, 2 * 2); /* two seconds, both directions */
    assert_int_equal(p.in->spec.udp_sport, 61010);
    assert_int_equal(p.back->spec.udp_dport, 61010);
    done(&p);
}

/* An SA that was told no port learns it from the first packet. Two hosts behind one NAT: which of
 * the outbound SAs is this host's is not known, and none moves. */
static void test_port_unknown(void **state)
{
    for (int two = 0; two < 2; two++) {
        struct pair p = fresh(ESP_TUNNEL, ESP_ENCAP_UDP);
        struct ip_addr a = rig_ip(OA), b = rig_ip(OB);
        struct sa_spec s = p.back->spec;
        memset(s.keys.encr, 0x11, s.suite->encr_len);
        s.spi = 0x1003;
        s.udp_dport = two ? 61002 : 4500; /* another host's; or a rekeyed SA of the same */
        struct sa *other = rig_sa(p.b, &s);
        p.in->spec.udp_sport = 0;
        sad_move(p.a->sad, p.out, &a, &b, 61001, 4500);
        make(&p, A, B, 1);
        give(&p, 0, 0, 0);
        assert_int_equal(p.in->spec.udp_sport, 61001);
        assert_int_equal(p.back->spec.udp_dport, two ? 4500 : 61001);
        assert_int_equal(other->spec.udp_dport, two ? 61002 : 61001);
        assert_int_equal(p.b->moved, two ? 1 : 3);
        done(&p);
    }
}

/* Where UDP is not the SA's own choice nothing moves. */
static void test_does_not_move(void **state)
{
    struct pair p = fresh(ESP_TUNNEL, ESP_ENCAP_NONE);
    make(&p, A, B, 1);
    give(&p, 0, 14 + 12, 0x40);
    assert_int_equal(p.b->n_tap, 1);
    assert_int_equal(p.b->moved, 0);
    done(&p);
}

/* Transport behind a NAT: the outer source differs from what the sender summed over. */
static void test_mended(void **state)
{
    for (int card = 0; card < 2; card++) {
        struct pair p = fresh(ESP_TRANSPORT, ESP_ENCAP_UDP);
        struct spd_policy any = rig_policy("t", "any", "any", SPD_PROTECT);
        rig_load(p.b, &any, 1);
        p.in->spec.policy_id = spd_at(p.b->spd, 0)->id;
        uint8_t f[512];
        if (card) {
            size_t n = rig_udp(f, p.b, false, OA, OB, 1, 2, 64, false);
            p.in->spec.src.b[3] = f[14 + 15] = 77;
            ip4_fix_checksum(f + 14, 20);
            struct dp_rx rx = {.kind = DP_RX_PROTECTED, .sa = p.in, .seq = 1, .frame = f, .len = n};
            dp_from_port(p.b->dp, p.b->now, &rx);
        } else {
            make(&p, OA, OB, 1);
            give(&p, 0, 14 + 15, 77 ^ 1);
        }
        assert_int_equal(p.b->n_tap, 1);
        struct pkt q;
        assert_true(pkt_parse(&q, p.b->tap[0].p, p.b->tap[0].tx.len));
        assert_int_equal(q.i.src.b[3], 77);
        size_t len = q.i.total - 20;
        uint32_t sum = ip_pseudo_sum(&q.i.src, &q.i.dst, IPP_UDP, len);
        assert_int_equal(ip_sum_fold(ip_sum(q.ip + 20, len, sum)), 0);
        done(&p);
    }
}

static void test_tap_full(void **state)
{
    struct pair p = fresh(ESP_TUNNEL, ESP_ENCAP_NONE);
    make(&p, A, B, 1);
    p.b->tap_rc = -ENOBUFS;
    give(&p, 0, 0, 0);
    assert_int_equal(rig_drop(p.b, DP_DROP_TAP_FULL), 1);
    done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_selectors),
        cmocka_unit_test(test_clear),          cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_moves),          cmocka_unit_test(test_does_not_move),
        cmocka_unit_test(test_spoofed_source), cmocka_unit_test(test_late_source),
        cmocka_unit_test(test_mended),         cmocka_unit_test(test_move_pace),
        cmocka_unit_test(test_port_unknown),   cmocka_unit_test(test_tap_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
