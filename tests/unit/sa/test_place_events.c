/* Placement in the course of time: answers that never come or come late, deletions, claims, wishes,
 * failures, audits, and cards that die. */
#include "place_mock.h"

#define SEC UINT64_C(1000000000)
#define MS  UINT64_C(1000000)

static struct mock *mock_of(void **state)
{
    return *state;
}

static void refuse(struct mock *m, enum place_class cls, const char *name)
{
    struct place_result r = mock_result(cls, name);
    mock_answer(m, 0, &r);
}

static void tick_to(struct mock *m, uint64_t now)
{
    m->now = now;
    place_tick(m->p, now);
}

/* --- no answer --- */

static void unknown_reads_the_table_first(void **state)
{
    for (int there = 0; there < 2; there++) {
        mock_setup(state);
        struct mock *m = mock_of(state);
        mock_up(m, 0, 4, 4);
        struct sa *sa = mock_sa(m, ESP_OUT, 1000);
        if (there)
            mock_do(m, m->asked[0]);
        refuse(m, PLACE_UNKNOWN, "no completion");
        assert_int_equal(sa->reason.code, PLACE_NO_ANSWER_CODE);
        assert_false(place_quiet(m->p));
        tick_to(m, m->now);
        assert_int_equal(m->n_asked, 1);
        assert_int_equal(m->asked[0]->kind, ASK_QUERY);
        mock_answer(m, 0, NULL);
        assert_int_equal(m->adds, 1);
        assert_int_equal(sa->place, there ? PLACE_CARD : PLACE_SOFTWARE);
        tick_to(m, m->now + 100 * MS);
        mock_settle(m);
        assert_int_equal(m->adds, there ? 1 : 2);
        assert_int_equal(sa->place, PLACE_CARD);
        mock_compare(m);
        if (!there)
            mock_teardown(state);
    }
}

static void an_unknown_free_is_looked_up(void **state)
{
    for (int gone = 0; gone < 2; gone++) {
        struct mock *m = mock_of(state);
        if (gone == 0)
            mock_up(m, 0, 4, 4);
        struct sa *sa = mock_sa(m, ESP_OUT, 1000);
        mock_settle(m);
        mock_delete(m, sa);
        if (gone)
            mock_do(m, m->asked[0]);
        unsigned frees = m->frees;
        refuse(m, PLACE_UNKNOWN, "no completion");
        mock_settle(m);
        assert_int_equal(m->frees, gone ? frees : frees + 1);
        assert_int_equal(mock_used(&m->card[0]), 0);
        assert_true(place_quiet(m->p));
    }
}

static void a_failed_read_is_repeated(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    mock_do(m, m->asked[0]);
    refuse(m, PLACE_UNKNOWN, "no completion");
    for (int i = 0; i < 5; i++) {
        m->now = place_tick(m->p, m->now);
        place_tick(m->p, m->now);
        if (m->n_asked)
            refuse(m, PLACE_UNKNOWN, "no completion");
        assert_int_equal(sa->place, PLACE_SOFTWARE);
        m->now += SEC;
    }
    tick_to(m, m->now + 20 * SEC);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
}

/* --- deletion and late answers --- */

static void deleted_while_its_add_is_under_way(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    mock_delete(m, sa);
    assert_int_equal(m->frees, 0);
    mock_answer(m, 0, NULL);
    assert_int_equal(m->frees, 1);
    assert_int_equal(mock_used(&m->card[0]), 1);
    mock_settle(m);
    assert_int_equal(mock_used(&m->card[0]), 0);
    sa = mock_sa(m, ESP_OUT, 1000); /* and when the card refuses, there is nothing to free */
    mock_delete(m, sa);
    refuse(m, PLACE_RESOURCE, "NO_SA_SPACE");
    assert_true(place_quiet(m->p));
    assert_int_equal(m->frees, 1);
}

