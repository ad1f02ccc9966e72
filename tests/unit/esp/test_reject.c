/* What must not open: every flipped bit, the wrong high half, every truncation, foreign packets,
 * random octets, bad trailers under a good ICV. And never plaintext before a good ICV. */
#include "tests/unit/esp/esp_fixture.h"

#include <openssl/rand.h>

static const uint8_t canary = 0xa5;

struct shot {
    struct combo c;
    struct esp_sa *out, *in;
    uint8_t inner[FIX_ROOM], wire[FIX_ROOM], back[FIX_ROOM];
    size_t len, wire_len;
};

static void shoot(struct shot *s, size_t len, uint64_t seq)
{
    s->len = len;
    fix_packet(s->inner, s->c.inner, len);
    assert_int_equal(run_protect(s->out, s->inner, len, seq, s->wire, &s->wire_len), ESP_OK);
}

static void each_combo(void (*fn)(struct shot *))
{
    static struct shot s;
    for (unsigned i = 0; combo_at(i, &s.c); i++) {
        if (!backend_there(s.c.backend))
            continue;
        s.out = fix_sa(&s.c, ESP_OUT);
        s.in = fix_sa(&s.c, ESP_IN);
        fn(&s);
        esp_sa_free(s.out);
        esp_sa_free(s.in);
    }
}

/* Opening fails so, hands out nothing, and out holds no piece of the plaintext. */
static void refused(struct shot *s, const uint8_t *wire, size_t len, uint64_t seq,
                    enum esp_result want)
{
    size_t n = 1, hdr = s->c.inner == 4 ? V4_HDR : V6_HDR;
    memset(s->back, canary, sizeof s->back);
    enum esp_result r = run_open(s->in, wire, len, seq, s->back, &n);
    assert_int_equal(r, want);
    assert_int_equal(n, 0);
    if (s->len >= hdr + 16)
        assert_null(memmem(s->back, sizeof s->back, s->inner + hdr, 16));
}

static size_t esp_off(const struct shot *s)
{
    return (s->c.outer == 4 ? 20u : 40u) + (s->c.udp ? 8 : 0);
}

static void flip_each_bit(struct shot *s)
{
    shoot(s, 77, 5);
    refused(s, s->wire, s->wire_len, 6, ESP_BAD_NUMBER);
    for (size_t i = esp_off(s) + 8; i < s->wire_len; i++) {
        for (unsigned b = 0; b < 8; b++) {
            s->wire[i] ^= (uint8_t)(1 << b);
            refused(s, s->wire, s->wire_len, 5, ESP_BAD_ICV);
            s->wire[i] ^= (uint8_t)(1 << b);
        }
    }
    size_t n;
    assert_int_equal(run_open(s->in, s->wire, s->wire_len, 5, s->back, &n), ESP_OK);
}

static void every_bit_counts(void **state)
{
    each_combo(flip_each_bit);
}

/* SPI and number are covered too: the receiver asked for the changed ones says "bad ICV". */
static void header_of(struct shot *s)
{
    shoot(s, 77, 5);
    s->wire[esp_off(s) + 7] = 6;
    refused(s, s->wire, s->wire_len, 6, ESP_BAD_ICV);
    s->wire[esp_off(s) + 7] = 5;
    s->wire[esp_off(s)] ^= 1;
    refused(s, s->wire, s->wire_len, 5, ESP_BAD_PACKET);
    struct esp_keys keys;
    struct esp_params p = fix_params(&s->c, ESP_IN, &keys);
    p.spi = FIX_SPI ^ 0x01000000;
    struct esp_sa *other = fix_sa_by(&p, s->c.backend), *own = s->in;
    s->in = other;
    refused(s, s->wire, s->wire_len, 5, ESP_BAD_ICV);
    s->in = own;
    esp_sa_free(other);
}

static void spi_and_number_count(void **state)
{
    each_combo(header_of);
}

static void high_half_of(struct shot *s)
{
    shoot(s, 77, s->c.esn ? 0x300000005 : 5);
    refused(s, s->wire, s->wire_len, 0, ESP_BAD_NUMBER);
    if (!s->c.esn) {
        refused(s, s->wire, s->wire_len, 0x100000005, ESP_BAD_NUMBER);
        return;
    }
    refused(s, s->wire, s->wire_len, 5, ESP_BAD_ICV);
    refused(s, s->wire, s->wire_len, 0x200000005, ESP_BAD_ICV);
    refused(s, s->wire, s->wire_len, 0x400000005, ESP_BAD_ICV);
    size_t n;
    assert_int_equal(run_open(s->in, s->wire, s->wire_len, 0x300000005, s->back, &n), ESP_OK);
}

