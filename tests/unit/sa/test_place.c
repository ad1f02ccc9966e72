/* Placement against scripted cards: every class of refusal, every lack, late answers, audits. */
#include "place_mock.h"

#include "firmware-if/card_if.h"

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

static void an_sa_goes_to_the_card(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    assert_int_equal(sa->place, PLACE_SOFTWARE);
    assert_false(place_quiet(m->p));
    assert_int_equal(m->n_asked, 1);
    m->now = 5000;
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
    assert_int_equal(sa->card, 0);
    assert_int_equal(sa->moves, 1);
    assert_true(sa->since == 5000);
    assert_string_equal(sa->reason.text, "in card c0");
    assert_int_equal(m->moved, 1);
    assert_true(place_quiet(m->p));
    mock_compare(m);
    mock_delete(m, sa);
    assert_int_equal(m->frees, 1);
    mock_settle(m);
    mock_compare(m);
    assert_true(place_quiet(m->p));
}

static void without_a_card_it_says_so(void **state)
{
    struct mock *m = mock_of(state);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    assert_int_equal(sa->reason.code, PLACE_NO_CARD_CODE);
    mock_up(m, 0, 4, 4);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
    mock_down(m, 0);
    assert_int_equal(sa->place, PLACE_SOFTWARE);
    assert_int_equal(sa->card, -1);
    assert_string_equal(sa->reason.text, "card c0 is not in service: it was pulled");
    struct sa *later = mock_sa(m, ESP_IN, 1001);
    assert_int_equal(later->reason.code, PLACE_CARD_DOWN_CODE);
    mock_up(m, 0, 4, 4);
    mock_settle(m);
    assert_true(sa->place == PLACE_CARD && later->place == PLACE_CARD);
    assert_int_equal(sa->moves, 3);
    mock_compare(m);
}

/* --- what a card lacks --- */

static void lack_esn(struct place_caps *c, struct sa_spec *s)
{
    c->esn = false;
    s->esn = true;
}
static void lack_suite(struct place_caps *c, struct sa_spec *s)
{
    s->suite = esp_suite_by_name("ESP_AES128_CBC_HMAC_SHA2_256");
}
static void lack_len(struct place_caps *c, struct sa_spec *s)
{
    c->suites[0].encr_lens = 1 << 2;
    s->suite = esp_suite_by_name("ESP_AES256_GCM16");
}
static void lack_dir(struct place_caps *c, struct sa_spec *s)
{
    c->suites[0].dirs = 1;
}
static void lack_mode(struct place_caps *c, struct sa_spec *s)
{
    c->suites[0].modes = 1;
}
static void lack_known(struct place_caps *c, struct sa_spec *s)
{
    snprintf(c->suites[0].bad[1], sizeof c->suites[0].bad[1], "the tag was wrong");
}
static void lack_natt(struct place_caps *c, struct sa_spec *s)
{
    c->natt4 = false;
    s->encap = ESP_ENCAP_UDP;
    s->udp_sport = s->udp_dport = 4500;
}
static void lack_spi(struct place_caps *c, struct sa_spec *s)
{
    c->spi_hi = 4095;
    s->spi = 4096;
}
static void lack_slots(struct place_caps *c, struct sa_spec *s)
{
    c->shared_pool = false;
    c->in_max = 0;
}

static const struct {
    void (*make)(struct place_caps *c, struct sa_spec *s);
    unsigned code;
    const char *text;
} lacks[] = {
    {lack_esn, PLACE_ESN_CODE,
     "card c0 has no extended sequence numbers (asked: ESN; offered: 32-bit numbers)"},
    {lack_suite, PLACE_SUITE_CODE,
     "card c0 does not have the suite (asked: ESP_AES128_CBC_HMAC_SHA2_256; offered: "
     "ESP_AES128_GCM16, ESP_AES256_GCM16)"},
    {lack_len, PLACE_KEY_LEN_CODE,
     "card c0 does not take the key length of ESP_AES256_GCM16 (asked: 256 bits; offered: 128)"},
    {lack_dir, PLACE_DIRECTION_CODE,
     "card c0 does not do ESP_AES128_GCM16 in this direction (asked: inbound; offered: outbound)"},
    {lack_mode, PLACE_MODE_CODE,
     "card c0 does not do ESP_AES128_GCM16 in this mode (asked: tunnel; offered: transport)"},
    {lack_known, PLACE_KNOWN_ANSWER_CODE,
     "card c0 failed the known-answer test of ESP_AES128_GCM16 inbound: the tag was wrong"},
    {lack_natt, PLACE_NATT_CODE,
     "card c0 does not do UDP encapsulation (asked: over IPv4; offered: over IPv6)"},
    {lack_spi, PLACE_SPI_RANGE_CODE,
     "the SPI is outside the range of card c0 (asked: 0x00001000; offered: 0x00000100 to "
     "0x00000fff)"},
    {lack_slots, PLACE_DIRECTION_CODE, "card c0 has no inbound SAs (asked 1, offered 0 slots)"},
};

