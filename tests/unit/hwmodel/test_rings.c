/* Packets through the rings: every op, every refusal, order, LOOP, and what a hostile ring does. */
#include "tests/unit/hwmodel/hw_host.h"

static void add_pair(struct host *h, uint32_t *out, uint32_t *in)
{
    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, out), CIF_ST_OK);
    sa_record(arg(h), CIF_DIR_IN, 0x1000, 2);
    assert_int_equal(add_sa(h, in), CIF_ST_OK);
}

static void protect_and_back(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[2000], c[CIF_RXC_SIZE];
    uint32_t out, in;
    size_t len;
    unsigned n;

    add_pair(h, &out, &in);
    for (n = 1; n < 200; n++) {
        len = udp_frame(f, 1111, 2222, n * 7 % 1400);
        h->n_out = 0;
        assert_int_equal(protect(h, out, n, f, len), CIF_TXS_OK);
        assert_int_equal(h->n_out, 1);
        hw_card_wire_rx(h->card, h->now, 0, h->out[0].data, h->out[0].len);
        run(h);
        assert_true(rx_completion(h, c));
        assert_int_equal(cif_rxc_kind(c), CIF_RXK_PROTECTED);
        assert_int_equal(cif_rxc_seq(c), n);
        assert_int_equal(cif_rxc_sa_handle(c), in);
        assert_int_equal(cif_rxc_len(c), len);
        assert_memory_equal(rx_data(h, c) + 14, f + 14, len - 14);
        post_buffers(h, cif_rxc_nbufs(c));
    }
    host_free(h);
}

static void loop_both_ways(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[2000], c[CIF_TXC_SIZE], r[CIF_RXC_SIZE], *d;
    uint32_t out, in;
    size_t len = udp_frame(f, 1, 2, 100);

    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, &out), CIF_ST_OK);
    d = describe(h, CIF_TXOP_PROTECT, f, len);
    cif_txd_set_sa_handle(d, out);
    cif_txd_set_seq(d, 1);
    cif_txd_set_flags(d, cif_txd_flags(d) | CIF_TXF_LOOP);
    ring_tx(h);
    assert_true(tx_completion(h, c));
    assert_true(rx_completion(h, r));
    assert_int_equal(h->n_out, 0);
    assert_int_equal(cif_rxc_kind(r), CIF_RXK_RAW);
    assert_int_equal(cif_rxc_status(r), CIF_RXS_NO_SA);
    assert_true(cif_rxc_flags(r) & CIF_RXF_LOOPED);

    sa_record(arg(h), CIF_DIR_IN, 0x1000, 2);
    assert_int_equal(add_sa(h, &in), CIF_ST_OK);
    d = describe(h, CIF_TXOP_RAW, rx_data(h, r), cif_rxc_len(r));
    cif_txd_set_flags(d, cif_txd_flags(d) | CIF_TXF_LOOP);
    ring_tx(h);
    assert_true(tx_completion(h, c));
    assert_true(rx_completion(h, r));
    assert_int_equal(cif_txc_status(c), CIF_TXS_OK);
    assert_int_equal(cif_rxc_kind(r), CIF_RXK_PROTECTED);
    assert_int_equal(cif_rxc_sa_handle(r), in);
    assert_memory_equal(rx_data(h, r) + 14, f + 14, len - 14);
    host_free(h);
}

