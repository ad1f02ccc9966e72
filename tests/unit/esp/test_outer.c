/* The outer header field by field: RFC 6040 both ways, DSCP, DF, TTL, flow label, ID, UDP. */
#include "tests/unit/esp/esp_fixture.h"

static struct combo tunnel(uint8_t outer, uint8_t inner, bool udp)
{
    return (struct combo){.mode = ESP_TUNNEL,
                          .outer = outer,
                          .inner = inner,
                          .udp = udp,
                          .suite = esp_suite_at(0),
                          .backend = ESP_BACKEND_BEST};
}

static uint8_t tos_of(const uint8_t *p)
{
    return p[0] >> 4 == 4 ? p[1] : (uint8_t)(get_be32(p) >> 20);
}

static void set_tos(uint8_t *p, uint8_t tos)
{
    if (p[0] >> 4 == 4) {
        p[1] = tos;
        ip4_fix_checksum(p, 20);
    } else {
        put_be32(p, (get_be32(p) & 0xf00fffff) | (uint32_t)tos << 20);
    }
}

static bool v4_checksum_good(const uint8_t *p)
{
    return p[0] >> 4 != 4 || ip_sum_fold(ip_sum(p, (size_t)(p[0] & 15) * 4, 0)) == 0;
}

/* RFC 6040, figure 4. 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE; -1: drop. */
static void ecn_table(void **state)
{
    static const struct {
        uint8_t inner, outer;
        int want;
    } rows[16] = {
        {0, 0, 0}, {0, 2, 0}, {0, 1, 0}, {0, 3, -1}, {2, 0, 2}, {2, 2, 2}, {2, 1, 1}, {2, 3, 3},
        {1, 0, 1}, {1, 2, 1}, {1, 1, 1}, {1, 3, 3},  {3, 0, 3}, {3, 2, 3}, {3, 1, 3}, {3, 3, 3},
    };
    for (unsigned pair = 0; pair < 4; pair++) {
        struct combo c = tunnel(pair & 1 ? 6 : 4, pair & 2 ? 6 : 4, false);
        struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
        for (unsigned i = 0; i < 16; i++) {
            uint8_t inner[200], wire[FIX_ROOM], back[FIX_ROOM];
            size_t n, m;
            fix_packet(inner, c.inner, 100);
            set_tos(inner, (uint8_t)(0x28 | rows[i].inner));
            assert_int_equal(run_protect(out, inner, 100, 7, wire, &n), ESP_OK);
            assert_int_equal(tos_of(wire), 0x28 | rows[i].inner); /* encapsulation copies */
            set_tos(wire, (uint8_t)(0xb8 | rows[i].outer));
            enum esp_result r = run_open(in, wire, n, 7, back, &m);
            if (rows[i].want < 0) {
                assert_int_equal(r, ESP_BAD_ECN);
                assert_int_equal(m, 0);
                continue;
            }
            assert_int_equal(r, ESP_OK);
            set_tos(inner, (uint8_t)(0x28 | rows[i].want)); /* the outer DSCP is not taken over */
            assert_memory_equal(back, inner, 100);
            assert_true(v4_checksum_good(back));
        }
        esp_sa_free(out);
        esp_sa_free(in);
    }
}

static void wire_by(const struct combo *c, const struct esp_header_rules *r, uint64_t seq,
                    const uint8_t *inner, uint8_t *wire)
{
    struct esp_keys keys;
    struct esp_params p = fix_params(c, ESP_OUT, &keys);
    size_t n;
    p.rules = *r;
    struct esp_sa *sa = fix_sa_by(&p, c->backend);
    assert_int_equal(run_protect(sa, inner, 100, seq, wire, &n), ESP_OK);
    assert_true(v4_checksum_good(wire));
    esp_sa_free(sa);
}

static void dscp_and_ttl(void **state)
{
    static const struct esp_header_rules rules[] = {
        {.dscp = ESP_COPY}, {.dscp = ESP_SET, .dscp_value = 46, .ttl = 200}, {.dscp = ESP_CLEAR}};
    static const uint8_t tos[] = {0x2a, 46 << 2 | 2, 2}, ttl[] = {64, 200, 64};
    for (unsigned pair = 0; pair < 4; pair++)
        for (unsigned i = 0; i < 3; i++) {
            struct combo c = tunnel(pair & 1 ? 6 : 4, pair & 2 ? 6 : 4, false);
            uint8_t inner[200], wire[FIX_ROOM];
            fix_packet(inner, c.inner, 100);
            wire_by(&c, &rules[i], 7, inner, wire);
            assert_int_equal(tos_of(wire), tos[i]);
            assert_int_equal(c.outer == 4 ? wire[8] : wire[7], ttl[i]);
        }
}

static void df_and_id(void **state)
{
    static const struct {
        uint8_t inner;
        bool inner_df;
        enum esp_field_rule rule;
        bool df;
    } rows[] = {{4, true, ESP_COPY, true},  {4, false, ESP_COPY, false},
                {6, true, ESP_COPY, true},  {4, false, ESP_SET, true},
                {6, true, ESP_SET, true},   {4, true, ESP_CLEAR, false},
                {6, true, ESP_CLEAR, false}};
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct combo c = tunnel(4, rows[i].inner, i & 1);
        struct esp_header_rules r = {.df = rows[i].rule};
        uint8_t inner[200], wire[FIX_ROOM];
        fix_packet(inner, c.inner, 100);
        if (c.inner == 4 && !rows[i].inner_df) {
            inner[6] = 0;
            ip4_fix_checksum(inner, 20);
        }
        wire_by(&c, &r, 0xfffe1234, inner, wire);
        assert_int_equal(get_be16(wire + 6), rows[i].df ? 0x4000 : 0);
        assert_int_equal(get_be16(wire + 4), rows[i].df ? 0 : 0x1234);
    }
}

