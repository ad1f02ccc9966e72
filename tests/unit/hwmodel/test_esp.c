/* The card's ESP: published vectors, every family pair and mode, outer header rules, ECN, ESN. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "firmware-if/card_if.h"
#include "hwsim/model/esp.h"
#include "tests/unit/hwmodel/gcm_vectors.h"

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2, i;

    for (i = 0; i < n; i++) {
        unsigned b;

        sscanf(hex + 2 * i, "%2x", &b);
        out[i] = (uint8_t)b;
    }
    return n;
}

static void published_vectors(void **state)
{
    uint8_t key[64], salt[8], aad[16], plain[512], packet[512], back[512], iv[8];
    size_t i;

    for (i = 0; i < sizeof(gcm_vectors) / sizeof(gcm_vectors[0]); i++) {
        struct hw_esp e = {.outbound = true};
        size_t key_len = unhex(gcm_vectors[i].key, key), aad_len, len, total;
        uint64_t seq = 77;

        unhex(gcm_vectors[i].salt, salt);
        aad_len = unhex(gcm_vectors[i].aad, aad);
        len = unhex(gcm_vectors[i].plain, plain);
        total = unhex(gcm_vectors[i].packet, packet);
        assert_int_equal(total, 16 + len + 16);
        e.suite = hw_suite_find(20, 0, (unsigned)key_len);
        assert_non_null(e.suite);
        memcpy(e.salt, salt, 4);
        e.iv_xor = seq ^ ((uint64_t)hw_get32(packet + 8) << 32 | hw_get32(packet + 12));
        assert_int_equal(hw_esp_key(&e, key), 0);
        assert_int_equal(e.suite->seal(&e, seq, aad, aad_len, iv, plain, len), 0);
        assert_memory_equal(iv, packet + 8, 8);
        assert_memory_equal(plain, packet + 16, len + 16);
        hw_esp_clear(&e);

        memcpy(e.salt, salt, 4);
        e.outbound = false;
        assert_int_equal(hw_esp_key(&e, key), 0);
        assert_int_equal(e.suite->open(&e, packet + 8, aad, aad_len, packet + 16, len, back), 0);
        unhex(gcm_vectors[i].plain, plain);
        assert_memory_equal(back, plain, len);
        packet[20] ^= 1;
        assert_int_equal(e.suite->open(&e, packet + 8, aad, aad_len, packet + 16, len, back),
                         -EBADMSG);
        hw_esp_clear(&e);
    }
}

/* --- a pair of ends
 * ----------------------------------------------------------------------------------------- */

struct ends {
    struct hw_esp out, in;
};

static void make_ends(struct ends *e, bool tunnel, unsigned family, bool udp, bool esn)
{
    struct hw_esp *one[2] = {&e->out, &e->in};
    uint8_t key[32];
    unsigned i, k;

    memset(e, 0, sizeof(*e));
    for (k = 0; k < 32; k++)
        key[k] = (uint8_t)(0x11 * k);
    for (i = 0; i < 2; i++) {
        one[i]->suite = hw_suite_find(20, 0, esn ? 32 : 16);
        one[i]->outbound = i == 0;
        one[i]->tunnel = tunnel;
        one[i]->family = (uint8_t)family;
        one[i]->udp = udp;
        one[i]->esn = esn;
        one[i]->spi = 0xdeadbeef;
        one[i]->sport = 4500;
        one[i]->dport = 40000;
        one[i]->pmtu = 1500;
        memset(one[i]->src, 0x20, 16);
        memset(one[i]->dst, 0x21, 16);
        memcpy(one[i]->salt, "salt", 4);
        assert_int_equal(hw_esp_key(one[i], key), 0);
    }
}

static void free_ends(struct ends *e)
{
    hw_esp_clear(&e->out);
    hw_esp_clear(&e->in);
}

