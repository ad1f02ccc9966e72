/* Bring-up, registers, resets, and every admin command. */
#include "tests/unit/hwmodel/hw_host.h"

static void features_are_a_handshake(void **state)
{
    struct host *h = host_new("reference");

    assert_int_equal(reg(h, CIF_REG_MAGIC), CIF_MAGIC);
    assert_int_equal(reg(h, CIF_REG_VERSION), 0x10000);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_DRIVER | CIF_CONTROL_FEATURES_OK); /* before ACK */
    assert_false(reg(h, CIF_REG_STATUS) & CIF_STATUS_FEATURES_OK);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_ACK | CIF_CONTROL_DRIVER);
    set(h, CIF_REG_FEAT_DRV, CIF_FEAT_GUARD); /* not offered */
    set(h, CIF_REG_CONTROL, CIF_CONTROL_FEATURES_OK);
    assert_false(reg(h, CIF_REG_STATUS) & CIF_STATUS_FEATURES_OK);
    set(h, CIF_REG_FEAT_DRV, reg(h, CIF_REG_FEAT_DEV));
    set(h, CIF_REG_CONTROL, CIF_CONTROL_FEATURES_OK);
    assert_true(reg(h, CIF_REG_STATUS) & CIF_STATUS_FEATURES_OK);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_RUN); /* no queues: ignored */
    assert_false(reg(h, CIF_REG_STATUS) & CIF_STATUS_RUNNING);
    host_free(h);
}

static void the_tree_is_in_the_window(void **state)
{
    struct host *h = host_open("small");
    uint32_t size = reg(h, CIF_REG_FDT_SIZE), i;
    uint8_t acq[CIF_ACQ_SIZE];

    assert_int_equal(reg(h, CIF_REG_FDT_OFF), 0x10000);
    submission(h, CIF_OP_GET_TREE, 0, 0);
    assert_int_equal(wait_status(h, acq), CIF_ST_OK);
    assert_int_equal(cif_acq_value(acq), size);
    for (i = 0; i < size; i += 4)
        assert_int_equal(reg(h, 0x10000 + i), cif_get32(result(h) + i));
    cif_asq_set_result_len(submission(h, CIF_OP_GET_TREE, 0, 0), 10);
    assert_int_equal(wait_status(h, acq), CIF_ST_BAD_SIZE);
    assert_int_equal(cif_acq_value(acq), size);
    host_free(h);
}

static void reset_loses_all_and_says_so(void **state)
{
    struct host *h = host_open("reference");
    uint32_t epoch = reg(h, CIF_REG_EPOCH), handle;
    uint8_t f[100] = {0};

    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, &handle), CIF_ST_OK);
    set(h, CIF_REG_RESET_REASON, CIF_RESET_USER);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_RESET);
    assert_int_equal(reg(h, CIF_REG_STATUS), CIF_STATUS_RESETTING);
    pass(h, 2);
    assert_int_equal(reg(h, CIF_REG_STATUS), CIF_STATUS_READY);
    assert_int_equal(reg(h, CIF_REG_EPOCH), epoch + 1);
    assert_int_equal(reg(h, CIF_REG_RESET_REASON), CIF_RESET_USER);
    bring_up(h, 0);
    open_rings(h);
    assert_int_equal(protect(h, handle, 1, f, udp_frame(f, 1, 2, 9)), CIF_TXS_SA_GONE);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_RESET);
    pass(h, 60);
    assert_int_equal(reg(h, CIF_REG_EPOCH), epoch + 2);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_RESET); /* nothing to lose this time */
    pass(h, 60);
    assert_int_equal(reg(h, CIF_REG_EPOCH), epoch + 2);
    host_free(h);
}

