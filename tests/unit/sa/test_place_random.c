/* Placement over 100,000 random events on two cards: refusals of every class, answers late, lost,
 * doubled and false, cards that lose slots or find some, deaths. After each step the invariants;
 * now and then everything settles, and places must equal the cards' tables. */
#include "place_mock.h"

#define SEC UINT64_C(1000000000)

enum { STEPS = 100000, ALIVE = 40 };

struct world {
    struct mock *m;
    struct sa *sa[ALIVE];
    uint32_t next_spi;
    unsigned settled, in_card, killed;
};

static void make_or_delete(struct world *w)
{
    unsigned k = (unsigned)rng_below(ALIVE);
    if (w->sa[k]) {
        mock_delete(w->m, w->sa[k]);
        w->sa[k] = NULL;
        return;
    }
    struct sa_spec spec = spec_make(rng_below(2) ? ESP_OUT : ESP_IN, w->next_spi++);
    spec.policy_id = 1 + (uint32_t)rng_below(8);
    spec.esn = rng_below(8) == 0;
    assert_int_equal(sad_add(w->m->sad, &spec, w->m->now, &w->sa[k]), 0);
    place_sa(w->m->p, w->sa[k], w->m->now);
}

static void carry_out(struct world *w)
{
    struct mock *m = w->m;
    struct asked *a = m->n_asked ? m->asked[rng_below(m->n_asked)] : NULL;
    if (a && !a->done)
        mock_do(m, a);
}

/* Refused without having been carried out, or unknown with either truth. A query may fail. */
static void answer_badly(struct world *w)
{
    static const struct {
        enum place_class cls;
        const char *name;
    } bad[] = {{PLACE_NEVER, "BAD_FIELD"}, {PLACE_RESOURCE, "HASH_FULL"}, {PLACE_AGAIN, "BUSY"},
               {PLACE_DEVICE, "ENGINE"},   {PLACE_UNKNOWN, "no answer"},  {PLACE_UNKNOWN, "reset"}};
    struct mock *m = w->m;
    if (!m->n_asked)
        return;
    unsigned i = (unsigned)rng_below(m->n_asked), k = (unsigned)rng_below(6);
    struct place_result r = mock_result(bad[k].cls, bad[k].name);
    if (m->asked[i]->done && r.cls != PLACE_UNKNOWN)
        return;
    mock_answer(m, i, &r);
}

static void answer(struct world *w)
{
    struct mock *m = w->m;
    if (!m->n_asked)
        return;
    unsigned i = (unsigned)rng_below(m->n_asked);
    struct asked a = *m->asked[i];
    if (!a.done)
        mock_do(m, m->asked[i]);
    a = *m->asked[i];
    mock_drop_asked(m, i);
    mock_tell(m, &a);
    if (rng_below(20) == 0 && a.kind != ASK_QUERY)
        mock_tell(m, &a); /* doubled */
}

static void answer_falsely(struct world *w)
{
    struct asked a = {.kind = (enum mock_kind)rng_below(2),
                      .card = (int)rng_below(3) - 1,
                      .cookie = rng_below(200),
                      .handle = (uint32_t)rng_below(8)};
    a.result = mock_result((enum place_class)rng_below(6), "x");
    a.result.handle = a.handle;
    for (unsigned i = 0; i < w->m->n_asked; i++) /* not one that is waited for */
        if (w->m->asked[i]->cookie == a.cookie)
            return;
    mock_tell(w->m, &a);
}

static void damage_a_table(struct world *w)
{
    struct mock_card *c = &w->m->card[rng_below(MOCK_CARDS)];
    struct mock_slot *s = &c->slot[rng_below(8)];
    if (!c->up)
        return;
    if (s->used)
        s->used = false;
    else
        mock_take(c, UINT64_C(1) << 40 | rng_below(1000), ESP_OUT);
}

static void kill_or_revive(struct world *w)
{
    int c = (int)rng_below(MOCK_CARDS);
    unsigned told = (unsigned)rng_below(24);
    w->killed++;
    if (w->m->card[c].up)
        mock_down(w->m, c);
    else
        mock_up(w->m, c, told, rng_below(2) ? told : (unsigned)rng_below(24));
}

static void wish_or_fail(struct world *w)
{
    struct sa *sa = w->sa[rng_below(ALIVE)];
    if (!sa)
        return;
    unsigned what = (unsigned)rng_below(5);
    if (what == 0)
        place_changed(w->m->p, sa, w->m->now);
    else if (what < 3)
        place_ask(w->m->p, sa, rng_below(3) ? PLACE_CARD : PLACE_SOFTWARE, w->m->now);
    else
        place_failed(w->m->p, sa, "raw", w->m->now);
}