static void answers_for_others_are_ignored(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    struct place_result ok = mock_result(PLACE_OK, "OK"), no = mock_result(PLACE_NEVER, "BAD_OP");
    ok.handle = 77;
    place_added(m->p, 0, sa->cookie + 5, &no, m->now);
    place_added(m->p, 1, sa->cookie, &ok, m->now);
    place_added(m->p, -1, sa->cookie, &ok, m->now);
    place_added(m->p, 99, sa->cookie, &ok, m->now);
    assert_int_equal(sa->place, PLACE_SOFTWARE);
    mock_answer(m, 0, NULL);
    assert_int_equal(sa->place, PLACE_CARD);
    ok.handle = sa->handle;
    place_added(m->p, 0, sa->cookie, &ok, m->now); /* the same again */
    place_added(m->p, 0, sa->cookie, &no, m->now);
    place_freed(m->p, 0, sa->handle, sa->cookie, &ok, m->now); /* nobody asked */
    place_freed(m->p, 0, sa->handle + 1, sa->cookie, &ok, m->now);
    place_audit(m->p, 0, NULL, 0, true, m->now);
    assert_int_equal(sa->place, PLACE_CARD);
    assert_true(place_quiet(m->p));
    ok.handle = 99; /* a slot that nobody knows: the table is read */
    place_added(m->p, 0, sa->cookie + 5, &ok, m->now);
    assert_false(place_quiet(m->p));
    mock_settle(m);
    mock_compare(m);
}

static void a_card_goes_down_at_any_moment(void **state)
{
    struct mock *m = mock_of(state);
    struct place_result ok = mock_result(PLACE_OK, "OK");
    mock_up(m, 0, 4, 4);
    struct sa *held = mock_sa(m, ESP_OUT, 1000);
    mock_settle(m);
    struct sa *adding = mock_sa(m, ESP_OUT, 1001), *freeing = mock_sa(m, ESP_OUT, 1002);
    mock_answer(m, 1, NULL);
    place_ask(m->p, freeing, PLACE_SOFTWARE, m->now);
    mock_down(m, 0);
    assert_true(place_quiet(m->p));
    assert_int_equal(held->place, PLACE_SOFTWARE);
    assert_int_equal(freeing->reason.code, PLACE_ASKED_CODE);
    ok.handle = 1;
    place_added(m->p, 0, adding->cookie, &ok, m->now); /* late */
    assert_int_equal(adding->place, PLACE_SOFTWARE);
    mock_up(m, 0, 4, 4);
    mock_settle(m);
    assert_true(held->place == PLACE_CARD && adding->place == PLACE_CARD);
    assert_int_equal(freeing->place, PLACE_SOFTWARE);
    mock_compare(m);
}

/* --- claims, wishes, failures --- */

static void a_rekey_inherits_the_claim(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 2, 2);
    struct sa_spec spec = spec_make(ESP_OUT, 1000);
    struct sa *old, *other, *waits, *heir;
    spec.policy_id = 7;
    assert_int_equal(sad_add(m->sad, &spec, m->now, &old), 0);
    place_sa(m->p, old, m->now);
    other = mock_sa(m, ESP_OUT, 1001);
    mock_settle(m);
    spec.policy_id = 8;
    spec.spi++;
    spec.spi++;
    assert_int_equal(sad_add(m->sad, &spec, m->now, &waits), 0);
    place_sa(m->p, waits, m->now);
    spec.policy_id = 7;
    spec.spi++;
    assert_int_equal(sad_add(m->sad, &spec, m->now, &heir), 0);
    place_sa(m->p, heir, m->now);
    mock_settle(m);
    assert_true(waits->place == PLACE_SOFTWARE && heir->place == PLACE_SOFTWARE);
    old->dying = true;
    mock_delete(m, old);
    mock_settle(m);
    assert_true(waits->place == PLACE_SOFTWARE && heir->place == PLACE_CARD);
    assert_int_equal(heir->moves, 1);
    mock_delete(m, other);
    mock_settle(m);
    assert_int_equal(waits->place, PLACE_CARD);
}

static void an_administrators_wish(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    mock_settle(m);
    place_ask(m->p, sa, PLACE_SOFTWARE, m->now);
    assert_int_equal(sa->place, PLACE_SOFTWARE);
    assert_int_equal(sa->reason.code, PLACE_ASKED_CODE);
    mock_settle(m);
    assert_int_equal(mock_used(&m->card[0]), 0);
    tick_to(m, m->now + 25 * SEC);
    assert_int_equal(m->adds, 1);
    place_ask(m->p, sa, PLACE_CARD, m->now);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
    place_ask(m->p, sa, PLACE_SOFTWARE, m->now); /* and changed while the free is under way */
    place_ask(m->p, sa, PLACE_CARD, m->now);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
    mock_compare(m);
    struct sa *b = mock_sa(m, ESP_OUT, 1001); /* while the add is under way */
    place_ask(m->p, b, PLACE_SOFTWARE, m->now);
    mock_settle(m);
    assert_int_equal(b->place, PLACE_SOFTWARE);
    mock_compare(m);
}