static void wrong_high_half(void **state)
{
    each_combo(high_half_of);
}

static void set_lengths(const struct shot *s, uint8_t *wire, size_t len)
{
    if (s->c.outer == 4)
        put_be16(wire + 2, (uint16_t)len);
    else
        put_be16(wire + 4, (uint16_t)(len - 40));
    if (s->c.udp)
        put_be16(wire + esp_off(s) - 4, (uint16_t)(len - esp_off(s) + 8));
}

/* Cut by the frame: nothing fits. Cut with the lengths set to match: no ICV holds. Each cut packet
 * is a block of its own, so that a sanitizer sees any octet read beyond it. */
static void truncations_of(struct shot *s)
{
    shoot(s, 90, 5);
    for (size_t len = 0; len < s->wire_len; len++) {
        uint8_t *cut = malloc(len ? len : 1);
        size_t n, hdr = esp_off(s);
        assert_non_null(cut);
        memcpy(cut, s->wire, len);
        refused(s, cut, len, 5, ESP_BAD_PACKET);
        if (len >= hdr) {
            set_lengths(s, cut, len);
            memset(s->back, canary, sizeof s->back);
            enum esp_result r = run_open(s->in, cut, len, 5, s->back, &n);
            assert_true(r == ESP_BAD_PACKET || r == ESP_BAD_ICV);
            assert_int_equal(n, 0);
        }
        free(cut);
    }
}

static void every_truncation(void **state)
{
    each_combo(truncations_of);
}

/* Link padding behind the packet is not the packet's. */
static void link_padding_of(struct shot *s)
{
    size_t n;
    shoot(s, 60, 5);
    memset(s->wire + s->wire_len, 0, 30);
    assert_int_equal(run_open(s->in, s->wire, s->wire_len + 30, 5, s->back, &n), ESP_OK);
    assert_int_equal(n, 60);
    size_t was = s->wire_len;
    assert_int_equal(run_protect(s->out, s->inner, 90, 5, s->wire, &n), ESP_OK);
    assert_int_equal(n, was);
}

static void link_padding(void **state)
{
    each_combo(link_padding_of);
}

static void garbage_of(struct shot *s)
{
    size_t n;
    for (unsigned i = 0; i < 100; i++) {
        shoot(s, 60 + i, 5);
        RAND_bytes(s->wire + esp_off(s) + 8, (int)(s->wire_len - esp_off(s) - 8));
        refused(s, s->wire, s->wire_len, 5, ESP_BAD_ICV);
        RAND_bytes(s->wire, (int)s->wire_len);
        assert_int_not_equal(run_open(s->in, s->wire, s->wire_len, 5, s->back, &n), ESP_OK);
        assert_int_not_equal(run_protect(s->out, s->wire, i % 24, 5, s->back, &n), ESP_OK);
    }
}

static void garbage(void **state)
{
    each_combo(garbage_of);
}

/* The exact room suffices, one octet less does not; nothing is written behind it. */
static void room_of(struct shot *s)
{
    shoot(s, 91, 5);
    uint8_t *room = malloc(s->wire_len);
    assert_non_null(room);
    struct esp_pkt p = {
        .in = s->inner, .in_len = s->len, .out = room, .out_room = s->wire_len, .seq = 5};
    esp_protect(s->out, &p, 1);
    assert_int_equal(p.result, ESP_OK);
    assert_memory_equal(room, s->wire, s->wire_len);
    p.out_room--;
    esp_protect(s->out, &p, 1);
    assert_int_equal(p.result, ESP_NO_ROOM);
    struct esp_pkt q = {
        .in = s->wire, .in_len = s->wire_len, .out = room, .out_room = s->wire_len, .seq = 5};
    esp_open(s->in, &q, 1);
    assert_int_equal(q.result, ESP_OK);
    q.out_room--;
    esp_open(s->in, &q, 1);
    assert_int_equal(q.result, ESP_NO_ROOM);
    free(room);
}

static void exact_room(void **state)
{
    each_combo(room_of);
}

/* No window here: the same packet opens as often as it is asked. */
static void repeat_of(struct shot *s)
{
    size_t n;
    shoot(s, 91, 5);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(run_open(s->in, s->wire, s->wire_len, 5, s->back, &n), ESP_OK);
}

static void no_window_here(void **state)
{
    each_combo(repeat_of);
}

/* --- packets with a good ICV and something wrong inside: sealed by hand ----------------------- */