static void pass_time(struct world *w)
{
    w->m->now += rng_below(UINT64_C(1) << rng_below(36));
    w->m->refuse_ask = rng_below(30) ? 0 : -EAGAIN;
    assert_true(place_tick(w->m->p, w->m->now) > w->m->now); /* never a busy loop */
    w->m->refuse_ask = 0;
}

static void say_room(struct world *w)
{
    place_room(w->m->p, (int)rng_below(MOCK_CARDS), w->m->now);
}

static void (*const events[])(struct world *) = {
    make_or_delete, make_or_delete, make_or_delete, make_or_delete, carry_out,
    carry_out,      answer,         answer,         answer,         answer,
    answer,         answer,         answer_badly,   answer_badly,   answer_falsely,
    pass_time,      pass_time,      wish_or_fail,   say_room,
};

/* --- invariants --- */

static unsigned slots_of(struct mock *m, uint64_t cookie)
{
    unsigned n = 0;
    for (int c = 0; c < MOCK_CARDS; c++)
        for (unsigned i = 0; i < MOCK_SLOTS; i++)
            n += m->card[c].slot[i].used && m->card[c].slot[i].cookie == cookie;
    return n;
}

static void check_one(struct world *w, const struct sa *sa)
{
    assert_true(slots_of(w->m, sa->cookie) <= 1);
    assert_true(sa->reason.text[0] && sa->reason.remedy[0]);
    assert_true(sa->reason.code < PLACE_CODE_COUNT);
    if (sa->place == PLACE_CARD) {
        assert_true(sa->card >= 0 && w->m->card[sa->card].up);
        assert_int_equal(sa->reason.code, PLACE_IN_CARD_CODE);
        w->in_card++;
    } else {
        assert_int_not_equal(sa->reason.code, PLACE_IN_CARD_CODE);
    }
}

static void check_step(struct world *w)
{
    for (unsigned k = 0; k < ALIVE; k++)
        if (w->sa[k])
            check_one(w, w->sa[k]);
}

/* Faults end; answers come; audits and the longest back-off of a free pass. */
static void check_settled(struct world *w)
{
    struct mock *m = w->m;
    for (int i = 0; i < 6; i++) {
        mock_settle(m);
        m->now += 31 * SEC;
    }
    mock_settle(m);
    assert_true(place_quiet(m->p));
    mock_compare(m);
    w->settled++;
}

/* With cards that keep their promises and all SAs asked for, none is left out while there is room.
 */
static void check_filled(struct world *w)
{
    struct mock *m = w->m;
    for (int c = 0; c < MOCK_CARDS; c++) {
        if (m->card[c].up)
            mock_down(m, c);
        mock_up(m, c, 12, 12);
    }
    unsigned all = 0, in = 0;
    for (unsigned k = 0; k < ALIVE; k++)
        if (w->sa[k])
            place_ask(m->p, w->sa[k], PLACE_CARD, m->now);
    check_settled(w);
    for (unsigned k = 0; k < ALIVE; k++)
        if (w->sa[k]) {
            all++;
            in += w->sa[k]->place == PLACE_CARD;
        }
    assert_int_equal(in, all < 24 ? all : 24);
}

static void run(void **state, uint64_t seed, unsigned steps)
{
    struct world w = {.m = *state, .next_spi = 1000};
    rng_state = seed;
    for (unsigned i = 0; i < steps; i++) {
        unsigned rare = (unsigned)rng_below(400);
        if (rare == 0)
            kill_or_revive(&w);
        else if (rare == 1)
            damage_a_table(&w);
        else
            events[rng_below(sizeof events / sizeof *events)](&w);
        check_step(&w);
        if (i % 2000 == 1999)
            check_settled(&w);
        if (i % 10000 == 9999)
            check_filled(&w);
    }
    for (unsigned k = 0; k < ALIVE; k++)
        if (w.sa[k])
            mock_delete(w.m, w.sa[k]);
    check_settled(&w);
    for (int c = 0; c < MOCK_CARDS; c++)
        assert_int_equal(mock_used(&w.m->card[c]), 0);
    assert_true(w.in_card > steps && w.killed > steps / 1000);
    print_message(
        "%u steps: settled %u times, %u moves, %u adds, %u frees, %u queries, %u deaths\n", steps,
        w.settled, w.m->moved, w.m->adds, w.m->frees, w.m->queries, w.killed);
}

static void a_hundred_thousand_events(void **state)
{
    run(state, 20261125, STEPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_hundred_thousand_events, mock_setup, mock_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
