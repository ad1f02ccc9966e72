/* The header that the kernel puts in front of frames: hostile offsets are refused, all else
 * survives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "hostd/data/host/tap.h"

static void round_trip(void **state)
{
    (void)state;
    static const struct dp_offload cases[] = {
        {0},
        {.needs_csum = true, .csum_start = 34, .csum_offset = 16},
        {true, 34, 16, DP_GSO_TCP4, 1448, 66},
        {true, 54, 16, DP_GSO_TCP6, 1428, 86},
        {true, 34, 6, DP_GSO_UDP, 1000, 42}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t hdr[VNET_HDR];
        struct dp_offload back;
        vnet_encode(&cases[i], hdr);
        assert_int_equal(vnet_decode(hdr, 3000, &back), 0);
        assert_int_equal(back.needs_csum, cases[i].needs_csum);
        assert_int_equal(back.csum_start, cases[i].csum_start);
        assert_int_equal(back.csum_offset, cases[i].csum_offset);
        assert_int_equal(back.gso, cases[i].gso);
        assert_int_equal(back.gso_size, cases[i].gso_size);
        assert_int_equal(back.hdr_len, cases[i].hdr_len);
    }
}

static void checksum_outside_the_frame(void **state)
{
    (void)state;
    struct dp_offload off = {.needs_csum = true, .csum_start = 34, .csum_offset = 16}, back;
    uint8_t hdr[VNET_HDR];
    vnet_encode(&off, hdr);
    assert_int_equal(vnet_decode(hdr, 52, &back), 0);
    assert_int_equal(vnet_decode(hdr, 51, &back), -EBADMSG);
    off.csum_start = 65535;
    vnet_encode(&off, hdr);
    assert_int_equal(vnet_decode(hdr, 60000, &back), -EBADMSG);
}

static void super_packet_without_size(void **state)
{
    (void)state;
    struct dp_offload off = {true, 34, 16, DP_GSO_TCP4, 0, 66}, back;
    uint8_t hdr[VNET_HDR];
    vnet_encode(&off, hdr);
    assert_int_equal(vnet_decode(hdr, 9000, &back), -EBADMSG);
    off = (struct dp_offload){false, 0, 0, DP_GSO_TCP4, 1448, 66};
    vnet_encode(&off, hdr);
    assert_int_equal(vnet_decode(hdr, 9000, &back), -EBADMSG);
}

static void unknown_kind(void **state)
{
    (void)state;
    uint8_t hdr[VNET_HDR] = {1, 77};
    struct dp_offload back;
    assert_int_equal(vnet_decode(hdr, 9000, &back), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(checksum_outside_the_frame),
        cmocka_unit_test(super_packet_without_size), cmocka_unit_test(unknown_kind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