static void a_known_lack_is_told_without_asking(void **state)
{
    struct mock *m = mock_of(state);
    m->card[0].up = true;
    for (size_t i = 0; i < sizeof lacks / sizeof *lacks; i++) {
        struct place_caps caps = mock_caps("c0", 4);
        struct sa_spec spec = spec_make(ESP_IN, 1000);
        struct sa *sa = NULL;
        lacks[i].make(&caps, &spec);
        place_card_up(m->p, 0, &caps, m->now);
        assert_int_equal(sad_add(m->sad, &spec, m->now, &sa), 0);
        place_sa(m->p, sa, m->now);
        assert_int_equal(m->adds, 0);
        assert_string_equal(sa->reason.text, lacks[i].text);
        assert_int_equal(sa->reason.code, lacks[i].code);
        assert_true(strlen(sa->reason.remedy) > 10);
        tick_to(m, m->now + 20 * SEC);
        assert_int_equal(m->adds, 0);
        mock_delete(m, sa);
    }
}

static void codes_and_remedies_are_distinct(void **state)
{
    for (unsigned i = 0; i < PLACE_CODE_COUNT; i++) {
        assert_true(strlen(place_code_remedy(i)) > 5);
        for (unsigned k = 0; k < i; k++) {
            assert_string_not_equal(place_code_text(i), place_code_text(k));
            assert_string_not_equal(place_code_name(i), place_code_name(k));
            assert_string_not_equal(place_code_remedy(i), place_code_remedy(k));
        }
    }
    assert_string_equal(place_code_name(9999), "UNKNOWN");
}

static enum place_class class_of_status(uint16_t st)
{
    switch (cif_status_class(st)) {
    case CIF_CLASS_RESOURCE:
        return PLACE_RESOURCE;
    case CIF_CLASS_AGAIN:
        return PLACE_AGAIN;
    case CIF_CLASS_DEVICE:
        return PLACE_DEVICE;
    default:
        return PLACE_NEVER;
    }
}

/* Every status of the contract as the answer to an add: its own words, and a remedy. */
static void every_status_has_its_words(void **state)
{
    static char texts[CIF_STATUS_COUNT][REASON_TEXT];
    struct mock *m = mock_of(state);
    unsigned n = 0;
    mock_up(m, 0, 4, 4);
    for (unsigned i = 0; i < CIF_STATUS_COUNT; i++) {
        uint16_t st = cif_status_at(i);
        if (cif_status_class(st) == CIF_CLASS_OK)
            continue;
        struct place_result r = {.cls = class_of_status(st),
                                 .name = cif_status_name(st),
                                 .text = cif_status_text(st),
                                 .remedy = cif_status_remedy(st)};
        struct sa *sa = mock_sa(m, ESP_IN, 1000);
        mock_answer(m, 0, &r);
        assert_int_equal(sa->place, PLACE_SOFTWARE);
        assert_non_null(strstr(sa->reason.text, r.name));
        assert_true(strlen(sa->reason.remedy) > 5);
        snprintf(texts[n], REASON_TEXT, "%s", sa->reason.text);
        for (unsigned k = 0; k < n; k++)
            assert_string_not_equal(texts[k], texts[n]);
        n++;
        mock_delete(m, sa);
        assert_int_equal(m->n_asked, 0);
    }
    assert_true(n > 20);
}

/* --- classes of refusal --- */

static void resource_waits_for_room(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 8, 2);
    struct sa *a[4];
    for (unsigned i = 0; i < 4; i++)
        a[i] = mock_sa(m, ESP_OUT, 1000 + i);
    mock_settle(m);
    assert_true(a[0]->place == PLACE_CARD && a[1]->place == PLACE_CARD);
    assert_true(a[2]->place == PLACE_SOFTWARE && a[3]->place == PLACE_SOFTWARE);
    assert_int_equal(a[2]->reason.code, PLACE_FULL_CODE);
    assert_non_null(strstr(a[2]->reason.text, "NO_SA_SPACE"));
    assert_string_equal(a[2]->reason.remedy, "a remedy");
    unsigned before = m->adds;
    tick_to(m, m->now + 4 * SEC);
    assert_int_equal(m->adds, before);
    m->card[0].room = 4;
    place_room(m->p, 0, m->now);
    mock_settle(m);
    assert_true(a[2]->place == PLACE_CARD && a[3]->place == PLACE_CARD);
    mock_compare(m);
}

static void resource_is_tried_on_a_slow_timer(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 8, 0);
    struct sa *a = mock_sa(m, ESP_OUT, 1000);
    mock_settle(m);
    assert_int_equal(m->adds, 1);
    m->card[0].room = 1;
    tick_to(m, m->now + 5 * SEC);
    mock_settle(m);
    assert_int_equal(a->place, PLACE_CARD);
}

