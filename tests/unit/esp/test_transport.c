/* Transport mode: where ESP goes among options and extension headers, and that the rest of the
 * header comes back as it was. */
#include "tests/unit/esp/esp_fixture.h"

static struct combo transport(uint8_t family, bool udp)
{
    return (struct combo){.mode = ESP_TRANSPORT,
                          .outer = family,
                          .inner = family,
                          .udp = udp,
                          .suite = esp_suite_at(0),
                          .backend = ESP_BACKEND_BEST};
}

/* An IPv6 packet with the extension headers named (each of 8 octets, hop-by-hop of 16), then 64
 * octets of protocol 253. */
static size_t make_v6(uint8_t *p, const uint8_t *ext, unsigned n)
{
    size_t at = 40, name = 6;
    fix_packet(p, 6, 40);
    for (unsigned i = 0; i < n; i++) {
        size_t len = ext[i] == IPP_HOPOPTS ? 16 : 8;
        p[name] = ext[i];
        memset(p + at, 0, len);
        if (ext[i] == IPP_FRAGMENT)
            put_be32(p + at + 4, 0xdeadbeef); /* an atomic fragment */
        else
            p[at + 1] = (uint8_t)(len / 8 - 1);
        if (ext[i] == IPP_HOPOPTS || ext[i] == IPP_DSTOPTS)
            p[at + 2] = 1, p[at + 3] = (uint8_t)(len - 4); /* PadN */
        name = at;
        at += len;
    }
    p[name] = 253;
    memset(p + at, 0x77, 64);
    put_be16(p + 4, (uint16_t)(at + 64 - 40));
    return at + 64;
}

static void esp_among_extension_headers(void **state)
{
    enum { H = IPP_HOPOPTS, R = IPP_ROUTING, F = IPP_FRAGMENT, D = IPP_DSTOPTS };
    static const struct {
        uint8_t n, ext[4];
        uint8_t off, nh_off, nh; /* where ESP goes, and what it protects first */
    } rows[] = {
        {0, {0}, 40, 6, 253},     {1, {H}, 56, 40, 253},       {1, {D}, 40, 6, D},
        {2, {H, D}, 56, 40, D},   {3, {H, D, R}, 72, 64, 253}, {4, {H, D, R, D}, 72, 64, D},
        {2, {R, F}, 56, 48, 253}, {3, {H, F, D}, 64, 56, D},   {1, {F}, 48, 40, 253},
        {2, {D, F}, 56, 48, 253},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct combo c = transport(6, false);
        struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
        uint8_t plain[512], wire[FIX_ROOM], back[FIX_ROOM];
        size_t n, m, len = make_v6(plain, rows[i].ext, rows[i].n);
        struct ip_info info;
        assert_int_equal(run_protect(out, plain, len, 3, wire, &n), ESP_OK);
        assert_int_equal(n, esp_outer_len(out, len, rows[i].off));
        assert_int_equal(ip_parse_packet(wire, n, &info), 0);
        assert_int_equal(info.proto, IPP_ESP);
        assert_int_equal(info.l4_off, rows[i].off);
        assert_int_equal(info.nh_off, rows[i].nh_off);
        assert_int_equal(info.total, n);
        struct esp_pkt p = {.in = wire, .in_len = n, .out = back, .out_room = FIX_ROOM, .seq = 3};
        esp_open(in, &p, 1);
        assert_int_equal(p.result, ESP_OK);
        assert_int_equal(p.next_header, rows[i].nh);
        m = p.out_len;
        assert_int_equal(m, len);
        assert_memory_equal(back, plain, len);
        esp_sa_free(out);
        esp_sa_free(in);
    }
}

static void udp_behind_extension_headers(void **state)
{
    static const uint8_t ext[] = {IPP_HOPOPTS}, routed[] = {IPP_ROUTING};
    struct combo c = transport(6, true);
    struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
    uint8_t plain[512], wire[FIX_ROOM], back[FIX_ROOM];
    size_t n, m, len = make_v6(plain, ext, 1);
    struct ip_info info;
    assert_int_equal(run_protect(out, plain, len, 3, wire, &n), ESP_OK);
    assert_int_equal(ip_parse_packet(wire, n, &info), 0);
    assert_int_equal(info.proto, IPP_UDP);
    uint32_t sum = ip_pseudo_sum(&info.src, &info.dst, IPP_UDP, n - info.l4_off);
    assert_int_equal(ip_sum_fold(ip_sum(wire + info.l4_off, n - info.l4_off, sum)), 0);
    assert_int_equal(run_open(in, wire, n, 3, back, &m), ESP_OK);
    assert_int_equal(m, len);
    assert_memory_equal(back, plain, len);
    len = make_v6(plain, routed, 1);
    assert_int_equal(run_protect(out, plain, len, 3, wire, &n), ESP_UNSUPPORTED);
    esp_sa_free(out);
    esp_sa_free(in);
}

