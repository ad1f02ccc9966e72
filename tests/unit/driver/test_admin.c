/* Admin commands: outcomes per record, lost, doubled, late and refused completions, the levels. */
#include "tests/unit/driver/fake_card.h"

struct got {
    unsigned calls;
    int err;
    uint16_t status;
    uint64_t value;
    unsigned n;
    uint32_t handle1;
    uint16_t rec1;
    size_t len;
    char why[128];
};

static void remember(void *arg, const struct card_reply *r)
{
    struct got *g = arg;
    g->calls++;
    g->err = r->err;
    g->status = r->status;
    g->value = r->value;
    g->n = r->n;
    g->len = r->len;
    if (r->rec && r->n > 1) {
        g->handle1 = r->rec[1].handle;
        g->rec1 = r->rec[1].status;
    }
    snprintf(g->why, sizeof g->why, "%s", r->why);
}

/* The script acts on commands of one op. */
struct script {
    uint8_t op;
    enum fake_answer answer;
    uint16_t status;
    unsigned times;
    uint8_t held[CIF_ASQ_SIZE];
};

static enum fake_answer act(struct fake *f, const uint8_t *asq, uint16_t *status, uint64_t *value)
{
    struct script *s = f->user;
    if (cif_asq_op(asq) != s->op || !s->times)
        return FAKE_OK;
    s->times--;
    *status = s->status;
    memcpy(s->held, asq, CIF_ASQ_SIZE);
    return s->answer;
}

static void batch_outcomes(void **state)
{
    struct fake *f = fake_running();
    uint8_t recs[3 * CIF_SA_SIZE] = {0};
    struct got g = {0};
    assert_int_equal(card_batch_max(f->card), 16);
    assert_int_equal(card_sa_add(f->card, recs, 3, remember, &g), 0);
    fake_run(f, 2);
    assert_int_equal(g.calls, 1);
    assert_int_equal(g.err, 0);
    assert_int_equal(g.n, 3);
    assert_int_equal(g.handle1, 0x01000001);
    assert_int_equal(g.rec1, CIF_ST_OK);
    assert_int_equal(card_sa_add(f->card, recs, 17, remember, &g), -E2BIG);
    assert_int_equal(card_sa_add(f->card, recs, 0, remember, &g), -EINVAL);
    fake_close(f);
}

static void each_status_reaches_the_caller(void **state)
{
    struct fake *f = fake_running();
    uint8_t rec[CIF_SA_SIZE] = {0};
    for (unsigned i = 0; i < CIF_STATUS_COUNT; i++) {
        struct script s = {CIF_OP_SA_ADD, FAKE_OK, cif_status_at(i), 1, {0}};
        struct got g = {0};
        f->script = act;
        f->user = &s;
        assert_int_equal(card_sa_add(f->card, rec, 1, remember, &g), 0);
        fake_run(f, 2);
        assert_int_equal(g.calls, 1);
        assert_int_equal(g.err, 0);
        assert_int_equal(g.status, cif_status_at(i));
        assert_string_equal(g.why, cif_status_text(g.status));
    }
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    fake_close(f);
}

static void keys_are_wiped(void **state)
{
    struct fake *f = fake_running();
    uint8_t rec[CIF_SA_SIZE] = {0};
    memset(cif_sa_encr_key_w(rec), 0xee, 32);
    assert_int_equal(card_sa_add(f->card, rec, 1, NULL, NULL), 0);
    fake_run(f, 2);
    for (size_t i = 0; i < f->card->slots.len; i++)
        assert_int_not_equal(f->card->slots.va[i], 0xee);
    fake_close(f);
}

static void queries(void **state)
{
    struct fake *f = fake_running();
    struct got g = {0};
    uint64_t cookies[2] = {7, 8};
    assert_int_equal(card_sa_query_cookies(f->card, cookies, 2, remember, &g), 0);
    fake_run(f, 2);
    assert_int_equal(g.n, 2);
    assert_int_equal(g.len, 2 * CIF_SA_STATE_SIZE);
    assert_int_equal(card_stats(f->card, CIF_SCOPE_CARD, 0, remember, &g), 0);
    fake_run(f, 2);
    assert_int_equal(g.len, CIF_STATS_SIZE);
    assert_int_equal(card_sa_flush(f->card, 3, NULL, NULL), -EINVAL);
    fake_close(f);
}

static void slots_run_out(void **state)
{
    struct fake *f = fake_running();
    struct got g = {0};
    unsigned n = 0;
    while (!card_ping(f->card, n, remember, &g))
        n++;
    assert_int_equal(n, ADMIN_SLOTS - ADMIN_RESERVED);
    fake_run(f, 2);
    assert_int_equal(g.calls, n);
    assert_int_equal(card_ping(f->card, 9, remember, &g), 0);
    fake_run(f, 2);
    assert_int_equal(g.value, 9);
    fake_close(f);
}

static void wraps(void **state)
{
    struct fake *f = fake_running();
    struct got g = {0};
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(card_ping(f->card, i, remember, &g), 0);
        fake_run(f, 1);
        fake_run(f, i % 2);
    }
    fake_run(f, 2);
    assert_int_equal(g.calls, 1000);
    assert_int_equal(f->card->n.bad_completions, 0);
    fake_close(f);
}

/* A lost completion: PING answers, ABORT completes, the command is still open: level A, and the
 * outcome is said to be unknown. SAs and queues stay. */