static void a_failing_slot_is_left_first_and_tried_later(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_IN, 1000);
    mock_settle(m);
    uint64_t gap = 10 * SEC;
    for (int i = 0; i < 4; i++) {
        place_failed(m->p, sa, "packets came up raw", m->now);
        assert_int_equal(sa->place, PLACE_SOFTWARE);
        assert_string_equal(
            sa->reason.text,
            "card c0 has the SA and does not transform its packets: packets came up raw");
        place_failed(m->p, sa, "again", m->now); /* it is out already */
        mock_settle(m);
        assert_int_equal(mock_used(&m->card[0]), 0);
        tick_to(m, m->now + gap - 1);
        mock_settle(m);
        assert_int_equal(sa->place, PLACE_SOFTWARE);
        tick_to(m, m->now + 1);
        mock_settle(m);
        assert_int_equal(sa->place, PLACE_CARD);
        gap *= 2;
    }
}

static void a_moved_endpoint_is_given_anew(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *held = mock_sa(m, ESP_IN, 1000);
    mock_settle(m);
    uint32_t handle = held->handle;
    struct sa *adding = mock_sa(m, ESP_IN, 1001);
    place_changed(m->p, held, m->now);
    place_changed(m->p, adding, m->now);
    assert_int_equal(held->place, PLACE_SOFTWARE);
    assert_int_equal(held->reason.code, PLACE_CHANGED_CODE);
    mock_settle(m);
    assert_true(held->place == PLACE_CARD && adding->place == PLACE_CARD);
    assert_int_not_equal(held->handle, handle);
    assert_int_equal(m->adds, 4);
    assert_int_equal(m->frees, 2);
    mock_compare(m);
}

/* An add under way, or one without an answer, carries the endpoint from before the change: no wish
 * makes it good. */
static void a_wish_does_not_revive_an_old_endpoint(void **state)
{
    struct mock *m = mock_of(state);
    struct place_result lost = mock_result(PLACE_UNKNOWN, "TIMEOUT");
    mock_up(m, 0, 8, 8);
    mock_settle(m);
    struct sa *adding = mock_sa(m, ESP_IN, 1000), *kept = mock_sa(m, ESP_IN, 1001);
    place_changed(m->p, adding, m->now);
    place_ask(m->p, adding, PLACE_SOFTWARE, m->now);
    place_ask(m->p, adding, PLACE_CARD, m->now);
    place_ask(m->p, kept, PLACE_SOFTWARE, m->now); /* changed while it is kept in software */
    place_changed(m->p, kept, m->now);
    place_ask(m->p, kept, PLACE_CARD, m->now);
    mock_settle(m);
    assert_true(adding->place == PLACE_CARD && kept->place == PLACE_CARD);
    assert_int_equal(m->adds, 4);
    assert_int_equal(m->frees, 2);

    place_changed(m->p, adding, m->now); /* the free, too, is of the old endpoint */
    mock_answer(m, 0, &lost);
    place_ask(m->p, adding, PLACE_CARD, m->now);
    mock_settle(m);
    assert_int_equal(adding->place, PLACE_CARD);
    assert_int_equal(m->adds, 5);

    struct sa *unknown = mock_sa(m, ESP_OUT, 1002);
    mock_do(m, m->asked[0]);
    place_changed(m->p, unknown, m->now);
    mock_answer(m, 0, &lost);
    place_ask(m->p, unknown, PLACE_CARD, m->now);
    mock_settle(m);
    assert_int_equal(unknown->place, PLACE_CARD);
    assert_int_equal(m->adds, 7);
    mock_compare(m);
}

static void adds_are_paced(void **state)
{
    struct mock *m = mock_of(state);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    mock_up(m, 0, 4, 4);
    mock_settle(m);
    for (unsigned i = 1; i < PLACE_ADDS_PER_SECOND; i++) {
        place_changed(m->p, sa, m->now); /* at one moment */
        mock_settle(m);
        if (sa->place == PLACE_SOFTWARE)
            break;
    }
    assert_int_equal(sa->reason.code, PLACE_BUSY_CODE);
    assert_in_range(m->adds, PLACE_ADDS_PER_SECOND / 2, PLACE_ADDS_PER_SECOND / 2 + 2);
    assert_true(place_tick(m->p, m->now) > m->now);
    tick_to(m, m->now + SEC / 2 + MS);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
}