static void unsent_is_unsent(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[3000];
    uint32_t out, in;
    size_t len = udp_frame(f, 1, 2, 100);

    add_pair(h, &out, &in);
    assert_int_equal(protect(h, CIF_HANDLE_NONE, 1, f, len), CIF_TXS_SA_GONE);
    assert_int_equal(protect(h, in, 1, f, len), CIF_TXS_SA_GONE);
    assert_int_equal(protect(h, out + (1u << CIF_HANDLE_GEN_SHIFT), 1, f, len), CIF_TXS_SA_GONE);
    assert_int_equal(protect(h, out, 0, f, len), CIF_TXS_BAD_PACKET);
    assert_int_equal(protect(h, out, 1ull << 32, f, len), CIF_TXS_SEQ_EXHAUSTED);
    assert_int_equal(protect(h, out, 1, f, udp_frame(f, 1, 2, 1419)), CIF_TXS_PMTU_EXCEEDED);
    assert_int_equal(protect(h, out, 1, f, 20), CIF_TXS_BAD_PACKET);
    assert_int_equal(by_handle(h, CIF_OP_SA_STOP, out), CIF_ST_OK);
    assert_int_equal(protect(h, out, 1, f, len), CIF_TXS_SA_STOPPED);
    assert_int_equal(by_handle(h, CIF_OP_SA_FREE, out), CIF_ST_OK);
    assert_int_equal(protect(h, out, 1, f, len), CIF_TXS_SA_GONE);
    assert_int_equal(by_handle(h, CIF_OP_SA_FREE, out), CIF_ST_STALE_HANDLE);
    assert_int_equal(h->n_out, 0);
    host_free(h);
}

/* 1446 octets of inner packet is what the design promises for 1500 over IPv4. */
static void largest_that_fits(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[3000], c[CIF_TXC_SIZE], *d;
    uint32_t out, in;

    add_pair(h, &out, &in);
    assert_int_equal(protect(h, out, 1, f, udp_frame(f, 1, 2, 1418)), CIF_TXS_OK);
    assert_int_equal(h->out[0].len, 1514);
    d = describe(h, CIF_TXOP_PROTECT, f, udp_frame(f, 1, 2, 1419));
    cif_txd_set_sa_handle(d, out);
    cif_txd_set_seq(d, 2);
    ring_tx(h);
    assert_true(tx_completion(h, c));
    assert_int_equal(cif_txc_status(c), CIF_TXS_PMTU_EXCEEDED);
    assert_int_equal(cif_txc_segs(c), 1446);
    host_free(h);
}

static unsigned raw(struct host *h, const uint8_t *f, size_t len)
{
    uint8_t c[CIF_TXC_SIZE];

    describe(h, CIF_TXOP_RAW, f, len);
    ring_tx(h);
    assert_true(tx_completion(h, c));
    return cif_txc_status(c);
}

static void raw_takes_only_ike_and_esp(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[200];
    size_t len = udp_frame(f, 1111, 2222, 50);

    assert_int_equal(raw(h, f, len), CIF_TXS_BAD_PACKET);
    assert_int_equal(raw(h, f, udp_frame(f, 500, 2222, 50)), CIF_TXS_OK);
    assert_int_equal(raw(h, f, udp_frame(f, 1111, 4500, 1)), CIF_TXS_OK);
    udp_frame(f, 1111, 2222, 50);
    f[21] = 1; /* a later fragment */
    assert_int_equal(raw(h, f, len), CIF_TXS_OK);
    f[21] = 0;
    f[23] = 6;
    assert_int_equal(raw(h, f, len), CIF_TXS_BAD_PACKET);
    f[21] = 1;
    assert_int_equal(raw(h, f, len), CIF_TXS_BAD_PACKET);
    f[23] = 50;
    assert_int_equal(raw(h, f, len), CIF_TXS_OK);
    f[23] = 51;
    f[21] = 0;
    assert_int_equal(raw(h, f, len), CIF_TXS_OK);
    f[12] = 0x08;
    f[13] = 0x06;
    assert_int_equal(raw(h, f, len), CIF_TXS_BAD_PACKET);
    assert_int_equal(h->n_out, 5);
    host_free(h);
}

