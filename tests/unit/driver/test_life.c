/* Bring-up, heartbeats, recovery and the end, against the scripted card. */
#include "tests/unit/driver/fake_card.h"

static void comes_up(void **state)
{
    struct fake *f = fake_running();
    assert_int_equal(f->resets, 1);
    assert_int_equal(f->n_states, 1);
    assert_int_equal(*fake_reg(f, CIF_REG_RESET_REASON), CIF_RESET_OPEN);
    assert_int_equal(f->commands[CIF_OP_Q_CREATE], 2);
    assert_int_equal(f->commands[CIF_OP_PORT_SET], 1);
    assert_int_equal(f->commands[CIF_OP_EVENT_CONFIG], 1);
    assert_string_equal(card_caps(f->card)->model, "fake,card");
    assert_int_equal(card_epoch(f->card), 42);
    assert_int_equal(fake_db(f, 2, CIF_DB_TAIL), 64); /* Rx buffers are posted */
    fake_close(f);
}

static void wrong_magic(void **state)
{
    struct fake *f = fake_new();
    *fake_reg(f, CIF_REG_MAGIC) = 7;
    fake_open(f);
    fake_run(f, 2);
    assert_int_equal(card_state(f->card), CARD_GONE);
    assert_non_null(strstr(card_reason(f->card), "magic"));
    assert_true(card_poll(f->card, f->now) == CARD_NEVER);
    fake_close(f);
}

static void never_ready(void **state)
{
    struct fake *f = fake_new();
    f->no_ready = true;
    fake_open(f);
    fake_run(f, 50);
    assert_int_equal(card_state(f->card), CARD_BRINGUP);
    assert_string_equal(card_step(f->card), "ready");
    assert_non_null(strstr(card_reason(f->card), "ready"));
    fake_run(f, 600);
    assert_int_equal(card_state(f->card), CARD_GONE);
    assert_int_equal(f->resets, 3);
    fake_close(f);
}

static void damaged_tree(void **state)
{
    struct fake *f = fake_new();
    f->fdt[100] ^= 1;
    fake_open(f);
    fake_run(f, 300);
    assert_int_equal(card_state(f->card), CARD_GONE);
    assert_non_null(strstr(card_reason(f->card), "checksum"));
    fake_close(f);
}

static enum fake_answer refuse_queues(struct fake *f, const uint8_t *asq, uint16_t *status,
                                      uint64_t *value)
{
    if (cif_asq_op(asq) == CIF_OP_Q_CREATE)
        *status = CIF_ST_NO_QUEUE;
    return FAKE_OK;
}

static void refused_step(void **state)
{
    struct fake *f = fake_new();
    f->script = refuse_queues;
    fake_open(f);
    fake_run(f, 400);
    assert_int_equal(card_state(f->card), CARD_GONE);
    assert_non_null(strstr(card_reason(f->card), "NO_QUEUE"));
    fake_close(f);
}

/* A card in hardware has three periods, however it was with others. */
static void heartbeat_of_silicon(void **state)
{
    fake_silicon = true;
    struct fake *f = fake_running();
    fake_silicon = false;
    fake_run(f, 1500);
    assert_int_equal(f->resets, 1);
    f->frozen_dp = true;
    fake_run(f, 85); /* three periods and one poll */
    assert_int_equal(f->resets, 2);
    fake_close(f);
}

static void heartbeat_stops(void **state)
{
    for (int dp = 0; dp < 2; dp++) {
        struct fake *f = fake_running();
        fake_run(f, 1500);
        assert_int_equal(f->resets, 1);
        *(dp ? &f->frozen_dp : &f->frozen_fw) = true;
        fake_run(f, 125); /* this card claims doorbell-wake: a program, whose cores are shared */
        assert_int_equal(f->resets, 1);
        fake_run(f, 60); /* eight periods and one poll */
        assert_int_equal(f->resets, 2);
        assert_int_equal(*fake_reg(f, CIF_REG_RESET_REASON),
                         dp ? CIF_RESET_HB_DP : CIF_RESET_HB_FW);
        f->frozen_dp = f->frozen_fw = false;
        fake_run(f, 20);
        assert_int_equal(card_state(f->card), CARD_RUNNING);
        assert_int_equal(f->states[1], CARD_RECOVERING);
        assert_int_equal(f->states[2], CARD_RUNNING);
        fake_close(f);
    }
}

static void heartbeat_stays_dead(void **state)
{
    struct fake *f = fake_running();
    fake_run(f, 1500);
    f->frozen_dp = true;
    fake_run(f, 1500);
    assert_int_equal(card_state(f->card), CARD_GONE);
    fake_close(f);
}

static void unplugged(void **state)
{
    struct fake *f = fake_running();
    f->dead = true;
    fake_run(f, 25);
    assert_int_equal(card_state(f->card), CARD_GONE);
    assert_non_null(strstr(card_reason(f->card), "all ones"));
    fake_close(f);
}

static void asks_for_reset(void **state)
{
    struct fake *f = fake_running();
    fake_run(f, 1500);
    fake_event(f, CIF_EV_NEEDS_RESET, 0, 0);
    fake_run(f, 20);
    assert_int_equal(f->resets, 2);
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    fake_close(f);
}

static void epoch_changes(void **state)
{
    struct fake *f = fake_running();
    fake_run(f, 1500);
    *fake_reg(f, CIF_REG_EPOCH) += 5;
    assert_int_equal(card_ping(f->card, 1, NULL, NULL), 0);
    fake_run(f, 20);
    assert_int_equal(f->resets, 2);
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    fake_close(f);
}

static void wake_rule(void **state)
{
    struct fake *f = fake_running();
    unsigned before = f->wakes;
    assert_int_equal(card_ping(f->card, 1, NULL, NULL), 0);
    assert_int_equal(f->wakes, before);
    cif_put32(f->db + CIF_DB_SLEEPING, 1);
    assert_int_equal(card_ping(f->card, 1, NULL, NULL), 0);
    assert_int_equal(f->wakes, before + 1);
    fake_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_up),        cmocka_unit_test(wrong_magic),
        cmocka_unit_test(never_ready),     cmocka_unit_test(damaged_tree),
        cmocka_unit_test(refused_step),    cmocka_unit_test(heartbeat_of_silicon),
        cmocka_unit_test(heartbeat_stops), cmocka_unit_test(heartbeat_stays_dead),
        cmocka_unit_test(unplugged),       cmocka_unit_test(asks_for_reset),
        cmocka_unit_test(epoch_changes),   cmocka_unit_test(wake_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