/* Seals the text given as the SA would, under number 5, and opens it. */
static enum esp_result open_text(struct shot *s, const uint8_t *text, size_t len, size_t *n)
{
    size_t iv = s->c.suite->iv_len;
    struct esp_op op = {.len = len, .mac_len = 8 + iv + len};
    shoot(s, 77, 5);
    uint8_t *esp = s->wire + esp_off(s);
    memcpy(op.iv, s->c.suite->aead ? (const void *)"\xca\xfe\xba\xbe" : esp + 8, 4);
    memcpy(op.iv + s->c.suite->salt_len, esp + 8, iv);
    esp_write_aad(s->out, 5, op.aad);
    op.hdr = esp;
    op.src = op.dst = esp + 8 + iv;
    op.icv = op.dst + len;
    memcpy(op.dst, text, len);
    s->out->crypto->seal(s->out->crypto, &op, 1);
    assert_true(op.ok);
    s->wire_len = esp_off(s) + 8 + iv + len + 16;
    set_lengths(s, s->wire, s->wire_len);
    return run_open(s->in, s->wire, s->wire_len, 5, s->back, n);
}

/* A text of 96 octets: the packet of fix_packet(len), filler, a right trailer. */
static void make_text(struct shot *s, uint8_t *text, size_t len, uint8_t pad, uint8_t nh)
{
    memset(text, 0, 96);
    fix_packet(text, s->c.inner, len);
    for (unsigned i = 0; i < pad; i++)
        text[94 - pad + i] = (uint8_t)(i + 1);
    text[94] = pad;
    text[95] = nh;
}

static void trailers_of(struct shot *s)
{
    uint8_t text[96];
    size_t n;
    if (s->c.mode != ESP_TUNNEL)
        return;
    uint8_t nh = s->c.inner == 4 ? 4 : 41;
    make_text(s, text, 60, 3, nh); /* 31 octets of TFC padding between packet and padding */
    assert_int_equal(open_text(s, text, 96, &n), ESP_OK);
    assert_int_equal(n, 60);
    make_text(s, text, 60, 34, nh);
    assert_int_equal(open_text(s, text, 96, &n), ESP_OK);
    make_text(s, text, 60, 35, nh);
    assert_int_equal(open_text(s, text, 96, &n), ESP_BAD_INNER);
    make_text(s, text, 60, 3, nh);
    text[92] = 7;
    assert_int_equal(open_text(s, text, 96, &n), ESP_BAD_PAD);
    make_text(s, text, 60, 3, nh);
    text[94] = 95;
    assert_int_equal(open_text(s, text, 96, &n), ESP_BAD_PAD);
    text[94] = 255;
    assert_int_equal(open_text(s, text, 96, &n), ESP_BAD_PAD);
    make_text(s, text, 60, 3, 59);
    assert_int_equal(open_text(s, text, 96, &n), ESP_DUMMY);
    assert_int_equal(n, 0);
    make_text(s, text, 60, 3, 17);
    assert_int_equal(open_text(s, text, 96, &n), ESP_BAD_NEXT_HEADER);
    make_text(s, text, 60, 3, nh == 4 ? 41 : 4);
    assert_int_equal(open_text(s, text, 96, &n), ESP_BAD_INNER);
    make_text(s, text, 60, 3, nh);
    text[0] = 0x44;
    assert_int_equal(open_text(s, text, 96, &n), ESP_BAD_INNER);
}

static void trailers(void **state)
{
    each_combo(trailers_of);
}

static void shortest_of(struct shot *s)
{
    uint8_t text[32] = {0};
    size_t n, pad = s->c.suite->pad_to;
    for (size_t i = 0; i + 2 < pad; i++)
        text[i] = (uint8_t)(i + 1);
    text[pad - 2] = (uint8_t)(pad - 2);
    text[pad - 1] = 59;
    assert_int_equal(open_text(s, text, pad, &n), ESP_DUMMY);
    text[pad - 1] = s->c.inner == 4 ? 4 : 41;
    enum esp_result want = s->c.mode == ESP_TUNNEL ? ESP_BAD_INNER : ESP_OK;
    assert_int_equal(open_text(s, text, pad, &n), want);
}

static void shortest(void **state)
{
    each_combo(shortest_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bit_counts), cmocka_unit_test(spi_and_number_count),
        cmocka_unit_test(wrong_high_half),  cmocka_unit_test(every_truncation),
        cmocka_unit_test(link_padding),     cmocka_unit_test(garbage),
        cmocka_unit_test(exact_room),       cmocka_unit_test(no_window_here),
        cmocka_unit_test(trailers),         cmocka_unit_test(shortest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
