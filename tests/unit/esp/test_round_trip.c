/* Every mode, family pair, encapsulation, ESN, suite and back end: what goes in comes out, at every
 * length, and the sizes foretold are the sizes made. */
#include "tests/unit/esp/esp_fixture.h"

static size_t inner_hdr(const struct combo *c)
{
    return c->inner == 4 ? V4_HDR : V6_HDR;
}

/* Decapsulation may only differ from the packet in nothing: the outer ECN is the inner one. */
static void round_trip(const struct combo *c, struct esp_sa *out, struct esp_sa *in, size_t len,
                       uint64_t seq)
{
    uint8_t inner[FIX_ROOM], wire[FIX_ROOM], back[FIX_ROOM];
    size_t n = 0, m = 0;
    fix_packet(inner, c->inner, len);
    assert_int_equal(run_protect(out, inner, len, seq, wire, &n), ESP_OK);
    assert_int_equal(n, esp_outer_len(out, len, inner_hdr(c)));
    assert_int_equal(run_open(in, wire, n, seq, back, &m), ESP_OK);
    assert_int_equal(m, len);
    assert_memory_equal(back, inner, len);
}

static void each_combo(void (*fn)(const struct combo *, struct esp_sa *, struct esp_sa *))
{
    struct combo c;
    for (unsigned i = 0; combo_at(i, &c); i++) {
        if (!backend_there(c.backend))
            continue;
        struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
        fn(&c, out, in);
        esp_sa_free(out);
        esp_sa_free(in);
    }
}

static void lengths_of(const struct combo *c, struct esp_sa *out, struct esp_sa *in)
{
    uint64_t seq = c->esn ? 0x1fffffff0 : 1; /* ESN: over a change of the high half */
    for (size_t i = 0; i <= 300; i++)
        round_trip(c, out, in, inner_hdr(c) + i, seq++);
    for (size_t i = 1480; i <= 1520; i++)
        round_trip(c, out, in, i, seq++);
}

static void every_length(void **state)
{
    each_combo(lengths_of);
}

static void numbers_of(const struct combo *c, struct esp_sa *out, struct esp_sa *in)
{
    static const uint64_t numbers[] = {1, 2, 0xffffffff, 0x100000000, 0x1ffffffff, UINT64_MAX};
    uint8_t inner[FIX_ROOM], wire[FIX_ROOM];
    size_t n;
    for (unsigned i = 0; i < 6; i++)
        if (c->esn || i < 3)
            round_trip(c, out, in, 100, numbers[i]);
    fix_packet(inner, c->inner, 100);
    assert_int_equal(run_protect(out, inner, 100, 0, wire, &n), ESP_BAD_NUMBER);
    if (!c->esn)
        assert_int_equal(run_protect(out, inner, 100, 1ull << 32, wire, &n), ESP_BAD_NUMBER);
    assert_int_equal(run_protect(in, inner, 100, 1, wire, &n), ESP_UNSUPPORTED);
    assert_int_equal(run_open(out, inner, 100, 1, wire, &n), ESP_UNSUPPORTED);
}

static void every_number(void **state)
{
    each_combo(numbers_of);
}

/* max_inner is the last length that fits, for every size of the path. */
static void sizes_of(const struct combo *c, struct esp_sa *out, struct esp_sa *in)
{
    for (size_t max = 0; max < 1600; max++) {
        size_t n = esp_max_inner(out, max, inner_hdr(c));
        if (n)
            assert_true(esp_outer_len(out, n, inner_hdr(c)) <= max);
        size_t next = n ? n + 1 : (c->mode == ESP_TUNNEL ? 1 : inner_hdr(c) + 1);
        assert_true(esp_outer_len(out, next, inner_hdr(c)) > max);
    }
}

static void max_inner_is_exact(void **state)
{
    each_combo(sizes_of);
}

static void known_overheads(void **state)
{
    struct combo c;
    combo_at(0, &c);
    struct esp_sa *sa = fix_sa(&c, ESP_OUT);
    assert_int_equal(esp_max_inner(sa, 1500, 0), 1446);
    esp_sa_free(sa);
    c.udp = true;
    sa = fix_sa(&c, ESP_OUT);
    assert_int_equal(esp_max_inner(sa, 1500, 0), 1438);
    esp_sa_free(sa);
    c.udp = false;
    c.outer = 6;
    sa = fix_sa(&c, ESP_OUT);
    assert_int_equal(esp_max_inner(sa, 1500, 0), 1426);
    esp_sa_free(sa);
}