/* An IP packet of a family with n octets behind its headers; ext: a hop-by-hop header (IPv6). */
static size_t inner_frame(uint8_t *f, unsigned family, size_t n, bool ext)
{
    uint8_t *ip = f + 14;
    size_t head = family == 4 ? 20 : ext ? 48 : 40, i;

    memset(f, 0, 14 + head);
    memcpy(f, "\2\0\0\0\0\2\2\0\0\0\0\1", 12);
    hw_put16(f + 12, family == 4 ? 0x0800 : 0x86dd);
    if (family == 4) {
        ip[0] = 0x45;
        hw_put16(ip + 2, (uint16_t)(head + n));
        ip[8] = 63;
        ip[9] = 253;
        hw_put16(ip + 10, hw_fold(hw_sum(0, ip, 20)));
    } else {
        ip[0] = 0x60;
        hw_put16(ip + 4, (uint16_t)(head - 40 + n));
        ip[6] = ext ? 0 : 253;
        ip[7] = 63;
        if (ext)
            ip[40] = 253;
    }
    for (i = 0; i < n; i++)
        ip[head + i] = (uint8_t)(i * 7);
    return 14 + head + n;
}

static int open_frame(struct ends *e, const uint8_t *frame, size_t len, uint64_t seq,
                      struct hw_build *b)
{
    struct hw_frame f;
    uint8_t plain[10000], next;
    size_t skip = e->out.udp ? 8 : 0, n;
    int err;

    hw_parse_frame(frame, len, &f);
    assert_int_equal(f.family, e->out.family);
    assert_int_equal(f.proto, e->out.udp ? 17 : 50);
    err = hw_esp_open(&e->in, hw_payload(&f) + skip, hw_payload_len(&f) - skip,
                      (uint32_t)(seq >> 32), plain, &n);
    if (!err)
        err = hw_esp_strip(plain, &n, &next);
    return err ? err : hw_esp_deliver(&e->in, &f, next, plain, n, b);
}

static void there_and_back(unsigned inner, unsigned outer, bool tunnel, bool udp, bool esn,
                           size_t n)
{
    uint8_t f[2000], wire[2000], back[2000];
    struct hw_build out = {.out = wire, .cap = sizeof(wire)},
                    in = {.out = back, .cap = sizeof(back)};
    size_t len = inner_frame(f, inner, n, false);
    uint64_t seq = esn ? (3ull << 32) + 5 : 5;
    struct ends e;

    make_ends(&e, tunnel, outer, udp, esn);
    assert_int_equal(hw_esp_protect(&e.out, f, len, 0, seq, &out), CIF_TXS_OK);
    assert_int_equal(open_frame(&e, wire, out.len, seq, &in), 0);
    assert_int_equal(in.len, len);
    assert_memory_equal(back, f, len);
    free_ends(&e);
}

static void every_form(void **state)
{
    unsigned inner, outer, bits;

    for (inner = 4; inner <= 6; inner += 2)
        for (outer = 4; outer <= 6; outer += 2)
            for (bits = 0; bits < 8; bits++)
                if (bits & 1 || inner == outer)
                    there_and_back(inner, outer, bits & 1, bits & 2, bits & 4, 100 + bits);
}

static void every_length(void **state)
{
    size_t n;

    for (n = 0; n <= 257; n++) {
        there_and_back(4, 4, true, false, false, n);
        there_and_back(6, 6, false, true, true, n);
    }
}

