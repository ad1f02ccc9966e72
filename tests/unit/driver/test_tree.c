/* The capability tree: values, poorer values, refusals, hostile blobs. */
#include "tests/unit/driver/fake_card.h"
#include <endian.h>

static uint8_t blob[16384] __attribute__((aligned(8)));
static char why[CARD_REASON_MAX];

static void begin(void)
{
    memset(blob, 0, sizeof blob);
    fdt_create(blob, sizeof blob);
    fdt_finish_reservemap(blob);
    fdt_begin_node(blob, "");
    fdt_property_string(blob, "compatible", "sallyport,card");
}

static int end(struct card_caps *caps)
{
    fdt_end_node(blob);
    assert_int_equal(fdt_finish(blob), 0);
    return card_caps_parse(blob, fdt_totalsize(blob), caps, why);
}

static void cells_prop(const char *name, unsigned n, const uint32_t *v)
{
    fdt32_t c[8];
    for (unsigned i = 0; i < n; i++)
        c[i] = cpu_to_fdt32(v[i]);
    fdt_property(blob, name, c, (int)(4 * n));
}

static void suite(const char *name, uint32_t key)
{
    fdt_begin_node(blob, name);
    cells_prop("id", 2, (uint32_t[]){20, 0});
    cells_prop("key", 1, &key);
    fdt_property_u32(blob, "salt", 4);
    fdt_property_u32(blob, "icv", 16);
    fdt_property(blob, "dir", "in\0out", 7);
    fdt_property(blob, "mode", "transport\0tunnel", 17);
    fdt_end_node(blob);
}

static void good(void **state)
{
    struct card_caps caps;
    begin();
    fdt_begin_node(blob, "sa");
    fdt_property_u32(blob, "out-max", 16);
    fdt_property_u32(blob, "in-max", 8);
    fdt_property(blob, "esn", NULL, 0);
    fdt_property(blob, "natt", "ipv4\0ipv6", 10);
    fdt_property_string(blob, "must-understand", "spi-index-bits");
    cells_prop("replay-windows", 3, (uint32_t[]){64, 256, 1024});
    fdt_begin_node(blob, "suites");
    suite("gcm16-128", 16);
    suite("gcm16-256", 32);
    fdt_end_node(blob);
    fdt_end_node(blob);
    assert_int_equal(end(&caps), 0);
    assert_int_equal(caps.sa_out_max, 16);
    assert_int_equal(caps.sa_in_max, 8);
    assert_true(caps.esn && caps.natt_v4 && caps.natt_v6);
    assert_int_equal(caps.n_windows, 3);
    assert_int_equal(caps.n_suites, 2);
    assert_string_equal(caps.suites[1].name, "gcm16-256");
    assert_int_equal(caps.suites[1].encr_len, 32);
    assert_int_equal(caps.suites[1].icv_len, 16);
    assert_true(caps.suites[0].in && caps.suites[0].out && caps.suites[0].transport);
    assert_int_equal(caps.warnings, 0);
}

static void absent_is_poorer(void **state)
{
    struct card_caps caps;
    begin();
    assert_int_equal(end(&caps), 0);
    assert_int_equal(caps.sa_out_max, 0);
    assert_int_equal(caps.tx_max, 0);
    assert_false(caps.esn);
    assert_int_equal(caps.n_suites, 0);
    assert_int_equal(caps.batch_max, 1);
    assert_int_equal(caps.completion_us, 10000);
}

static void malformed_is_absent(void **state)
{
    struct card_caps caps;
    begin();
    fdt_begin_node(blob, "sa");
    fdt_property(blob, "out-max", "abc", 3);
    fdt_property(blob, "natt", "ipv4", 4); /* no NUL */
    fdt_property(blob, "hdr", "d\x01", 3);
    fdt_end_node(blob);
    fdt_begin_node(blob, "ports");
    fdt_begin_node(blob, "port@0");
    fdt_property_u32(blob, "reg", 0);
    fdt_property(blob, "mac", "abcde", 5);
    fdt_end_node(blob);
    fdt_end_node(blob);
    assert_int_equal(end(&caps), 0);
    assert_int_equal(caps.sa_out_max, 0);
    assert_false(caps.natt_v4);
    assert_int_equal(caps.n_ports, 0);
    assert_true(caps.warnings >= 3);
}

