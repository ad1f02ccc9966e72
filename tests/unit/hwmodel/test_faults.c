/* The fault language: every site strikes what it says, as often as it says, and mistakes are
 * explained. */
#include <jansson.h>

#include "tests/unit/hwmodel/hw_host.h"

/* Sends a line; the answer's "ok". The answer itself stays in last for a look. */
static json_t *last;

static bool line(struct host *h, const char *text)
{
    char *answer = hw_card_ctl(h->card, h->now, text);

    assert_non_null(answer);
    json_decref(last);
    last = json_loads(answer, 0, NULL);
    assert_non_null(last);
    free(answer);
    return json_is_true(json_object_get(last, "ok"));
}

static const char *error_text(void)
{
    const char *e = json_string_value(json_object_get(last, "error"));

    return e ? e : "";
}

static void fault(struct host *h, const char *text)
{
    if (!line(h, text))
        fail_msg("%s: %s", text, error_text());
}

static void mistakes_are_explained(void **state)
{
    static const char *const rows[][2] = {
        {"fault add", "a fault begins with one of"},
        {"fault add moon", "completion"},
        {"fault add cmd=SA_SUB status=OK", "SA_ADD"},
        {"fault add cmd=SA_ADD", "status=NAME"},
        {"fault add cmd=SA_ADD status=NO_WAY", "NO_SA_SPACE"},
        {"fault add cmd=SA_ADD what=delay", "ms=N"},
        {"fault add cmd=SA_ADD status=BUSY nth=1 count=1", "exclude"},
        {"fault add cmd=SA_ADD status=BUSY rate=2", "from 0 to 1"},
        {"fault add completion what=burn", "drop double garble"},
        {"fault add completion queue=blue", "tx rx admin"},
        {"fault add datapath what=stop count=3", "keys of datapath"},
        {"fault add datapath until=monday", "reset"},
        {"fault add rx reason=BAD_HAIR", "FRAGMENT"},
        {"fault add tx status=OK", "SA_GONE"},
        {"fault del", "fault del ID"},
        {"fault del 77", "no fault"},
        {"reboot", "known are"},
    };
    struct host *h = host_open("reference");
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_false(line(h, rows[i][0]));
        if (!strstr(error_text(), rows[i][1]))
            fail_msg("%s: %s", rows[i][0], error_text());
    }
    assert_true(line(h, "fault list"));
    assert_int_equal(json_array_size(json_object_get(last, "faults")), 0);
    host_free(h);
}

/* Each status of the table refuses each command, and once only. */
static void every_command_with_every_status(void **state)
{
    struct host *h = host_open("reference");
    unsigned op, i;
    char text[128];

    for (op = 0; op < 0x60; op++) {
        if (!cif_op_built(op) || op == CIF_OP_ABORT)
            continue;
        for (i = 0; i < CIF_STATUS_COUNT; i++) {
            uint8_t acq[CIF_ACQ_SIZE];

            snprintf(text, sizeof(text), "fault add cmd=%s status=%s scope=command count=1",
                     cif_op_name(op), cif_status_name(cif_status_at(i)));
            fault(h, text);
            submission(h, op, 1, 16);
            assert_int_equal(wait_status(h, acq), cif_status_at(i));
        }
    }
    fault(h, "fault del all");
    host_free(h);
}

static void records_one_by_one(void **state)
{
    struct host *h = host_open("reference");
    uint8_t acq[CIF_ACQ_SIZE];
    unsigned i;

    fault(h, "fault add cmd=SA_ADD status=HASH_FULL nth=3");
    for (i = 0; i < 5; i++)
        sa_record(arg(h) + i * CIF_SA_SIZE, CIF_DIR_OUT, 0x1000 + i, 1 + i);
    submission(h, CIF_OP_SA_ADD, 5, CIF_SA_SIZE);
    assert_int_equal(wait_status(h, acq), CIF_ST_PARTIAL);
    assert_int_equal(cif_acq_first_bad(acq), 2);
    assert_int_equal(cif_acq_done(acq), 4);
    assert_int_equal(cif_rec_status_status(result(h) + 2 * CIF_REC_STATUS_SIZE), CIF_ST_HASH_FULL);
    host_free(h);
}