static void a_full_card_is_not_asked(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *a[6];
    for (unsigned i = 0; i < 6; i++)
        a[i] = mock_sa(m, i % 2 ? ESP_OUT : ESP_IN, 1000 + i);
    mock_settle(m);
    assert_int_equal(m->adds, 4);
    assert_int_equal(a[4]->place, PLACE_SOFTWARE);
    assert_string_equal(a[4]->reason.text,
                        "the SA table of card c0 is full (asked 1, free 0 of 4)");
    mock_delete(m, a[1]);
    mock_settle(m);
    assert_int_equal(a[4]->place, PLACE_CARD);
    assert_int_equal(a[5]->place, PLACE_SOFTWARE);
    mock_delete(m, a[0]);
    mock_settle(m);
    assert_int_equal(a[5]->place, PLACE_CARD);
    mock_compare(m);
}

static void pools_apart_are_counted_apart(void **state)
{
    struct mock *m = mock_of(state);
    struct place_caps caps = mock_caps("c0", 2);
    caps.shared_pool = false;
    m->card[0] = (struct mock_card){.up = true, .room = 4};
    place_card_up(m->p, 0, &caps, m->now);
    struct sa *a[6];
    for (unsigned i = 0; i < 6; i++)
        a[i] = mock_sa(m, i < 3 ? ESP_IN : ESP_OUT, 1000 + i);
    mock_settle(m);
    assert_true(a[2]->place == PLACE_SOFTWARE && a[5]->place == PLACE_SOFTWARE);
    mock_delete(m, a[4]);
    mock_settle(m);
    assert_true(a[2]->place == PLACE_SOFTWARE && a[5]->place == PLACE_CARD);
}

static void again_comes_soon_with_back_off(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    uint64_t gap = 10 * MS;
    for (unsigned i = 1; i < 12; i++) {
        refuse(m, PLACE_AGAIN, "BUSY");
        assert_int_equal(sa->reason.code, PLACE_BUSY_CODE);
        assert_true(place_tick(m->p, m->now) == m->now + gap);
        tick_to(m, m->now + gap - 1);
        assert_int_equal(m->adds, i);
        tick_to(m, m->now + 1);
        assert_int_equal(m->adds, i + 1);
        gap = gap * 2 < SEC ? gap * 2 : SEC;
    }
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
}

static void never_waits_for_a_change(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    refuse(m, PLACE_NEVER, "BAD_ALG");
    assert_string_equal(sa->reason.text, "card c0 refused the SA: BAD_ALG: a sentence");
    for (int i = 0; i < 50; i++) {
        tick_to(m, m->now + 100 * SEC);
        mock_settle(m);
    }
    assert_int_equal(m->adds, 1);
    place_room(m->p, 0, m->now);
    assert_int_equal(m->adds, 1);
    mock_down(m, 0);
    mock_up(m, 0, 4, 4);
    assert_int_equal(m->adds, 2);
    refuse(m, PLACE_NEVER, "BAD_ALG");
    place_ask(m->p, sa, PLACE_CARD, m->now);
    assert_int_equal(m->adds, 3);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
}

static void an_ill_card_is_asked_ever_more_slowly(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    mock_sa(m, ESP_OUT, 1000);
    uint64_t gap = SEC;
    for (unsigned i = 1; i < 14; i++) {
        refuse(m, PLACE_DEVICE, "ENGINE");
        m->now += gap - 1;
        place_tick(m->p, m->now);
        assert_int_equal(m->adds, i);
        for (unsigned k = 0; k < m->n_asked; k++)
            assert_int_equal(m->asked[k]->kind, ASK_QUERY);
        mock_settle(m);
        tick_to(m, m->now + 1);
        assert_int_equal(m->adds, i + 1);
        gap = gap * 2 < 600 * SEC ? gap * 2 : 600 * SEC;
    }
}

static void a_full_admin_queue_is_met_again(void **state)
{
    struct mock *m = mock_of(state);
    m->refuse_ask = -EAGAIN;
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    assert_int_equal(sa->reason.code, PLACE_BUSY_CODE);
    assert_int_equal(sa->card, -1);
    m->refuse_ask = 0;
    tick_to(m, m->now + 10 * MS);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
    m->refuse_ask = -EAGAIN; /* and so is one that does not take the free */
    mock_delete(m, sa);
    assert_false(place_quiet(m->p));
    m->refuse_ask = 0;
    tick_to(m, m->now + 10 * MS);
    mock_settle(m);
    assert_true(place_quiet(m->p));
    assert_int_equal(mock_used(&m->card[0]), 0);
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
        T(an_sa_goes_to_the_card),
        T(without_a_card_it_says_so),
        T(a_known_lack_is_told_without_asking),
        T(codes_and_remedies_are_distinct),
        T(every_status_has_its_words),
        T(resource_waits_for_room),
        T(resource_is_tried_on_a_slow_timer),
        T(a_full_card_is_not_asked),
        T(pools_apart_are_counted_apart),
        T(again_comes_soon_with_back_off),
        T(never_waits_for_a_change),
        T(an_ill_card_is_asked_ever_more_slowly),
        T(a_full_admin_queue_is_met_again),
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
        T(adds_are_paced),
        T(a_suite_taken_out_of_service),
        T(the_audit_repairs),
        T(what_changed_since_is_not_judged),
        T(a_second_card_takes_what_the_first_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