static void order_holds_when_the_wire_is_full(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[200], c[CIF_TXC_SIZE];
    uint32_t out, in;
    unsigned i;

    add_pair(h, &out, &in);
    h->wire_error = -EAGAIN;
    for (i = 0; i < 20; i++) {
        uint8_t *d =
            describe(h, i & 1 ? CIF_TXOP_CLEAR : CIF_TXOP_PROTECT, f, udp_frame(f, i, 2222, 20));

        if (!(i & 1)) {
            cif_txd_set_sa_handle(d, out);
            cif_txd_set_seq(d, 1 + i);
        }
    }
    ring_tx(h);
    assert_false(tx_completion(h, c));
    h->wire_error = 0;
    run(h);
    assert_int_equal(h->n_out, 20);
    for (i = 0; i < 20; i++) {
        assert_true(tx_completion(h, c));
        assert_int_equal(cif_txc_tag(c), 0x4000 + i);
        assert_int_equal(cif_txc_sq_head(c), i + 1);
        assert_int_equal(h->out[i].data[23], i & 1 ? 17 : 50);
    }
    h->wire_error = -ENETDOWN;
    describe(h, CIF_TXOP_CLEAR, f, 60);
    ring_tx(h);
    assert_true(tx_completion(h, c));
    assert_int_equal(cif_txc_status(c), CIF_TXS_LINK_DOWN);
    host_free(h);
}

/* A way to spoil a good descriptor, and the error it is. */
static const struct {
    const char *name;
    unsigned qerr, flags, op, len;
    uint64_t addr_off;
} spoilt[] = {
    {"no op", CIF_QERR_BAD_OP, 7, 0, 60, 0},
    {"reserved op", CIF_QERR_BAD_OP, 7, 6, 60, 0},
    {"no SOP", CIF_QERR_BAD_FLAGS, 6, 3, 60, 0},
    {"no CQ", CIF_QERR_BAD_FLAGS, 3, 3, 60, 0},
    {"reserved flag", CIF_QERR_BAD_FLAGS, 0x87, 3, 60, 0},
    {"empty", CIF_QERR_BAD_LEN, 7, 3, 0, 0},
    {"longer than a frame", CIF_QERR_BAD_LEN, 7, 3, 65535, 0},
};

static void bad_descriptor_stops_the_queue(void **state)
{
    uint8_t f[200], e[CIF_EVENT_SIZE], c[CIF_TXC_SIZE];
    size_t i;

    for (i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
        struct host *h = host_open("reference");
        uint8_t *d = describe(h, CIF_TXOP_CLEAR, f, udp_frame(f, 1, 2, 18));

        cif_txd_set_flags(d, (uint8_t)spoilt[i].flags);
        cif_txd_set_op(d, (uint8_t)spoilt[i].op);
        cif_txd_set_len(d, (uint16_t)spoilt[i].len);
        describe(h, CIF_TXOP_CLEAR, f, 60);
        ring_tx(h);
        assert_int_equal(h->n_out, 0);
        assert_false(tx_completion(h, c));
        assert_true(event(h, e));
        assert_int_equal(cif_event_type(e), CIF_EV_QUEUE_ERROR);
        assert_int_equal(cif_event_qual(e), spoilt[i].qerr);
        assert_int_equal(command(h, CIF_OP_Q_RESET, 0, 0), CIF_ST_OK);
        memset(h->mem + AT_TXC, 0, DEPTH * CIF_TXC_SIZE);
        h->tx_tail = h->txc_head = 0;
        describe(h, CIF_TXOP_CLEAR, f, 60);
        ring_tx(h);
        assert_int_equal(h->n_out, 1);
        host_free(h);
    }
}

static void bad_tail_and_unmapped_memory(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[200], e[CIF_EVENT_SIZE], c[CIF_TXC_SIZE], *d;

    d = describe(h, CIF_TXOP_CLEAR, f, udp_frame(f, 1, 2, 18));
    cif_txd_set_addr(d, 0x123);
    ring_tx(h);
    assert_true(tx_completion(h, c));
    assert_int_equal(cif_txc_status(c), CIF_TXS_DMA_FAULT);
    doorbell(h, 0x1000 + CIF_DB_TAIL, h->tx_tail + DEPTH + 1u);
    run(h);
    assert_true(event(h, e));
    assert_int_equal(cif_event_qual(e), CIF_QERR_BAD_TAIL);
    assert_int_equal(h->n_out, 0);
    host_free(h);
}