static void flow_label(void **state)
{
    static const struct esp_header_rules rules[] = {{.flow_label = ESP_COPY},
                                                    {.flow_label = ESP_SET, .flow_value = 0xabcde},
                                                    {.flow_label = ESP_CLEAR}};
    for (unsigned i = 0; i < 3; i++)
        for (uint8_t family = 4; family <= 6; family += 2) {
            struct combo c = tunnel(6, family, false);
            const uint32_t want[] = {family == 6 ? 0x54321 : 0, 0xabcde, 0};
            uint8_t inner[200], wire[FIX_ROOM];
            fix_packet(inner, family, 100);
            wire_by(&c, &rules[i], 7, inner, wire);
            assert_int_equal(get_be32(wire) & 0xfffff, want[i]);
        }
}

/* RFC 3948: no checksum over IPv4; over IPv6 there is one (RFC 8200, 8.1). */
static void udp_header(void **state)
{
    for (uint8_t outer = 4; outer <= 6; outer += 2) {
        struct combo c = tunnel(outer, 4, true);
        struct esp_header_rules r = {0};
        for (size_t seq = 1; seq < 50; seq++) {
            uint8_t inner[200], wire[FIX_ROOM];
            struct ip_info info;
            fix_packet(inner, 4, 100);
            wire_by(&c, &r, seq, inner, wire);
            assert_int_equal(ip_parse_packet(wire, sizeof wire, &info), 0);
            assert_int_equal(info.proto, IPP_UDP);
            assert_int_equal(info.sport, 4500);
            assert_int_equal(info.dport, 4501);
            const uint8_t *udp = wire + info.l4_off;
            size_t len = info.total - info.l4_off;
            assert_int_equal(get_be16(udp + 4), len);
            if (outer == 4) {
                assert_int_equal(get_be16(udp + 6), 0);
                continue;
            }
            assert_int_not_equal(get_be16(udp + 6), 0);
            uint32_t sum = ip_pseudo_sum(&info.src, &info.dst, IPP_UDP, len);
            assert_int_equal(ip_sum_fold(ip_sum(udp, len, sum)), 0);
        }
    }
}

static void plain_and_udp_where_either_is_allowed(void **state)
{
    static const enum esp_encap encaps[] = {ESP_ENCAP_NONE, ESP_ENCAP_UDP, ESP_ENCAP_EITHER};
    for (unsigned sent = 0; sent < 2; sent++)
        for (unsigned i = 0; i < 3; i++) {
            struct combo c = tunnel(4, 4, sent);
            struct esp_keys keys;
            struct esp_params p = fix_params(&c, ESP_IN, &keys);
            uint8_t inner[200], wire[FIX_ROOM], back[FIX_ROOM];
            size_t n, m;
            p.encap = encaps[i];
            struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa_by(&p, c.backend);
            fix_packet(inner, 4, 100);
            assert_int_equal(run_protect(out, inner, 100, 7, wire, &n), ESP_OK);
            bool good =
                encaps[i] == ESP_ENCAP_EITHER || (encaps[i] == ESP_ENCAP_UDP) == (sent == 1);
            assert_int_equal(run_open(in, wire, n, 7, back, &m), good ? ESP_OK : ESP_BAD_PACKET);
            esp_sa_free(out);
            esp_sa_free(in);
        }
}

static void the_end_moves(void **state)
{
    struct combo c = tunnel(4, 4, true);
    struct esp_sa *sa = fix_sa(&c, ESP_OUT);
    uint8_t inner[200], wire[FIX_ROOM];
    size_t n;
    struct ip_addr src = fix_addr(4, 77), dst = fix_addr(4, 88);
    struct ip_info info;
    esp_sa_move(sa, &src, &dst, 4500, 61000);
    fix_packet(inner, 4, 100);
    assert_int_equal(run_protect(sa, inner, 100, 7, wire, &n), ESP_OK);
    assert_int_equal(ip_parse_packet(wire, n, &info), 0);
    assert_true(ip_eq(&info.src, &src) && ip_eq(&info.dst, &dst) && info.dport == 61000);
    assert_true(v4_checksum_good(wire));
    esp_sa_free(sa);
}

/* A fragment or link padding inside a tunnel is cargo like any other; so are options. */
static void odd_inner_packets_pass_a_tunnel(void **state)
{
    struct combo c = tunnel(6, 4, false);
    struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
    uint8_t inner[200], wire[FIX_ROOM], back[FIX_ROOM];
    size_t n, m;
    fix_packet(inner, 4, 100);
    inner[0] = 0x47;
    put_be16(inner + 6, 0x2005);
    ip4_fix_checksum(inner, 28);
    assert_int_equal(run_protect(out, inner, 120, 7, wire, &n), ESP_OK);
    assert_int_equal(n, esp_outer_len(out, 100, 0));
    assert_int_equal(run_open(in, wire, n, 7, back, &m), ESP_OK);
    assert_int_equal(m, 100);
    assert_memory_equal(back, inner, 100);
    put_be16(inner + 2, 201); /* longer than it is */
    assert_int_equal(run_protect(out, inner, 200, 7, wire, &n), ESP_BAD_PACKET);
    esp_sa_free(out);
    esp_sa_free(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ecn_table),     cmocka_unit_test(dscp_and_ttl),
        cmocka_unit_test(df_and_id),     cmocka_unit_test(flow_label),
        cmocka_unit_test(udp_header),    cmocka_unit_test(plain_and_udp_where_either_is_allowed),
        cmocka_unit_test(the_end_moves), cmocka_unit_test(odd_inner_packets_pass_a_tunnel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