static void every_icv_bit(void **state)
{
    uint8_t f[200], wire[300], back[300];
    struct hw_build out = {.out = wire, .cap = sizeof(wire)},
                    in = {.out = back, .cap = sizeof(back)};
    size_t len = inner_frame(f, 4, 20, false);
    struct ends e;
    unsigned bit;

    make_ends(&e, true, 4, false, true);
    assert_int_equal(hw_esp_protect(&e.out, f, len, 0, 1ull << 40, &out), CIF_TXS_OK);
    for (bit = 0; bit < 128; bit++) {
        wire[out.len - 16 + bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(open_frame(&e, wire, out.len, 1ull << 40, &in), -EBADMSG);
        wire[out.len - 16 + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(open_frame(&e, wire, out.len, 1ull << 41, &in), -EBADMSG); /* the high half */
    assert_int_equal(open_frame(&e, wire, out.len, 1ull << 40, &in), 0);
    free_ends(&e);
}

static void transport_behind_extension_headers(void **state)
{
    uint8_t f[300], wire[400];
    struct hw_build out = {.out = wire, .cap = sizeof(wire)};
    size_t len = inner_frame(f, 6, 20, true);
    struct hw_frame p;
    struct ends e;

    make_ends(&e, false, 6, false, false);
    assert_int_equal(hw_esp_protect(&e.out, f, len, 48, 1, &out), CIF_TXS_OK);
    hw_parse_frame(wire, out.len, &p);
    assert_int_equal(p.l3_len, 48);
    assert_int_equal(wire[14 + 40], 50); /* the hop-by-hop header names ESP now */
    assert_int_equal(hw_esp_protect(&e.out, f, len, 40, 1, &out), CIF_TXS_OK);
    assert_int_equal(wire[14 + 6], 50);
    assert_int_equal(hw_esp_protect(&e.out, f, len, 44, 1, &out), CIF_TXS_BAD_PACKET);
    assert_int_equal(hw_esp_protect(&e.out, f, len, 200, 1, &out), CIF_TXS_BAD_PACKET);
    f[14 + 40] = 44; /* a fragment header behind it */
    assert_int_equal(hw_esp_protect(&e.out, f, len, 0, 1, &out), CIF_TXS_BAD_PACKET);
    free_ends(&e);
}

static void outer_header_rules(void **state)
{
    uint8_t f[300], w[400];
    struct hw_build out = {.out = w, .cap = sizeof(w)};
    size_t len = inner_frame(f, 4, 20, false);
    struct ends e;

    make_ends(&e, true, 4, false, false);
    f[15] = 0xb9; /* DSCP 46, ECT(1) */
    assert_int_equal(hw_esp_protect(&e.out, f, len, 0, 0x12345678, &out), CIF_TXS_OK);
    assert_int_equal(w[15], 0xb9);
    assert_int_equal(hw_get16(w + 18), 0x5678); /* no DF: ID is the number */
    assert_int_equal(w[20], 0);
    assert_int_equal(w[22], 64);
    assert_int_equal(hw_fold(hw_sum(0, w + 14, 20)), 0);
    f[20] = 0x40;
    e.out.ttl = 7;
    e.out.dscp_mode = HW_DSCP_SET;
    e.out.dscp = 10;
    e.out.ecn_mode = HW_ECN_COMPAT;
    assert_int_equal(hw_esp_protect(&e.out, f, len, 0, 0x12345678, &out), CIF_TXS_OK);
    assert_int_equal(w[15], 40);
    assert_int_equal(hw_get16(w + 18), 0);
    assert_int_equal(w[20], 0x40);
    assert_int_equal(w[22], 7);
    e.out.df_mode = HW_DF_CLEAR;
    assert_int_equal(hw_esp_protect(&e.out, f, len, 0, 9, &out), CIF_TXS_OK);
    assert_int_equal(hw_get16(w + 18), 9);
    free_ends(&e);
}

static void ipv6_outer_udp_has_a_checksum(void **state)
{
    uint8_t f[300], w[400];
    struct hw_build out = {.out = w, .cap = sizeof(w)};
    size_t len = inner_frame(f, 4, 21, false);
    struct hw_frame p;
    struct ends e;

    make_ends(&e, true, 6, true, false);
    assert_int_equal(hw_esp_protect(&e.out, f, len, 0, 3, &out), CIF_TXS_OK);
    hw_parse_frame(w, out.len, &p);
    assert_int_not_equal(hw_get16(hw_payload(&p) + 6), 0);
    assert_int_equal(
        hw_fold(hw_sum(hw_sum_pseudo(6, p.src, p.dst, (uint32_t)hw_payload_len(&p), 17),
                       hw_payload(&p), hw_payload_len(&p))),
        0);
    free_ends(&e);
}

/* RFC 6040 figure 4, columns in its order: not-ECT, ECT(0), ECT(1), CE. */
static void ecn_on_the_way_in(void **state)
{
    static const uint8_t code[4] = {0, 2, 1, 3}, want[4][4] = {
                                                     {0, 0, 0, 9},
                                                     {2, 2, 1, 3},
                                                     {1, 1, 1, 3},
                                                     {3, 3, 3, 3},
                                                 };
    unsigned inner, outer;

    for (inner = 0; inner < 4; inner++) {
        for (outer = 0; outer < 4; outer++) {
            uint8_t f[200], w[300], back[300];
            struct hw_build out = {.out = w, .cap = sizeof(w)}, in = {.out = back, .cap = 300};
            size_t len = inner_frame(f, 4, 20, false);
            struct ends e;
            int err;

            f[15] = (uint8_t)(0x28 | code[inner]);
            hw_put16(f + 24, 0);
            hw_put16(f + 24, hw_fold(hw_sum(0, f + 14, 20)));
            make_ends(&e, true, 4, false, false);
            assert_int_equal(hw_esp_protect(&e.out, f, len, 0, 1, &out), CIF_TXS_OK);
            w[15] = code[outer];
            err = open_frame(&e, w, out.len, 1, &in);
            assert_int_equal(err, want[inner][outer] == 9 ? -ECONNABORTED : 0);
            if (!err) {
                assert_int_equal(back[15], 0x28 | want[inner][outer]);
                assert_int_equal(hw_fold(hw_sum(0, back + 14, 20)), 0);
            }
            free_ends(&e);
        }
    }
}

static void numbers_inferred(void **state)
{
    const uint64_t g = 1ull << 32;
    const struct {
        uint64_t t;
        uint32_t lo;
        uint64_t want;
    } rows[] = {
        {0, 1, 1},
        {0, 0xffffffff, 0xffffffff},
        {5 * g + 10000, 9000, 5 * g + 9000},
        {5 * g + 10000, 10001, 5 * g + 10001},
        {5 * g + 10000, 5, 6 * g + 5},
        {5 * g + 10, 0xfffffff0, 5 * g - 16},
        {5 * g + 10, 20, 5 * g + 20},
        {5 * g - 1, 3, 5 * g + 3},
        {5 * g - 1, 0xfffffff0, 5 * g - 16},
    };
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_true(hw_esn_infer(rows[i].t, rows[i].lo, 4096) == rows[i].want);
}

static void hop_limit_of_the_inner(void **state)
{
    uint8_t f[200], w[300], back[300];
    struct hw_build out = {.out = w, .cap = sizeof(w)}, in = {.out = back, .cap = sizeof(back)};
    size_t len = inner_frame(f, 4, 20, false);
    struct ends e;

    make_ends(&e, true, 4, false, false);
    e.out.dec_ttl = true;
    assert_int_equal(hw_esp_protect(&e.out, f, len, 0, 1, &out), CIF_TXS_OK);
    assert_int_equal(open_frame(&e, w, out.len, 1, &in), 0);
    assert_int_equal(back[22], 62);
    assert_int_equal(hw_fold(hw_sum(0, back + 14, 20)), 0);
    f[22] = 1;
    assert_int_equal(hw_esp_protect(&e.out, f, len, 0, 2, &out), CIF_TXS_BAD_PACKET);
    free_ends(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(every_form),
        cmocka_unit_test(every_length),
        cmocka_unit_test(every_icv_bit),
        cmocka_unit_test(transport_behind_extension_headers),
        cmocka_unit_test(outer_header_rules),
        cmocka_unit_test(ipv6_outer_udp_has_a_checksum),
        cmocka_unit_test(ecn_on_the_way_in),
        cmocka_unit_test(numbers_inferred),
        cmocka_unit_test(hop_limit_of_the_inner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
