/* Packet queues: honest traffic, and every kind of lie in a completion. */
#include "tests/unit/driver/fake_card.h"

enum { TXQ = 0, RXQ = 1 }; /* qids of the scripted card */

static uint32_t post(struct fake *f, uint8_t op, uint64_t seq, uint64_t user)
{
    uint32_t buf = card_buf_get(f->card, 0);
    assert_int_not_equal(buf, CARD_BUF_NONE);
    struct card_tx tx = {
        .op = op, .buf = buf, .len = 100, .sa_handle = 5, .seq = seq, .user = user};
    assert_int_equal(card_tx_post(f->card, 0, &tx), 0);
    return buf;
}

static int reap(struct fake *f, struct card_tx_done *d, unsigned n)
{
    return card_tx_reap(f->card, 0, f->now, d, n);
}

static void honest_tx(void **state)
{
    struct fake *f = fake_running();
    struct card_tx_done d[8];
    for (unsigned i = 0; i < 500; i++) { /* wraps ring and passes */
        post(f, CIF_TXOP_PROTECT, i + 1, i);
        post(f, CIF_TXOP_RAW, 0, 1000 + i);
        assert_int_equal(card_tx_flush(f->card, 0, f->now), 0);
        fake_show(f, TXQ, fake_txc(f, TXQ, CIF_TXS_OK));
        fake_show(f, TXQ, fake_txc(f, TXQ, CIF_TXS_SA_GONE));
        assert_int_equal(reap(f, d, 8), 2);
        assert_int_equal(d[0].user, i);
        assert_int_equal(d[0].seq, i + 1);
        assert_int_equal(d[0].fate, CIF_FATE_SENT);
        assert_int_equal(d[1].fate, CIF_FATE_UNSENT);
        card_buf_put(f->card, 0, d[0].buf);
        card_buf_put(f->card, 0, d[1].buf);
    }
    assert_int_equal(card_tx_pending(f->card, 0), 0);
    assert_int_equal(card_tx_room(f->card, 0), 64);
    fake_close(f);
}

static void posts_refused(void **state)
{
    struct fake *f = fake_running();
    uint32_t buf = card_buf_get(f->card, 0);
    struct card_tx tx = {.op = CIF_TXOP_RAW, .buf = buf, .len = 10};
    struct card_tx bad[] = {tx, tx, tx, tx, tx};
    bad[0].op = CIF_TXOP_INJECT;
    bad[1].len = 0;
    bad[2].off = (uint16_t)card_buf_len(f->card, 0);
    bad[3].buf = buf + 1;         /* not ours */
    bad[4].op = CIF_TXOP_PROTECT; /* no number */
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(card_tx_post(f->card, 0, &bad[i]), -EINVAL);
    assert_int_equal(card_tx_post(f->card, 0, &tx), 0);
    assert_int_equal(card_tx_post(f->card, 0, &tx), -EINVAL); /* it is the card's now */
    card_buf_put(f->card, 0, buf);                            /* ignored for the same reason */
    assert_int_equal(card_tx_post(f->card, 3, &tx), -EPIPE);
    for (unsigned i = 1; i < 64; i++)
        post(f, CIF_TXOP_RAW, 0, 0);
    assert_int_equal(card_buf_get(f->card, 0), CARD_BUF_NONE);
    struct card_tx nop = {.op = CIF_TXOP_NOP, .buf = CARD_BUF_NONE};
    assert_int_equal(card_tx_post(f->card, 0, &nop), -ENOSPC);
    fake_close(f);
}

/* One lie each: what it does to an honest completion. */
static void bad_tag(uint8_t *e)
{
    cif_txc_set_tag(e, 33);
}
static void bad_head(uint8_t *e)
{
    cif_txc_set_sq_head(e, 60);
}
static void bad_kind(uint8_t *e)
{
    cif_txc_set_kind(e, CIF_TXOP_CLEAR);
}
static void bad_qid(uint8_t *e)
{
    cif_txc_set_qid(e, 9);
}
static void bad_seq(uint8_t *e)
{
    cif_txc_set_seq_first(e, 99);
}
static void bad_sa(uint8_t *e)
{
    cif_txc_set_sa_handle(e, 99);
}
static void bad_status(uint8_t *e)
{
    cif_txc_set_status(e, CARD_TXS_LOST);
}

