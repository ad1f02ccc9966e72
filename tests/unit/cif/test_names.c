/* Names and texts: complete, distinct; accessors give back what was put, at odd addresses too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "firmware-if/card_if.h"

static void statuses(void **state)
{
    for (unsigned i = 0; i < CIF_STATUS_COUNT; i++) {
        unsigned a = cif_status_at(i);
        assert_true(strlen(cif_status_text(a)) > 10);
        assert_true(strlen(cif_status_remedy(a)) > 10);
        assert_string_not_equal(cif_class_name(cif_status_class(a)), "UNKNOWN");
        for (unsigned j = 0; j < i; j++) {
            unsigned b = cif_status_at(j);
            assert_int_not_equal(a, b);
            assert_string_not_equal(cif_status_name(a), cif_status_name(b));
            assert_string_not_equal(cif_status_text(a), cif_status_text(b));
            assert_string_not_equal(cif_status_remedy(a), cif_status_remedy(b));
        }
    }
    assert_int_equal(cif_status_at(CIF_STATUS_COUNT), 0xffff);
}

static void unknown_numbers(void **state)
{
    assert_string_equal(cif_status_name(0x2777), "UNKNOWN");
    assert_string_equal(cif_status_text(0x2777), cif_class_text(CIF_CLASS_RESOURCE));
    assert_non_null(cif_status_text(0xb001));
    assert_int_equal(cif_txs_fate(200), CIF_FATE_MAYBE);
    assert_string_equal(cif_op_name(0x7f), "UNKNOWN");
    assert_false(cif_op_built(0x7f));
    assert_int_equal(cif_op_timeout(0x7f), CIF_TIMEOUT_FIRMWARE);
    assert_null(cif_tree_prop_at(CIF_TREE_PROP_COUNT));
}

static void fates(void **state)
{
    assert_int_equal(cif_txs_fate(CIF_TXS_OK), CIF_FATE_SENT);
    for (unsigned s = CIF_TXS_SA_GONE; s <= CIF_TXS_POLICY_TRAP; s++)
        assert_int_equal(cif_txs_fate(s), CIF_FATE_UNSENT);
    assert_int_equal(cif_txs_fate(CIF_TXS_FLUSHED), CIF_FATE_UNSENT);
    assert_int_equal(cif_txs_fate(CIF_TXS_LINK_DOWN), CIF_FATE_MAYBE);
    assert_int_equal(cif_txs_fate(CIF_TXS_ENGINE_FAULT), CIF_FATE_MAYBE);
}

static void commands(void **state)
{
    assert_true(cif_op_built(CIF_OP_SA_ADD));
    assert_false(cif_op_built(CIF_OP_SA_TAKEOVER));
    assert_int_equal(cif_op_timeout(CIF_OP_PING), CIF_TIMEOUT_FAST);
    assert_int_equal(cif_op_timeout(CIF_OP_SA_ADD), CIF_TIMEOUT_TABLE);
    assert_string_equal(cif_op_name(CIF_OP_Q_RESET), "Q_RESET");
    assert_string_equal(cif_event_name(CIF_EV_TABLE_LOW), "TABLE_LOW");
    assert_string_equal(cif_reset_name(CIF_RESET_HB_DP), "HB_DP");
}

static void counters(void **state)
{
    uint8_t rec[CIF_STATS_SIZE] = {0};
    for (unsigned i = 0; i < CIF_STAT_COUNT; i++) {
        cif_stats_set_counter(rec, i, i + 1);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(cif_stat_name(i), cif_stat_name(j));
    }
    assert_int_equal(cif_stats_rx_icv_fail(rec), CIF_STAT_RX_ICV_FAIL + 1);
    assert_int_equal(cif_stats_counter(rec, CIF_STAT_COUNT - 1), CIF_STAT_COUNT);
    assert_true(cif_stat_is_drop(CIF_STAT_RX_ICV_FAIL));
    assert_false(cif_stat_is_drop(CIF_STAT_TX_PACKETS));
}

static void round_trip(void **state)
{
    uint8_t mem[CIF_SA_SIZE + 1] = {0}, *rec = mem + 1;
    cif_sa_set_spi(rec, 0x11223344);
    cif_sa_set_cookie(rec, 0x0102030405060708);
    cif_sa_set_encr_id(rec, 20);
    memset(cif_sa_salt_w(rec), 0xa5, CIF_SA_SALT_LEN);
    assert_int_equal(cif_sa_spi(rec), 0x11223344);
    assert_int_equal(rec[CIF_SA_SPI_OFF], 0x44);
    assert_true(cif_sa_cookie(rec) == 0x0102030405060708);
    assert_int_equal(rec[CIF_SA_COOKIE_OFF], 8);
    assert_int_equal(cif_sa_encr_id(rec), 20);
    assert_int_equal(cif_sa_salt(rec)[3], 0xa5);
    assert_int_equal(rec[CIF_SA_ENCR_KEY_OFF], 0);

    uint8_t port[CIF_PORT_SET_SIZE] = {0};
    cif_port_set_set_ike_port(port, 7, 4501);
    assert_int_equal(cif_port_set_ike_port(port, 7), 4501);
    assert_int_equal(port[CIF_PORT_SET_RSVD1_OFF], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses), cmocka_unit_test(unknown_numbers), cmocka_unit_test(fates),
        cmocka_unit_test(commands), cmocka_unit_test(counters),        cmocka_unit_test(round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