static void level_a_keeps_traffic(void **state)
{
    struct host *h = host_open("reference");
    uint32_t epoch = reg(h, CIF_REG_EPOCH), out;
    uint8_t f[200] = {0};

    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, &out), CIF_ST_OK);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_ADMIN_RESET);
    assert_true(reg(h, CIF_REG_STATUS) & CIF_STATUS_ADMIN_OFF);
    assert_int_equal(protect(h, out, 1, f, udp_frame(f, 1, 2, 9)), CIF_TXS_OK);
    memset(h->mem + AT_ACQ, 0, 0x2000);
    memset(h->mem + AT_EVQ, 0, 0x2000);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_ADMIN_RUN);
    assert_false(reg(h, CIF_REG_STATUS) & CIF_STATUS_ADMIN_OFF);
    h->asq_tail = h->acq_head = h->evq_head = 0;
    assert_int_equal(command(h, CIF_OP_PING, 0, 0), CIF_ST_OK);
    assert_int_equal(protect(h, out, 2, f, udp_frame(f, 1, 2, 9)), CIF_TXS_OK);
    assert_int_equal(reg(h, CIF_REG_EPOCH), epoch);
    host_free(h);
}

static void heartbeats_count(void **state)
{
    struct host *h = host_open("reference");
    uint32_t fw = reg(h, CIF_REG_HB_FW), dp = reg(h, CIF_REG_HB_DP);

    pass(h, 100);
    assert_in_range(reg(h, CIF_REG_HB_FW) - fw, 4, 6);
    assert_in_range(reg(h, CIF_REG_HB_DP) - dp, 4, 6);
    host_free(h);
}

static void without_bus_mastering_nothing_moves(void **state)
{
    struct host *h = host_open("reference");
    uint8_t off[2] = {2, 0}, acq[CIF_ACQ_SIZE];

    hw_pci_write(h->card, h->now, 4, off, 2);
    submission(h, CIF_OP_PING, 0, 0);
    ring_admin(h);
    assert_false(completion(h, acq));
    host_free(h);
}

static void sa_add_is_idempotent(void **state)
{
    struct host *h = host_open("reference");
    uint32_t one, again;

    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, &one), CIF_ST_OK);
    assert_int_equal(add_sa(h, &again), CIF_ST_ALREADY);
    assert_int_equal(one, again);
    cif_sa_set_ttl(arg(h), 9);
    assert_int_equal(add_sa(h, NULL), CIF_ST_COOKIE_DUP);
    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 2);
    assert_int_equal(add_sa(h, NULL), CIF_ST_DUP_SA);
    cif_sa_encr_key_w(arg(h))[0] ^= 1; /* another key under the same SPI is another SA */
    assert_int_equal(add_sa(h, NULL), CIF_ST_OK);
    sa_record(arg(h), CIF_DIR_IN, 0x1000, 3);
    assert_int_equal(add_sa(h, NULL), CIF_ST_OK);
    sa_record(arg(h), CIF_DIR_IN, 0x1000, 4);
    cif_sa_encr_key_w(arg(h))[0] ^= 1;
    assert_int_equal(add_sa(h, NULL), CIF_ST_DUP_SA);
    cif_sa_dst_w(arg(h))[3] ^= 1;
    assert_int_equal(add_sa(h, NULL), CIF_ST_OK);
    host_free(h);
}