static void buffers_run_out_and_come_back(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[2000], c[CIF_RXC_SIZE];
    size_t len = udp_frame(f, 1, 2, 100);
    unsigned i, got = 0;

    for (i = 0; i < 100; i++)
        hw_card_wire_rx(h->card, h->now, 0, f, len);
    run(h);
    while (rx_completion(h, c))
        got++;
    assert_int_equal(got, DEPTH - 1);
    for (i = 0; i < 37; i++) {
        post_buffers(h, 1);
        run(h);
        assert_true(rx_completion(h, c));
        assert_int_equal(cif_rxc_kind(c), CIF_RXK_CLEAR);
    }
    post_buffers(h, 1);
    run(h);
    assert_false(rx_completion(h, c));
    host_free(h);
}

static void a_long_frame_takes_several_buffers(void **state)
{
    struct host *h = host_new("reference");
    uint8_t f[9600], c[CIF_RXC_SIZE], *r = NULL;
    size_t len = udp_frame(f, 1, 2, 8900);

    bring_up(h, 0);
    open_rings(h);
    r = arg(h);
    memset(r, 0, CIF_PORT_SET_SIZE);
    cif_port_set_set_flags(r, CIF_PORTF_ENABLE | CIF_PORTF_PROMISC);
    cif_port_set_set_mtu(r, 9000);
    assert_int_equal(command(h, CIF_OP_PORT_SET, 0, 0), CIF_ST_OK);
    hw_card_wire_rx(h->card, h->now, 0, f, len);
    run(h);
    assert_true(rx_completion(h, c));
    assert_int_equal(cif_rxc_nbufs(c), 5);
    assert_memory_equal(rx_data(h, c), f, len);
    host_free(h);
}

static void raw_reasons(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[2000], c[CIF_RXC_SIZE], *w;
    uint32_t out, in;
    size_t len = udp_frame(f, 1, 2, 100), i;
    static const struct {
        size_t at;
        uint8_t value;
        unsigned reason;
    } rows[] = {
        {20, 0x20, CIF_RXS_FRAGMENT}, /* more fragments */
        {21, 0x01, CIF_RXS_FRAGMENT},
        {29, 0x63, CIF_RXS_ADDR},  /* another outer source */
        {36, 0x77, CIF_RXS_NO_SA}, /* another SPI */
    };

    add_pair(h, &out, &in);
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        h->n_out = 0;
        assert_int_equal(protect(h, out, 1 + i, f, len), CIF_TXS_OK);
        w = h->out[0].data;
        w[rows[i].at] = rows[i].value;
        hw_card_wire_rx(h->card, h->now, 0, w, h->out[0].len);
        run(h);
        assert_true(rx_completion(h, c));
        assert_int_equal(cif_rxc_kind(c), CIF_RXK_RAW);
        assert_int_equal(cif_rxc_status(c), rows[i].reason);
        assert_memory_equal(rx_data(h, c), w, h->out[0].len);
    }
    w[36] = 0x10;
    w[h->out[0].len - 1] ^= 1; /* a bad ICV ends here, counted */
    hw_card_wire_rx(h->card, h->now, 0, w, h->out[0].len);
    run(h);
    assert_false(rx_completion(h, c));
    host_free(h);
}