/* After a lie the queue is dead, its packets come back as lost, and it works again. */
static void expect_reset(struct fake *f, unsigned lost)
{
    struct card_tx_done d[64];
    unsigned resets = f->commands[CIF_OP_Q_RESET];
    assert_int_equal(reap(f, d, 64), -EPIPE);
    assert_int_equal(card_buf_get(f->card, 0), CARD_BUF_NONE);
    fake_run(f, 3);
    assert_int_equal(f->commands[CIF_OP_Q_RESET], resets + 1);
    assert_int_equal(reap(f, d, 64), (int)lost);
    for (unsigned i = 0; i < lost; i++) {
        assert_int_equal(d[i].status, CARD_TXS_LOST);
        assert_int_equal(d[i].fate, CIF_FATE_MAYBE);
        card_buf_put(f->card, 0, d[i].buf);
    }
    post(f, CIF_TXOP_PROTECT, 77, 4);
    assert_int_equal(card_tx_flush(f->card, 0, f->now), 0);
    fake_show(f, TXQ, fake_txc(f, TXQ, CIF_TXS_OK));
    assert_int_equal(reap(f, d, 64), 1);
    card_buf_put(f->card, 0, d[0].buf);
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    assert_int_equal(f->resets, 1);
}

static void tx_lies(void **state)
{
    void (*const lies[])(uint8_t *) = {bad_tag, bad_head, bad_kind,  bad_qid,
                                       bad_seq, bad_sa,   bad_status};
    struct fake *f = fake_running();
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        post(f, CIF_TXOP_PROTECT, 3, 1);
        post(f, CIF_TXOP_PROTECT, 4, 2);
        card_tx_flush(f->card, 0, f->now);
        uint8_t *e = fake_txc(f, TXQ, CIF_TXS_OK);
        lies[i](e);
        fake_show(f, TXQ, e);
        expect_reset(f, 2);
    }
    assert_int_equal(f->n_down, 7);
    assert_int_equal(f->n_lost, 14);
    fake_close(f);
}

static void doubled_tx(void **state)
{
    struct fake *f = fake_running();
    struct card_tx_done d[4];
    post(f, CIF_TXOP_RAW, 0, 1);
    post(f, CIF_TXOP_RAW, 0, 2);
    card_tx_flush(f->card, 0, f->now);
    uint8_t copy[CIF_TXC_SIZE], *e = fake_txc(f, TXQ, CIF_TXS_OK);
    memcpy(copy, e, sizeof copy);
    fake_show(f, TXQ, e);
    assert_int_equal(reap(f, d, 4), 1);
    card_buf_put(f->card, 0, d[0].buf);
    e = fake_cqe(f, TXQ);
    memcpy(e, copy, sizeof copy - 1);
    fake_show(f, TXQ, e);
    expect_reset(f, 1);
    fake_close(f);
}

static void unasked_tx(void **state)
{
    struct fake *f = fake_running();
    fake_show(f, TXQ, fake_cqe(f, TXQ));
    expect_reset(f, 0);
    fake_close(f);
}

static void skipped_entry(void **state)
{
    struct fake *f = fake_running();
    post(f, CIF_TXOP_RAW, 0, 1);
    post(f, CIF_TXOP_RAW, 0, 2);
    card_tx_flush(f->card, 0, f->now);
    (void)fake_txc(f, TXQ, CIF_TXS_OK);
    f->q[TXQ].cq_idx++; /* its slot is used, the entry never written */
    fake_show(f, TXQ, fake_txc(f, TXQ, CIF_TXS_OK));
    expect_reset(f, 2);
    fake_close(f);
}

static void overdue(void **state)
{
    struct fake *f = fake_running();
    struct card_tx_done d[4];
    post(f, CIF_TXOP_RAW, 0, 1);
    card_tx_flush(f->card, 0, f->now);
    fake_run(f, 9);
    assert_int_equal(reap(f, d, 4), 0);
    fake_run(f, 2);
    assert_int_equal(reap(f, d, 4), 0); /* the first look that finds it overdue */
    f->now += 500000;
    assert_int_equal(reap(f, d, 4), 0); /* not yet 1 ms later */
    f->now += 600000;
    expect_reset(f, 1);
    fake_close(f);
}