/* A byte set in a good record, and what the card says. */
static const struct {
    unsigned at;
    uint8_t value;
    uint16_t status;
} spoilt[] = {
    {CIF_SA_VER_OFF, 2, CIF_ST_BAD_FIELD},
    {CIF_SA_DIR_OFF, 3, CIF_ST_BAD_FIELD},
    {CIF_SA_SPI_OFF + 1, 0, CIF_ST_BAD_SPI},
    {CIF_SA_PROTO_OFF, 51, CIF_ST_UNSUPPORTED},
    {CIF_SA_PROTO_OFF, 17, CIF_ST_BAD_FIELD},
    {CIF_SA_MODE_OFF, 0, CIF_ST_BAD_FIELD},
    {CIF_SA_ENCAP_OFF, 2, CIF_ST_BAD_FIELD},
    {CIF_SA_FAMILY_OFF, 5, CIF_ST_BAD_FIELD},
    {CIF_SA_ENCR_ID_OFF, 12, CIF_ST_BAD_ALG},
    {CIF_SA_INTEG_ID_OFF, 12, CIF_ST_BAD_ALG},
    {CIF_SA_ENCR_LEN_OFF, 17, CIF_ST_BAD_KEY_LEN},
    {CIF_SA_ENCR_LEN_OFF, 24, CIF_ST_BAD_ALG},
    {CIF_SA_INTEG_LEN_OFF, 1, CIF_ST_BAD_KEY_LEN},
    {CIF_SA_SALT_LEN_OFF, 0, CIF_ST_BAD_KEY_LEN},
    {CIF_SA_ICV_LEN_OFF, 12, CIF_ST_BAD_KEY_LEN},
    {CIF_SA_FLAGS_OFF, 1, CIF_ST_UNSUPPORTED},
    {CIF_SA_FLAGS_OFF + 3, 0x80, CIF_ST_BAD_FIELD},
    {CIF_SA_REPLAY_WIN_OFF, 64, CIF_ST_BAD_FIELD},
    {CIF_SA_DSCP_OFF, 64, CIF_ST_BAD_FIELD},
    {CIF_SA_HDR_CTL_OFF, 3, CIF_ST_BAD_FIELD},
    {CIF_SA_HDR_CTL_OFF, 2, CIF_ST_UNSUPPORTED},
    {CIF_SA_PAD_ALIGN_OFF, 6, CIF_ST_BAD_FIELD},
    {CIF_SA_FLOW_LABEL_OFF + 2, 0x10, CIF_ST_BAD_FIELD},
    {CIF_SA_UDP_SPORT_OFF, 1, CIF_ST_BAD_FIELD},
    {CIF_SA_OWNER_OFF, 1, CIF_ST_NOT_OWNER},
    {CIF_SA_SRC_OFF + 4, 1, CIF_ST_BAD_FIELD},
    {CIF_SA_DST_OFF + 15, 1, CIF_ST_BAD_FIELD},
    {CIF_SA_RSVD0_OFF, 1, CIF_ST_BAD_FIELD},
    {CIF_SA_KEY_SLOT_OFF, 1, CIF_ST_KEY_SLOT},
    {CIF_SA_ENCR_KEY_OFF + 16, 1, CIF_ST_BAD_FIELD},
    {CIF_SA_INTEG_KEY_OFF, 1, CIF_ST_BAD_FIELD},
    {CIF_SA_IV_KEY_OFF, 1, CIF_ST_BAD_FIELD},
    {CIF_SA_RSVD1_OFF + 47, 1, CIF_ST_BAD_FIELD},
};

static void every_field_is_checked(void **state)
{
    struct host *h = host_open("reference");
    size_t i;

    for (i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
        sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
        arg(h)[spoilt[i].at] = spoilt[i].value;
        if (add_sa(h, NULL) != spoilt[i].status)
            fail_msg("offset %#x: %s", spoilt[i].at,
                     cif_status_name(cif_rec_status_status(result(h))));
        assert_int_equal(cif_rec_status_handle(result(h)), CIF_HANDLE_NONE);
    }
    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, NULL), CIF_ST_OK);
    host_free(h);
}

static void shapes_refuse_what_they_lack(void **state)
{
    struct host *h = host_open("gcm128-only");

    cif_sa_set_encr_len(sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1), 32);
    assert_int_equal(add_sa(h, NULL), CIF_ST_BAD_ALG);
    host_free(h);
    h = host_open("no-esn");
    cif_sa_set_flags(sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1), CIF_SAF_ESN);
    assert_int_equal(add_sa(h, NULL), CIF_ST_UNSUPPORTED);
    host_free(h);
    h = host_open("no-natt");
    cif_sa_set_encap(sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1), CIF_ENCAP_UDP);
    cif_sa_set_udp_sport(arg(h), 4500);
    cif_sa_set_udp_dport(arg(h), 4500);
    assert_int_equal(add_sa(h, NULL), CIF_ST_UNSUPPORTED);
    host_free(h);
}