static void esn_burst_goes_raw(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[2000], c[CIF_RXC_SIZE], e[CIF_EVENT_SIZE];
    uint32_t out, in;
    size_t len = udp_frame(f, 1, 2, 100);
    unsigned i, raw_count = 0;

    cif_sa_set_flags(sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1), CIF_SAF_ESN);
    assert_int_equal(add_sa(h, &out), CIF_ST_OK);
    cif_sa_set_flags(sa_record(arg(h), CIF_DIR_IN, 0x1000, 2), CIF_SAF_ESN);
    assert_int_equal(add_sa(h, &in), CIF_ST_OK);
    for (i = 0; i < 70; i++) {
        h->n_out = 0;
        assert_int_equal(protect(h, out, (5ull << 32) + 100 + i, f, len), CIF_TXS_OK);
        hw_card_wire_rx(h->card, h->now, 0, h->out[0].data, h->out[0].len);
        run(h);
        raw_count += rx_completion(h, c);
    }
    assert_int_equal(raw_count, 6);
    assert_int_equal(cif_rxc_status(c), CIF_RXS_ICV);
    assert_true(event(h, e));
    assert_int_equal(cif_event_type(e), CIF_EV_ICV_BURST);
    assert_int_equal(cif_event_id(e), in);
    assert_int_equal(by_handle(h, CIF_OP_SA_FREE, in), CIF_ST_OK);
    cif_sa_set_flags(sa_record(arg(h), CIF_DIR_IN, 0x1000, 3), CIF_SAF_ESN);
    cif_sa_set_seq(arg(h), (5ull << 32) + 150);
    assert_int_equal(add_sa(h, &in), CIF_ST_OK);
    hw_card_wire_rx(h->card, h->now, 0, h->out[0].data, h->out[0].len);
    run(h);
    assert_true(rx_completion(h, c));
    assert_int_equal(cif_rxc_kind(c), CIF_RXK_PROTECTED);
    assert_int_equal(cif_rxc_seq(c), (5ull << 32) + 169);
    host_free(h);
}

static void arming_never_misses(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[200], c[CIF_TXC_SIZE];

    doorbell(h, 0x1000 + CIF_DB_CQ_HEAD, CIF_DB_ARM);
    run(h);
    assert_int_equal(h->irqs[1], 0);
    describe(h, CIF_TXOP_CLEAR, f, udp_frame(f, 1, 2, 18));
    ring_tx(h);
    assert_int_equal(h->irqs[1], 1);
    describe(h, CIF_TXOP_CLEAR, f, 60);
    ring_tx(h);
    assert_int_equal(h->irqs[1], 1); /* not armed */
    doorbell(h, 0x1000 + CIF_DB_CQ_HEAD, CIF_DB_ARM | 1);
    run(h);
    assert_int_equal(h->irqs[1], 2); /* an unread entry fires at once */
    assert_true(tx_completion(h, c));
    assert_true(tx_completion(h, c));
    host_free(h);
}

static void sleep_and_wake(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[200];

    assert_false(hw_doorbells_rung(h->card));
    assert_true(hw_card_sleep(h->card));
    assert_int_equal(cif_get32(hw_doorbells(h->card) + 0x1000 + CIF_DB_SLEEPING), 1);
    hw_card_wake(h->card);
    assert_int_equal(cif_get32(hw_doorbells(h->card) + 0x1000 + CIF_DB_SLEEPING), 0);
    describe(h, CIF_TXOP_CLEAR, f, udp_frame(f, 1, 2, 18));
    doorbell(h, 0x1000 + CIF_DB_TAIL, h->tx_tail);
    assert_true(hw_doorbells_rung(h->card));
    assert_false(hw_card_sleep(h->card));
    host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(protect_and_back),
        cmocka_unit_test(loop_both_ways),
        cmocka_unit_test(unsent_is_unsent),
        cmocka_unit_test(largest_that_fits),
        cmocka_unit_test(raw_takes_only_ike_and_esp),
        cmocka_unit_test(order_holds_when_the_wire_is_full),
        cmocka_unit_test(bad_descriptor_stops_the_queue),
        cmocka_unit_test(bad_tail_and_unmapped_memory),
        cmocka_unit_test(buffers_run_out_and_come_back),
        cmocka_unit_test(a_long_frame_takes_several_buffers),
        cmocka_unit_test(raw_reasons),
        cmocka_unit_test(esn_burst_goes_raw),
        cmocka_unit_test(arming_never_misses),
        cmocka_unit_test(sleep_and_wake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