static void must_understand(void **state)
{
    struct card_caps caps;
    begin();
    fdt_property_string(blob, "must-understand", "time-travel");
    assert_int_equal(end(&caps), -ENOTSUP);
    assert_non_null(strstr(why, "time-travel"));

    begin();
    fdt_begin_node(blob, "sa");
    fdt_property_u32(blob, "out-max", 16);
    fdt_property_string(blob, "must-understand", "time-travel");
    fdt_end_node(blob);
    assert_int_equal(end(&caps), 0);
    assert_int_equal(caps.sa_out_max, 0); /* that node is not there for us */
}

static void not_a_card(void **state)
{
    struct card_caps caps;
    memset(blob, 0, sizeof blob);
    fdt_create(blob, sizeof blob);
    fdt_finish_reservemap(blob);
    fdt_begin_node(blob, "");
    fdt_property_string(blob, "compatible", "acme,toaster");
    assert_int_equal(end(&caps), -ENOTSUP);
}

/* What the fuzzer found: an older version, whose names libfdt's full check reads from nowhere. */
static void old_version(void **state)
{
    static const uint32_t words[] = {0xd00dfeed, 72, 0x38, 68, 0x28, 4, 3, 4, 4,
                                     16,         0,  0,    0,  0,    1, 0, 9, 0};
    _Alignas(8) uint8_t old[sizeof words];
    struct card_caps caps;
    char text[CARD_REASON_MAX];
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        uint32_t be = htobe32(words[i]);
        memcpy(old + 4 * i, &be, 4);
    }
    assert_int_equal(card_caps_parse(old, sizeof old, &caps, text), -EINVAL);
}

static void hostile(void **state)
{
    struct card_caps caps;
    begin();
    for (int i = 0; i < 9; i++)
        fdt_begin_node(blob, "deep");
    for (int i = 0; i < 9; i++)
        fdt_end_node(blob);
    assert_int_equal(end(&caps), -EINVAL);

    begin();
    assert_int_equal(end(&caps), 0);
    size_t len = fdt_totalsize(blob);
    assert_int_equal(card_caps_parse(blob, len - 1, &caps, why), -EINVAL);
    assert_int_equal(card_caps_parse(blob, 3, &caps, why), -EINVAL);
    for (size_t i = 0; i < len;
         i++) { /* each octet broken in turn: no crash, whatever the answer */
        uint8_t old = blob[i];
        blob[i] ^= 0xff;
        (void)card_caps_parse(blob, len, &caps, why);
        blob[i] = old;
    }
}

static void bounds(void **state)
{
    struct card_caps caps;
    begin();
    fdt_begin_node(blob, "queues");
    fdt_property_u32(blob, "depth-max", 0xffffffff);
    fdt_property_u32(blob, "completion-us", 0);
    fdt_property_u32(blob, "addr-align", 0);
    fdt_end_node(blob);
    fdt_begin_node(blob, "health");
    fdt_property_u32(blob, "heartbeat-ms", 0);
    fdt_end_node(blob);
    assert_int_equal(end(&caps), 0);
    assert_int_equal(caps.depth_max, CIF_RING_DEPTH_MAX);
    assert_true(caps.completion_us && caps.addr_align && caps.heartbeat_ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(absent_is_poorer),
        cmocka_unit_test(malformed_is_absent),
        cmocka_unit_test(must_understand),
        cmocka_unit_test(not_a_card),
        cmocka_unit_test(old_version),
        cmocka_unit_test(hostile),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