static void the_small_table_fills_and_drains(void **state)
{
    struct host *h = host_open("small");
    uint32_t handle[4], round, i;
    uint8_t e[CIF_EVENT_SIZE];
    bool low;

    for (round = 0; round < 10; round++) {
        for (i = 0; i < 4; i++) {
            sa_record(arg(h), 1 + (i & 1), 0x1000 + i, 1 + i);
            assert_int_equal(add_sa(h, &handle[i]), CIF_ST_OK);
        }
        sa_record(arg(h), CIF_DIR_OUT, 0x2000, 9);
        assert_int_equal(add_sa(h, NULL), CIF_ST_NO_SA_SPACE);
        for (i = 0; i < 4; i++)
            assert_int_equal(by_handle(h, CIF_OP_SA_FREE, handle[i]), CIF_ST_OK);
        for (low = false; event(h, e);)
            low = low || cif_event_type(e) == CIF_EV_TABLE_LOW;
        assert_true(low);
    }
    host_free(h);
}

static void batches_say_each_outcome(void **state)
{
    struct host *h = host_open("reference");
    uint8_t acq[CIF_ACQ_SIZE], *s;
    unsigned i;

    for (i = 0; i < 5; i++)
        sa_record(arg(h) + i * CIF_SA_SIZE, CIF_DIR_OUT, i == 2 ? 5 : 0x1000 + i, 1 + i);
    memset(result(h), 0xff, 5 * CIF_REC_STATUS_SIZE);
    s = submission(h, CIF_OP_SA_ADD, 5, CIF_SA_SIZE);
    cif_asq_set_flags(s, CIF_ADMF_STOP);
    assert_int_equal(wait_status(h, acq), CIF_ST_PARTIAL);
    assert_int_equal(cif_acq_done(acq), 2);
    assert_int_equal(cif_acq_first_bad(acq), 2);
    assert_int_equal(cif_rec_status_status(result(h) + 2 * CIF_REC_STATUS_SIZE), CIF_ST_BAD_SPI);
    assert_int_equal(cif_rec_status_status(result(h) + 3 * CIF_REC_STATUS_SIZE), 0xffff);
    submission(h, CIF_OP_SA_ADD, 5, CIF_SA_SIZE);
    assert_int_equal(wait_status(h, acq), CIF_ST_PARTIAL);
    assert_int_equal(cif_acq_done(acq), 4);
    assert_int_equal(cif_rec_status_status(result(h)), CIF_ST_ALREADY);
    assert_int_equal(cif_rec_status_status(result(h) + 4 * CIF_REC_STATUS_SIZE), CIF_ST_OK);
    assert_int_equal(command(h, CIF_OP_SA_FLUSH, 0, 0), CIF_ST_OK);
    host_free(h);
}

static void atomic_is_all_or_none(void **state)
{
    struct host *h = host_new("reference");
    uint8_t acq[CIF_ACQ_SIZE], *s;
    unsigned i;

    bring_up(h, CIF_FEAT_ATOMIC_BATCH);
    for (i = 0; i < 3; i++)
        sa_record(arg(h) + i * CIF_SA_SIZE, CIF_DIR_OUT, i == 2 ? 5 : 0x1000 + i, 1 + i);
    s = submission(h, CIF_OP_SA_ADD, 3, CIF_SA_SIZE);
    cif_asq_set_flags(s, CIF_ADMF_ATOMIC);
    assert_int_equal(wait_status(h, acq), CIF_ST_PARTIAL);
    assert_int_equal(cif_acq_done(acq), 0);
    assert_int_equal(cif_acq_first_bad(acq), 2);
    s = submission(h, CIF_OP_SA_FLUSH, 0, 0);
    assert_int_equal(wait_status(h, acq), CIF_ST_OK);
    assert_int_equal(cif_acq_value(acq), 0);
    host_free(h);
}

