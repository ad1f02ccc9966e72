#include "tests/unit/esp/esp_fixture.h"

/* IPv4 or IPv6, UDP with the ports and payload given. */
static size_t make_udp(uint8_t *p, uint8_t family, uint16_t dport, const void *data, size_t n)
{
    size_t hdr = family == 4 ? 20 : 40;
    fix_packet(p, family, hdr + 8 + n);
    p[family == 4 ? 9 : 6] = IPP_UDP;
    put_be16(p + hdr, 12345);
    put_be16(p + hdr + 2, dport);
    put_be16(p + hdr + 4, (uint16_t)(8 + n));
    put_be16(p + hdr + 6, 0);
    memcpy(p + hdr + 8, data, n);
    return hdr + 8 + n;
}

static enum esp_kind classify(const uint8_t *p, size_t len, struct esp_peek *peek)
{
    struct ip_info info;
    assert_int_equal(ip_parse_packet(p, len, &info), 0);
    return esp_classify(p, &info, 4500, peek);
}

static void udp_by_port_and_marker(void **state)
{
    static const struct {
        uint16_t port;
        const char *data;
        size_t n;
        enum esp_kind kind;
    } rows[] = {
        {500, "\x01\x02\x03\x04\x05\x06\x07\x08", 8, ESP_KIND_IKE},
        {500, "", 0, ESP_KIND_IKE},
        {4500, "\0\0\0\0\x01\x02\x03\x04", 8, ESP_KIND_IKE},
        {4500, "\0\0\0\0", 4, ESP_KIND_IKE},
        {4500, "\xff", 1, ESP_KIND_KEEPALIVE},
        {4500, "\xfe", 1, ESP_KIND_SHORT},
        {4500, "", 0, ESP_KIND_SHORT},
        {4500, "\xff\xff", 2, ESP_KIND_SHORT},
        {4500, "\x11\x22\x33\x44\0\0\0", 7, ESP_KIND_SHORT},
        {4500, "\x11\x22\x33\x44\0\0\0\x07", 8, ESP_KIND_ESP},
        {4501, "\x11\x22\x33\x44\0\0\0\x07", 8, ESP_KIND_NONE},
        {53, "\0\0\0\0", 4, ESP_KIND_NONE},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (uint8_t family = 4; family <= 6; family += 2) {
            uint8_t p[200];
            struct esp_peek peek;
            size_t len = make_udp(p, family, rows[i].port, rows[i].data, rows[i].n);
            assert_int_equal(classify(p, len + 20, &peek), rows[i].kind);
            if (rows[i].kind != ESP_KIND_ESP)
                continue;
            assert_true(peek.udp);
            assert_int_equal(peek.spi, 0x11223344);
            assert_int_equal(peek.seq_lo, 7);
            assert_int_equal(peek.udp_sport, 12345);
            assert_int_equal(peek.udp_dport, 4500);
            assert_int_equal(peek.esp_off, len - 8);
            assert_int_equal(peek.esp_len, 8);
        }
}

static void udp_lengths(void **state)
{
    uint8_t p[200];
    struct esp_peek peek;
    size_t len = make_udp(p, 4, 4500, "\x11\x22\x33\x44\0\0\0\x07\x01\x02\x03\x04", 12);
    for (unsigned n = 0; n < 40; n++) {
        put_be16(p + 24, (uint16_t)n);
        enum esp_kind want = n < 16 || n > 20 ? ESP_KIND_SHORT : ESP_KIND_ESP;
        assert_int_equal(classify(p, len, &peek), want);
        if (want == ESP_KIND_ESP)
            assert_int_equal(peek.esp_len, n - 8);
    }
}

static void plain_esp(void **state)
{
    struct combo c;
    for (unsigned i = 0; combo_at(i, &c); i++) {
        uint8_t inner[200], wire[FIX_ROOM];
        struct esp_peek peek;
        size_t n;
        if (!backend_there(c.backend))
            continue;
        struct esp_sa *sa = fix_sa(&c, ESP_OUT);
        fix_packet(inner, c.inner, 100);
        assert_int_equal(run_protect(sa, inner, 100, 9, wire, &n), ESP_OK);
        if (c.udp)
            put_be16(wire + (c.outer == 4 ? 22 : 42), 4500);
        assert_int_equal(classify(wire, n, &peek), ESP_KIND_ESP);
        assert_int_equal(peek.spi, FIX_SPI);
        assert_int_equal(peek.seq_lo, 9);
        assert_int_equal(peek.udp, c.udp);
        assert_int_equal(peek.esp_off + peek.esp_len, n);
        esp_sa_free(sa);
    }
}

static void fragments_and_others(void **state)
{
    uint8_t p[200];
    struct esp_peek peek;
    fix_packet(p, 4, 60);
    assert_int_equal(classify(p, 60, &peek), ESP_KIND_NONE);
    p[9] = IPP_ESP;
    assert_int_equal(classify(p, 60, &peek), ESP_KIND_ESP);
    put_be16(p + 6, 0x2000);
    assert_int_equal(classify(p, 60, &peek), ESP_KIND_NONE);
    put_be16(p + 6, 0x0010);
    assert_int_equal(classify(p, 60, &peek), ESP_KIND_NONE);
    fix_packet(p, 4, 27);
    p[9] = IPP_ESP;
    assert_int_equal(classify(p, 27, &peek), ESP_KIND_SHORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(udp_by_port_and_marker),
        cmocka_unit_test(udp_lengths),
        cmocka_unit_test(plain_esp),
        cmocka_unit_test(fragments_and_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