static void late_but_there(void **state)
{
    struct fake *f = fake_running();
    struct card_tx_done d[4];
    post(f, CIF_TXOP_RAW, 0, 1);
    card_tx_flush(f->card, 0, f->now);
    fake_run(f, 12);
    assert_int_equal(reap(f, d, 4), 0);
    fake_show(f, TXQ, fake_txc(f, TXQ, CIF_TXS_OK));
    fake_run(f, 2);
    assert_int_equal(reap(f, d, 4), 1);
    assert_int_equal(d[0].fate, CIF_FATE_SENT);
    fake_close(f);
}

/* The completion comes between the second look and the reset: nothing is lost. */
static void a_second_look(void **state)
{
    struct fake *f = fake_running();
    struct card_tx_done d[4];
    post(f, CIF_TXOP_RAW, 0, 1);
    card_tx_flush(f->card, 0, f->now);
    fake_run(f, 11);
    assert_int_equal(reap(f, d, 4), 0);
    f->now += 1100000;
    assert_int_equal(reap(f, d, 4), -EPIPE);
    fake_show(f, TXQ, fake_txc(f, TXQ, CIF_TXS_OK));
    fake_run(f, 2);
    assert_int_equal(reap(f, d, 4), 1);
    assert_int_equal(d[0].fate, CIF_FATE_SENT);
    assert_int_equal(f->n_down + f->commands[CIF_OP_Q_RESET], 0);
    fake_close(f);
}

static enum fake_answer no_q_reset(struct fake *f, const uint8_t *asq, uint16_t *status,
                                   uint64_t *value)
{
    return cif_asq_op(asq) == CIF_OP_Q_RESET ? FAKE_HOLD : FAKE_OK;
}

/* A ring that will not reset: level F at once. The lost packet is handed out all the same. */
static void ring_stays_dead(void **state)
{
    struct fake *f = fake_running();
    struct card_tx_done d[4];
    fake_run(f, 1500);
    f->script = no_q_reset;
    post(f, CIF_TXOP_RAW, 0, 9);
    card_tx_flush(f->card, 0, f->now);
    fake_run(f, 11);
    reap(f, d, 4);
    fake_run(f, 2);
    assert_int_equal(reap(f, d, 4), -EPIPE);
    fake_run(f, 23);
    assert_int_equal(f->resets, 2);
    assert_int_equal(*fake_reg(f, CIF_REG_RESET_REASON), CIF_RESET_TX_OVERDUE);
    assert_int_equal(reap(f, d, 4), 1);
    assert_int_equal(d[0].user, 9);
    assert_int_equal(d[0].fate, CIF_FATE_MAYBE);
    fake_run(f, 20);
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    fake_close(f);
}

static void queue_error_event(void **state)
{
    struct fake *f = fake_running();
    post(f, CIF_TXOP_RAW, 0, 1);
    card_tx_flush(f->card, 0, f->now);
    fake_event(f, CIF_EV_QUEUE_ERROR, CIF_QERR_DMA, TXQ);
    fake_run(f, 4);
    assert_int_equal(f->n_down, 1);
    assert_int_equal(f->n_up, 1);
    assert_int_equal(f->n_lost, 1);
    fake_close(f);
}

static int rx(struct fake *f, struct card_rx *r, unsigned n)
{
    return card_rx_reap(f->card, 0, f->now, r, n);
}

static void honest_rx(void **state)
{
    struct fake *f = fake_running();
    struct card_rx r[4];
    uint8_t frame[60] = {1, 2, 3};
    for (unsigned i = 0; i < 400; i++) {
        frame[5] = (uint8_t)i;
        uint8_t *e = fake_rxc(f, RXQ, CIF_RXK_PROTECTED, frame, sizeof frame);
        cif_rxc_set_sa_handle(e, 8);
        cif_rxc_set_seq(e, i + 1);
        fake_show(f, RXQ, e);
        fake_show(f, RXQ, fake_rxc(f, RXQ, CIF_RXK_CLEAR, frame, sizeof frame));
        assert_int_equal(rx(f, r, 4), 2);
        assert_int_equal(r[0].kind, CIF_RXK_PROTECTED);
        assert_true(r[0].seq == i + 1);
        assert_int_equal(r[0].sa_handle, 8);
        assert_memory_equal(r[0].data, frame, sizeof frame);
        card_rx_put(f->card, 0, r[0].buf);
        card_rx_put(f->card, 0, r[1].buf);
        card_rx_put(f->card, 0, r[1].buf); /* twice is once */
        assert_int_equal(card_rx_flush(f->card, 0, f->now), 0);
    }
    fake_close(f);
}