static void lost_completion(void **state)
{
    struct fake *f = fake_running();
    struct script s = {CIF_OP_SA_FLUSH, FAKE_HOLD, 0, 1, {0}};
    struct got g = {0};
    f->script = act;
    f->user = &s;
    assert_int_equal(card_sa_flush(f->card, 0, remember, &g), 0);
    fake_run(f, 60);
    assert_int_equal(g.calls, 1);
    assert_int_equal(g.err, -ETIMEDOUT);
    assert_int_equal(f->commands[CIF_OP_ABORT], 1);
    assert_int_equal(f->card->n.admin_resets, 1);
    assert_int_equal(f->resets, 1);
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    assert_int_equal(card_ping(f->card, 5, remember, &g), 0);
    fake_run(f, 3);
    assert_int_equal(g.value, 5);
    fake_close(f);
}

/* A late one: the PING is answered, then the command itself. Nothing else happens. */
static void late_completion(void **state)
{
    struct fake *f = fake_running();
    struct script s = {CIF_OP_SA_FLUSH, FAKE_HOLD, 0, 1, {0}};
    struct got g = {0};
    f->script = act;
    f->user = &s;
    assert_int_equal(card_sa_flush(f->card, 0, remember, &g), 0);
    fake_run(f, 50);
    f->admin_deaf = true;
    fake_run(f, 3);
    fake_acq(f, s.held, CIF_ST_OK, 3);
    f->admin_deaf = false;
    fake_run(f, 5);
    assert_int_equal(g.calls, 1);
    assert_int_equal(g.err, 0);
    assert_int_equal(g.value, 3);
    assert_int_equal(f->card->n.admin_resets, 0);
    fake_close(f);
}

static void doubled_completion(void **state)
{
    struct fake *f = fake_running();
    struct script s = {CIF_OP_PING, FAKE_TWICE, 0, 1, {0}};
    struct got g = {0};
    f->script = act;
    f->user = &s;
    assert_int_equal(card_ping(f->card, 1, remember, &g), 0);
    fake_run(f, 3);
    assert_int_equal(g.calls, 1);
    assert_int_equal(f->card->n.bad_completions, 1);
    /* The same id in use again: the old generation does not complete it. */
    assert_int_equal(card_ping(f->card, 2, remember, &g), 0);
    fake_acq(f, s.held, CIF_ST_OK, 77);
    fake_run(f, 3);
    assert_int_equal(g.calls, 2);
    assert_int_equal(g.value, 2);
    assert_int_equal(f->card->n.bad_completions, 2);
    fake_close(f);
}

static void impossible_ids(void **state)
{
    struct fake *f = fake_running();
    uint8_t asq[CIF_ASQ_SIZE] = {0};
    cif_asq_set_cid(asq, 60000);
    fake_acq(f, asq, CIF_ST_OK, 0);
    fake_run(f, 2);
    assert_int_equal(f->card->n.bad_completions, 1);
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    fake_close(f);
}

static void wrong_phase(void **state)
{
    struct fake *f = fake_running();
    fake_run(f, 1500);
    uint8_t *e = ring_at(&f->card->acq, f->acq_idx);
    e[CIF_ACQ_PHASE_OFF] = 0x77;
    fake_run(f, 20);
    assert_int_equal(f->resets, 2);
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    fake_close(f);
}

/* Firmware that neither answers nor restarts its queues, while its heartbeat counts: A, then F,
 * then gone when bring-up fails too. */
static void deaf_firmware(void **state)
{
    struct fake *f = fake_running();
    struct got g = {0};
    fake_run(f, 1500);
    f->admin_deaf = f->ignore_admin_reset = true;
    assert_int_equal(card_sa_flush(f->card, 0, remember, &g), 0);
    fake_run(f, 400);
    assert_int_equal(f->card->n.admin_resets, 1);
    assert_true(f->resets >= 2);
    assert_int_equal(g.calls, 1);
    assert_int_equal(g.err, -ETIMEDOUT);
    fake_run(f, 10000);
    assert_int_equal(card_state(f->card), CARD_GONE);
    assert_int_equal(card_ping(f->card, 1, NULL, NULL), -ENODEV);
    fake_close(f);
}

/* The card stopped its admin queue: level A by itself, packets go on. */
static void queue_error_of_admin(void **state)
{
    struct fake *f = fake_running();
    struct got g = {0};
    fake_event(f, CIF_EV_QUEUE_ERROR, CIF_QERR_BAD_TAIL, 0xffff);
    fake_run(f, 10);
    assert_int_equal(f->card->n.admin_resets, 1);
    assert_int_equal(f->resets, 1);
    assert_int_equal(card_ping(f->card, 4, remember, &g), 0);
    fake_run(f, 3);
    assert_int_equal(g.value, 4);
    fake_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_outcomes),       cmocka_unit_test(each_status_reaches_the_caller),
        cmocka_unit_test(keys_are_wiped),       cmocka_unit_test(queries),
        cmocka_unit_test(slots_run_out),        cmocka_unit_test(wraps),
        cmocka_unit_test(lost_completion),      cmocka_unit_test(late_completion),
        cmocka_unit_test(doubled_completion),   cmocka_unit_test(impossible_ids),
        cmocka_unit_test(wrong_phase),          cmocka_unit_test(deaf_firmware),
        cmocka_unit_test(queue_error_of_admin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