static void how_often(void **state)
{
    struct host *h = host_open("reference");
    unsigned refused = 0, i;

    fault(h, "fault add cmd=PING status=BUSY count=3");
    for (i = 0; i < 10; i++)
        refused += command(h, CIF_OP_PING, 0, 0) == CIF_ST_BUSY;
    assert_int_equal(refused, 3);
    fault(h, "fault del all");
    fault(h, "fault add cmd=PING status=BUSY rate=0.5");
    for (refused = 0, i = 0; i < 400; i++)
        refused += command(h, CIF_OP_PING, 0, 0) == CIF_ST_BUSY;
    assert_in_range(refused, 150, 250);
    fault(h, "fault del all");
    fault(h, "fault add cmd=any status=BUSY for=50");
    assert_int_equal(command(h, CIF_OP_PING, 0, 0), CIF_ST_BUSY);
    pass(h, 60);
    assert_int_equal(command(h, CIF_OP_PING, 0, 0), CIF_ST_OK);
    host_free(h);
}

static void delays_abort_and_fence(void **state)
{
    struct host *h = host_open("reference");
    uint8_t acq[CIF_ACQ_SIZE], *s;
    uint16_t cid;

    fault(h, "fault add cmd=PING what=delay ms=500 count=1");
    cid = cif_asq_cid(submission(h, CIF_OP_PING, 0, 0));
    ring_admin(h);
    assert_false(completion(h, acq));
    submission(h, CIF_OP_FENCE, 0, 0);
    submission(h, CIF_OP_STATS, 0, 0);
    assert_int_equal(wait_status(h, acq), CIF_ST_OK); /* STATS overtakes */
    assert_false(completion(h, acq));
    pass(h, 500);
    assert_true(completion(h, acq));
    assert_int_equal(cif_acq_cid(acq), cid);
    assert_true(completion(h, acq)); /* then the fence */
    assert_int_equal(cif_acq_cid(acq), cid + 1);

    fault(h, "fault add cmd=PING what=delay ms=500 count=1");
    s = submission(h, CIF_OP_PING, 0, 0);
    cid = cif_asq_cid(s);
    ring_admin(h);
    s = submission(h, CIF_OP_ABORT, 0, 0);
    cif_asq_set_arg0(s, cid | (uint32_t)(0x100 + cid) << 16);
    assert_int_equal(wait_status(h, acq), CIF_ST_ABORTED);
    assert_int_equal(cif_acq_cid(acq), cid);
    assert_true(completion(h, acq));
    assert_int_equal(cif_acq_status(acq), CIF_ST_OK);
    host_free(h);
}

static void admin_completions_lost_late_doubled(void **state)
{
    struct host *h = host_open("reference");
    uint8_t acq[CIF_ACQ_SIZE];

    fault(h, "fault add completion queue=admin what=drop count=1");
    submission(h, CIF_OP_PING, 0, 0);
    ring_admin(h);
    assert_false(completion(h, acq));
    fault(h, "fault add completion queue=admin what=double count=1");
    assert_int_equal(command(h, CIF_OP_PING, 0, 0), CIF_ST_OK);
    assert_true(completion(h, acq));
    fault(h, "fault add completion queue=admin what=delay ms=30 count=1");
    submission(h, CIF_OP_PING, 0, 0);
    ring_admin(h);
    assert_false(completion(h, acq));
    pass(h, 31);
    assert_true(completion(h, acq));
    host_free(h);
}

static void tx_completions_lost_late_doubled(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[100], c[CIF_TXC_SIZE];
    size_t len = udp_frame(f, 1, 2, 18);
    unsigned i;

    fault(h, "fault add completion queue=tx what=drop count=1");
    describe(h, CIF_TXOP_CLEAR, f, len);
    describe(h, CIF_TXOP_CLEAR, f, len);
    ring_tx(h);
    assert_int_equal(h->n_out, 2);
    assert_true(tx_completion(h, c));
    assert_int_equal(cif_txc_sq_head(c), 2);
    fault(h, "fault add completion queue=tx what=delay ms=40 count=1");
    for (i = 0; i < 3; i++)
        describe(h, CIF_TXOP_CLEAR, f, len);
    ring_tx(h);
    assert_int_equal(h->n_out, 5); /* the packets go on, their completions wait */
    assert_false(tx_completion(h, c));
    pass(h, 41);
    for (i = 0; i < 3; i++) {
        assert_true(tx_completion(h, c));
        assert_int_equal(cif_txc_sq_head(c), 3 + i);
    }
    fault(h, "fault add completion queue=tx what=garble count=1");
    describe(h, CIF_TXOP_CLEAR, f, len);
    ring_tx(h);
    assert_true(tx_completion(h, c));
    assert_int_not_equal(cif_txc_sq_head(c), 6);
    fault(h, "fault add completion queue=tx what=double count=1");
    describe(h, CIF_TXOP_CLEAR, f, len);
    ring_tx(h);
    assert_true(tx_completion(h, c));
    assert_true(tx_completion(h, c));
    host_free(h);
}

