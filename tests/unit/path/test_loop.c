/* Two dps over a wire of memory: every mode, family pair, encapsulation and ESN, every length. */
#include "tests/unit/path/rig.h"

struct cell {
    const char *name;
    enum esp_mode mode;
    const char *in_a, *in_b, *out_a, *out_b;
    bool udp, esn, card;
    const char *suite;
};

#define V4A "10.1.0.1"
#define V4B "10.2.0.1"
#define V6A "fd01::1"
#define V6B "fd02::1"
#define O4A "192.0.2.1"
#define O4B "192.0.2.2"
#define O6A "2001:db8::1"
#define O6B "2001:db8::2"

static struct rig *side(const struct cell *c, bool a)
{
    struct rig *r = rig_new(a ? 1 : 2);
    const char *in_l = a ? c->in_a : c->in_b, *in_r = a ? c->in_b : c->in_a;
    const char *out_l = a ? c->out_a : c->out_b, *out_r = a ? c->out_b : c->out_a;
    struct spd_policy p = c->mode == ESP_TUNNEL ? rig_tunnel("t", in_l, in_r, out_l, out_r)
                                                : rig_policy("t", in_l, in_r, SPD_PROTECT);
    rig_load(r, &p, 1);
    uint32_t id = spd_at(r->spd, 0)->id;
    r->local[0] = rig_ip(out_l);
    struct sa_spec s[2] = {rig_spec(ESP_OUT, id, a ? 0x1001 : 0x1002, c->mode, out_l, out_r),
                           rig_spec(ESP_IN, id, a ? 0x1002 : 0x1001, c->mode, out_r, out_l)};
    for (int i = 0; i < 2; i++) {
        s[i].suite = esp_suite_by_name(c->suite);
        memset(s[i].keys.encr, 0x11, s[i].suite->encr_len);
        memset(s[i].keys.integ, 0x33, s[i].suite->integ_len);
        memset(s[i].keys.salt, 0x22, s[i].suite->salt_len);
        s[i].esn = c->esn;
        if (c->udp) {
            s[i].encap = ESP_ENCAP_UDP;
            s[i].udp_sport = s[i].udp_dport = 4500;
        }
        struct sa *sa = rig_sa(r, &s[i]);
        if (c->card && i == 0) {
            sa->place = PLACE_CARD;
            sa->card = 3;
            sa->handle = 77;
            r->port.card = true;
            r->port.card_index = 3;
        }
    }
    return r;
}

/* The packet at b's host, whole, however it came. */
static bool arrived(struct rig *b, const uint8_t *f, size_t len)
{
    if (b->n_tap == 1 && len - ETH_HDR <= 1500)
        return b->tap[0].tx.len == len &&
               memcmp(b->tap[0].p + ETH_HDR, f + ETH_HDR, len - ETH_HDR) == 0;
    size_t hdr = ETH_HDR + (f[ETH_HDR] >> 4 == 4 ? 20 : 40);
    /* the header differs in ID and checksum where the host cut it: the rest is the same */
    if (b->n_tap == 1)
        return b->tap[0].tx.len == len && memcmp(b->tap[0].p + hdr, f + hdr, len - hdr) == 0;
    static struct reasm *r; /* for the whole program: it is empty again after each packet */
    static uint8_t buf[FRAME_BUF];
    struct pkt p, whole = {0};
    uint64_t lost = 0;
    enum reasm_verdict v = REASM_KEPT;
    if (!r)
        r = reasm_new(256 * 1024, 1);
    for (unsigned i = 0; i < b->n_tap; i++) {
        assert_true(pkt_parse(&p, b->tap[i].p, b->tap[i].tx.len));
        v = reasm_add(r, 0, (struct reasm_space){0}, &p, buf, &whole, &lost);
    }
    reasm_age(r, UINT64_MAX, &lost);
    return v == REASM_WHOLE && pkt_frame_len(&whole) == len &&
           memcmp(buf + hdr, f + hdr, len - hdr) == 0;
}

static bool told(const struct rig *a)
{
    if (a->n_tap != 1)
        return false;
    const uint8_t *ip = a->tap[0].p + ETH_HDR;
    return ip[0] >> 4 == 4 ? ip[9] == IPP_ICMP && ip[20] == 3 && ip[21] == 4
                           : ip[6] == IPP_ICMPV6 && ip[40] == 2;
}