static void a_suite_taken_out_of_service(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *in = mock_sa(m, ESP_IN, 1000), *out = mock_sa(m, ESP_OUT, 1001);
    mock_settle(m);
    struct place_caps caps = mock_caps("c0", 4);
    snprintf(caps.suites[0].bad[1], sizeof caps.suites[0].bad[1], "wrong tag");
    place_card_caps(m->p, 0, &caps, m->now);
    mock_settle(m);
    assert_true(in->place == PLACE_SOFTWARE && out->place == PLACE_CARD);
    assert_int_equal(in->reason.code, PLACE_KNOWN_ANSWER_CODE);
    caps.suites[0].bad[1][0] = 0;
    place_card_caps(m->p, 0, &caps, m->now);
    mock_settle(m);
    assert_int_equal(in->place, PLACE_CARD);
    mock_compare(m);
}

/* --- the audit --- */

static void the_audit_repairs(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 8, 8);
    struct sa *a = mock_sa(m, ESP_IN, 1000), *b = mock_sa(m, ESP_OUT, 1001);
    mock_settle(m);
    mock_find(&m->card[0], a->cookie)->used = false; /* lost */
    mock_take(&m->card[0], 999999, ESP_OUT);         /* nobody's */
    mock_take(&m->card[0], b->cookie, ESP_OUT);      /* ours twice */
    tick_to(m, m->now + 30 * SEC);
    assert_int_equal(m->n_asked, 1);
    mock_answer(m, 0, NULL);
    assert_int_equal(a->place, PLACE_SOFTWARE);
    assert_int_equal(a->reason.code, PLACE_MISSING_CODE);
    assert_int_equal(b->place, PLACE_CARD);
    mock_settle(m);
    tick_to(m, m->now + SEC);
    mock_settle(m);
    assert_int_equal(a->place, PLACE_CARD);
    mock_compare(m);
    assert_int_equal(mock_used(&m->card[0]), 2);
}

static void what_changed_since_is_not_judged(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 8, 8);
    struct sa *gone = mock_sa(m, ESP_OUT, 999);
    mock_settle(m);
    tick_to(m, m->now + 30 * SEC);
    mock_do(m, m->asked[0]);                     /* the table is read now, and told later */
    struct sa *late = mock_sa(m, ESP_OUT, 1000); /* asked[1] */
    mock_answer(m, 1, NULL);
    mock_delete(m, gone);
    mock_answer(m, 1, NULL);
    assert_int_equal(late->place, PLACE_CARD);
    mock_answer(m, 0, NULL);
    assert_int_equal(late->place, PLACE_CARD);
    mock_settle(m);
    assert_int_equal(late->place, PLACE_CARD);
    mock_compare(m);
}

/* --- two cards --- */

static void a_second_card_takes_what_the_first_refuses(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 1, 1);
    mock_up(m, 1, 4, 4);
    struct sa *a = mock_sa(m, ESP_OUT, 1000), *b = mock_sa(m, ESP_OUT, 1001);
    mock_settle(m);
    assert_true(a->card == 0 && b->card == 1);
    mock_down(m, 0);
    mock_settle(m);
    assert_true(a->card == 1 && a->place == PLACE_CARD);
    mock_compare(m);
    uint32_t lo, hi;
    struct place_caps caps = mock_caps("c0", 1);
    caps.spi_lo = 1000;
    caps.spi_hi = 2000;
    m->card[0].up = true;
    place_card_up(m->p, 0, &caps, m->now);
    place_spi_range(m->p, &lo, &hi);
    assert_true(lo == 1000 && hi == 2000);
    mock_down(m, 0);
    mock_down(m, 1);
    place_spi_range(m->p, &lo, &hi);
    assert_true(lo == 256 && hi == UINT32_MAX);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, mock_setup, mock_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(unknown_reads_the_table_first, mock_teardown),
        T(an_unknown_free_is_looked_up),
        T(a_failed_read_is_repeated),
        T(deleted_while_its_add_is_under_way),
        T(answers_for_others_are_ignored),
        T(a_card_goes_down_at_any_moment),
        T(a_rekey_inherits_the_claim),
        T(an_administrators_wish),
        T(a_failing_slot_is_left_first_and_tried_later),
        T(a_moved_endpoint_is_given_anew),
        T(a_wish_does_not_revive_an_old_endpoint),
        T(adds_are_paced),
        T(a_suite_taken_out_of_service),
        T(the_audit_repairs),
        T(what_changed_since_is_not_judged),
        T(a_second_card_takes_what_the_first_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
