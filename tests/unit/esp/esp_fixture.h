/* What the tests of hostd/esp share: packets made to order, SA pairs, and the list of all
 * combinations of mode, families, encapsulation, ESN, suite and back end. */
#ifndef TESTS_ESP_FIXTURE_H
#define TESTS_ESP_FIXTURE_H

#include "hostd/esp/esp_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct combo {
    enum esp_mode mode;
    uint8_t outer, inner; /* families; equal in transport mode */
    bool udp, esn;
    const struct esp_suite *suite;
    enum esp_backend backend;
};

enum { COMBO_BACKENDS = 2, FIX_SPI = 0x11223344, FIX_ROOM = 2048 };

static inline bool backend_there(enum esp_backend b)
{
    struct esp_keys keys = {{0}, {0}, {0}, {0}};
    struct esp_params p = {
        .dir = ESP_IN, .mode = ESP_TUNNEL, .spi = FIX_SPI, .suite = esp_suite_at(0), .keys = &keys};
    struct esp_sa *sa;
    if (esp_sa_new(&sa, &p, b))
        return false;
    esp_sa_free(sa);
    return true;
}

/* Number i of all combinations; false past the last one. */
static inline bool combo_at(unsigned i, struct combo *c)
{
    static const struct {
        enum esp_mode mode;
        uint8_t outer, inner;
    } shapes[] = {{ESP_TUNNEL, 4, 4}, {ESP_TUNNEL, 4, 6},    {ESP_TUNNEL, 6, 4},
                  {ESP_TUNNEL, 6, 6}, {ESP_TRANSPORT, 4, 4}, {ESP_TRANSPORT, 6, 6}};
    c->mode = shapes[i % 6].mode;
    c->outer = shapes[i % 6].outer;
    c->inner = shapes[i % 6].inner;
    i /= 6;
    c->udp = i & 1;
    c->esn = i & 2;
    c->backend = i & 4 ? ESP_BACKEND_IPSEC_MB : ESP_BACKEND_OPENSSL;
    c->suite = esp_suite_at(i >> 3);
    return c->suite;
}

static inline struct ip_addr fix_addr(uint8_t family, uint8_t last)
{
    struct ip_addr a;
    assert_int_equal(ip_parse(family == 4 ? "192.0.2.0" : "2001:db8::", &a), 0);
    a.b[ip_len(family) - 1] = last;
    return a;
}

static inline void fix_keys(struct esp_keys *k, const struct esp_suite *s)
{
    memset(k, 0, sizeof *k);
    for (unsigned i = 0; i < s->encr_len; i++)
        k->encr[i] = (uint8_t)(0x10 + 7 * i);
    for (unsigned i = 0; i < s->integ_len; i++)
        k->integ[i] = (uint8_t)(0x80 + 5 * i);
    memcpy(k->salt, "\xca\xfe\xba\xbe", 4);
    for (unsigned i = 0; i < 16; i++)
        k->iv_key[i] = (uint8_t)(0x33 ^ 11 * i);
}

static inline struct esp_params fix_params(const struct combo *c, enum esp_dir dir,
                                           struct esp_keys *keys)
{
    fix_keys(keys, c->suite);
    return (struct esp_params){.dir = dir,
                               .mode = c->mode,
                               .encap = c->udp ? ESP_ENCAP_UDP : ESP_ENCAP_NONE,
                               .esn = c->esn,
                               .spi = FIX_SPI,
                               .suite = c->suite,
                               .keys = keys,
                               .src = fix_addr(c->outer, 1),
                               .dst = fix_addr(c->outer, 2),
                               .udp_sport = 4500,
                               .udp_dport = 4501,
                               .iv_xor = 0x0102030405060708};
}

static inline struct esp_sa *fix_sa_by(const struct esp_params *p, enum esp_backend b)
{
    struct esp_sa *sa = NULL;
    assert_int_equal(esp_sa_new(&sa, p, b), 0);
    return sa;
}

static inline struct esp_sa *fix_sa(const struct combo *c, enum esp_dir dir)
{
    struct esp_keys keys;
    struct esp_params p = fix_params(c, dir, &keys);
    return fix_sa_by(&p, c->backend);
}

/* A UDP-like packet of len octets in all (the header at least) with a pattern as payload. */
static inline void fix_packet(uint8_t *p, uint8_t family, size_t len)
{
    size_t hdr = family == 4 ? V4_HDR : V6_HDR;
    struct ip_addr src = fix_addr(family, 1), dst = fix_addr(family, 2);
    memset(p, 0, hdr);
    for (size_t i = hdr; i < len; i++)
        p[i] = (uint8_t)(i * 31 + len);
    if (family == 4) {
        p[0] = 0x45;
        p[1] = 0x2a; /* DSCP 10, ECT(0) */
        put_be16(p + 2, (uint16_t)len);
        put_be16(p + 4, 0x1234);
        p[6] = 0x40;
        p[8] = 61;
        p[9] = 253;
        memcpy(p + 12, src.b, 4);
        memcpy(p + 16, dst.b, 4);
        ip4_fix_checksum(p, V4_HDR);
        return;
    }
    put_be32(p, 6u << 28 | 0x2au << 20 | 0x54321);
    put_be16(p + 4, (uint16_t)(len - V6_HDR));
    p[6] = 253;
    p[7] = 61;
    memcpy(p + 8, src.b, 16);
    memcpy(p + 24, dst.b, 16);
}

static inline enum esp_result run_protect(struct esp_sa *sa, const uint8_t *in, size_t len,
                                          uint64_t seq, uint8_t *out, size_t *out_len)
{
    struct esp_pkt pkt = {.in = in, .in_len = len, .out = out, .out_room = FIX_ROOM, .seq = seq};
    esp_protect(sa, &pkt, 1);
    *out_len = pkt.out_len;
    return pkt.result;
}

static inline enum esp_result run_open(struct esp_sa *sa, const uint8_t *in, size_t len,
                                       uint64_t seq, uint8_t *out, size_t *out_len)
{
    struct esp_pkt pkt = {.in = in, .in_len = len, .out = out, .out_room = FIX_ROOM, .seq = seq};
    esp_open(sa, &pkt, 1);
    *out_len = pkt.out_len;
    return pkt.result;
}

#endif