static void one(const struct cell *c, struct rig *a, struct rig *b, size_t data, bool df)
{
    static uint8_t f[70000];
    size_t n = rig_udp(f, a, true, c->in_a, c->in_b, 1111, 2222, data, df);
    a->now += SECOND / 100;
    b->now = a->now;
    if (n - ETH_HDR > 1500)
        rig_send_cut(a, f, n, 1500);
    else
        rig_send_host(a, f, n);
    for (unsigned i = 0; i < a->n_out; i++)
        assert_true(a->out[i].tx.op == DP_PROTECT || a->out[i].tx.len <= ETH_HDR + 1500);
    rig_wire(a, b);
    bool ok = arrived(b, f, n) ? !told(a) : told(a) && b->n_tap == 0;
    if (!ok)
        fail_msg("%s: %zu octets of data, DF %d: tap a %u, b %u", c->name, data, df, a->n_tap,
                 b->n_tap);
    rig_clear(a);
    rig_clear(b);
}

static void run(const struct cell *c, size_t from, size_t to, size_t step)
{
    struct rig *a = side(c, true), *b = side(c, false);
    for (size_t n = from; n <= to; n += step)
        for (int df = 0; df < 2; df++) {
            bool whole = n + 8 + (strchr(c->in_a, ':') ? 40 : 20) <= 1500;
            if (whole || !df)
                one(c, a, b, n, df);
        }
    struct sa *sa = sad_next(a->sad, NULL);
    assert_int_equal(sa->spec.dir, ESP_OUT);
    if (from < 100) {
        assert_true(sa->next > 1);
        assert_true(c->card == (sa->packets[PATH_CARD] > 0));
    }
    size_t held, kept;
    dp_in_use(b->dp, &held, &kept);
    assert_int_equal(held + kept, 0);
    rig_free(a);
    rig_free(b);
}

static const struct cell cells[] = {
    {"4 in 4", ESP_TUNNEL, V4A, V4B, O4A, O4B, 0, 0, 0, "ESP_AES128_GCM16"},
    {"6 in 6", ESP_TUNNEL, V6A, V6B, O6A, O6B, 0, 0, 0, "ESP_AES128_GCM16"},
    {"4 in 6", ESP_TUNNEL, V4A, V4B, O6A, O6B, 0, 0, 0, "ESP_AES128_GCM16"},
    {"6 in 4", ESP_TUNNEL, V6A, V6B, O4A, O4B, 0, 0, 0, "ESP_AES128_GCM16"},
    {"transport 4", ESP_TRANSPORT, O4A, O4B, O4A, O4B, 0, 0, 0, "ESP_AES128_GCM16"},
    {"transport 6", ESP_TRANSPORT, O6A, O6B, O6A, O6B, 0, 0, 0, "ESP_AES128_GCM16"},
};

/* Every cell in every variant: encapsulation, ESN, in the card or in software. */
static void every(const char *suite, size_t from, size_t to, size_t step, bool spread)
{
    char name[64];
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        for (unsigned v = 0; v < 8; v++) {
            struct cell c = cells[i];
            c.udp = v & 1;
            c.esn = v & 2;
            c.card = v & 4;
            c.suite = suite;
            snprintf(name, sizeof name, "%s %s%s%s%s", cells[i].name, suite, c.udp ? " udp" : "",
                     c.esn ? " esn" : "", c.card ? " card" : "");
            c.name = name;
            run(&c, from + (spread ? v : 0), to, step);
        }
}

static void test_every_length(void **state)
{
    /* near the MTU in every variant; elsewhere each variant takes every eighth length */
    every("ESP_AES128_GCM16", 0, 1340, 8, true);
    every("ESP_AES128_GCM16", 1340, 1520, 1, false);
    every("ESP_AES128_GCM16", 1520, 3000, 8, true);
}

static void test_suites(void **state)
{
    every("ESP_AES256_GCM16", 0, 1472, 31, false);
    every("ESP_AES128_CBC_HMAC_SHA2_256", 0, 3000, 31, false);
    every("ESP_AES256_CBC_HMAC_SHA2_256", 1340, 1472, 1, false);
}

static void test_large(void **state)
{
    every("ESP_AES128_GCM16", 8900, 60000, 10007, false);
}

/* The largest that IP can carry: in a tunnel it arrives, in transport it is told of. */
static void test_largest(void **state)
{
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        run(&cells[i], 65507 - 8, 65507, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_suites),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