static void v4_options_stay_outside(void **state)
{
    for (unsigned udp = 0; udp < 2; udp++) {
        struct combo c = transport(4, udp);
        struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
        uint8_t plain[200], wire[FIX_ROOM], back[FIX_ROOM];
        size_t n, m;
        fix_packet(plain, 4, 100);
        plain[0] = 0x47;
        memset(plain + 20, 1, 8);
        ip4_fix_checksum(plain, 28);
        assert_int_equal(run_protect(out, plain, 100, 3, wire, &n), ESP_OK);
        assert_int_equal(n, esp_outer_len(out, 100, 28));
        assert_memory_equal(wire + 12, plain + 12, 16); /* addresses and options */
        assert_int_equal(get_be16(wire + 4), 0x1234);   /* and the host's own ID */
        assert_int_equal(ip_sum_fold(ip_sum(wire, 28, 0)), 0);
        assert_int_equal(run_open(in, wire, n, 3, back, &m), ESP_OK);
        assert_int_equal(m, 100);
        assert_memory_equal(back, plain, 100);
        wire[8]--; /* a header damaged on its way stays damaged for the host to see */
        assert_int_equal(run_open(in, wire, n, 3, back, &m), ESP_OK);
        assert_int_not_equal(ip_sum_fold(ip_sum(back, 28, 0)), 0);
        esp_sa_free(out);
        esp_sa_free(in);
    }
}

static void fragments_are_not_taken(void **state)
{
    static const uint8_t ext[] = {IPP_FRAGMENT};
    struct combo c4 = transport(4, false), c6 = transport(6, false);
    struct esp_sa *out4 = fix_sa(&c4, ESP_OUT), *out6 = fix_sa(&c6, ESP_OUT);
    uint8_t plain[512], wire[FIX_ROOM];
    size_t n;
    fix_packet(plain, 4, 100);
    put_be16(plain + 6, 0x2000);
    assert_int_equal(run_protect(out4, plain, 100, 3, wire, &n), ESP_UNSUPPORTED);
    put_be16(plain + 6, 0x0001);
    assert_int_equal(run_protect(out4, plain, 100, 3, wire, &n), ESP_UNSUPPORTED);
    size_t len = make_v6(plain, ext, 1);
    put_be16(plain + 42, 1);
    assert_int_equal(run_protect(out6, plain, len, 3, wire, &n), ESP_UNSUPPORTED);
    put_be16(plain + 42, 8);
    assert_int_equal(run_protect(out6, plain, len, 3, wire, &n), ESP_UNSUPPORTED);
    fix_packet(plain, 4, 100); /* the other family */
    assert_int_equal(run_protect(out6, plain, 100, 3, wire, &n), ESP_BAD_PACKET);
    esp_sa_free(out4);
    esp_sa_free(out6);
}

static void broken_extension_headers(void **state)
{
    static const uint8_t ext[] = {IPP_HOPOPTS};
    struct combo c = transport(6, false);
    struct esp_sa *out = fix_sa(&c, ESP_OUT);
    uint8_t plain[512], wire[FIX_ROOM];
    size_t n, len = make_v6(plain, ext, 1);
    plain[41] = 200;
    assert_int_equal(run_protect(out, plain, len, 3, wire, &n), ESP_BAD_PACKET);
    len = make_v6(plain, ext, 1);
    for (size_t cut = 41; cut < 56; cut++) {
        put_be16(plain + 4, (uint16_t)(cut - 40));
        assert_int_equal(run_protect(out, plain, cut, 3, wire, &n), ESP_BAD_PACKET);
    }
    esp_sa_free(out);
}

/* Hop-by-hop options under ESP, or none at all: the first is refused, the second is a packet. */
static void what_may_stand_inside(void **state)
{
    struct combo c = transport(6, false);
    struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
    uint8_t plain[200], wire[FIX_ROOM], back[FIX_ROOM];
    size_t n, m;
    fix_packet(plain, 6, 100);
    plain[6] = IPP_NONE;
    assert_int_equal(run_protect(out, plain, 100, 3, wire, &n), ESP_OK);
    assert_int_equal(run_open(in, wire, n, 3, back, &m), ESP_DUMMY);
    fix_packet(plain, 6, 40); /* no payload at all */
    assert_int_equal(run_protect(out, plain, 40, 3, wire, &n), ESP_OK);
    assert_int_equal(run_open(in, wire, n, 3, back, &m), ESP_OK);
    assert_int_equal(m, 40);
    assert_memory_equal(back, plain, 40);
    esp_sa_free(out);
    esp_sa_free(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(esp_among_extension_headers),
        cmocka_unit_test(udp_behind_extension_headers),
        cmocka_unit_test(v4_options_stay_outside),
        cmocka_unit_test(fragments_are_not_taken),
        cmocka_unit_test(broken_extension_headers),
        cmocka_unit_test(what_may_stand_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