/* 40 packets of mixed lengths, some of them bad, in one vector: the order of results holds. */
static void vector_of(const struct combo *c, struct esp_sa *out, struct esp_sa *in)
{
    enum { N = 40 };
    static uint8_t inner[N][FIX_ROOM], wire[N][FIX_ROOM], back[N][FIX_ROOM];
    struct esp_pkt v[N];
    for (unsigned i = 0; i < N; i++) {
        size_t len = 60 + 37 * i;
        fix_packet(inner[i], c->inner, len);
        v[i] = (struct esp_pkt){.in = inner[i],
                                .in_len = len - (i % 7 == 3), /* cut short */
                                .out = wire[i],
                                .out_room = i % 11 == 5 ? 50 : FIX_ROOM,
                                .seq = i + 1};
    }
    esp_protect(out, v, N);
    for (unsigned i = 0; i < N; i++) {
        enum esp_result want = i % 7 == 3 ? ESP_BAD_PACKET : i % 11 == 5 ? ESP_NO_ROOM : ESP_OK;
        assert_int_equal(v[i].result, want);
        wire[i][60] ^= i % 5 == 0; /* in the ESP part of every shape */
        v[i] = (struct esp_pkt){.in = wire[i],
                                .in_len = v[i].out_len,
                                .out = back[i],
                                .out_room = FIX_ROOM,
                                .seq = i + 1,
                                .result = want};
    }
    bool sent[N];
    for (unsigned i = 0; i < N; i++)
        sent[i] = v[i].result == ESP_OK;
    esp_open(in, v, N);
    for (unsigned i = 0; i < N; i++) {
        if (!sent[i]) {
            assert_int_equal(v[i].result, ESP_BAD_PACKET);
        } else if (i % 5 == 0) {
            assert_true(v[i].result == ESP_BAD_ICV || v[i].result == ESP_BAD_PACKET);
            assert_int_equal(v[i].out_len, 0);
        } else {
            assert_int_equal(v[i].result, ESP_OK);
            assert_int_equal(v[i].out_len, 60 + 37 * i);
            assert_memory_equal(back[i], inner[i], v[i].out_len);
        }
    }
}

static void vectors_keep_their_order(void **state)
{
    each_combo(vector_of);
}

/* The largest packets that the length fields can say, and one more. */
static void largest(void **state)
{
    struct combo c;
    uint8_t *inner = calloc(1, 65536), *wire = calloc(1, 70000), *back = calloc(1, 70000);
    assert_true(inner && wire && back);
    for (unsigned i = 0; combo_at(i, &c); i++) {
        if (!backend_there(c.backend) || c.inner != 4)
            continue;
        struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
        size_t len = esp_max_inner(out, c.outer == 4 ? 65535 : 65575, V4_HDR);
        if (len > 65535)
            len = 65535;
        fix_packet(inner, 4, len);
        struct esp_pkt p = {.in = inner, .in_len = len, .out = wire, .out_room = 70000, .seq = 9};
        esp_protect(out, &p, 1);
        assert_int_equal(p.result, ESP_OK);
        struct esp_pkt q = {
            .in = wire, .in_len = p.out_len, .out = back, .out_room = 70000, .seq = 9};
        esp_open(in, &q, 1);
        assert_int_equal(q.result, ESP_OK);
        assert_int_equal(q.out_len, len);
        assert_memory_equal(back, inner, len);
        if (len < 65535) {
            fix_packet(inner, 4, len + 1);
            p.in_len = len + 1;
            esp_protect(out, &p, 1);
            assert_int_equal(p.result, ESP_BAD_PACKET);
        }
        esp_sa_free(out);
        esp_sa_free(in);
    }
    free(inner);
    free(wire);
    free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length),
        cmocka_unit_test(every_number),
        cmocka_unit_test(max_inner_is_exact),
        cmocka_unit_test(known_overheads),
        cmocka_unit_test(largest),
        cmocka_unit_test(vectors_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