static void rx_bad_index(uint8_t *e)
{
    cif_rxc_set_first_idx(e, 7);
}
static void rx_many_bufs(uint8_t *e)
{
    cif_rxc_set_nbufs(e, 40);
}
static void rx_long(uint8_t *e)
{
    cif_rxc_set_len(e, 0xfffffff0);
}
static void rx_off(uint8_t *e)
{
    cif_rxc_set_data_off(e, 0xffff);
}
static void rx_short(uint8_t *e)
{
    cif_rxc_set_len(e, 13);
}
static void rx_kind(uint8_t *e)
{
    cif_rxc_set_kind(e, CIF_RXK_FENCE);
}
static void rx_port(uint8_t *e)
{
    cif_rxc_set_port(e, 1);
}
static void rx_no_sa(uint8_t *e)
{
    cif_rxc_set_kind(e, CIF_RXK_PROTECTED);
}
static void rx_failed(uint8_t *e)
{
    cif_rxc_set_kind(e, CIF_RXK_PROTECTED);
    cif_rxc_set_sa_handle(e, 1);
    cif_rxc_set_status(e, CIF_RXS_ICV);
}

static void rx_lies(void **state)
{
    void (*const lies[])(uint8_t *) = {rx_bad_index, rx_many_bufs, rx_long,  rx_off,   rx_short,
                                       rx_kind,      rx_port,      rx_no_sa, rx_failed};
    struct fake *f = fake_running();
    struct card_rx r[4];
    const uint8_t frame[60] = {0};
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint8_t *e = fake_rxc(f, RXQ, CIF_RXK_CLEAR, frame, sizeof frame);
        lies[i](e);
        fake_show(f, RXQ, e);
        assert_int_equal(rx(f, r, 4), -EPIPE);
        fake_run(f, 3);
        assert_int_equal(rx(f, r, 4), 0);
        fake_show(f, RXQ, fake_rxc(f, RXQ, CIF_RXK_CLEAR, frame, sizeof frame));
        assert_int_equal(rx(f, r, 4), 1);
        card_rx_put(f->card, 0, r[0].buf);
    }
    assert_int_equal(f->n_up, 9);
    fake_close(f);
}

/* A worker holds a frame through a reset of the card: its memory stays. */
static void frame_outlives_reset(void **state)
{
    struct fake *f = fake_running();
    struct card_rx r[2];
    const uint8_t frame[60] = {42};
    fake_run(f, 1500);
    fake_show(f, RXQ, fake_rxc(f, RXQ, CIF_RXK_CLEAR, frame, sizeof frame));
    assert_int_equal(rx(f, r, 2), 1);
    card_reset(f->card, CIF_RESET_USER, "a test asks for it");
    assert_int_equal(card_state(f->card), CARD_RECOVERING);
    fake_run(f, 20);
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    assert_int_equal(r[0].data[0], 42);
    card_rx_put(f->card, 0, r[0].buf);
    assert_int_equal(card_rx_flush(f->card, 0, f->now), 0);
    assert_int_equal(fake_db(f, 1 + RXQ, CIF_DB_TAIL), 64);
    fake_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_tx),         cmocka_unit_test(posts_refused),
        cmocka_unit_test(tx_lies),           cmocka_unit_test(doubled_tx),
        cmocka_unit_test(unasked_tx),        cmocka_unit_test(skipped_entry),
        cmocka_unit_test(overdue),           cmocka_unit_test(late_but_there),
        cmocka_unit_test(a_second_look),     cmocka_unit_test(ring_stays_dead),
        cmocka_unit_test(queue_error_event), cmocka_unit_test(honest_rx),
        cmocka_unit_test(rx_lies),           cmocka_unit_test(frame_outlives_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