static void a_dead_data_path_shows(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[100], c[CIF_TXC_SIZE], r[CIF_RXC_SIZE];
    uint32_t dp, fw;
    size_t len = udp_frame(f, 1, 2, 18);

    fault(h, "fault add datapath what=stop ms=100");
    dp = reg(h, CIF_REG_HB_DP);
    fw = reg(h, CIF_REG_HB_FW);
    describe(h, CIF_TXOP_CLEAR, f, len);
    ring_tx(h);
    hw_card_wire_rx(h->card, h->now, 0, f, len);
    pass(h, 80);
    assert_int_equal(h->n_out, 0);
    assert_false(tx_completion(h, c));
    assert_false(rx_completion(h, r));
    assert_int_equal(reg(h, CIF_REG_HB_DP), dp);
    assert_int_not_equal(reg(h, CIF_REG_HB_FW), fw);
    assert_int_equal(command(h, CIF_OP_PING, 0, 0), CIF_ST_OK);
    pass(h, 40);
    assert_true(tx_completion(h, c));
    assert_true(rx_completion(h, r));
    assert_int_not_equal(reg(h, CIF_REG_HB_DP), dp);
    host_free(h);
}

static void frozen_firmware_shows(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[100], acq[CIF_ACQ_SIZE], c[CIF_TXC_SIZE];
    uint32_t fw;

    fault(h, "fault add firmware what=freeze until=reset");
    fw = reg(h, CIF_REG_HB_FW);
    submission(h, CIF_OP_PING, 0, 0);
    ring_admin(h);
    pass(h, 100);
    assert_false(completion(h, acq));
    assert_int_equal(reg(h, CIF_REG_HB_FW), fw);
    describe(h, CIF_TXOP_CLEAR, f, udp_frame(f, 1, 2, 18));
    ring_tx(h);
    assert_true(tx_completion(h, c));
    set(h, CIF_REG_CONTROL, CIF_CONTROL_RESET);
    pass(h, 60);
    bring_up(h, 0);
    assert_int_equal(command(h, CIF_OP_PING, 0, 0), CIF_ST_OK);
    host_free(h);
}

static void rx_tx_dma_irq_link(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[200], c[CIF_RXC_SIZE];
    uint32_t out, in;
    size_t len = udp_frame(f, 1, 2, 18);

    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, &out), CIF_ST_OK);
    sa_record(arg(h), CIF_DIR_IN, 0x1000, 2);
    assert_int_equal(add_sa(h, &in), CIF_ST_OK);
    fault(h, "fault add rx what=raw reason=ENGINE_FAULT count=1");
    assert_int_equal(protect(h, out, 1, f, len), CIF_TXS_OK);
    hw_card_wire_rx(h->card, h->now, 0, h->out[0].data, h->out[0].len);
    run(h);
    assert_true(rx_completion(h, c));
    assert_int_equal(cif_rxc_kind(c), CIF_RXK_RAW);
    assert_int_equal(cif_rxc_status(c), CIF_RXS_ENGINE_FAULT);
    assert_int_equal(cif_rxc_sa_handle(c), in);
    fault(h, "fault add tx status=SA_STOPPED count=1");
    assert_int_equal(protect(h, out, 2, f, len), CIF_TXS_SA_STOPPED);
    fault(h, "fault add link port=0 ms=50");
    assert_int_equal(protect(h, out, 3, f, len), CIF_TXS_LINK_DOWN);
    pass(h, 51);
    assert_int_equal(protect(h, out, 4, f, len), CIF_TXS_OK);
    fault(h, "fault add irq vector=0 what=drop count=1");
    assert_int_equal(command(h, CIF_OP_VECTOR_TEST, 0, 0), CIF_ST_OK);
    assert_int_equal(h->irqs[0], 0);
    fault(h, "fault add dma dir=read count=1");
    describe(h, CIF_TXOP_CLEAR, f, len);
    ring_tx(h);
    assert_false(tx_completion(h, c)); /* the descriptor could not be read: the queue stopped */
    host_free(h);
}