static void query_finds_by_handle_cookie_and_all(void **state)
{
    struct host *h = host_open("reference");
    uint8_t acq[CIF_ACQ_SIZE], *s, *r;
    uint32_t handle, n = 0;
    uint64_t from = 0, cookie;

    for (cookie = 1; cookie <= 7; cookie++) {
        sa_record(arg(h), CIF_DIR_IN, 0x1000 + (uint32_t)cookie, cookie);
        assert_int_equal(add_sa(h, &handle), CIF_ST_OK);
    }
    memset(arg(h), 0, 2 * CIF_SA_REF_SIZE);
    cif_sa_ref_set_cookie(arg(h), 7);
    cif_sa_ref_set_cookie(arg(h) + CIF_SA_REF_SIZE, 99);
    s = submission(h, CIF_OP_SA_QUERY, 2, CIF_SA_STATE_SIZE);
    cif_asq_set_arg0(s, CIF_QUERY_COOKIE);
    assert_int_equal(wait_status(h, acq), CIF_ST_OK);
    assert_int_equal(cif_acq_done(acq), 2);
    assert_int_equal(cif_sa_state_handle(result(h)), handle);
    assert_int_equal(cif_sa_state_state(result(h)), CIF_SASTATE_ACTIVE);
    r = result(h) + CIF_SA_STATE_SIZE;
    assert_int_equal(cif_sa_state_state(r), CIF_SASTATE_FREE);
    assert_int_equal(cif_sa_state_handle(r), CIF_HANDLE_NONE);
    assert_int_equal(cif_sa_state_cookie(r), 99);
    while (from != UINT64_MAX) {
        s = submission(h, CIF_OP_SA_QUERY, 3, CIF_SA_STATE_SIZE);
        cif_asq_set_arg0(s, CIF_QUERY_ALL);
        cif_asq_set_arg1(s, from);
        assert_int_equal(wait_status(h, acq), CIF_ST_OK);
        n += cif_acq_done(acq);
        from = cif_acq_value(acq);
    }
    assert_int_equal(n, 7);
    host_free(h);
}

static void modify_changes_only_what_is_named(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[300] = {0}, acq[CIF_ACQ_SIZE], *r = arg(h);
    uint32_t out;

    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, &out), CIF_ST_OK);
    memset(r, 0, CIF_SA_MODIFY_SIZE);
    cif_sa_modify_set_size(r, CIF_SA_MODIFY_SIZE);
    cif_sa_modify_set_ver(r, 1);
    cif_sa_modify_set_handle(r, out);
    cif_sa_modify_set_mask(r, CIF_MOD_ADDRS | CIF_MOD_DSCP);
    memcpy(cif_sa_dst_w(cif_sa_modify_sa_w(r)), "\xcb\x00\x71\x05", 4);
    cif_sa_set_ttl(cif_sa_modify_sa_w(r), 33);
    submission(h, CIF_OP_SA_MODIFY, 1, CIF_SA_MODIFY_SIZE);
    assert_int_equal(wait_status(h, acq), CIF_ST_OK);
    assert_int_equal(protect(h, out, 1, f, udp_frame(f, 1, 2, 9)), CIF_TXS_OK);
    assert_memory_equal(h->out[0].data + 30, "\xcb\x00\x71\x05", 4);
    assert_int_equal(h->out[0].data[22], 33);
    cif_sa_modify_set_mask(r, CIF_MOD_LIMITS);
    submission(h, CIF_OP_SA_MODIFY, 1, CIF_SA_MODIFY_SIZE);
    assert_int_equal(wait_status(h, acq), CIF_ST_PARTIAL);
    assert_int_equal(cif_rec_status_status(result(h)), CIF_ST_BAD_FIELD);
    host_free(h);
}

static void heads_are_checked(void **state)
{
    struct host *h = host_open("reference");
    uint8_t acq[CIF_ACQ_SIZE], *s;

    assert_int_equal(command(h, 0x7f, 0, 0), CIF_ST_BAD_OP);
    assert_int_equal(command(h, CIF_OP_SA_GRANT, 0, 0), CIF_ST_BAD_OP);
    s = submission(h, CIF_OP_PING, 0, 0);
    cif_asq_set_rsvd0(s, 1);
    assert_int_equal(wait_status(h, acq), CIF_ST_BAD_FIELD);
    assert_int_equal(cif_acq_value(acq), CIF_ASQ_RSVD0_OFF);
    s = submission(h, CIF_OP_PING, 0, 0);
    cif_asq_set_owner(s, 1);
    assert_int_equal(wait_status(h, acq), CIF_ST_NOT_OWNER);
    s = submission(h, CIF_OP_PING, 0, 0);
    cif_asq_set_flags(s, CIF_ADMF_CRC); /* not negotiated */
    assert_int_equal(wait_status(h, acq), CIF_ST_BAD_FIELD);
    s = submission(h, CIF_OP_SA_ADD, 1, CIF_SA_SIZE);
    cif_asq_set_data(s, 0x1234);
    assert_int_equal(wait_status(h, acq), CIF_ST_PARTIAL);
    assert_int_equal(cif_rec_status_status(result(h)), CIF_ST_DMA_FAULT);
    s = submission(h, CIF_OP_SA_ADD, 65535, CIF_SA_SIZE);
    assert_int_equal(wait_status(h, acq), CIF_ST_BAD_FIELD);
    host_free(h);
}