static void dumps_hold_no_key(void **state)
{
    struct host *h = host_open("reference");
    json_t *sa;
    char *answer;
    uint32_t handle;
    unsigned i;
    static const char *const dumps[] = {"dump sa", "dump stats", "dump queues", "fault list"};

    sa_record(arg(h), CIF_DIR_OUT, 0xc0ffee, 0xfeedfacecafebeefu);
    memcpy(cif_sa_encr_key_w(arg(h)), "CANARY-KEY-BYTES", 16);
    memcpy(cif_sa_salt_w(arg(h)), "SALT", 4);
    assert_int_equal(add_sa(h, &handle), CIF_ST_OK);
    for (i = 0; i < 4; i++) {
        answer = hw_card_ctl(h->card, h->now, dumps[i]);
        assert_null(strstr(answer, "CANARY"));
        assert_null(strstr(answer, "434e41")); /* nor in hexadecimal */
        assert_null(strstr(answer, "SALT"));
        free(answer);
    }
    assert_true(line(h, "dump sa"));
    sa = json_array_get(json_object_get(last, "sa"), 0);
    assert_int_equal(json_integer_value(json_object_get(sa, "handle")), handle);
    assert_string_equal(json_string_value(json_object_get(sa, "cookie")), "0xfeedfacecafebeef");
    assert_string_equal(json_string_value(json_object_get(sa, "suite")), "ESP_AES128_GCM16");
    assert_string_equal(json_string_value(json_object_get(sa, "state")), "active");
    assert_string_equal(json_string_value(json_object_get(sa, "src")), "192.0.2.1");
    assert_string_equal(json_string_value(json_object_get(sa, "mode")), "tunnel");
    host_free(h);
}

static void the_card_stops_and_says_so(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[100], e[CIF_EVENT_SIZE], c[CIF_TXC_SIZE];

    fault(h, "fault add card what=fatal");
    assert_true(reg(h, CIF_REG_STATUS) & CIF_STATUS_FATAL);
    assert_int_equal(reg(h, CIF_REG_FATAL_CODE), CIF_FATAL_CODE_INTERNAL);
    assert_true(event(h, e));
    assert_int_equal(cif_event_type(e), CIF_EV_FATAL);
    describe(h, CIF_TXOP_CLEAR, f, udp_frame(f, 1, 2, 18));
    ring_tx(h);
    assert_int_equal(h->n_out, 0);
    assert_false(tx_completion(h, c));
    set(h, CIF_REG_CONTROL, CIF_CONTROL_RESET);
    pass(h, 60);
    assert_int_equal(reg(h, CIF_REG_STATUS), CIF_STATUS_READY);
    bring_up(h, 0);
    open_rings(h);
    fault(h, "fault add card what=needs-reset");
    assert_true(reg(h, CIF_REG_STATUS) & CIF_STATUS_NEEDS_RESET);
    assert_true(event(h, e));
    assert_int_equal(cif_event_type(e), CIF_EV_NEEDS_RESET);
    host_free(h);
}

static void death(void **state)
{
    struct host *h = host_open("reference");

    fault(h, "die");
    assert_true(h->died);
    assert_int_equal(reg(h, CIF_REG_MAGIC), UINT32_MAX);
    run(h);
    host_free(h);
}

static int forget(void **state)
{
    json_decref(last);
    last = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_explained),
        cmocka_unit_test(every_command_with_every_status),
        cmocka_unit_test(records_one_by_one),
        cmocka_unit_test(how_often),
        cmocka_unit_test(delays_abort_and_fence),
        cmocka_unit_test(admin_completions_lost_late_doubled),
        cmocka_unit_test(tx_completions_lost_late_doubled),
        cmocka_unit_test(a_dead_data_path_shows),
        cmocka_unit_test(frozen_firmware_shows),
        cmocka_unit_test(rx_tx_dma_irq_link),
        cmocka_unit_test(dumps_hold_no_key),
        cmocka_unit_test(the_card_stops_and_says_so),
        cmocka_unit_test(death),
    };

    return cmocka_run_group_tests(tests, NULL, forget);
}