static void the_rings_wrap(void **state)
{
    struct host *h = host_open("reference");
    unsigned i;

    for (i = 0; i < 1000; i++)
        assert_int_equal(command(h, CIF_OP_PING, 0, i), CIF_ST_OK);
    doorbell(h, CIF_DB_ASQ_TAIL, h->asq_tail + ADMIN + 1u);
    run(h);
    host_free(h);
}

static void queue_commands(void **state)
{
    struct host *h = host_open("reference");
    uint8_t *r = arg(h);

    assert_int_equal(create_queue(h, 0, CIF_QTYPE_TX, AT_TXR, AT_TXC), CIF_ST_ALREADY);
    assert_int_equal(create_queue(h, 0, CIF_QTYPE_RX, AT_TXR, AT_TXC), CIF_ST_BAD_FIELD);
    assert_int_equal(create_queue(h, 99, CIF_QTYPE_RX, AT_TXR, AT_TXC), CIF_ST_NO_QUEUE);
    assert_int_equal(create_queue(h, 2, 3, AT_TXR, AT_TXC), CIF_ST_BAD_FIELD);
    assert_int_equal(create_queue(h, 2, CIF_QTYPE_TX, AT_TXR + 8, AT_TXC), CIF_ST_BAD_FIELD);
    cif_q_create_set_ring(r, HOST_BASE + AT_TXR);
    cif_q_create_set_port(r, 5);
    assert_int_equal(command(h, CIF_OP_Q_CREATE, 0, 0), CIF_ST_NO_SUCH);
    assert_int_equal(command(h, CIF_OP_Q_DESTROY, 7, 0), CIF_ST_OK);
    assert_int_equal(command(h, CIF_OP_Q_RESET, 7, 0), CIF_ST_NO_SUCH);
    assert_int_equal(command(h, CIF_OP_Q_MODIFY, 0, 100 | 8 << 16), CIF_ST_OK);
    assert_int_equal(command(h, CIF_OP_VECTOR_TEST, 3, 0), CIF_ST_OK);
    assert_int_equal(h->irqs[3], 1);
    assert_int_equal(command(h, CIF_OP_VECTOR_TEST, 300, 0), CIF_ST_NO_SUCH);
    assert_int_equal(command(h, CIF_OP_PORT_GET, 0, 0), CIF_ST_OK);
    assert_int_equal(cif_port_info_link(result(h)), 1);
    assert_int_equal(command(h, CIF_OP_STATS, CIF_SCOPE_CARD, 0), CIF_ST_OK);
    assert_int_equal(cif_stats_n(result(h)), CIF_STAT_COUNT);
    assert_int_equal(command(h, CIF_OP_STATS, CIF_SCOPE_QUEUE, 9), CIF_ST_NO_SUCH);
    host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_a_handshake),
        cmocka_unit_test(the_tree_is_in_the_window),
        cmocka_unit_test(reset_loses_all_and_says_so),
        cmocka_unit_test(level_a_keeps_traffic),
        cmocka_unit_test(heartbeats_count),
        cmocka_unit_test(without_bus_mastering_nothing_moves),
        cmocka_unit_test(sa_add_is_idempotent),
        cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(shapes_refuse_what_they_lack),
        cmocka_unit_test(the_small_table_fills_and_drains),
        cmocka_unit_test(batches_say_each_outcome),
        cmocka_unit_test(atomic_is_all_or_none),
        cmocka_unit_test(query_finds_by_handle_cookie_and_all),
        cmocka_unit_test(modify_changes_only_what_is_named),
        cmocka_unit_test(heads_are_checked),
        cmocka_unit_test(the_rings_wrap),
        cmocka_unit_test(queue_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
